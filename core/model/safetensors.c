/* core/model/safetensors.c: see safetensors.h.
 *
 * Layout of a file: 8 bytes little-endian header length, that many bytes of JSON, then the tensors' bytes.
 * The header is hostile input: its length is bounded before it is parsed; every shape, type and offset is checked; the
 * tensors must cover the data part exactly, each byte once, as the format demands (no holes to hide things in, no
 * overlaps). After `open` succeeds, every tensor's `data` and `bytes` are safe to read.
 */
#include "model/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

/* The format allows 100 MB. A parsed header takes about thirty times its bytes, and ten thousand tensors need one MB. */
static const uint64_t MAX_HEADER_BYTES = 16u << 20;

enum { LENGTH_BYTES = 8, MAX_RANK = 8, DATA_ALIGNMENT = 8 };

typedef struct type_info {
    const char *name;
    prn__st_type type;
    size_t bytes;
} type_info;

static const type_info TYPES[] = {
    {"F32", PRN__ST_F32, 4}, {"F16", PRN__ST_F16, 2}, {"BF16", PRN__ST_BF16, 2}, {"F64", PRN__ST_F64, 8},
    {"I32", PRN__ST_I32, 4}, {"I64", PRN__ST_I64, 8}, {"U8", PRN__ST_U8, 1},     {"BOOL", PRN__ST_BOOL, 1},
};
enum { TYPE_COUNT = sizeof TYPES / sizeof TYPES[0] };

struct prn__safetensors {
    prn__map map;
    json_t *header;            /* owns the names and the metadata */
    prn__st_tensor *tensors;   /* in the order of the header */
    size_t count;
};

static const type_info *type_by_name(const char *name)
{
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        if (strcmp(TYPES[i].name, name) == 0) {
            return &TYPES[i];
        }
    }
    return NULL;
}

static const type_info *type_by_value(prn__st_type type)
{
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        if (TYPES[i].type == type) {
            return &TYPES[i];
        }
    }
    return NULL;
}

static uint64_t read_u64(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) {
        value = value << 8 | bytes[i];
    }
    return value;
}

/* Elements of a shape times `size`; 0 on overflow, with `*ok` cleared. */
static size_t shape_bytes(const int64_t *shape, uint32_t rank, size_t size, int *ok)
{
    size_t bytes = size;
    *ok = 1;
    for (uint32_t i = 0; i < rank; i++) {
        if (shape[i] < 0 || __builtin_mul_overflow(bytes, (size_t)shape[i], &bytes)) {
            *ok = 0;
            return 0;
        }
    }
    if (bytes > (size_t)INT64_MAX) {
        *ok = 0;
    }
    return bytes;
}

/* One header entry to one tensor. */
static prn_status read_entry(const char *path, const char *name, const json_t *entry, const uint8_t *data, size_t data_bytes,
                             prn__st_tensor *tensor, prn_error *error)
{
    const json_t *type = json_object_get(entry, "dtype");
    const json_t *shape = json_object_get(entry, "shape");
    const json_t *range = json_object_get(entry, "data_offsets");
    const type_info *info;
    json_int_t begin, end;
    int ok;

    if (!json_is_object(entry) || !json_is_string(type) || !json_is_array(shape) || !json_is_array(range) || json_array_size(range) != 2 ||
        !json_is_integer(json_array_get(range, 0)) || !json_is_integer(json_array_get(range, 1))) {
        return prn_error_set(error, PRN_CORRUPT,
                             "'%s': the header entry of tensor '%.200s' is not {dtype, shape, data_offsets: [begin, end]}; get the file again", path, name);
    }
    info = type_by_name(json_string_value(type));
    if (info == NULL) {
        return prn_error_set(error, PRN_UNSUPPORTED, "'%s': tensor '%.200s' has type '%.40s'; supported are F32, F16, BF16, F64, I32, I64, U8, BOOL", path,
                             name, json_string_value(type));
    }
    if (json_array_size(shape) > MAX_RANK) {
        return prn_error_set(error, PRN_UNSUPPORTED, "'%s': tensor '%.200s' has %zu dimensions; at most %d are supported", path, name,
                             json_array_size(shape), MAX_RANK);
    }
    tensor->name = name;
    tensor->type = info->type;
    tensor->rank = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < tensor->rank; i++) {
        const json_t *size = json_array_get(shape, i);
        if (!json_is_integer(size) || json_integer_value(size) < 0) {
            return prn_error_set(error, PRN_CORRUPT, "'%s': tensor '%.200s' has a dimension that is not a natural number; get the file again", path, name);
        }
        tensor->shape[i] = (int64_t)json_integer_value(size);
    }
    begin = json_integer_value(json_array_get(range, 0));
    end = json_integer_value(json_array_get(range, 1));
    if (begin < 0 || end < begin || (uint64_t)end > data_bytes) {
        return prn_error_set(error, PRN_CORRUPT,
                             "'%s': tensor '%.200s' claims bytes %lld to %lld of %zu; the file is cut short or damaged, get it again", path, name,
                             (long long)begin, (long long)end, data_bytes);
    }
    tensor->bytes = shape_bytes(tensor->shape, tensor->rank, info->bytes, &ok);
    if (!ok || tensor->bytes != (size_t)(end - begin)) {
        return prn_error_set(error, PRN_CORRUPT, "'%s': the shape of tensor '%.200s' does not fit its %lld bytes; get the file again", path, name,
                             (long long)(end - begin));
    }
    tensor->data = data + begin;
    return PRN_OK;
}

