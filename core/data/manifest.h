/* core/data/manifest.h: a stream of time steps, read from a YAML manifest.
 *
 *   stream: tic-unicode
 *   root: .                      # relative to the manifest
 *   vocabulary: vocab.txt        # tokenizer; merges: N limits it
 *   on_bad_sample: skip          # or fail
 *   classes: scripts.txt         # optional; one class name a line
 *   templates: ["a {} character"]
 *   steps:
 *     - name: "1993"
 *       train: { shards: "train/1993-{0000..0003}.tar", samples: 12000, checksum: ... }
 *       evaluations:
 *         - { name: retrieval-character, kind: retrieval, shards: "eval/1993-r.tar" }
 *         - { name: script, kind: classification, shards: "eval/1993-c.tar" }
 *
 * Unknown keys are errors with a suggestion; every error has file and line.
 */
#ifndef PRN_DATA_MANIFEST_H
#define PRN_DATA_MANIFEST_H

#include <perennial/status.h>

typedef enum prn__task_kind { PRN__TASK_RETRIEVAL = 1, PRN__TASK_CLASSIFICATION = 2 } prn__task_kind;
typedef enum prn__bad_policy { PRN__BAD_SKIP = 0, PRN__BAD_FAIL = 1 } prn__bad_policy;

typedef struct prn__shard_list {
    const char *pattern;     /* as written; may hold brace ranges; relative to the root */
    int64_t shard_count;     /* how many files the pattern names */
    int64_t samples;         /* stated count; -1 when not stated */
    int64_t about;           /* training: a rough count for planning while the shards are not there; never checked; -1 when not stated */
    const char *checksum;    /* stated digest of the shards' XXH3-128 digests in order, as prn__dataset_digest gives it (32 hex digits), or NULL */
} prn__shard_list;

typedef struct prn__evaluation_set {
    const char *name;
    prn__task_kind kind;
    prn__shard_list shards;
} prn__evaluation_set;

typedef struct prn__manifest_step {
    const char *name;
    prn__shard_list train;
    prn__evaluation_set *evaluations;
    size_t evaluation_count;
} prn__manifest_step;

typedef struct prn__manifest {
    const char *path, *root; /* root: absolute or relative to the working folder, resolved */
    const char *name;
    const char *vocabulary;  /* resolved path, or NULL */
    int64_t merges;          /* 0: CLIP's rule */
    prn__bad_policy bad_policy;
    const char *const *classes;
    size_t class_count;
    const char *const *templates; /* at least one, each with one {} */
    size_t template_count;
    prn__manifest_step *steps;
    size_t step_count;
    void *memory; /* the arena all of it lives in */
} prn__manifest;

prn_status prn__manifest_load(const char *path, prn__manifest **manifest, prn_error *error);
void prn__manifest_destroy(prn__manifest *manifest);

#endif
