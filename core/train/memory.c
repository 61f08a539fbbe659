/* core/train/memory.c: a trainer's programs and buffers: what is kept, for how long, and how large it is planned.
 *
 * Where the bytes of a step are: weights and two moments (3 P); gradients; activations of both towers, which are alive together between the
 * forward passes and the loss. Three things keep the last two small:
 *   - Held gradients. With one micro-batch, a tower's gradients are tensors of its workspace, and each is used up by AdamW as soon as it is
 *     complete. To clip, they live to the end of the backward pass, in memory that its activations no longer need. With checkpointing that of the
 *     vocabulary's table is apart, so that rows that no batch has named take no memory. Micro-batches, and
 *     strategies that see the gradient, and blocks of a narrow tower, need the vector of all gradients: that trainer is "whole".
 *   - What costs little is computed again in the backward pass (prn__derive_options).
 *   - The text programs are planned for as many rows as batches have, not for captions of full length.
 * Where the towers take turns, they are not alive together (passes.c).
 *
 * Invariants: which of these holds changes no result, not by a bit; a failure leaves a trainer that can be destroyed, and whose steps fail.
 */
#include <string.h>

#include "base/memory.h"
#include "train/trainer_internal.h"

/* Text rows are planned in this many steps up to captions of full length: few plans over a run, and little planned in vain. */
enum { TEXT_STEPS = 64 };

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t workspace_of(const prn__compiled *c)
{
    return c->program == NULL ? 0 : c->program->workspace_elements;
}

int64_t prn__tower_elements(const prn__trainer *t, int side, const prn__compiled *tower)
{
    return prn__block_count(t->micro, t->block[side]) * prn__block_elements(tower);
}

int prn__updates_late(const prn__trainer *t)
{
    return t->config.optimizer.clip_norm > 0;
}

prn_type prn__moments_type(const prn__trainer *t)
{
    return t->config.optimizer.bf16_moments ? PRN_BF16 : PRN_REAL;
}

/* With checkpointing, a table of a whole vocabulary would be most of the text tower's workspace. */
int prn__table_is_apart(const prn__trainer *t)
{
    return t->is_held && prn__checkpoints_blocks(t->config.checkpoint);
}

/* Gradients that are held until both towers have theirs leave no memory to share. Not asked is whether they are held: the plan must know the cost. */
int prn__takes_turns(const prn__trainer *t)
{
    return t->config.checkpoint == PRN__CHECKPOINT_TOWERS && !t->is_split && !prn__updates_late(t);
}

int prn__has_head(const prn__trainer *t, int side)
{
    return t->block[side] < t->micro && (side == 0 ? t->model->config.vision.layers : t->model->config.text.layers) > 0;
}

int prn__trainer_is_held(const prn__trainer *t)
{
    return t->is_held;
}

/* ---- programs ---------------------------------------------------------------------------------------------------------- */

prn_status prn__tower_init(prn__trainer *t, int is_text, int training, prn__compiled *tower, prn_error *error)
{
    const prn__optimizer_config *o = &t->config.optimizer;
    const prn__tower_update update = {.beta1 = o->beta1, .beta2 = o->beta2, .epsilon = o->epsilon, .decay = o->decay, .is_late = prn__updates_late(t),
                                       .moments = prn__moments_type(t), .table_apart = prn__table_is_apart(t)};
    const prn__tower_options options = {.max_items = t->block[is_text], .max_tokens = t->text_rows, .training = training,
                                        .checkpoint = training ? t->config.checkpoint : PRN__CHECKPOINT_NONE, .recompute = training && !t->config.keep_all,
                                        .update = training && t->is_held ? &update : NULL,
                                        .part = training && prn__has_head(t, is_text) ? PRN__TOWER_BODY : PRN__TOWER_WHOLE};
    prn__graph *graph;
    prn_status status = is_text ? prn__model_text_tower(t->model, &options, &graph, error) : prn__model_image_tower(t->model, &options, &graph, error);
    if (status == PRN_OK && (status = prn__compiled_init(tower, graph, &t->device, error)) == PRN_OK) {
        status = prn__compiled_reserve_blocks(tower, (uint32_t)prn__block_count(t->micro, t->block[is_text]),
                                              is_text ? 0 : (uint32_t)prn__block_count(t->micro, t->block[1]), error); /* the text tower's beside the image tower's */
    }
    return status;
}

