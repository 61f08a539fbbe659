/* core/report/sweep_plan_report.c: a sweep before it runs; see sweep_report.h. */
#include <inttypes.h>
#include <string.h>

#include "report/json.h"
#include "report/sweep_report.h"
#include "report/table.h"

/* JSON text without the quotes of a plain string. */
static void put_plain(const char *value, prn__text *target)
{
    const size_t length = strlen(value);
    if (length >= 2 && value[0] == '"') {
        prn__text_append(target, value + 1, length - 2);
    } else {
        prn__text_append(target, value, length);
    }
}

void prn__sweep_settings_text(const prn__recipe_sweep *sweep, prn__text *target)
{
    for (size_t i = 0; i < sweep->setting_count; i++) {
        prn__text_printf(target, "%s%s=", i > 0 ? ", " : "", sweep->settings[i].name);
        put_plain(sweep->settings[i].value, target);
    }
}

/* ---- text ------------------------------------------------------------------------------------------------------------------------- */

enum { NAME_LIMIT = 64, SHOWN = 60 };

static size_t all_names(const prn__sweep_plan *sweep, const char **names)
{
    size_t count = 0;
    for (uint32_t i = 0; i < sweep->member_count; i++) {
        const prn__recipe_sweep *one = sweep->members[i].recipe->sweep;
        for (size_t s = 0; s < one->setting_count; s++) {
            size_t n = 0;
            while (n < count && strcmp(names[n], one->settings[s].name) != 0) {
                n++;
            }
            if (n == count && count < NAME_LIMIT) {
                names[count++] = one->settings[s].name;
            }
        }
    }
    return count;
}

static void print_combinations(const prn__sweep_plan *sweep, prn__text *target)
{
    const char *names[NAME_LIMIT];
    const size_t count = all_names(sweep, names);
    static const char *const heads[] = {"stages", "new", "done", "MACs in all", "of new stages", "samples"};
    prn__table *table = prn__table_create();
    prn__table_column(table, "#", 'r');
    for (size_t n = 0; n < count; n++) {
        prn__table_column(table, names[n], 'r');
    }
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        prn__table_column(table, heads[i], 'r');
    }
    for (uint32_t i = 0; i < sweep->member_count && i < SHOWN; i++) {
        const prn__sweep_member *member = &sweep->members[i];
        prn__table_cell(table, "%u", member->recipe->sweep->combination);
        for (size_t n = 0; n < count; n++) {
            prn__text value;
            prn__text_init(&value);
            for (size_t s = 0; s < member->recipe->sweep->setting_count; s++) {
                if (strcmp(member->recipe->sweep->settings[s].name, names[n]) == 0) {
                    put_plain(member->recipe->sweep->settings[s].value, &value);
                }
            }
            target->failed |= value.failed;
            prn__table_cell(table, "%s", value.data != NULL && value.length > 0 ? value.data : "-");
            prn__text_fini(&value);
        }
        prn__table_count(table, member->all.stages);
        prn__table_count(table, member->own.stages);
        prn__table_count(table, member->all.done);
        prn__table_si(table, member->all.total_macs);
        prn__table_si(table, member->own.total_macs);
        prn__table_count(table, member->all.samples);
    }
    prn__text_puts(target, "\n");
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
    if (sweep->member_count > SHOWN) {
        prn__text_printf(target, "  ... and %u more; --json has all of them\n", sweep->member_count - SHOWN);
    }
}

void prn__sweep_plan_print(const prn__sweep_plan *sweep, prn__text *target)
{
    const prn__recipe *first = sweep->members[0].recipe;
    const prn__recipe_sweep *one = first->sweep;
    char a[32], b[32], c[32];
    uint64_t asked = 0;
    for (uint32_t i = 0; i < sweep->member_count; i++) {
        asked += sweep->members[i].all.stages;
    }
    prn__text_printf(target, "sweep '%s' (%s): %u combinations in %s\n", first->name, first->path, sweep->member_count, first->workspace);
    if (one->chosen_on[0] != '\0') {
        prn__text_printf(target, "settings are chosen by: %s of %s on '%s', the mean over seeds\n", prn__criterion_name(one->criterion),
                         one->score[0] != '\0' ? one->score : "the headline score", one->chosen_on);
    }
    print_combinations(sweep, target);
    prn__text_printf(target, "\n%s stages, %u done (%s are asked for: equal ones are run once)\n", prn__format_count(sweep->cost.stages, a, sizeof a),
                     sweep->cost.done, prn__format_count((int64_t)asked, b, sizeof b));
    prn__text_printf(target, "cost: %s forward MACs, ", prn__format_si(sweep->cost.forward_macs, a, sizeof a));
    prn__text_printf(target, "%s with backward, %s samples, each stage counted once\n", prn__format_si(sweep->cost.total_macs, b, sizeof b),
                     prn__format_count(sweep->cost.samples, c, sizeof c));
    prn__text_puts(target, "one of them alone, with its stages: --set grid.NAME=VALUE for each name\n");
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------------------- */

static void put_cost(prn__json *json, json_t *object, const prn__sweep_cost *cost)
{
    prn__json_real(json, object, "forward_macs", cost->forward_macs);
    prn__json_real(json, object, "total_macs", cost->total_macs);
    prn__json_real(json, object, "teacher_macs", cost->teacher_macs);
    prn__json_real(json, object, "tuning_macs", cost->tuning_macs);
    prn__json_integer(json, object, "samples", cost->samples);
    prn__json_integer(json, object, "stages", cost->stages);
    prn__json_integer(json, object, "stages_done", cost->done);
}

void prn__sweep_plan_json(const prn__sweep_plan *sweep, prn__text *target)
{
    const prn__recipe *first = sweep->members[0].recipe;
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL);
    prn__json_string(&json, root, "name", first->name);
    prn__json_string(&json, root, "recipe", first->path);
    prn__json_string(&json, root, "workspace", first->workspace);
    prn__json_string(&json, root, "manifest", first->manifest_path);
    prn__json_string(&json, root, "backend", first->backend);
    json_t *head = prn__json_object(&json, root, "sweep");
    prn__json_string(&json, head, "identity", first->sweep->identity);
    prn__json_string(&json, head, "criterion", prn__criterion_name(first->sweep->criterion));
    prn__json_string(&json, head, "chosen_on", first->sweep->chosen_on[0] != '\0' ? first->sweep->chosen_on : NULL);
    prn__json_string(&json, head, "score", first->sweep->score[0] != '\0' ? first->sweep->score : NULL);
    json_t *list = prn__json_array(&json, root, "combinations");
    for (uint32_t i = 0; i < sweep->member_count; i++) {
        const prn__sweep_member *member = &sweep->members[i];
        json_t *object = prn__json_object(&json, list, NULL);
        prn__json_integer(&json, object, "combination", member->recipe->sweep->combination);
        json_t *settings = prn__json_object(&json, object, "settings");
        for (size_t s = 0; s < member->recipe->sweep->setting_count; s++) {
            prn__json_parsed(&json, settings, member->recipe->sweep->settings[s].name, member->recipe->sweep->settings[s].value);
        }
        put_cost(&json, object, &member->all);
        put_cost(&json, prn__json_object(&json, object, "own"), &member->own);
    }
    put_cost(&json, root, &sweep->cost);
    prn__json_finish(&json, root, target);
}
