/* perennial/status.h: status codes and the error object.
 *
 * Purpose: one closed set of failure codes, and a message buffer that the caller owns.
 * Invariants: PRN_OK is zero; a function that returns anything else has written its error object, when given one.
 * Never in here: allocation, printing, process exit.
 */
#ifndef PERENNIAL_STATUS_H
#define PERENNIAL_STATUS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(code, value, text). Append only: values are part of the ABI. */
#define PRN_STATUS_LIST(X)                                                   \
    X(OK, 0, "success")                                                      \
    X(INVALID, 1, "invalid argument or option")                              \
    X(NOT_FOUND, 2, "not found")                                             \
    X(NO_MEMORY, 3, "out of memory")                                         \
    X(IO, 4, "input/output error")                                           \
    X(CORRUPT, 5, "corrupt data")                                            \
    X(UNSUPPORTED, 6, "not supported")                                       \
    X(VERSION, 7, "version mismatch")                                        \
    X(CONFLICT, 8, "conflicts with existing state")                          \
    X(NUMERIC, 9, "not a finite number")                                     \
    X(INTERRUPTED, 10, "interrupted, can be resumed")                        \
    X(DEVICE, 11, "device failure")                                          \
    X(END, 12, "end of data")                                                \
    X(INTERNAL, 13, "internal error")

typedef enum prn_status {
#define PRN_STATUS_ENUM(code, value, text) PRN_##code = value,
    PRN_STATUS_LIST(PRN_STATUS_ENUM)
#undef PRN_STATUS_ENUM
} prn_status;

#define PRN_ERROR_MESSAGE_BYTES 1000

/* Owned by the caller; initialise with PRN_ERROR_INIT. Messages say what, where, and what to do. */
typedef struct prn_error {
    uint32_t struct_size; /* bytes */
    int32_t status;       /* a prn_status */
    char message[PRN_ERROR_MESSAGE_BYTES];
} prn_error;

#define PRN_ERROR_INIT {(uint32_t)sizeof(prn_error), 0, {0}}

/* The name of a status without its prefix, such as "NOT_FOUND"; "UNKNOWN" for other values. [any] */
static inline const char *prn_status_name(prn_status status)
{
    switch (status) {
#define PRN_STATUS_NAME(code, value, text) case PRN_##code: return #code;
        PRN_STATUS_LIST(PRN_STATUS_NAME)
#undef PRN_STATUS_NAME
    }
    return "UNKNOWN";
}

/* The plain text of a status, such as "not found". [any] */
static inline const char *prn_status_text(prn_status status)
{
    switch (status) {
#define PRN_STATUS_TEXT(code, value, text) case PRN_##code: return text;
        PRN_STATUS_LIST(PRN_STATUS_TEXT)
#undef PRN_STATUS_TEXT
    }
    return "unknown status";
}

/* Writes a formatted message (cut at the buffer's end) and returns `status`, so that it can be used in a return
 * statement. `error` may be NULL. [any] */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static inline prn_status
prn_error_set(prn_error *error, prn_status status, const char *format, ...)
{
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        error->status = (int32_t)status;
        (void)vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
    return status;
}

/* Puts formatted context before the message that is already there ("context: message") and returns the error's
 * status. `error` may be NULL, then PRN_INTERNAL is returned only if `status` is PRN_OK, else `status`. [any] */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static inline prn_status
prn_error_context(prn_error *error, prn_status status, const char *format, ...)
{
    if (error != NULL) {
        char tail[PRN_ERROR_MESSAGE_BYTES];
        va_list arguments;
        int used;
        (void)snprintf(tail, sizeof tail, "%s", error->message);
        va_start(arguments, format);
        used = vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
        if (used >= 0 && (size_t)used + 3 < sizeof error->message) { /* cut, not overrun, when both are long */
            size_t at = (size_t)used, from = 0;
            error->message[at++] = ':';
            error->message[at++] = ' ';
            while (tail[from] != '\0' && at + 1 < sizeof error->message) {
                error->message[at++] = tail[from++];
            }
            error->message[at] = '\0';
        }
        error->status = (int32_t)status;
    }
    return status;
}

#ifdef __cplusplus
}
#endif
#endif
