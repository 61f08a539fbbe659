/* core/data/tar.h: walking the members of a tar in memory: ustar, pax and GNU long names. Hostile input: every length is
 * checked against the archive's end, so a damaged archive ends the walk and says how. Shared by the files of this room only. */
#ifndef PRN_DATA_TAR_H
#define PRN_DATA_TAR_H

#include <perennial/status.h>

enum { PRN__TAR_NAME_BYTES = 1024 };

typedef enum prn__tar_end { PRN__TAR_WHOLE = 0, PRN__TAR_TRUNCATED, PRN__TAR_BAD_HEADER } prn__tar_end;

typedef struct prn__tar_member {
    char name[PRN__TAR_NAME_BYTES];
    uint64_t offset; /* of its data, bytes from the archive's start */
    uint64_t bytes;
} prn__tar_member;

typedef struct prn__tar_walk {
    const uint8_t *data;
    uint64_t bytes, at;
    prn__tar_end end; /* how the walk ended */
} prn__tar_walk;

void prn__tar_start(prn__tar_walk *walk, const uint8_t *data, size_t bytes);
/* The next regular file; 0 at the end (see walk->end). Links, folders and devices are passed over. */
int prn__tar_next(prn__tar_walk *walk, prn__tar_member *member);

#endif
