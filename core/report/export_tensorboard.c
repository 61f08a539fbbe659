/* core/report/export_tensorboard.c: TensorBoard event files; see export.h.
 *
 * A file is TFRecords: length (8 bytes, little-endian), masked CRC-32C of these, data, masked CRC-32C of the data. Data is a protocol buffer
 * `Event`: wall_time (1, double), step (2, varint), file_version (3, string) in the first, summary (5) in the others; a `Summary` is
 * values (1), a `Value` a tag (1, string) and simple_value (2, float).
 */
#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/text.h"
#include "report/export.h"

static const char FILE_PREFIX[] = "events.out.tfevents.";

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while exporting a run");
}

/* ---- records --------------------------------------------------------------------------------------------------------------------- */

typedef struct events {
    const prn__export *source;
    prn__writer *writer;
    uint32_t table[256];  /* CRC-32C, byte by byte */
    double wall;          /* of the last event */
    int64_t step;
    prn__text values;     /* the Summary of `step`, not written yet */
    uint32_t next_row;    /* rows of the matrix below this one are written */
} events;

static void fill_table(uint32_t table[256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++) {
            value = value >> 1 ^ ((value & 1) != 0 ? 0x82F63B78u : 0);
        }
        table[i] = value;
    }
}

static uint32_t masked_crc(const events *e, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < bytes; i++) {
        crc = e->table[(crc ^ at[i]) & 255] ^ crc >> 8;
    }
    crc ^= 0xFFFFFFFFu;
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

static void put_fixed(prn__text *text, uint64_t value, int bytes)
{
    char little[8];
    for (int i = 0; i < bytes; i++) {
        little[i] = (char)(value >> 8 * i & 255);
    }
    prn__text_append(text, little, (size_t)bytes);
}

static void put_varint(prn__text *text, uint64_t value)
{
    do {
        char byte = (char)((value & 127) | (value > 127 ? 128 : 0));
        prn__text_append(text, &byte, 1);
        value >>= 7;
    } while (value > 0);
}

static void put_bytes(prn__text *text, int field, const char *data, size_t bytes)
{
    put_varint(text, (uint64_t)field << 3 | 2);
    put_varint(text, bytes);
    prn__text_append(text, data, bytes);
}

static void put_double(prn__text *text, int field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_varint(text, (uint64_t)field << 3 | 1);
    put_fixed(text, bits, 8);
}

static prn_status write_event(events *e, int field, const char *data, size_t bytes, prn_error *error)
{
    prn__text event, whole;
    prn__text_init(&event);
    prn__text_init(&whole);
    put_double(&event, 1, e->wall);
    put_varint(&event, 2 << 3);
    put_varint(&event, (uint64_t)e->step);
    put_bytes(&event, field, data, bytes);
    put_fixed(&whole, event.length, 8);
    put_fixed(&whole, masked_crc(e, whole.data, whole.length), 4);
    prn__text_append(&whole, event.data, event.length);
    put_fixed(&whole, masked_crc(e, event.data, event.length), 4);
    prn_status status = event.failed || whole.failed ? no_memory(error) : prn__writer_write(e->writer, whole.data, whole.length, error);
    prn__text_fini(&whole);
    prn__text_fini(&event);
    return status;
}

static prn_status write_values(events *e, prn_error *error)
{
    if (e->values.failed) {
        return no_memory(error);
    }
    prn_status status = e->values.length > 0 ? write_event(e, 5, e->values.data, e->values.length, error) : PRN_OK;
    prn__text_clear(&e->values);
    return status;
}

static void add_value(events *e, const char *tag, double value)
{
    prn__text one;
    float single = (float)value;
    uint32_t bits;
    if (!isfinite(value)) { /* what was not measured is no point */
        return;
    }
    memcpy(&bits, &single, sizeof bits);
    prn__text_init(&one);
    put_bytes(&one, 1, tag, strlen(tag));
    put_varint(&one, 2 << 3 | 5);
    put_fixed(&one, bits, 4);
    put_bytes(&e->values, 1, one.data, one.length);
    e->values.failed |= one.failed;
    prn__text_fini(&one);
}

/* ---- a strategy ------------------------------------------------------------------------------------------------------------------- */

/* The scores after a time step stand at the last update of it. */
static prn_status write_row(events *e, size_t strategy, uint32_t row, prn_error *error)
{
    const prn__results *results = e->source->results;
    const uint32_t steps = results->step_count;
    prn__text tag;
    prn__text_init(&tag);
    e->step = prn__export_updates(e->source, strategy, row + 1);
    e->wall += 1e-6; /* after the metrics of the same update */
    for (size_t k = 0; k < results->task_count; k++) {
        const prn__result_task *task = &results->strategies[strategy].tasks[k];
        for (size_t n = 0; n < task->score_count; n++) {
            const double *values = task->scores[n].matrix + (size_t)row * steps;
            prn__text_clear(&tag);
            prn__text_printf(&tag, "score/%s/%s", task->name, task->scores[n].name);
            add_value(e, tag.failed ? "" : tag.data, values[row]);
            for (uint32_t j = 0; j < steps; j++) {
                prn__text_clear(&tag);
                prn__text_printf(&tag, "score/%s@%s/%s", task->name, results->step_names[j], task->scores[n].name);
                add_value(e, tag.failed ? "" : tag.data, values[j]);
            }
        }
    }
    prn_status status = tag.failed ? no_memory(error) : write_values(e, error);
    prn__text_fini(&tag);
    return status;
}

