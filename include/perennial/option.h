/* perennial/option.h: typed option tables.
 *
 * Purpose: one table per component (name, type, unit, default, bounds, help) drives parsing, help, recipe checking,
 * the run's record and the reference page. A component declares `prn_option[]`; the host parses and checks, and hands
 * back `prn_option_value[]` in the same order, every value set (given or default).
 * Never in here: parsing (the host does that).
 */
#ifndef PERENNIAL_OPTION_H
#define PERENNIAL_OPTION_H

#include <perennial/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum prn_option_type {
    PRN_OPTION_BOOL = 1,   /* value.integer is 0 or 1 */
    PRN_OPTION_INTEGER = 2,
    PRN_OPTION_REAL = 3,
    PRN_OPTION_STRING = 4, /* value.string, borrowed from the host while the component lives */
    PRN_OPTION_CHOICE = 5, /* value.string is one of `choices` */
    PRN_OPTION_REAL_LIST = 6
} prn_option_type;

typedef struct prn_option {
    uint32_t struct_size; /* bytes; the stride of the table */
    uint32_t type;        /* a prn_option_type */
    const char *name;     /* lower_case, with the unit at its end where it has one */
    const char *unit;     /* "samples", "seconds", "fraction", ...; "" for none */
    const char *preset;   /* the default as text, as a user would write it; NULL: the option must be given */
    const char *choices;  /* CHOICE: names separated by '|'; else NULL */
    double minimum;       /* INTEGER, REAL and list items: inclusive bounds */
    double maximum;
    const char *help;     /* one sentence */
} prn_option;

typedef struct prn_option_value {
    uint32_t struct_size; /* bytes; the stride of the array */
    uint32_t is_given;    /* 1 when the user set it, 0 for the default */
    int64_t integer;
    double real;
    const char *string;
    const double *list; /* (list_count) */
    uint64_t list_count;
} prn_option_value;

#ifdef __cplusplus
}
#endif
#endif