static prn_status heads_init(prn__trainer *t, prn_error *error)
{
    const prn__tower_options options = {.max_items = t->head_items, .training = 1, .checkpoint = t->config.checkpoint, .recompute = !t->config.keep_all};
    const uint32_t count = (uint32_t)prn__block_count(t->micro, t->head_items);
    prn_status status = PRN_OK;
    for (int side = 0; side < 2 && status == PRN_OK; side++) {
        prn__graph *graph;
        if (prn__has_head(t, side) && (status = prn__model_tower_head(t->model, side, &options, &graph, error)) == PRN_OK &&
            (status = prn__compiled_init(&t->heads[side], graph, &t->device, error)) == PRN_OK) {
            status = prn__compiled_reserve_blocks(&t->heads[side], count, side == 0 ? count : 0, error);
        }
    }
    return status;
}

/* The programs that depend on is_held. */
static prn_status held_programs(prn__trainer *t, prn__compiled made[4], prn_error *error)
{
    prn__graph *graph;
    prn_status status;
    if ((status = prn__tower_init(t, 0, 1, &made[0], error)) != PRN_OK || (status = prn__tower_init(t, 1, 1, &made[1], error)) != PRN_OK ||
        (status = prn__optimizer_graph(t, t->model, &graph, error)) != PRN_OK || (status = prn__compiled_init(&made[2], graph, &t->device, error)) != PRN_OK ||
        (status = prn__clear_graph(t, &graph, error)) != PRN_OK) {
        return status;
    }
    return prn__compiled_init(&made[3], graph, &t->device, error);
}

/* Puts the four in the place of what is there. */
static void take_programs(prn__trainer *t, prn__compiled made[4])
{
    prn__compiled *const places[4] = {&t->image, &t->text, &t->optimizer, &t->clear};
    for (int i = 0; i < 4; i++) {
        prn__compiled_fini(places[i]);
        *places[i] = made[i];
    }
}

static void drop_programs(prn__compiled *made, int count)
{
    for (int i = 0; i < count; i++) {
        prn__compiled_fini(&made[i]);
    }
}

/* Elements that the program's AdamW operations update; no two of them share one. */
static int64_t updated_elements(const prn_program *program)
{
    int64_t elements = 0;
    for (uint32_t i = 0; i < program->op_count; i++) {
        elements += program->ops[i].kind == PRN_OP_ADAMW ? prn_tensor_elements(&program->tensors[program->ops[i].output[0]], NULL) : 0;
    }
    return elements;
}

prn_status prn__programs_init(prn__trainer *t, prn_error *error)
{
    prn__compiled made[4];
    prn__graph *graph;
    prn_status status;
    memset(made, 0, sizeof made);
    t->text_rows = t->block[1]; /* the first batch will say how many it takes */
    status = held_programs(t, made, error);
    if (status == PRN_OK && t->is_held && updated_elements(made[0].program) + updated_elements(made[1].program) + 1 != t->model->elements) {
        /* a parameter that no tower uses has the gradient zero, and still decays */
        drop_programs(made, 4);
        t->is_held = 0;
        status = held_programs(t, made, error);
    }
    if (status != PRN_OK) {
        drop_programs(made, 4);
        return status;
    }
    take_programs(t, made);
    if ((status = heads_init(t, error)) != PRN_OK || (status = prn__rows_wait(t, error)) != PRN_OK) {
        return status;
    }
    if (t->is_split && ((status = prn__tower_init(t, 0, 0, &t->image_embed, error)) != PRN_OK ||
                        (status = prn__tower_init(t, 1, 0, &t->text_embed, error)) != PRN_OK)) {
        return status;
    }
    status = prn__loss_graph(t, NULL, &graph, error);
    return status == PRN_OK ? prn__compiled_init(&t->loss, graph, &t->device, error) : status;
}

/* ---- buffers ------------------------------------------------------------------------------------------------------------- */

static prn_status too_large(const prn__trainer *t, int64_t planned, prn_error *error)
{
    const double mib = 1 << 20;
    return prn_error_set(error, PRN_NO_MEMORY, "training needs %.1f MiB on this device, and %.1f MiB are free; use a smaller micro_batch, or checkpointing",
                         (double)planned / mib, (double)t->config.memory_limit / mib);
}