static int by_position(const void *left, const void *right)
{
    const prn__st_tensor *a = *(const prn__st_tensor *const *)left, *b = *(const prn__st_tensor *const *)right;
    if (a->data != b->data) {
        return (const uint8_t *)a->data < (const uint8_t *)b->data ? -1 : 1;
    }
    return a->bytes < b->bytes ? -1 : a->bytes > b->bytes; /* empty ones first */
}

/* Every data byte belongs to exactly one tensor. */
static prn_status check_cover(const char *path, const prn__safetensors *file, const uint8_t *data, size_t data_bytes, prn_error *error)
{
    prn_status status = PRN_OK;
    const prn__st_tensor **order = prn__alloc_array(file->count, sizeof *order);
    const uint8_t *next = data;
    if (order == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "'%s': no memory for a list of %zu tensors", path, file->count);
    }
    for (size_t i = 0; i < file->count; i++) {
        order[i] = &file->tensors[i];
    }
    qsort((void *)order, file->count, sizeof *order, by_position);
    for (size_t i = 0; i < file->count && status == PRN_OK; i++) {
        const uint8_t *begin = order[i]->data;
        if (begin != next) {
            status = prn_error_set(error, PRN_CORRUPT, "'%s': tensor '%.200s' %s; the file is damaged, get it again", path, order[i]->name,
                                   begin < next ? "overlaps another one" : "leaves a hole before it");
        }
        next = begin + order[i]->bytes;
    }
    if (status == PRN_OK && next != data + data_bytes) {
        status = prn_error_set(error, PRN_CORRUPT, "'%s': %zu bytes after the last tensor belong to nothing; the file is damaged, get it again", path,
                               (size_t)(data + data_bytes - next));
    }
    prn__free((void *)order);
    return status;
}

prn_status prn__safetensors_open(const char *path, prn__safetensors **result, prn_error *error)
{
    prn_status status;
    json_error_t problem;
    const char *key;
    json_t *entry;
    const uint8_t *data;
    uint64_t header_bytes;
    size_t data_bytes;
    prn__safetensors *file = prn__alloc(sizeof *file);

    *result = NULL;
    if (file == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "'%s': no memory to open the file", path);
    }
    status = prn__map_open(path, &file->map, error);
    if (status != PRN_OK) {
        goto done;
    }
    if (file->map.bytes < LENGTH_BYTES) {
        status = prn_error_set(error, PRN_CORRUPT, "'%s' has %zu bytes and is no safetensors file; get it again", path, file->map.bytes);
        goto done;
    }
    header_bytes = read_u64(file->map.data);
    if (header_bytes > file->map.bytes - LENGTH_BYTES || header_bytes > MAX_HEADER_BYTES) {
        status = prn_error_set(error, PRN_CORRUPT,
                               "'%s' claims a header of %llu bytes in a file of %zu (at most %llu are read); it is cut short or no safetensors file", path,
                               (unsigned long long)header_bytes, file->map.bytes, (unsigned long long)MAX_HEADER_BYTES);
        goto done;
    }
    file->header = json_loadb((const char *)file->map.data + LENGTH_BYTES, (size_t)header_bytes, JSON_REJECT_DUPLICATES, &problem);
    if (!json_is_object(file->header)) {
        status = prn_error_set(error, PRN_CORRUPT, "'%s': the header is no JSON object (%s at byte %d); the file is damaged, get it again", path,
                               file->header == NULL ? problem.text : "another kind of value", file->header == NULL ? problem.position : 0);
        goto done;
    }
    data = file->map.data + LENGTH_BYTES + header_bytes;
    data_bytes = file->map.bytes - LENGTH_BYTES - (size_t)header_bytes;
    file->tensors = prn__alloc_array(json_object_size(file->header), sizeof *file->tensors);
    if (file->tensors == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "'%s': no memory for %zu tensors", path, json_object_size(file->header));
        goto done;
    }
    json_object_foreach(file->header, key, entry)
    {
        if (strcmp(key, "__metadata__") == 0) {
            if (!json_is_object(entry)) {
                status = prn_error_set(error, PRN_CORRUPT, "'%s': __metadata__ is no JSON object; get the file again", path);
                goto done;
            }
            continue;
        }
        status = read_entry(path, key, entry, data, data_bytes, &file->tensors[file->count], error);
        if (status != PRN_OK) {
            goto done;
        }
        file->count++;
    }
    status = check_cover(path, file, data, data_bytes, error);
