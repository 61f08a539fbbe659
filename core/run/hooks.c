/* core/run/hooks.c: see hooks.h.
 *
 * Invariants: a strategy sees weights and kept vectors of its own line only; whatever it does wrong is an error that names it, its time
 * step and what it was asked; a finishing stage that was interrupted is made again from its parent.
 */
#include "run/hooks.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/stop.h"
#include "model/safetensors.h"
#include "run/stage_data.h"
#include "run/stage_note.h"
#include "run/strategy_open.h"

enum { NAME_BYTES = 64 };
static const char KEPT_FILE[] = "kept.safetensors";

/* 1 when the plugin was built against an SDK that has this callback, and sets it. */
#define HAS(table, member) \
    ((table)->struct_size >= offsetof(prn_strategy, member) + sizeof((table)->member) && (table)->member != NULL)

struct prn__hooks {
    prn__execution *x;
    const prn__stage *stage;
    const char *label; /* of the strategy in the recipe */
    prn__open_strategy strategy;
    prn_stage view;
    float *host;       /* (flat_elements): on the way between files and the device */
    int is_finishing;
    prn__stage_data memory, data; /* data: what data_gradient draws from */
    const prn__batch *memory_batch;
    struct {
        char name[NAME_BYTES];
        float *values;
    } kept[PRN__KEPT_LIMIT];
    size_t kept_count;
    int64_t kept_refused; /* beyond what the plan declared */
    json_t *notes;
    int64_t gradient_batches, scores; /* what `finish` has used of what the plan counted */
    int memory_is_used;               /* this update's memory gradient was asked for */
    const char *composed;             /* by the last composing callback, in words */
    int is_updating;                  /* the stage's updates are under way */
    int is_named;                     /* an error has been given the strategy's name: once is enough */
};

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while running a strategy");
}

static prn_status of_strategy(prn__hooks *h, prn_status status, const char *what, prn_error *error)
{
    if (status == PRN_OK) {
        return PRN_OK;
    }
    h->is_named = 1;
    char update[64] = "";
    if (h->is_updating) {
        (void)snprintf(update, sizeof update, "update %" PRId64 " of %" PRId64 ", ", h->view.step + 1, h->stage->steps);
    }
    return prn_error_context(error, status, "strategy '%s', time step %u (%s), %s%s%s", h->label, h->stage->time_step,
                             h->x->plan->manifest->steps[h->stage->time_step - 1].name, h->stage->is_branch ? "branch, " : "", update, what);
}

int prn__hooks_has_named(const prn__hooks *h)
{
    return h != NULL && h->is_named;
}

/* The watch of the run, before and after a callback. */
static prn_status tell(const prn__hooks *h, const char *name, int is_over, prn_status status, prn_error *error)
{
    const prn__run_options *options = h->x->options;
    if (options == NULL || options->callback == NULL) {
        return PRN_OK;
    }
    const prn__callback callback = {.label = h->label, .name = name, .time_step = h->stage->time_step, .is_over = is_over, .status = status,
                                    .gradient_batches = h->gradient_batches, .scores = h->scores,
                                    .declared_gradient_batches = h->stage->finish_gradient_batches,
                                    .declared_scores = h->stage->finish_scores * h->stage->time_step,
                                    .kept_vectors = (int64_t)h->kept_count + h->kept_refused, .declared_kept_vectors = h->stage->kept_vectors};
    return options->callback(options->callback_context, &callback, error);
}