static prn_status create(prn__trainer *t, prn_type type, int64_t elements, const char *purpose, prn_buffer **buffer, prn_error *error)
{
    const int64_t planned = t->memory_bytes + elements * prn__type_bytes(type);
    if (t->config.memory_limit > 0 && planned > t->config.memory_limit) {
        return too_large(t, planned, error);
    }
    prn_status status = prn__buffer_create(&t->device, type, elements, purpose, buffer, &t->memory_bytes, error);
    return status == PRN_OK ? status
                            : prn_error_context(error, status, "training needs %lld more values for %s (a smaller micro_batch, or checkpointing, needs less)",
                                                (long long)elements, purpose);
}

/* A workspace of at least so many elements; what it holds is lost when it must grow. */
static prn_status grow(prn__trainer *t, int64_t elements, const char *purpose, prn_buffer **buffer, int64_t *have, prn_error *error)
{
    if (*buffer != NULL && *have >= elements) {
        return PRN_OK;
    }
    prn__buffer_destroy(&t->device, *buffer); /* first, so that old and new are never there together */
    *buffer = NULL;
    t->memory_bytes -= 4 * *have;
    *have = 0;
    prn_status status = create(t, PRN_REAL, elements, purpose, buffer, error);
    *have = status == PRN_OK ? elements : 0;
    return status;
}

typedef struct workspace_sizes {
    int64_t tower, text, small; /* elements */
} workspace_sizes;

static workspace_sizes sizes_of(const prn__trainer *t)
{
    /* One micro-batch keeps both towers' activations until the loss is known, or the image tower's; several take turns on one workspace. */
    const int is_one = t->is_split || prn__takes_turns(t);
    const int64_t image = larger(prn__tower_elements(t, 0, &t->image), t->is_split ? prn__tower_elements(t, 0, &t->image_embed) : 0);
    const int64_t text = larger(prn__tower_elements(t, 1, &t->text), t->is_split ? prn__tower_elements(t, 1, &t->text_embed) : 0);
    return (workspace_sizes){.tower = is_one ? larger(image, text) : image, .text = is_one ? 0 : text,
                             .small = larger(workspace_of(&t->loss), larger(workspace_of(&t->optimizer), workspace_of(&t->clear)))};
}

static prn_status workspaces_fit(prn__trainer *t, prn_error *error)
{
    const workspace_sizes sizes = sizes_of(t);
    prn_status status = grow(t, sizes.tower, "tower activations", &t->tower_workspace, &t->tower_elements, error);
    if (status == PRN_OK) {
        status = grow(t, sizes.text, "text activations", &t->text_workspace, &t->text_elements, error);
    }
    if (status == PRN_OK) {
        status = grow(t, sizes.small, "loss tiles", &t->small_workspace, &t->small_elements, error);
    }
    return status;
}

/* A backend may take a buffer's memory when it is first used. Here that is at once: a step that has changed anything must not run out of memory. */
static prn_status touch(prn__trainer *t, prn_buffer *buffer, prn_type type, prn_error *error)
{
    static const int32_t zero = 0;
    const prn_host_type host = type == PRN_I32 ? PRN_HOST_I32 : type == PRN_U8 ? PRN_HOST_U8 : PRN_HOST_F32; /* zero bytes are zero in each */
    return t->device.backend->buffer_write(t->device.instance, buffer, 0, host, &zero, 1, error);
}

