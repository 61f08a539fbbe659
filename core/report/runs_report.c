/* core/report/runs_report.c: see runs_report.h. */
#include "report/runs_report.h"

#include <inttypes.h>
#include <string.h>

#include "report/json.h"
#include "report/table.h"

void prn__run_rows_print(const prn__run_row *rows, size_t count, prn__text *target)
{
    static const char *const heads[] = {"workspace", "run", "name", "state", "started", "stages", "size", "stream", "model", "strategies", "settings"};
    char bytes[32];
    size_t columns = sizeof heads / sizeof heads[0] - 1;
    prn__table *table = prn__table_create();
    for (size_t i = 0; i < count; i++) {
        columns = rows[i].run->settings[0] != '\0' ? sizeof heads / sizeof heads[0] : columns;
    }
    for (size_t i = 0; i < columns; i++) {
        prn__table_column(table, heads[i], strcmp(heads[i], "run") == 0 || strcmp(heads[i], "size") == 0 ? 'r' : 'l');
    }
    for (size_t i = 0; i < count; i++) {
        const prn__run_info *run = rows[i].run;
        prn__table_cell(table, "%s", rows[i].workspace);
        prn__table_cell(table, "%" PRId64, run->id);
        prn__table_cell(table, "%s", run->name);
        prn__table_cell(table, "%s", run->state);
        prn__table_cell(table, "%s", run->started);
        prn__table_cell(table, "%u of %u", run->stages_done, run->stage_count);
        prn__table_cell(table, "%s", prn__format_bytes((double)rows[i].bytes, bytes, sizeof bytes));
        prn__table_cell(table, "%s", run->stream);
        prn__table_cell(table, "%s", run->model);
        prn__table_cell(table, "%s", rows[i].strategies);
        if (columns == sizeof heads / sizeof heads[0]) {
            prn__table_cell(table, "%s", run->settings[0] != '\0' ? run->settings : "-");
        }
    }
    prn__table_print(table, 0, target);
    prn__table_destroy(table);
}

void prn__run_rows_json(const prn__run_row *rows, size_t count, prn__text *target)
{
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL), *runs = prn__json_array(&json, root, "runs");
    for (size_t i = 0; i < count; i++) {
        const prn__run_info *run = rows[i].run;
        json_t *object = prn__json_object(&json, runs, NULL);
        prn__json_string(&json, object, "workspace", rows[i].workspace);
        prn__json_integer(&json, object, "id", run->id);
        prn__json_string(&json, object, "name", run->name);
        prn__json_string(&json, object, "state", run->state);
        prn__json_string(&json, object, "message", run->message);
        prn__json_string(&json, object, "started", run->started);
        prn__json_string(&json, object, "finished", run->finished[0] != '\0' ? run->finished : NULL);
        prn__json_string(&json, object, "recipe", run->recipe_path);
        prn__json_string(&json, object, "stream", run->stream);
        prn__json_string(&json, object, "model", run->model);
        prn__json_string(&json, object, "backend", run->backend);
        prn__json_parsed(&json, object, "strategies", rows[i].labels_json);
        prn__json_integer(&json, object, "stages", run->stage_count);
        prn__json_integer(&json, object, "stages_done", run->stages_done);
        prn__json_integer(&json, object, "bytes", rows[i].bytes);
        if (run->sweep[0] != '\0') {
            prn__json_string(&json, object, "sweep", run->sweep);
            prn__json_parsed(&json, object, "settings", run->settings_json);
        }
    }
    prn__json_finish(&json, root, target);
}

/* ---- collections --------------------------------------------------------------------------------------------------------------- */

void prn__collection_print(const prn__collection *collection, const prn__collection_view *view, prn__text *target)
{
    static const char *const what[PRN__RUBBISH_KINDS] = {
        "stages that no kept run needs", "checkpoints of finished stages", "damaged checkpoints", "temporary files of killed processes",
        "indexes of shards that are gone", "optimizer states of finished stages",
    };
    char bytes[32];
    prn__table *table = prn__table_create();
    for (size_t i = 0; i < view->forgotten_count; i++) {
        prn__text_puts(target, view->is_done ? "forgotten: run " : "would forget run ");
        prn__text_printf(target, "%" PRId64 " (", view->forgotten[i]->id);
        prn__text_append_safe(target, view->forgotten[i]->name, strlen(view->forgotten[i]->name), 0);
        prn__text_puts(target, ")\n");
    }
    prn__table_column(table, "", 'r');
    prn__table_column(table, "", 'r');
    prn__table_column(table, "", 'l');
    prn__table_column(table, "", 'l');
    for (size_t i = 0; i < collection->count; i++) {
        prn__table_cell(table, "%s", view->is_done ? "removed" : "would remove");
        prn__table_cell(table, "%s", prn__format_bytes((double)collection->items[i].bytes, bytes, sizeof bytes));
        prn__table_cell(table, "%s", prn__rubbish_names[collection->items[i].kind]);
        prn__table_cell(table, "%s", collection->items[i].path);
    }
    prn__table_print(table, 0, target);
    prn__table_destroy(table);
    if (collection->count == 0) {
        prn__text_puts(target, view->is_done ? "nothing was to be removed\n" : "nothing is to be removed\n");
    }
    for (int kind = 0; kind < PRN__RUBBISH_KINDS; kind++) {
        int64_t sum = 0, items = 0;
        for (size_t i = 0; i < collection->count; i++) {
            const int same = (int)collection->items[i].kind == kind;
            sum += same ? collection->items[i].bytes : 0;
            items += same;
        }
        if (items > 0) {
            prn__text_printf(target, "%" PRId64 " %s: %s\n", items, what[kind], prn__format_bytes((double)sum, bytes, sizeof bytes));
        }
    }
    prn__text_printf(target, "%s in all; ", prn__format_bytes((double)collection->bytes, bytes, sizeof bytes));
    prn__text_printf(target, "%zu stages stay, %s\n", collection->kept_stages, prn__format_bytes((double)collection->kept_bytes, bytes, sizeof bytes));
    if (!view->is_done && (collection->count > 0 || view->forgotten_count > 0)) {
        prn__text_puts(target, "nothing was changed; the same command with --yes does it\n");
    }
}

void prn__collection_json(const prn__collection *collection, const prn__collection_view *view, prn__text *target)
{
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL);
    prn__json_string(&json, root, "workspace", view->workspace);
    prn__json_boolean(&json, root, "done", view->is_done);
    json_t *forgotten = prn__json_array(&json, root, "forgotten"), *items = prn__json_array(&json, root, "removed");
    for (size_t i = 0; i < view->forgotten_count; i++) {
        json_t *run = prn__json_object(&json, forgotten, NULL);
        prn__json_integer(&json, run, "id", view->forgotten[i]->id);
        prn__json_string(&json, run, "name", view->forgotten[i]->name);
    }
    for (size_t i = 0; i < collection->count; i++) {
        json_t *item = prn__json_object(&json, items, NULL);
        prn__json_string(&json, item, "kind", prn__rubbish_names[collection->items[i].kind]);
        prn__json_string(&json, item, "path", collection->items[i].path);
        prn__json_integer(&json, item, "bytes", collection->items[i].bytes);
    }
    prn__json_integer(&json, root, "bytes", collection->bytes);
    prn__json_integer(&json, root, "kept_stages", (int64_t)collection->kept_stages);
    prn__json_integer(&json, root, "kept_bytes", collection->kept_bytes);
    prn__json_finish(&json, root, target);
}
