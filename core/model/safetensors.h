/* core/model/safetensors.h: the safetensors file format, read (mapped, hostile input) and written (atomically). */
#ifndef PRN_MODEL_SAFETENSORS_H
#define PRN_MODEL_SAFETENSORS_H

#include <perennial/status.h>

typedef enum prn__st_type { PRN__ST_F32, PRN__ST_F16, PRN__ST_BF16, PRN__ST_F64, PRN__ST_I32, PRN__ST_I64, PRN__ST_U8, PRN__ST_BOOL } prn__st_type;

typedef struct prn__st_tensor {
    const char *name;
    prn__st_type type;
    uint32_t rank;
    int64_t shape[8];
    const void *data; /* in the mapping (reading) or the caller's memory (writing); may be unaligned when read */
    size_t bytes;
} prn__st_tensor;

typedef struct prn__safetensors prn__safetensors;
prn_status prn__safetensors_open(const char *path, prn__safetensors **file, prn_error *error);
void prn__safetensors_close(prn__safetensors *file);
size_t prn__safetensors_count(const prn__safetensors *file);
const prn__st_tensor *prn__safetensors_at(const prn__safetensors *file, size_t index);
const prn__st_tensor *prn__safetensors_find(const prn__safetensors *file, const char *name); /* NULL when absent */
const char *prn__safetensors_metadata(const prn__safetensors *file, const char *key);        /* NULL when absent */
/* Copies as fp32 (from F32, F16, BF16, F64); `count` must equal the tensor's elements. */
prn_status prn__safetensors_read_f32(const prn__st_tensor *tensor, float *target, int64_t count, prn_error *error);
/* `metadata`: pairs of key, value, ending in NULL; NULL for none. */
prn_status prn__safetensors_save(const char *path, const prn__st_tensor *tensors, size_t count, const char *const *metadata, prn_error *error);

#endif
