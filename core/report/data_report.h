/* core/report/data_report.h: streams, shards and samples, and what is wrong with them. */
#ifndef PRN_REPORT_DATA_REPORT_H
#define PRN_REPORT_DATA_REPORT_H

#include "base/text.h"
#include "data/verify.h"

/* ---- showing ---- */

typedef struct prn__sample_facts { /* strings in the arena of whoever shows them */
    const char *key, *caption; /* caption NULL when there is none */
    int32_t class_index;
    int64_t width, height;     /* 0 when the image cannot be decoded */
    const char *problem;       /* why not, or NULL */
    int64_t tokens;            /* -1: no vocabulary */
} prn__sample_facts;

typedef struct prn__set_facts { /* one list of shards */
    const char *step, *set;    /* "1993", "train"; NULL for plain shards */
    const char *kind;          /* "training", "retrieval", "classification"; NULL for plain shards */
    const char *pattern;
    int64_t shards;
    int64_t samples;           /* stated or counted; -1: neither */
    prn__sample_facts *first;
    size_t first_count;
    const char *problem;       /* why it could not be opened, or NULL */
} prn__set_facts;

/* `manifest` NULL for plain shards. */
void prn__data_show_print(const prn__manifest *manifest, const prn__set_facts *sets, size_t count, prn__text *target);
void prn__data_show_json(const prn__manifest *manifest, const prn__set_facts *sets, size_t count, prn__text *target);

/* ---- verifying ---- */

typedef struct prn__verify_loss {
    const char *shard;
    prn__loss_reason reason;
    int64_t count;
} prn__verify_loss;

typedef struct prn__verify_sample {
    const char *shard, *key, *message;
    prn__loss_reason reason;
} prn__verify_sample;

typedef struct prn__verified_set {
    const char *step, *set; /* NULL for plain shards */
    const char *pattern;
    int64_t stated;         /* samples that the manifest states; -1 for none */
    prn__verify_report report;
    prn__verify_loss *losses;
    size_t loss_count;
    prn__verify_sample *samples; /* the first bad ones */
    size_t sample_count;
} prn__verified_set;

/* 1 when anything is wrong with the set. */
int prn__verified_is_bad(const prn__verified_set *set);
void prn__data_verify_print(const prn__verified_set *sets, size_t count, double seconds, prn__text *target);
void prn__data_verify_json(const prn__verified_set *sets, size_t count, double seconds, prn__text *target);

#endif