static prn_status add_step(void *context, const prn__export_step *step, prn_error *error)
{
    events *e = context;
    const prn__step_metric *m = step->metric;
    const prn__timeline_stage *stage = &e->source->timeline->strategies[step->strategy].stages[step->stage];
    prn_status status = PRN_OK;
    for (; status == PRN_OK && e->next_row + 1 < stage->time_step && e->next_row < e->source->results->step_count; e->next_row++) {
        status = write_row(e, step->strategy, e->next_row, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    e->step = step->step;
    e->wall += m->seconds > 1e-6 && isfinite(m->seconds) ? m->seconds : 1e-6;
    add_value(e, "loss", m->loss);
    add_value(e, "learning_rate", m->learning_rate);
    add_value(e, "gradient_norm", m->gradient_norm);
    add_value(e, "logit_scale", m->logit_scale);
    add_value(e, "samples_per_s", step->samples_per_s);
    add_value(e, "data_wait", m->data_wait_s);
    add_value(e, "memory", m->memory_bytes);
    return write_values(e, error);
}

/* "2026-01-31T12:00:00Z" in seconds since 1970; 0 when it is no such time. */
static double seconds_of(const char *time)
{
    struct tm parts;
    memset(&parts, 0, sizeof parts);
    const char *end = strptime(time, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return end != NULL && *end == '\0' ? (double)timegm(&parts) : 0;
}

/* Of another run, of which TensorBoard would draw one line with this one. */
static int holds_others(const char *folder, const char *name)
{
    DIR *directory = opendir(folder);
    int found = 0;
    for (const struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        found |= strncmp(entry->d_name, FILE_PREFIX, sizeof FILE_PREFIX - 1) == 0 && strcmp(entry->d_name, name) != 0 && strstr(entry->d_name, ".tmp-") == NULL;
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
    return found;
}

static prn_status write_strategy(const prn__export *source, size_t strategy, const char *folder, prn_error *error)
{
    static const char version[] = "brain.Event:2";
    char name[96];
    events e = {.source = source, .wall = seconds_of(source->results->run.started)};
    (void)snprintf(name, sizeof name, "%s%.0f.perennial-%" PRId64, FILE_PREFIX, e.wall, source->results->run.id);
    prn_status status = prn__folder_create(folder, error);
    if (status == PRN_OK && holds_others(folder, name)) {
        status = prn_error_set(error, PRN_CONFLICT, "%s: holds the events of another run, and TensorBoard would join the two; export to another folder, or"
                               " remove this one", folder);
    }
    char *path = prn__path_join(folder, name);
    if (status == PRN_OK) {
        status = path != NULL ? prn__writer_open(path, &e.writer, error) : no_memory(error);
    }
    prn__free(path);
    if (status != PRN_OK) {
        return status;
    }
    fill_table(e.table);
    prn__text_init(&e.values);
    status = write_event(&e, 3, version, sizeof version - 1, error);
    if (status == PRN_OK) {
        status = prn__export_steps(source, strategy, add_step, &e, error);
    }
    for (; status == PRN_OK && e.next_row < source->results->step_count; e.next_row++) {
        status = write_row(&e, strategy, e.next_row, error);
    }
    if (status == PRN_OK) {
        status = prn__writer_commit(e.writer, error);
    } else {
        prn__writer_abort(e.writer);
    }
    prn__text_fini(&e.values);
    return status;
}

/* A label as the name of a folder; two that become equal are told apart by their positions. */
static char *folder_of(const prn__export *source, const char *folder, size_t strategy)
{
    const char *label = source->timeline->strategies[strategy].label;
    prn__text name;
    char *path = NULL;
    int is_changed = label[0] == '\0' || label[0] == '.';
    prn__text_init(&name);
    prn__text_puts(&name, label[0] == '.' ? "_" : "");
    for (const char *c = label; *c != '\0'; c++) {
        const int bad = *c == '/' || *c == '\\' || (unsigned char)*c < 32 || *c == 127;
        is_changed |= bad;
        prn__text_append(&name, bad ? "_" : c, 1);
    }
    if (is_changed) {
        prn__text_printf(&name, "-%zu", strategy + 1);
    }
    path = name.failed ? NULL : prn__path_join(folder, name.data);
    prn__text_fini(&name);
    return path;
}

prn_status prn__export_tensorboard(const prn__export *source, const char *folder, prn_error *error)
{
    prn_status status = PRN_OK;
    for (size_t s = 0; s < source->timeline->strategy_count && s < source->results->strategy_count && status == PRN_OK; s++) {
        char *path = folder_of(source, folder, s);
        status = path != NULL ? write_strategy(source, s, path, error) : no_memory(error);
        prn__free(path);
    }
    return status;
}
