/* core/run/sweep.c: see sweep.h. */
#include "run/sweep.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "run/record.h"

const char *prn__criterion_name(prn__sweep_criterion criterion)
{
    static const char *const names[] = {"average", "in_domain", "backward", "forward"};
    return (unsigned)criterion < sizeof names / sizeof names[0] ? names[criterion] : "average";
}

/* ---- a set of stage keys ---------------------------------------------------------------------------------------------------------- */

typedef struct key_set { /* open addressing; an empty place begins with 0 */
    char (*keys)[33];
    size_t capacity, count;
} key_set;

static size_t place_of(const key_set *set, const char *key)
{
    size_t at = (size_t)prn__hash_bytes(key, strlen(key)).low & (set->capacity - 1);
    while (set->keys[at][0] != '\0' && strcmp(set->keys[at], key) != 0) {
        at = (at + 1) & (set->capacity - 1);
    }
    return at;
}

/* 1: it is new; 0: it was there; -1: out of memory. */
static int key_add(key_set *set, const char *key)
{
    if (2 * (set->count + 1) > set->capacity) {
        key_set larger = {.capacity = set->capacity > 0 ? 2 * set->capacity : 256};
        larger.keys = prn__alloc_array(larger.capacity, sizeof *larger.keys);
        if (larger.keys == NULL) {
            return -1;
        }
        for (size_t i = 0; i < set->capacity; i++) {
            if (set->keys[i][0] != '\0') {
                (void)memcpy(larger.keys[place_of(&larger, set->keys[i])], set->keys[i], sizeof set->keys[i]);
            }
        }
        larger.count = set->count;
        prn__free(set->keys);
        *set = larger;
    }
    const size_t at = place_of(set, key);
    if (set->keys[at][0] != '\0') {
        return 0;
    }
    (void)snprintf(set->keys[at], sizeof set->keys[at], "%s", key);
    set->count++;
    return 1;
}

/* ---- the sweep -------------------------------------------------------------------------------------------------------------------- */

static void count_stage(prn__sweep_cost *cost, const prn__stage *stage)
{
    cost->stages++;
    cost->done += stage->is_done ? 1 : 0;
    cost->forward_macs += stage->forward_macs;
    cost->total_macs += stage->total_macs;
    cost->teacher_macs += stage->teacher_macs;
    cost->tuning_macs += stage->tuning_macs;
    cost->samples += stage->samples;
}

/* What a combination trains, whatever it chose. */
static int line_digest(const prn__plan *plan, char target[33])
{
    prn__hasher *hasher = prn__hasher_create();
    if (hasher == NULL) {
        return 0;
    }
    for (size_t s = 0; s < plan->recipe->strategy_count; s++) {
        prn__hasher_field(hasher, "label", plan->lines[s].label);
        for (uint32_t t = 0; t < plan->step_count; t++) {
            prn__hasher_field(hasher, "stage", plan->stages[plan->lines[s].stages[t]].key);
        }
    }
    prn__digest_format(prn__hasher_digest(hasher), target);
    prn__hasher_destroy(hasher);
    return 1;
}

static prn_status note_same(prn__sweep_plan *sweep, const prn__plan *plan, key_set *lines, prn_error *error)
{
    char digest[33];
    const int is_new = line_digest(plan, digest) ? key_add(lines, digest) : -1;
    if (is_new == 0) {
        sweep->first_same = sweep->same_count++ == 0 ? sweep->member_count : sweep->first_same;
    }
    return is_new >= 0 ? PRN_OK : prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", plan->recipe->path);
}

static prn_status add_member(prn__sweep_plan *sweep, prn__recipe *recipe, prn__registry *registry, key_set *keys, key_set *lines, prn__hasher *hasher,
                             prn_error *error)
{
    prn__sweep_member *member = &sweep->members[sweep->member_count++];
    prn__plan *plan = NULL;
    char identity[33];
    recipe->sweep->identity[0] = '\0';
    member->recipe = recipe;
    prn_status status = prn__plan_create(recipe, registry, &plan, error);
    if (status != PRN_OK) {
        return prn_error_context(error, status, "combination %u", recipe->sweep->combination);
    }
    for (uint32_t i = 0; i < plan->stage_count && status == PRN_OK; i++) {
        const int is_new = key_add(keys, plan->stages[i].key);
        count_stage(&member->all, &plan->stages[i]);
        if (is_new > 0) {
            count_stage(&member->own, &plan->stages[i]);
            count_stage(&sweep->cost, &plan->stages[i]);
        }
        status = is_new < 0 ? prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", recipe->path) : PRN_OK;
    }
    status = status == PRN_OK ? note_same(sweep, plan, lines, error) : status;
    char *resolved = status == PRN_OK ? prn__record_recipe(recipe) : NULL;
    if (status == PRN_OK && resolved == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", recipe->path);
    }
    if (status == PRN_OK) {
        prn__record_identity(plan, resolved, identity);
        prn__hasher_field(hasher, "member", identity);
    }
    prn__free(resolved);
    prn__plan_destroy(plan);
    return status;
}

prn_status prn__sweep_plan_create(prn__recipe *const *recipes, size_t count, prn__registry *registry, prn__sweep_plan **result, prn_error *error)
{
    key_set keys = {0}, lines = {0};
    prn_status status = PRN_OK;
    prn__sweep_plan *sweep = prn__alloc(sizeof *sweep);
    prn__hasher *hasher = prn__hasher_create();
    *result = NULL;
    if (sweep != NULL) {
        prn__arena_init(&sweep->memory, 1 << 14);
        sweep->members = prn__arena_alloc(&sweep->memory, (count + 1) * sizeof *sweep->members);
    }
    if (sweep == NULL || sweep->members == NULL || hasher == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "out of memory");
        goto done;
    }
    for (size_t i = 0; i < count && status == PRN_OK; i++) {
        status = add_member(sweep, recipes[i], registry, &keys, &lines, hasher, error);
    }
    if (status == PRN_OK) {
        const prn__recipe_sweep *first = recipes[0]->sweep;
        char identity[33];
        prn__hasher_field(hasher, "criterion", prn__criterion_name(first->criterion));
        prn__hasher_field(hasher, "on", first->chosen_on);
        prn__hasher_field(hasher, "score", first->score);
        prn__digest_format(prn__hasher_digest(hasher), identity);
        for (size_t i = 0; i < count; i++) {
            (void)memcpy(recipes[i]->sweep->identity, identity, sizeof identity);
        }
    }
done:
    prn__free(keys.keys);
    prn__free(lines.keys);
    prn__hasher_destroy(hasher);
    if (status != PRN_OK) {
        prn__sweep_plan_destroy(sweep);
        sweep = NULL;
    }
    *result = sweep;
    return status;
}

void prn__sweep_plan_destroy(prn__sweep_plan *sweep)
{
    if (sweep != NULL) {
        prn__arena_fini(&sweep->memory);
        prn__free(sweep);
    }
}