/* Calls MEMBER of the strategy's table with the arguments behind it, and tells the watch. */
#define CALL(h, status, member, ...)                                         \
    do {                                                                     \
        (status) = tell(h, #member, 0, PRN_OK, error);                       \
        if ((status) == PRN_OK) {                                            \
            (status) = (h)->strategy.table->member((h)->strategy.instance, __VA_ARGS__); \
            (void)tell(h, #member, 1, status, NULL);                         \
        }                                                                    \
    } while (0)

/* ---- what a strategy may ask for --------------------------------------------------------------------------------------------- */

/* The stage that holds weights of a time step of this line; -1: what the time line began with. */
static prn_status find_stage(const prn__hooks *h, uint32_t after_step, uint32_t which, int32_t *index, prn_error *error)
{
    const prn__plan_line *line = &h->x->plan->lines[h->stage->line];
    const int32_t *trained = h->stage->of_trunk ? line->trunk : line->trained, *deployed = h->stage->of_trunk ? line->trunk_deployed : line->deployed;
    const int is_own = h->is_finishing && after_step == h->stage->time_step && which == PRN_WEIGHTS_TRAINED;
    *index = -1;
    if (after_step == 0) {
        return PRN_OK;
    }
    if (after_step >= h->stage->time_step && !is_own) {
        return prn_error_set(error, PRN_INVALID, "weights after time step %u were asked for: only those of steps before %u are there", after_step,
                             h->stage->time_step);
    }
    *index = is_own ? h->stage->parent : which == PRN_WEIGHTS_TRAINED ? trained[after_step - 1] : deployed[after_step - 1];
    return PRN_OK;
}

static prn_status weights_to_host(prn__hooks *h, uint32_t after_step, uint32_t which, prn_error *error)
{
    prn__execution *x = h->x;
    int32_t index;
    prn_status status = find_stage(h, after_step, which, &index, error);
    if (status != PRN_OK) {
        return status;
    }
    if (index >= 0) {
        const prn__stage *stage = &x->plan->stages[index];
        const char *folder = prn__execution_folder(x, stage);
        status = folder != NULL ? prn__model_load(x->plan->model, folder, h->host, error) : no_memory(error);
        return status == PRN_OK ? prn__check_weights(x, stage, h->host, error) : status;
    }
    if (x->recipe->init != NULL) {
        return prn__model_load(x->plan->model, x->recipe->init, h->host, error);
    }
    prn__model_init(x->plan->model, x->recipe->seed, h->host);
    return PRN_OK;
}

static prn_status load_weights(void *self, uint32_t after_step, uint32_t which, prn_vector *target, prn_error *error)
{
    prn__hooks *h = self;
    prn_status status = weights_to_host(h, after_step, which, error);
    return status == PRN_OK ? h->view.vectors->write(h->view.vectors->self, target, h->host, error) : status;
}

static prn_status check_name(const char *name, prn_error *error)
{
    size_t n = name != NULL ? strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") : 0;
    return n > 0 && n < NAME_BYTES && name[n] == '\0'
               ? PRN_OK
               : prn_error_set(error, PRN_INVALID, "'%s' is no name: letters, digits and '_', at most %d of them", name != NULL ? name : "", NAME_BYTES - 1);
}

static prn_status keep(void *self, const char *name, const prn_vector *vector, prn_error *error)
{
    prn__hooks *h = self;
    size_t at = 0;
    prn_status status = h->is_finishing ? check_name(name, error) : prn_error_set(error, PRN_INVALID, "vectors are kept in `finish` only");
    if (status != PRN_OK) {
        return status;
    }
    while (at < h->kept_count && strcmp(h->kept[at].name, name) != 0) {
        at++;
    }
    if (at == PRN__KEPT_LIMIT || (h->stage->kept_vectors >= 0 && (int64_t)at == h->stage->kept_vectors)) { /* the plan's storage must be the run's */
        h->kept_refused++;
        return prn_error_set(error, PRN_INVALID, "it keeps '%s', and `plan` declared %" PRId64 " kept vectors; raise kept_vectors, which can be %d", name,
                             h->stage->kept_vectors >= 0 ? h->stage->kept_vectors : PRN__KEPT_LIMIT, PRN__KEPT_LIMIT);
    }
    if (at == h->kept_count) {
        h->kept[at].values = prn__alloc_array((size_t)h->x->plan->model->flat_elements, sizeof(float));
        if (h->kept[at].values == NULL) {
            return no_memory(error);
        }
        (void)snprintf(h->kept[at].name, NAME_BYTES, "%s", name);
        h->kept_count++;
    }
    return h->view.vectors->read(h->view.vectors->self, vector, h->kept[at].values, error);
}

static void kept_digest(const prn__hooks *h, const float *values, char digest[33])
{
    prn__digest_format(prn__hash_bytes(values, (size_t)h->x->plan->model->flat_elements * sizeof *values), digest);
}

/* `h->host` is what the finished stage kept under this name. */
static prn_status check_kept(const prn__hooks *h, const prn__stage *stage, const char *name, prn_error *error)
{
    char field[NAME_BYTES + 8], stated[33], digest[33];
    (void)snprintf(field, sizeof field, "kept/%s", name);
    prn_status status = prn__stage_note(h->x, stage, field, stated, error);
    kept_digest(h, h->host, digest);
    if (status == PRN_OK && strcmp(stated, digest) != 0) {
        status = prn_error_set(error, PRN_CORRUPT, "%s/stages/%s: the kept vector '%s' is not the one that was saved there; remove the folder to make the"
                               " stage again", h->x->recipe->workspace, stage->key, name);
    }
    return status;
}

static prn_status load_kept(void *self, uint32_t after_step, const char *name, prn_vector *target, prn_error *error)
{
    prn__hooks *h = self;
    const prn__plan *plan = h->x->plan;
    prn__safetensors *file = NULL;
    if (after_step < 1 || after_step >= h->stage->time_step) {
        return prn_error_set(error, PRN_INVALID, "what time step %u kept was asked for: only steps before %u have kept something", after_step,
                             h->stage->time_step);
    }
    const prn__plan_line *line = &plan->lines[h->stage->line];
    const prn__stage *stage = &plan->stages[(h->stage->of_trunk ? line->trunk_deployed : line->deployed)[after_step - 1]];
    const char *folder = prn__execution_folder(h->x, stage);
    char *path = folder != NULL ? prn__path_join(folder, KEPT_FILE) : NULL;
    if (path == NULL) {
        return no_memory(error);
    }
    prn_status status = prn__file_exists(path) ? prn__safetensors_open(path, &file, error)
                                               : prn_error_set(error, PRN_NOT_FOUND, "time step %u kept nothing, and no '%s'", after_step, name);
    if (status == PRN_OK) {
        const prn__st_tensor *tensor = prn__safetensors_find(file, name);
        status = tensor != NULL ? prn__safetensors_read_f32(tensor, h->host, plan->model->flat_elements, error)
                                : prn_error_set(error, PRN_NOT_FOUND, "time step %u kept no '%s'", after_step, name);
        prn__safetensors_close(file);
    }
    if (status == PRN_OK) {
        status = check_kept(h, stage, name, error);
    }
    prn__free(path);
    return status == PRN_OK ? h->view.vectors->write(h->view.vectors->self, target, h->host, error) : status;
}

/* Streams of random choices apart from the training data's own. */
static uint64_t side_seed(const prn__hooks *h, uint64_t purpose)
{
    uint64_t parts[3] = {purpose, h->x->recipe->seed, h->stage->time_step};
    return prn__hash_bytes(parts, sizeof parts).low;
}

static prn_status data_gradient(void *self, prn_vector *target, double *loss, prn_error *error)
{
    prn__hooks *h = self;
    const prn__batch *batch;
    prn_status status = PRN_OK;
    if (!h->is_finishing) {
        return prn_error_set(error, PRN_INVALID, "gradients of the stage's data are to be had in `finish` only");
    }
    if (++h->gradient_batches > h->stage->finish_gradient_batches) { /* the plan's cost must be the run's */
        return prn_error_set(error, PRN_INVALID, "it asks for more gradients of the data than the %" PRId64 " that `plan` declared; raise"
                             " finish_gradient_batches", h->stage->finish_gradient_batches);
    }
    if (prn__stop_asked()) {
        return prn_error_set(error, PRN_INTERRUPTED, "stopped; the same command goes on from there");
    }
    if (h->data.loader == NULL) {
        status = prn__stage_data_open(h->x, h->stage->sources, h->stage->source_count, h->label, &h->data, error);
        if (status == PRN_OK) {
            status = prn__stage_data_start(&h->data, side_seed(h, 0x66696e697368ull), h->x->recipe->batch, 0, -1, error);
        }
    }
    if (status == PRN_OK) {
        status = prn__loader_next(h->data.loader, &batch, NULL, error);
    }
    return status == PRN_OK ? prn__trainer_batch_gradient(h->x->trainer, batch, target, loss, error) : status;
}

static prn_status memory_gradient(void *self, prn_vector *target, double *loss, prn_error *error)
{
    prn__hooks *h = self;
    if (h->memory_batch == NULL || h->is_finishing) {
        return prn_error_set(error, PRN_INVALID, "there is no memory batch; ask for one with memory_sources and memory_batch, and use it in change_gradient");
    }
    if (h->memory_is_used) { /* the plan counts the memory batch once an update */
        return prn_error_set(error, PRN_INVALID, "it asks for the gradient of one memory batch twice; keep the first one");
    }
    h->memory_is_used = 1;
    return prn__trainer_batch_gradient(h->x->trainer, h->memory_batch, target, loss, error);
}

static prn_status score(void *self, const prn_vector *weights, uint32_t time_step, const char *set, double *value, prn_error *error)
{
    prn__hooks *h = self;
    prn_status status = PRN_OK;
    if (!h->is_finishing || time_step < 1 || time_step > h->stage->time_step) {
        return prn_error_set(error, PRN_INVALID, "scores are to be had in `finish`, on time steps up to %u", h->stage->time_step);
    }
    if (h->stage->finish_set == NULL || set == NULL || strcmp(set, h->stage->finish_set) != 0) {
        return prn_error_set(error, PRN_INVALID, "it scores the evaluation set '%s', and `plan` declared %s%s%s as finish_set", set != NULL ? set : "",
                             h->stage->finish_set != NULL ? "'" : "", h->stage->finish_set != NULL ? h->stage->finish_set : "none",
                             h->stage->finish_set != NULL ? "'" : "");
    }
    if (++h->scores > h->stage->finish_scores * h->stage->time_step) {
        return prn_error_set(error, PRN_INVALID, "it scores more often than the %" PRId64 " times a time step that `plan` declared; raise finish_scores",
                             h->stage->finish_scores);
    }
    status = h->view.vectors->read(h->view.vectors->self, weights, h->host, error);
    return status == PRN_OK ? prn__set_score(h->x, h->host, time_step, set, value, error) : status;
}

static prn_status note(void *self, const char *name, double value, prn_error *error)
{
    prn__hooks *h = self;
    prn_status status = h->is_finishing ? check_name(name, error) : prn_error_set(error, PRN_INVALID, "notes are taken in `finish` only");
    if (status == PRN_OK && !isfinite(value)) {
        status = prn_error_set(error, PRN_NUMERIC, "the note '%s' is %g", name, value);
    }
    if (status == PRN_OK && json_object_set_new(h->notes, name, json_real(value)) != 0) {
        status = no_memory(error);
    }
    return status;
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

prn_status prn__hooks_open(prn__execution *x, const prn__stage *stage, prn__hooks **result, prn_error *error)
{
    const prn__recipe_strategy *wanted = &x->recipe->strategies[stage->line];
    prn__hooks *h = prn__alloc(sizeof *h);
    prn_status status = PRN_OK;
    *result = NULL;
    if (h == NULL) {
        return no_memory(error);
    }
    h->x = x;
    h->stage = stage;
    h->label = wanted->label;
    h->is_finishing = (stage->hooks & PRN_HOOK_FINISH) != 0;
    h->host = prn__alloc_array((size_t)x->plan->model->flat_elements, sizeof *h->host);
    h->notes = json_object();
    if (h->host == NULL || h->notes == NULL) {
        status = no_memory(error);
    }
    if (status == PRN_OK) {
        status = prn__strategy_open(wanted, x->registry, &h->strategy, NULL, error);
    }
    if (status != PRN_OK) {
        status = of_strategy(h, status, "opening it", error);
        prn__hooks_close(h);
        return status;
    }
    h->view = (prn_stage){
        .struct_size = sizeof h->view, .time_step = stage->time_step, .self = h, .steps = stage->steps, .vectors = prn__trainer_vectors(x->trainer),
        .weights = prn__trainer_weights(x->trainer), .gradient = prn__trainer_gradient(x->trainer), .load_weights = load_weights, .keep = keep,
        .load_kept = load_kept, .data_gradient = data_gradient, .memory_gradient = memory_gradient, .score = score, .note = note,
    };
    *result = h;
    return PRN_OK;
}

void prn__hooks_close(prn__hooks *h)
{
    if (h == NULL) {
        return;
    }
    prn_error ignored = PRN_ERROR_INIT;
    if (h->x->trainer != NULL) {
        (void)prn__trainer_set_terms(h->x->trainer, NULL, &ignored);
        prn__trainer_drop_vectors(h->x->trainer);
    }
    prn__strategy_close(&h->strategy);
    prn__stage_data_close(&h->memory);
    prn__stage_data_close(&h->data);
    for (size_t i = 0; i < h->kept_count; i++) {
        prn__free(h->kept[i].values);
    }
    json_decref(h->notes);
    prn__free(h->host);
    prn__free(h);
}

/* ---- training ---------------------------------------------------------------------------------------------------------------------- */

static prn_status compose_loss(void *context, const prn_composer *composer, prn_error *error)
{
    prn__hooks *h = context;
    prn_status status;
    h->composed = "composing its loss";
    CALL(h, status, compose_loss, &h->view, composer, error);
    return of_strategy(h, status, h->composed, error);
}

static prn_status compose_memory_loss(void *context, const prn_composer *composer, prn_error *error)
{
    prn__hooks *h = context;
    prn_status status;
    h->composed = "composing its loss on memory batches";
    CALL(h, status, compose_memory_loss, &h->view, composer, error);
    return of_strategy(h, status, h->composed, error);
}

static prn_status compose_penalty(void *context, const prn_composer *composer, prn_error *error)
{
    prn__hooks *h = context;
    prn_status status;
    h->composed = "composing its penalty";
    CALL(h, status, compose_penalty, &h->view, composer, error);
    return of_strategy(h, status, h->composed, error);
}

static prn_status change_gradient(void *context, prn_error *error)
{
    prn__hooks *h = context;
    prn_status status;
    CALL(h, status, change_gradient, &h->view, error);
    return of_strategy(h, status, "changing a gradient", error);
}

prn_status prn__hooks_train(prn__hooks *h, int64_t first_step, prn_error *error)
{
    const prn__stage *stage = h->stage;
    const prn_strategy *table = h->strategy.table;
    prn__trainer_terms terms = {.context = h, .has_memory = stage->memory_batch > 0};
    prn_status status = PRN_OK;
    terms.compose_loss = HAS(table, compose_loss) ? compose_loss : NULL;
    terms.compose_memory_loss = HAS(table, compose_memory_loss) && terms.has_memory ? compose_memory_loss : NULL;
    terms.compose_penalty = HAS(table, compose_penalty) ? compose_penalty : NULL;
    terms.change_gradient = HAS(table, change_gradient) ? change_gradient : NULL;
    if (terms.compose_loss == NULL && terms.compose_memory_loss == NULL && terms.compose_penalty == NULL && terms.change_gradient == NULL) {
        status = prn_error_set(error, PRN_INVALID, "it asks for PRN_HOOK_TRAIN and has no callback that trains");
        return of_strategy(h, status, "training", error);
    }
    prn__trainer_drop_vectors(h->x->trainer);
    if (terms.change_gradient != NULL) {
        status = h->view.vectors->create(h->view.vectors->self, &h->view.scratch, error);
    }
    if (status == PRN_OK && stage->teacher != PRN_TEACHER_NONE) {
        status = weights_to_host(h, stage->teacher - 1, PRN_WEIGHTS_DEPLOYED, error);
        terms.teacher = h->host; /* set_terms copies it before it asks for terms, which may use the room again */
    }
    if (status == PRN_OK) {
        status = prn__trainer_set_terms(h->x->trainer, &terms, error);
        if (status != PRN_OK && h->is_named) { /* by the callback that failed */
            return status;
        }
        if ((status == PRN_INVALID || status == PRN_UNSUPPORTED) && h->composed != NULL) { /* what it composed does not fit together, as the trainer found behind the callback */
            return of_strategy(h, status, h->composed, error);
        }
    }
    if (status == PRN_OK) {
        status = tell(h, "training", 1, PRN_OK, error);
    }
    if (status == PRN_OK && terms.has_memory) {
        status = prn__stage_data_open(h->x, stage->memory_sources, stage->memory_source_count, h->label, &h->memory, error);
        if (status == PRN_OK) {
            status = prn__stage_data_start(&h->memory, side_seed(h, 0x6d656d6f7279ull), stage->memory_batch, stage->data_step + first_step,
                                           stage->steps - first_step, error);
        }
    }
    return of_strategy(h, status, "making ready to train", error);
}

prn_status prn__hooks_next_memory(prn__hooks *h, int64_t step, const prn__batch **memory, prn_error *error)
{
    h->view.step = step;
    h->is_updating = 1;
    h->memory_is_used = 0;
    *memory = NULL;
    if (h->memory.loader == NULL) {
        return PRN_OK;
    }
    prn_status status = prn__loader_next(h->memory.loader, &h->memory_batch, NULL, error);
    *memory = h->memory_batch;
    return of_strategy(h, status, "drawing a memory batch", error);
}

/* ---- finishing --------------------------------------------------------------------------------------------------------------------- */

static prn_status save_kept(const prn__hooks *h, const char *folder, prn_error *error)
{
    prn__st_tensor tensors[PRN__KEPT_LIMIT];
    const int64_t n = h->x->plan->model->flat_elements;
    char *path = prn__path_join(folder, KEPT_FILE);
    if (path == NULL) {
        return no_memory(error);
    }
    for (size_t i = 0; i < h->kept_count; i++) {
        tensors[i] = (prn__st_tensor){.name = h->kept[i].name, .type = PRN__ST_F32, .rank = 1, .shape = {n}, .data = h->kept[i].values,
                                      .bytes = (size_t)n * sizeof(float)};
    }
    prn_status status = h->kept_count > 0 ? prn__safetensors_save(path, tensors, h->kept_count, NULL, error) : PRN_OK;
    prn__free(path);
    return status;
}

/* stage.json. Caller frees with prn__free. */
static char *describe(const prn__hooks *h, const char *parent_weights, prn_error *error)
{
    const prn__execution *x = h->x;
    char digest[33];
    json_t *kept = json_object(), *data = prn__stage_note_data(h->x, h->stage, error);
    if (data == NULL) {
        json_decref(kept);
        return NULL;
    }
    for (size_t i = 0; i < h->kept_count; i++) {
        kept_digest(h, h->kept[i].values, digest);
        (void)json_object_set_new(kept, h->kept[i].name, json_string(digest));
    }
    prn__digest_format(prn__hash_bytes(x->state.weights, (size_t)x->state.flat_elements * sizeof(float)), digest);
    json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:s, s:f, s:O, s:o, s:o}", "format", "perennial-stage/1", "perennial",
                               PRN_RELEASE, "key", h->stage->key, "parent", x->plan->stages[h->stage->parent].key, "parent_weights", parent_weights,
                               "strategy", x->recipe->strategies[h->stage->line].strategy, "time_step", (int)h->stage->time_step, "steps", (json_int_t)0,
                               "samples", (json_int_t)0, "weights_digest", digest, "seconds", x->state.seconds, "notes", h->notes, "kept", kept, "data",
                               data);
    char *text = object != NULL ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
    char *copy = prn__strdup(text);
    free(text); /* jansson's own allocator */
    json_decref(object);
    if (copy == NULL) {
        (void)no_memory(error);
    }
    return copy;
}

static prn_status check_finite(const prn__execution *x, prn_error *error)
{
    for (int64_t i = 0; i < x->state.flat_elements; i++) {
        if (!isfinite(x->state.weights[i])) {
            return prn_error_set(error, PRN_NUMERIC, "the deployed weights are not finite (value %" PRId64 " of %" PRId64 ")", i, x->state.flat_elements);
        }
    }
    return PRN_OK;
}

prn_status prn__stage_finish_weights(prn__execution *x, int32_t index, prn_error *error)
{
    prn__stage *stage = &x->plan->stages[index];
    const double begin = prn__now_s();
    prn__hooks *h = NULL;
    char parent_weights[33], label[256], *description = NULL;
    const char *folder = prn__execution_folder(x, stage);
    prn_status status = folder != NULL ? prn__folder_create(folder, error) : no_memory(error);
    prn__progress progress = {.phase = "finish", .label = prn__stage_label(x->plan, stage, label, sizeof label), .stage = (uint32_t)index + 1,
                              .loss = NAN, .learning_rate = NAN, .samples_per_s = NAN, .data_wait_frac = NAN, .remaining_s = NAN};
    prn__execution_report(x, &progress, stage);
    if (status == PRN_OK) {
        status = prn__trainer_ready(x, error);
    }
    if (status == PRN_OK) {
        prn__stage_sweep(folder);
        status = prn__stage_note(x, &x->plan->stages[stage->parent], "weights_digest", parent_weights, error);
    }
    if (status == PRN_OK) {
        status = prn__finished_load(x, stage->parent, 1, error);
    }
    if (status == PRN_OK) {
        x->loaded_stage = -1;
        status = prn__trainer_set_state(x->trainer, x->state.weights, x->state.m, x->state.v, x->state.updates, error);
    }
    if (status == PRN_OK) {
        status = prn__hooks_open(x, stage, &h, error);
    }
    if (status == PRN_OK) {
        if (HAS(h->strategy.table, finish)) {
            CALL(h, status, finish, &h->view, error);
        } else {
            status = prn_error_set(error, PRN_INVALID, "it asks for PRN_HOOK_FINISH and has no `finish`");
        }
        if (status == PRN_OK && stage->kept_vectors >= 0 && (int64_t)h->kept_count != stage->kept_vectors) {
            status = prn_error_set(error, PRN_INVALID, "it keeps %zu vector%s, and `plan` declared %" PRId64 " as kept_vectors", h->kept_count,
                                   h->kept_count == 1 ? "" : "s", stage->kept_vectors);
        }
        if (status == PRN_OK) {
            status = prn__trainer_get_state(x->trainer, x->state.weights, NULL, NULL, NULL, error);
        }
        if (status == PRN_OK) {
            status = check_finite(x, error);
        }
        status = of_strategy(h, status, stage->of_trunk ? "finishing the trunk" : "finishing", error);
    }
    if (status == PRN_OK) {
        x->state.seconds = prn__now_s() - begin;
        description = describe(h, parent_weights, error);
        status = description != NULL ? save_kept(h, folder, error) : (prn_status)error->status;
    }
    if (status == PRN_OK) {
        status = prn__stage_finish(folder, stage->key, x->plan->model, &x->state, description, error);
    }
    if (status == PRN_OK) {
        status = prn__ledger_stage_state(x->ledger, stage->key, "done", x->state.seconds, x->state.last_loss, error);
    }
    if (status == PRN_OK) {
        stage->is_done = 1;
        x->loaded_stage = index;
    }
    prn__free(description);
    prn__hooks_close(h);
    return status;
}
