/* core/base/log.c: see log.h. */
#include "base/log.h"

#include <pthread.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static prn__log_sink the_sink;
static void *the_context;

void prn__log_set_sink(prn__log_sink sink, void *context)
{
    (void)pthread_mutex_lock(&mutex);
    the_sink = sink;
    the_context = context;
    (void)pthread_mutex_unlock(&mutex);
}

void prn__log(prn_log_level level, const char *format, ...)
{
    char message[2048];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    (void)pthread_mutex_lock(&mutex);
    if (the_sink != NULL) {
        the_sink(the_context, level, message);
    }
    (void)pthread_mutex_unlock(&mutex);
}