prn_status prn__buffers_init(prn__trainer *t, prn_error *error)
{
    const int64_t batch = t->config.batch, embeddings = batch * t->embed_dim;
    const struct {
        prn_buffer **buffer;
        prn_type type;
        int64_t elements;
        const char *purpose;
    } wanted[] = {
        {&t->parameters, PRN_REAL, t->flat_elements, "parameters"},
        {&t->m, prn__moments_type(t), t->flat_elements, "first moments"},
        {&t->v, prn__moments_type(t), t->flat_elements, "second moments"},
        {&t->images[0], PRN_U8, t->micro * t->image_bytes, "images"},
        {&t->images[1], PRN_U8, t->device.backend->buffer_write_ahead != NULL ? t->micro * t->image_bytes : 0, "the next images"},
        {&t->embeddings[0], PRN_REAL, embeddings, "image embeddings"},
        {&t->embeddings[1], PRN_REAL, embeddings, "text embeddings"},
        {&t->embedding_gradients[0], PRN_REAL, embeddings, "image embedding gradients"},
        {&t->embedding_gradients[1], PRN_REAL, embeddings, "text embedding gradients"},
        {&t->labels, PRN_I32, batch, "labels"},
        {&t->row_weights, PRN_REAL, batch, "row weights"},
        {&t->tile_losses, PRN_REAL, 2 * t->tile_count, "losses"},
        {&t->hyper, PRN_REAL, PRN__HYPER_COUNT, "hyper-parameters"},
        {&t->norms, PRN_REAL, 2 * (int64_t)t->model->parameter_count, "gradient norms"},
        {t->is_held ? &t->scale_gradient : &t->gradients, PRN_REAL, t->is_held ? 1 : t->flat_elements, "gradients"},
        {&t->table_gradient, PRN_REAL, prn__table_is_apart(t) ? t->table->elements : 0, "the vocabulary's gradients"},
    };
    const int64_t widths[2] = {t->model->config.vision.width, t->model->config.text.width};
    const workspace_sizes sizes = sizes_of(t);
    int64_t planned = t->memory_bytes + 4 * (sizes.tower + sizes.text + sizes.small);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        planned += wanted[i].elements * prn__type_bytes(wanted[i].type);
    }
    if (t->config.memory_limit > 0 && planned > t->config.memory_limit) {
        return too_large(t, planned, error);
    }
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        prn_status status = create(t, wanted[i].type, wanted[i].elements, wanted[i].purpose, wanted[i].buffer, error);
        if (status == PRN_OK && wanted[i].elements > 0) {
            status = touch(t, *wanted[i].buffer, wanted[i].type, error);
        }
        if (status != PRN_OK) {
            return status;
        }
    }
    for (int side = 0; side < 2; side++) {
        if (!prn__has_head(t, side)) {
            continue;
        }
        const int64_t reads = 2 * t->micro * widths[side], elements = prn__block_count(t->micro, t->head_items) * prn__block_elements(&t->heads[side]);
        prn_status status;
        if ((status = create(t, PRN_REAL, reads, "rows that are read", &t->reads[side], error)) != PRN_OK ||
            (status = create(t, PRN_REAL, reads, "gradients of rows that are read", &t->read_gradients[side], error)) != PRN_OK ||
            (status = create(t, PRN_REAL, elements, "activations of rows that are read", &t->head_workspace[side], error)) != PRN_OK) {
            return status;
        }
    }
    return workspaces_fit(t, error);
}

void prn__bind_scale_gradient(const prn__trainer *t, prn__compiled *loss)
{
    prn__compiled_bind(loss, "scale_gradient", t->is_held ? t->scale_gradient : t->gradients, t->is_held ? 0 : t->logit_scale_offset);
}

void prn__bindings_init(prn__trainer *t)
{
    prn__compiled *const programs[] = {&t->image, &t->text, &t->image_embed, &t->text_embed, &t->loss, &t->optimizer, &t->clear, &t->late.program,
                                       &t->terms_loss, &t->memory_loss, &t->heads[0], &t->heads[1]};
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        prn__compiled *p = programs[i];
        if (p->program == NULL) {
            continue;
        }
        prn__compiled_bind(p, "parameters", t->parameters, 0);
        prn__compiled_bind(p, "gradients", t->gradients, 0);
        prn__compiled_bind(p, "m", t->m, 0);
        prn__compiled_bind(p, "v", t->v, 0);
        prn__compiled_bind(p, "hyper", t->hyper, 0);
        prn__compiled_bind(p, "norms", t->norms, 0);
        prn__compiled_bind(p, "table_rows", t->rows, 0);
        prn__compiled_bind(p, "rates", t->late.rates, 0);
        prn__compiled_bind(p, "table_gradient", t->table_gradient, 0);
        prn__compiled_bind(p, "images", t->images[t->images_at], 0);
        prn__bind_scale_gradient(t, p);
        if (i < 2 || (i < 4 && t->is_split)) {
            prn__compiled_bind(p, "workspace", i == 1 && !t->is_split && !prn__takes_turns(t) ? t->text_workspace : t->tower_workspace, 0);
        } else if (i < 4) {
            prn__compiled_bind(p, "workspace", t->teacher_workspace, 0);
        } else if (i < 8) {
            prn__compiled_bind(p, "workspace", t->small_workspace, 0);
        } else if (i >= 10) {
            prn__compiled_bind(p, "workspace", t->head_workspace[i - 10], 0);
        }
    }
    prn__compiled_bind(&t->clear, "image_gradients", t->embedding_gradients[0], 0);
    prn__compiled_bind(&t->clear, "text_gradients", t->embedding_gradients[1], 0);
    t->gradient_vector.buffer = t->gradients;
}

