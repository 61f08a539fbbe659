/* core/data/tar.h: walking the members of a tar: ustar, pax and GNU long names. Shared by the files of this room only.
 *
 * Hostile input: every length is checked against the archive's end. Where a header is damaged the walk goes on at the next whole
 * one and counts the gap, so that one bad block costs one member and not the rest of the shard. Bytes come through a read
 * function, never through a mapping: a file that shrinks under a mapping would kill the process.
 */
#ifndef PRN_DATA_TAR_H
#define PRN_DATA_TAR_H

#include <perennial/status.h>

enum { PRN__TAR_NAME_BYTES = 1024, PRN__TAR_BLOCK = 512, PRN__TAR_WINDOW = 1 << 16 };

typedef enum prn__tar_end { PRN__TAR_WHOLE = 0, PRN__TAR_TRUNCATED, PRN__TAR_UNREADABLE } prn__tar_end;

typedef struct prn__tar_member {
    char name[PRN__TAR_NAME_BYTES];
    uint64_t offset;  /* of its data, bytes from the archive's start */
    uint64_t bytes;
    int follows_gap;  /* 1: damaged blocks lie between the member before and this one */
} prn__tar_member;

/* Reads `bytes` bytes at `offset`; both lie inside the archive. Returns 0 on failure. */
typedef int (*prn__tar_read)(void *context, uint64_t offset, void *target, size_t bytes);

typedef struct prn__tar_walk {
    prn__tar_read read;
    void *context;
    uint64_t bytes, at;
    uint64_t window_start, window_bytes; /* what `window` holds */
    int64_t gaps;                        /* stretches of damaged headers passed over */
    int in_gap, has_ended;
    prn__tar_end end;                    /* how the walk ended */
    uint8_t window[PRN__TAR_WINDOW];
} prn__tar_walk;

void prn__tar_start(prn__tar_walk *walk, prn__tar_read read, void *context, uint64_t bytes);
/* The next regular file; 0 at the end (see walk->end and walk->gaps). Links, folders and devices are passed over. */
int prn__tar_next(prn__tar_walk *walk, prn__tar_member *member);

#endif