done:
    if (status != PRN_OK) {
        prn__safetensors_close(file);
        file = NULL;
    }
    *result = file;
    return status;
}

void prn__safetensors_close(prn__safetensors *file)
{
    if (file == NULL) {
        return;
    }
    prn__free(file->tensors);
    json_decref(file->header);
    prn__map_close(&file->map);
    prn__free(file);
}

size_t prn__safetensors_count(const prn__safetensors *file)
{
    return file->count;
}

const prn__st_tensor *prn__safetensors_at(const prn__safetensors *file, size_t index)
{
    return index < file->count ? &file->tensors[index] : NULL;
}

const prn__st_tensor *prn__safetensors_find(const prn__safetensors *file, const char *name)
{
    for (size_t i = 0; i < file->count; i++) {
        if (strcmp(file->tensors[i].name, name) == 0) {
            return &file->tensors[i];
        }
    }
    return NULL;
}

const char *prn__safetensors_metadata(const prn__safetensors *file, const char *key)
{
    return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}

/* IEEE 754 half precision to single, exact: subnormals are scaled, infinities and NaN keep their payload's top bits. */
static float half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half >> 15) << 31, exponent = half >> 10 & 31u, fraction = half & 1023u, bits;
    float value;
    if (exponent == 0) {
        value = (float)fraction * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    } else {
        bits = sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | fraction << 13;
    }
    memcpy(&value, &bits, sizeof value);
    return value;
}

prn_status prn__safetensors_read_f32(const prn__st_tensor *tensor, float *target, int64_t count, prn_error *error)
{
    const type_info *info = type_by_value(tensor->type);
    const uint8_t *source = tensor->data;
    if (info == NULL || count < 0 || tensor->bytes != (size_t)count * info->bytes) {
        return prn_error_set(error, PRN_INVALID, "tensor '%.200s' has %zu bytes, not %lld elements", tensor->name, tensor->bytes, (long long)count);
    }
    switch (tensor->type) {
    case PRN__ST_F32:
        if (count > 0) {
            memcpy(target, source, tensor->bytes);
        }
        return PRN_OK;
    case PRN__ST_F16:
    case PRN__ST_BF16:
        for (int64_t i = 0; i < count; i++) {
            uint16_t half;
            memcpy(&half, source + 2 * i, sizeof half);
            if (tensor->type == PRN__ST_F16) {
                target[i] = half_to_float(half);
            } else {
                uint32_t bits = (uint32_t)half << 16;
                memcpy(&target[i], &bits, sizeof bits);
            }
        }
        return PRN_OK;
    case PRN__ST_F64:
        for (int64_t i = 0; i < count; i++) {
            double value;
            memcpy(&value, source + 8 * i, sizeof value);
            target[i] = (float)value;
        }
        return PRN_OK;
    default:
        return prn_error_set(error, PRN_INVALID, "tensor '%.200s' has type %s; numbers of type F32, F16, BF16 or F64 are needed here", tensor->name,
                             info->name);
    }
}