/* ---- changes --------------------------------------------------------------------------------------------------------------- */

prn_status prn__trainer_make_whole(prn__trainer *t, prn_error *error)
{
    prn__compiled made[4];
    prn_status status;
    if (!t->is_held) {
        return PRN_OK;
    }
    memset(made, 0, sizeof made);
    const int apart = prn__table_is_apart(t);
    t->is_held = 0;
    if ((status = held_programs(t, made, error)) != PRN_OK ||
        (status = create(t, PRN_REAL, t->flat_elements, "gradients", &t->gradients, error)) != PRN_OK) {
        t->is_held = 1;
        drop_programs(made, 4);
        return status;
    }
    take_programs(t, made);
    prn__buffer_destroy(&t->device, t->scale_gradient);
    prn__buffer_destroy(&t->device, t->table_gradient);
    t->memory_bytes -= 4 + (apart ? 4 * t->table->elements : 0);
    t->scale_gradient = t->table_gradient = NULL;
    if ((status = workspaces_fit(t, error)) == PRN_OK) {
        status = prn__rows_wait(t, error);
    }
    prn__bindings_init(t);
    return status;
}

/* Rows of the largest block. Offsets that are no offsets are found when the batch is written. */
static int64_t text_rows_of(const prn__trainer *t, const prn__batch *batch, int64_t most)
{
    int64_t rows = 1;
    for (int64_t first = 0, end; first < batch->count; first = end) { /* blocks begin anew with every micro-batch */
        const int64_t rest = t->micro - first % t->micro, items = rest < t->block[1] ? rest : t->block[1];
        end = batch->count - first < items ? batch->count : first + items;
        const int64_t here = batch->offsets[end] - batch->offsets[first];
        rows = here > rows ? here : rows;
    }
    return rows < most ? rows : most;
}

prn_status prn__text_fit(prn__trainer *t, const prn__batch *batch, prn_error *error)
{
    const int64_t most = t->block[1] * t->model->config.text.context_length, step = (most + TEXT_STEPS - 1) / TEXT_STEPS, had = t->text_rows;
    const int64_t rows = text_rows_of(t, batch, most);
    prn__compiled made[2];
    prn_status status;
    if (rows <= t->text_rows) {
        return PRN_OK;
    }
    memset(made, 0, sizeof made);
    t->text_rows = (rows + step - 1) / step * step;
    t->text_rows = t->text_rows < most ? t->text_rows : most;
    status = prn__tower_init(t, 1, 1, &made[0], error);
    if (status == PRN_OK && t->text_embed.program != NULL) {
        status = prn__tower_init(t, 1, 0, &made[1], error);
    }
    if (status != PRN_OK) {
        t->text_rows = had;
        drop_programs(made, 2);
        return status;
    }
    prn__compiled_fini(&t->text);
    prn__compiled_fini(&t->text_embed);
    t->text = made[0];
    t->text_embed = made[1];
    status = workspaces_fit(t, error);
    const int64_t teacher = t->teacher_workspace != NULL ? prn__tower_elements(t, 1, &t->text_embed) : 0;
    if (status == PRN_OK && teacher > t->teacher_elements) {
        prn__buffer_destroy(&t->device, t->teacher_workspace);
        t->teacher_workspace = NULL;
        t->teacher_elements = 0;
        status = prn__buffer_create(&t->device, PRN_REAL, teacher, "the teacher's activations", &t->teacher_workspace, NULL, error);
        t->teacher_elements = status == PRN_OK ? teacher : 0;
    }
    prn__bindings_init(t);
    return status;
}