/* The header object: metadata, then the tensors in `order` with their places. NULL when out of memory. */
static json_t *header_of(const prn__st_tensor *const *order, size_t count, const char *const *metadata)
{
    json_t *header = json_object();
    size_t position = 0;
    int failed = header == NULL;
    if (metadata != NULL && !failed) {
        json_t *pairs = json_object();
        for (size_t i = 0; metadata[i] != NULL && metadata[i + 1] != NULL; i += 2) {
            failed |= json_object_set_new(pairs, metadata[i], json_string(metadata[i + 1]));
        }
        failed |= json_object_set_new(header, "__metadata__", pairs);
    }
    for (size_t i = 0; i < count && !failed; i++) {
        json_t *shape = json_array(), *entry;
        for (uint32_t d = 0; d < order[i]->rank; d++) {
            failed |= json_array_append_new(shape, json_integer((json_int_t)order[i]->shape[d]));
        }
        entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", type_by_value(order[i]->type)->name, "shape", shape, "data_offsets", (json_int_t)position,
                          (json_int_t)(position + order[i]->bytes));
        failed |= json_object_set_new(header, order[i]->name, entry);
        position += order[i]->bytes;
    }
    if (failed) {
        json_decref(header);
        return NULL;
    }
    return header;
}

prn_status prn__safetensors_save(const char *path, const prn__st_tensor *tensors, size_t count, const char *const *metadata, prn_error *error)
{
    prn_status status = PRN_OK;
    prn__writer *writer = NULL;
    json_t *header = NULL;
    char *text = NULL;
    size_t length, padded, placed = 0;
    uint8_t prefix[LENGTH_BYTES];
    const prn__st_tensor **order = prn__alloc_array(count, sizeof *order);

    if (order == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "'%s': no memory for a list of %zu tensors", path, count);
    }
    for (size_t i = 0; i < count; i++) {
        const type_info *info = type_by_value(tensors[i].type);
        int ok;
        if (tensors[i].rank > MAX_RANK || info == NULL || shape_bytes(tensors[i].shape, tensors[i].rank, info->bytes, &ok) != tensors[i].bytes || !ok) {
            status = prn_error_set(error, PRN_INVALID, "'%s': the shape and the bytes of tensor '%.200s' do not fit", path, tensors[i].name);
            goto done;
        }
    }
    /* Wide types first: then every tensor is aligned to its own element without any filling, which the format forbids. */
    for (size_t bytes = 8; bytes > 0; bytes /= 2) {
        for (size_t i = 0; i < count; i++) {
            if (type_by_value(tensors[i].type)->bytes == bytes) {
                order[placed++] = &tensors[i];
            }
        }
    }
    header = header_of(order, count, metadata);
    text = header == NULL ? NULL : json_dumps(header, JSON_COMPACT);
    if (text == NULL) {
        status = prn_error_set(error, PRN_INVALID, "'%s': a tensor's or metadata's name is not UTF-8, or there is no memory for the header", path);
        goto done;
    }
    if (json_object_size(header) != count + (metadata != NULL)) {
        status = prn_error_set(error, PRN_INVALID, "'%s': two tensors have the same name", path);
        goto done;
    }
    length = strlen(text);
    padded = (length + DATA_ALIGNMENT - 1) / DATA_ALIGNMENT * DATA_ALIGNMENT;
    if (padded > MAX_HEADER_BYTES) {
        status = prn_error_set(error, PRN_INVALID, "'%s': the header would have %zu bytes; at most %llu are read back", path, padded,
                               (unsigned long long)MAX_HEADER_BYTES);
        goto done;
    }
    for (int i = 0; i < LENGTH_BYTES; i++) {
        prefix[i] = (uint8_t)((uint64_t)padded >> 8 * i);
    }
    status = prn__writer_open(path, &writer, error);
    if (status == PRN_OK) {
        status = prn__writer_write(writer, prefix, sizeof prefix, error);
    }
    if (status == PRN_OK) {
        status = prn__writer_write(writer, text, length, error);
    }
    if (status == PRN_OK) {
        status = prn__writer_write(writer, "       ", padded - length, error);
    }
    for (size_t i = 0; i < count && status == PRN_OK; i++) {
        if (order[i]->bytes > 0) {
            status = prn__writer_write(writer, order[i]->data, order[i]->bytes, error);
        }
    }
    if (status == PRN_OK) {
        status = prn__writer_commit(writer, error);
        writer = NULL;
    }
done:
    prn__writer_abort(writer);
    free(text); /* jansson's own memory */
    json_decref(header);
    prn__free((void *)order);
    return status;
}
