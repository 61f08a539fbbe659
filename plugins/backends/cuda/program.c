/* plugins/backends/cuda/program.c: compiling a program, and executing a segment of it.
 *
 * compile   decides how much scratch is needed, where the sorted rows of table gradients go, and whether packed rows may be padded
 *           (layout.c: which workspace tensors are bf16).
 * execute   checks every operation against the binding first (as every backend does); then sorts and uploads table rows; then launches,
 *           the first time one operation after the other, from the second time with the same addresses and sizes on as one graph.
 *
 * Padding. The number of packed text rows differs from batch to batch. It is rounded up to one of sixteen sizes an octave, so that graphs
 * and the matrix library's choices come back. Rows of padding hold numbers (whatever tokens lie there; attention writes zeros) and their gradients
 * are zero, because gradients enter the rows by GATHER_ROWS_GRAD, which names real rows only. It is done only where each operation on such rows
 * is known to keep that so, and the padded size is a function of the true one: results do not depend on what ran before.
 */
#include "instance.h"

/* ---- which rows may be padded ---- */

static int has_symbol(const prn_tensor *tensor, int32_t symbol)
{
    for (uint32_t d = 0; d < tensor->rank; d++) {
        if (tensor->dim[d].symbol == symbol) {
            return 1;
        }
    }
    return 0;
}

static int may_pad(const prn_program *program, const prn_op *op, int32_t symbol)
{
    const half_rule *rule = half_rule_of(op->kind);
    int touches = 0, only_ours = 1;
    for (int k = 0; k < PRN_OP_MAX_INPUTS + PRN_OP_MAX_OUTPUTS; k++) {
        const int32_t t = k < PRN_OP_MAX_INPUTS ? op->input[k] : op->output[k - PRN_OP_MAX_INPUTS];
        if (t != PRN_NO_TENSOR && has_symbol(&program->tensors[t], symbol)) {
            touches = 1;
            only_ours &= program->tensors[t].slot == PRN_SLOT_WORKSPACE || program->tensors[t].type == PRN_I32;
        }
    }
    if (!touches || (op->kind == PRN_OP_FILL && only_ours && op->attrs.alpha == 0)) {
        return 1;
    }
    if (op->kind == PRN_OP_GATHER_ROWS || op->kind == PRN_OP_GATHER_ROWS_GRAD) {
        /* by row numbers, which have no padding themselves */
        return only_ours && op->input[1] != PRN_NO_TENSOR && !has_symbol(&program->tensors[op->input[1]], symbol);
    }
    return only_ours && rule != NULL && rule->keeps_padding;
}

/* Which input of an attention has the rows that its groups split. */
static int grouped_input(uint32_t kind)
{
    return kind == PRN_OP_ATTENTION ? 0 : kind == PRN_OP_READ_ATTENTION_GRAD ? 2 : 1;
}

/* The symbol of packed rows, when each operation on them keeps padding harmless. */
static int32_t find_bucket_symbol(const prn_program *program)
{
    int32_t symbol = PRN_NO_SYMBOL;
    for (uint32_t i = 0; i < program->op_count; i++) {
        const prn_op *op = &program->ops[i];
        if (offsets_input(op->kind) >= 0 && op->attrs.positions == 0) {
            const prn_dim *rows = &program->tensors[op->input[grouped_input(op->kind)]].dim[0];
            if (rows->fixed != 1 || rows->symbol < 0 || (symbol != PRN_NO_SYMBOL && symbol != rows->symbol)) {
                return PRN_NO_SYMBOL;
            }
            symbol = rows->symbol;
        }
    }
    for (uint32_t i = 0; i < program->op_count && symbol != PRN_NO_SYMBOL; i++) {
        if (!may_pad(program, &program->ops[i], symbol)) {
            return PRN_NO_SYMBOL;
        }
    }
    return symbol;
}

/* One of sixteen sizes an octave, not below `n`. */
static int64_t bucket_of(int64_t n, int64_t maximum)
{
    int64_t step = 1;
    while (step * 32 <= n) {
        step *= 2;
    }
    const int64_t up = (n + step - 1) / step * step;
    return up < maximum ? up : maximum;
}

/* ---- compile ---- */

int program_supports(prn_backend_instance *d, const prn_program *program, uint32_t op)
{
    (void)d;
    if (op >= program->op_count || operation_check(program, op, NULL) != PRN_OK) {
        return 0;
    }
    const prn_op *o = &program->ops[op];
    if (o->kind == PRN_OP_DECAY_ROWS) { /* passing over a whole table at every update costs microseconds here */
        return 0;
    }
    if (offsets_input(o->kind) >= 0) {
        const prn_tensor *rows = &program->tensors[o->input[grouped_input(o->kind)]]; /* queries, keys and values; without the queries, keys and values */
        const int parts = o->kind == PRN_OP_ATTENTION || o->kind == PRN_OP_ATTENTION_GRAD ? 3 : 2;
        const operation v = {.op = o, .head_width = rows->rank >= 2 ? rows->dim[rows->rank - 1].fixed / parts / o->attrs.heads : 0};
        return operation_served(&v);
    }
    return 1;
}

void executable_destroy(prn_backend_instance *d, prn_executable *e)
{
    const prn_host *host = d->host;
    if (e == NULL) {
        return;
    }
    (void)instance_enter(d, NULL);
    for (int i = 0; i < GRAPH_LIMIT; i++) {
        if (e->graphs[i].graph != NULL) {
            (void)d->api.cuStreamSynchronize(d->stream); /* it may be running */
            (void)d->api.cuGraphExecDestroy(e->graphs[i].graph);
        }
        host->release(host->self, e->graphs[i].key);
    }
    device_release(d, e->tables);
    void *parts[] = {e->views, e->is_half, e->byte_at, e->longest, e->symbols, e->table_at, e->table_capacity, e->table_host, e->room, e};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        host->release(host->self, parts[i]);
    }
}

/* `count` zeroed elements of `each` bytes, never NULL for want of elements. */
static int reserve(const prn_host *host, size_t count, size_t each, void **memory)
{
    size_t bytes;
    if (__builtin_mul_overflow(count + 1, each, &bytes)) {
        return 0;
    }
    *memory = host->allocate(host->self, bytes, "cuda executable");
    if (*memory != NULL) {
        memset(*memory, 0, bytes);
    }
    return *memory != NULL;
}

static size_t key_bytes(const prn_program *program)
{
    return sizeof(graph_key) + (program->symbol_count + program->slot_count + 2 * (size_t)program->op_count) * sizeof(int64_t);
}

/* A table gradient's piece of `tables`, in integers: how many segments, where each starts (and the last ends), their ids, the rows. */
static size_t table_integers(size_t capacity)
{
    return 1 + (capacity + 1) + 2 * capacity;
}

static prn_status plan(prn_backend_instance *d, prn_executable *e, const int64_t *maxima, prn_error *error)
{
    const prn_program *program = e->program;
    size_t scratch = 0, tables = 0;
    for (uint32_t i = 0; i < program->op_count; i++) {
        /* Shapes that only fit at other values are judged when executed; here only sizes count. */
        if (operation_view(program, i, maxima, NULL, sizeof(float), &e->views[i], NULL) != PRN_OK) {
            continue;
        }
        (void)operation_shape(program, i, &e->views[i], NULL);
        const size_t need = operation_scratch(d, &e->views[i]);
        scratch = need > scratch ? need : scratch;
        if (program->ops[i].kind == PRN_OP_LOOKUP_GRAD && !d->fast) {
            const size_t rows = (size_t)e->views[i].m, ids = (size_t)e->views[i].k;
            e->table_at[i] = tables;
            e->table_capacity[i] = rows;
            tables += aligned(table_integers(rows) * sizeof(int32_t));
            e->table_host_rows = rows > e->table_host_rows ? rows : e->table_host_rows;
            e->table_host_ids = ids > e->table_host_ids ? ids : e->table_host_ids;
        }
    }
    prn_status status = scratch_reserve(d, scratch, error);
    if (status == PRN_OK && tables > 0) {
        status = device_allocate(d, tables, "sorted rows", &e->tables, error);
    }
    return status;
}

prn_status program_compile(prn_backend_instance *d, const prn_program *program, prn_executable **executable, prn_error *error)
{
    const prn_host *host = d->host;
    void *maxima = NULL, *made_memory = NULL;
    *executable = NULL;
    prn_status status = program_check(program, error);
    if (status == PRN_OK) {
        status = instance_enter(d, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    if (!reserve(host, 1, sizeof(prn_executable), &made_memory)) {
        return prn_error_set(error, PRN_NO_MEMORY, "no memory to compile program '%s'", program->name);
    }
    prn_executable *const e = made_memory;
    e->program = program;
    void *parts[6] = {NULL};
    int enough = reserve(host, program->op_count, sizeof *e->views, &parts[0]) && reserve(host, program->tensor_count, sizeof *e->is_half, &parts[1]) &&
                 reserve(host, program->op_count, sizeof *e->longest, &parts[2]) && reserve(host, program->symbol_count, sizeof *e->symbols, &parts[3]) &&
                 reserve(host, program->op_count, sizeof *e->table_at, &parts[4]) &&
                 reserve(host, program->op_count, sizeof *e->table_capacity, &parts[5]) && reserve(host, program->symbol_count, sizeof(int64_t), &maxima);
    e->views = parts[0];
    e->is_half = parts[1];
    e->longest = parts[2];
    e->symbols = parts[3];
    e->table_at = parts[4];
    e->table_capacity = parts[5];
    if (enough) {
        for (uint32_t i = 0; i < program->symbol_count; i++) {
            ((int64_t *)maxima)[i] = program->symbols[i].maximum;
        }
        status = plan(d, e, maxima, error);
        if (status == PRN_OK && d->half) {
            status = layout_plan(host, e, maxima, error);
        }
        e->bucket_symbol = find_bucket_symbol(program);
        parts[0] = parts[1] = NULL;
        enough = reserve(host, table_integers(e->table_host_rows) + e->table_host_ids + 1, sizeof(int32_t), &parts[0]) &&
                 reserve(host, key_bytes(program), 1, &parts[1]);
        e->table_host = parts[0];
        e->room = parts[1];
    }
    host->release(host->self, maxima);
    if (!enough) {
        status = prn_error_set(error, PRN_NO_MEMORY, "no memory to compile program '%s'; use a smaller batch", program->name);
    }
    if (status != PRN_OK) {
        executable_destroy(d, e);
        return status;
    }
    *executable = e;
    return PRN_OK;
}

/* ---- what the host knows of integer operands ---- */

/* The host's copy of an I32 operand. */
static const int32_t *host_copy(const prn_program *program, int32_t tensor, const prn_binding *binding)
{
    const prn_tensor *t = &program->tensors[tensor];
    const int64_t shift = binding->buffer_offsets != NULL ? binding->buffer_offsets[t->slot] : 0;
    return buffer_integers(binding->buffers[t->slot]) + t->offset + shift;
}

static prn_status check_groups(prn_executable *e, uint32_t index, const prn_binding *binding, prn_error *error)
{
    operation *v = &e->views[index];
    const int at = offsets_input(v->op->kind);
    const int32_t *offsets = v->in[at].elements > 0 ? host_copy(e->program, v->op->input[at], binding) : NULL;
    const prn_status status = ragged_items(offsets, v->in[at].elements, v->m, &v->items, error);
    e->longest[index] = 0;
    for (int64_t i = 0; i < v->items && status == PRN_OK; i++) {
        const int64_t length = (int64_t)offsets[i + 1] - offsets[i];
        e->longest[index] = length > e->longest[index] ? length : e->longest[index];
    }
    /* By whole tiles, so that graphs come back; a tile that no group reaches ends at once. */
    e->longest[index] = (e->longest[index] + MMA_TILE - 1) / MMA_TILE * MMA_TILE;
    return status;
}

/* Rows by the table row that they name, in their order, to the device. */
static prn_status sort_rows(prn_backend_instance *d, const prn_executable *e, uint32_t index, const prn_binding *binding, prn_error *error)
{
    const operation *v = &e->views[index];
    const size_t capacity = e->table_capacity[index];
    const int32_t *ids = v->m > 0 ? host_copy(e->program, v->op->input[1], binding) : NULL;
    int32_t *const count = e->table_host, *const starts = count + 1, *const named = starts + capacity + 1, *const order = named + capacity;
    int32_t *const next = count + table_integers(e->table_host_rows), total_rows = (int32_t)v->m;
    if (v->k > INT32_MAX || v->m > INT32_MAX) {
        return prn_error_set(error, PRN_UNSUPPORTED, "a table gradient of more than %d rows; use smaller batches", INT32_MAX);
    }
    memset(next, 0, ((size_t)v->k + 1) * sizeof *next);
    for (int64_t m = 0; m < v->m; m++) {
        next[ids[m] >= 0 && ids[m] < v->k ? ids[m] : 0]++;
    }
    int32_t at = 0;
    *count = 0;
    for (int32_t id = 0; id < (int32_t)v->k; id++) {
        const int32_t rows = next[id];
        if (rows > 0) {
            named[*count] = id;
            starts[(*count)++] = at;
        }
        next[id] = at;
        at += rows;
    }
    starts[*count] = total_rows;
    for (int64_t m = 0; m < v->m; m++) {
        order[next[ids[m] >= 0 && ids[m] < v->k ? ids[m] : 0]++] = (int32_t)m;
    }
    return upload(d, e->tables + e->table_at[index], e->table_host, table_integers(capacity) * sizeof(int32_t), error);
}

/* ---- execute ---- */

/* Memory of everything that is bound, and copies to it that are on their way. A workspace with a layout of our own needs just that much, and
 * holds nothing from one program to the next. */
static prn_status take_buffers(prn_backend_instance *d, const prn_executable *e, const prn_binding *binding, prn_error *error)
{
    prn_status status = PRN_OK;
    for (uint32_t i = 0; i < e->program->slot_count && status == PRN_OK; i++) {
        prn_buffer *buffer = binding->buffers[i];
        const int64_t shift = binding->buffer_offsets != NULL ? binding->buffer_offsets[i] : 0;
        if (buffer != NULL && d->half) {
            const int is_ours = i == PRN_SLOT_WORKSPACE && e->byte_at != NULL && shift == 0;
            status = buffer_take(d, buffer, is_ours ? e->workspace_bytes : buffer_bytes(buffer), is_ours, error);
        }
        if (buffer != NULL && status == PRN_OK) {
            status = buffer_join(d, buffer, error);
        }
    }
    return status;
}

static prn_status leave_buffers(prn_backend_instance *d, const prn_executable *e, const prn_binding *binding, prn_error *error)
{
    prn_status status = PRN_OK;
    for (uint32_t i = 0; i < e->program->slot_count && status == PRN_OK; i++) {
        if (binding->buffers[i] != NULL) {
            status = buffer_leave(d, binding->buffers[i], error);
        }
    }
    return status;
}

/* An operation's operands and memory, checked. */
static prn_status resolve_one(const prn_executable *e, uint32_t index, const prn_binding *binding, operation *view, prn_error *error)
{
    const prn_program *program = e->program;
    const prn_status status = operation_resolve(program, index, binding, sizeof(float), view, error);
    if (status != PRN_OK || e->byte_at == NULL || (binding->buffer_offsets != NULL && binding->buffer_offsets[PRN_SLOT_WORKSPACE] != 0)) {
        return status;
    }
    for (int k = 0; k < PRN_OP_MAX_INPUTS + PRN_OP_MAX_OUTPUTS; k++) {
        const int is_output = k >= PRN_OP_MAX_INPUTS, at = is_output ? k - PRN_OP_MAX_INPUTS : k;
        const int32_t t = is_output ? view->op->output[at] : view->op->input[at];
        if (t != PRN_NO_TENSOR && program->tensors[t].slot == PRN_SLOT_WORKSPACE) {
            (is_output ? &view->out[at] : &view->in[at])->data = (char *)binding->buffers[PRN_SLOT_WORKSPACE]->data + e->byte_at[t];
        }
    }
    return PRN_OK;
}

static prn_status resolve_all(prn_executable *e, uint32_t segment, const prn_binding *binding, prn_error *error)
{
    const prn_program *program = e->program;
    const uint32_t first = program->segments[segment].first_op, end = first + program->segments[segment].op_count;
    prn_status status = PRN_OK;
    for (uint32_t i = first; i < end && status == PRN_OK; i++) {
        const uint32_t kind = program->ops[i].kind;
        status = resolve_one(e, i, binding, &e->views[i], error);
        if (status == PRN_OK && offsets_input(kind) >= 0 && e->views[i].per_item == 0) {
            status = check_groups(e, i, binding, error);
        }
        if (status == PRN_OK && !operation_served(&e->views[i])) {
            status = prn_error_set(error, PRN_UNSUPPORTED, "program '%s': attention with heads of %lld values; the cuda backend serves fewer", program->name,
                                   (long long)e->views[i].head_width);
        }
    }
    return status;
}

/* Sizes of the padded rows; 0 when they do not fit, and the true ones must do. */
static int resolve_padded(prn_executable *e, uint32_t segment, const prn_binding *binding)
{
    const prn_program *program = e->program;
    const uint32_t first = program->segments[segment].first_op, end = first + program->segments[segment].op_count;
    prn_binding padded = *binding;
    padded.symbol_values = e->symbols;
    for (uint32_t i = first; i < end; i++) {
        const int64_t items = e->views[i].items;
        if (resolve_one(e, i, &padded, &e->views[i], NULL) != PRN_OK) {
            return 0;
        }
        if (offsets_input(program->ops[i].kind) >= 0 && e->views[i].per_item == 0) {
            e->views[i].items = items;
        }
    }
    return 1;
}

static prn_status launch_all(prn_backend_instance *d, prn_executable *e, uint32_t segment, prn_error *error)
{
    const uint32_t first = e->program->segments[segment].first_op, end = first + e->program->segments[segment].op_count;
    prn_status status = PRN_OK;
    updates pending = {.count = 0};
    for (uint32_t i = first; i < end && status == PRN_OK; i++) {
        const int is_update = e->program->ops[i].kind == PRN_OP_ADAMW;
        if (updates_meet(&pending, &e->views[i])) {
            status = updates_launch(d, &pending, error);
        }
        if (status == PRN_OK && is_update && !updates_take(&pending, &e->views[i]) && (status = updates_launch(d, &pending, error)) == PRN_OK) {
            (void)updates_take(&pending, &e->views[i]);
        } else if (status == PRN_OK && !is_update) {
            status = operation_launch(d, e, i, error);
        }
    }
    return status == PRN_OK ? updates_launch(d, &pending, error) : status;
}

/* Waits after each operation, to say how long it took. */
static prn_status launch_timed(prn_backend_instance *d, prn_executable *e, uint32_t segment, prn_error *error)
{
    const uint32_t first = e->program->segments[segment].first_op, end = first + e->program->segments[segment].op_count;
    const driver *api = &d->api;
    prn_status status = PRN_OK;
    for (uint32_t i = first; i < end && status == PRN_OK; i++) {
        const uint32_t kind = e->program->ops[i].kind;
        float milliseconds = 0;
        CUresult result = api->cuEventRecord(d->began, d->stream);
        status = operation_launch(d, e, i, error);
        if (status == PRN_OK && result == CUDA_SUCCESS && (result = api->cuEventRecord(d->ended, d->stream)) == CUDA_SUCCESS &&
            (result = api->cuEventSynchronize(d->ended)) == CUDA_SUCCESS) {
            result = api->cuEventElapsedTime(&milliseconds, d->began, d->ended);
        }
        if (status == PRN_OK) {
            status = driver_status(api, result, "timing an operation", error);
        }
        d->times[kind].calls++;
        d->times[kind].seconds += 1e-3 * (double)milliseconds;
    }
    return status;
}

/* All that the launches of this execution depend on. */
static void make_key(const prn_backend_instance *d, const prn_executable *e, uint32_t segment, const prn_binding *binding)
{
    const prn_program *program = e->program;
    const uint32_t first = program->segments[segment].first_op, end = first + program->segments[segment].op_count;
    graph_key *key = e->room;
    key->segment = segment;
    key->count = 0;
    key->scratch_version = d->scratch_version;
    for (uint32_t i = 0; i < program->symbol_count; i++) {
        key->values[key->count++] = e->symbols[i];
    }
    for (uint32_t i = 0; i < program->slot_count; i++) {
        const int64_t shift = binding->buffer_offsets != NULL ? binding->buffer_offsets[i] : 0;
        const prn_buffer *buffer = binding->buffers[i];
        key->values[key->count++] = buffer == NULL ? -1 : (int64_t)(uintptr_t)buffer->data + shift * (int64_t)operand_element_bytes(buffer->type, sizeof(float));
    }
    for (uint32_t i = first; i < end; i++) {
        const operation *v = &e->views[i];
        if (offsets_input(v->op->kind) >= 0 && v->per_item == 0) {
            key->values[key->count++] = v->items;
            key->values[key->count++] = e->longest[i];
        }
    }
}

static int same_key(const graph_key *a, const graph_key *b)
{
    return a != NULL && a->segment == b->segment && a->count == b->count && a->scratch_version == b->scratch_version &&
           memcmp(a->values, b->values, a->count * sizeof a->values[0]) == 0;
}

static graph_entry *find_graph(prn_executable *e)
{
    for (int i = 0; i < GRAPH_LIMIT; i++) {
        if (same_key(e->graphs[i].key, e->room)) {
            return &e->graphs[i];
        }
    }
    return NULL;
}

/* Remembers that the key was seen, in the place of the one that was not used for longest. Without memory it is not remembered. */
static void note_key(prn_backend_instance *d, prn_executable *e)
{
    graph_entry *place = &e->graphs[0];
    for (int i = 1; i < GRAPH_LIMIT && place->key != NULL; i++) {
        if (e->graphs[i].key == NULL || e->graphs[i].used < place->used) {
            place = &e->graphs[i];
        }
    }
    if (place->graph != NULL) {
        (void)d->api.cuStreamSynchronize(d->stream);
        (void)d->api.cuGraphExecDestroy(place->graph);
        place->graph = NULL;
    }
    if (place->key == NULL) {
        place->key = d->host->allocate(d->host->self, key_bytes(e->program), "cuda graph");
    }
    if (place->key != NULL) {
        memcpy(place->key, e->room, sizeof *e->room + e->room->count * sizeof e->room->values[0]);
        place->used = ++e->clock;
    }
}

static prn_status capture(prn_backend_instance *d, prn_executable *e, uint32_t segment, graph_entry *entry, prn_error *error)
{
    const driver *api = &d->api;
    CUgraph graph = NULL;
    prn_status status = driver_status(api, api->cuStreamBeginCapture(d->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "beginning a graph", error);
    if (status != PRN_OK) {
        return status;
    }
    status = launch_all(d, e, segment, error);
    const CUresult ended = api->cuStreamEndCapture(d->stream, &graph);
    if (status == PRN_OK) {
        status = driver_status(api, ended, "ending a graph", error);
    }
    if (status == PRN_OK) {
        status = driver_status(api, api->cuGraphInstantiateWithFlags(&entry->graph, graph, 0), "making a graph", error);
    }
    if (graph != NULL) {
        (void)api->cuGraphDestroy(graph);
    }
    return status;
}

/* What the second of several equal executions captures, later ones replay. */
static prn_status launch_by_graph(prn_backend_instance *d, prn_executable *e, uint32_t segment, const prn_binding *binding, prn_error *error)
{
    make_key(d, e, segment, binding);
    graph_entry *entry = find_graph(e);
    if (entry == NULL) {
        note_key(d, e);
        return launch_all(d, e, segment, error);
    }
    entry->used = ++e->clock;
    if (entry->graph == NULL) {
        const prn_status status = capture(d, e, segment, entry, error);
        if (status == PRN_NO_MEMORY) { /* for the graph; a step that has begun goes on without */
            if (error != NULL) {
                *error = (prn_error)PRN_ERROR_INIT;
            }
            return launch_all(d, e, segment, error);
        }
        if (status != PRN_OK) {
            return status;
        }
    }
    return driver_status(&d->api, d->api.cuGraphLaunch(entry->graph, d->stream), "starting a graph", error);
}

prn_status program_execute(prn_backend_instance *d, prn_executable *e, uint32_t segment, const prn_binding *binding, prn_error *error)
{
    const prn_program *program = e->program;
    prn_status status = binding_check(program, segment, binding, error);
    if (status == PRN_OK) {
        status = instance_enter(d, error);
    }
    if (status == PRN_OK) {
        status = take_buffers(d, e, binding, error);
    }
    if (status == PRN_OK) {
        status = resolve_all(e, segment, binding, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    const uint32_t first = program->segments[segment].first_op, end = first + program->segments[segment].op_count;
    for (uint32_t i = first; i < end && status == PRN_OK && e->tables != 0; i++) {
        if (program->ops[i].kind == PRN_OP_LOOKUP_GRAD) {
            status = sort_rows(d, e, i, binding, error);
        }
    }
    for (uint32_t i = 0; i < program->symbol_count; i++) {
        e->symbols[i] = binding->symbol_values[i];
    }
    if (e->bucket_symbol != PRN_NO_SYMBOL && status == PRN_OK) {
        int64_t *rows = &e->symbols[e->bucket_symbol];
        const int64_t padded = bucket_of(*rows, program->symbols[e->bucket_symbol].maximum), real = *rows;
        *rows = padded;
        if (padded != real && !resolve_padded(e, segment, binding)) {
            *rows = real;
            status = resolve_all(e, segment, binding, error);
        }
    }
    if (status != PRN_OK) {
        return status;
    }
    status = d->timing   ? launch_timed(d, e, segment, error)
             : d->graphs ? launch_by_graph(d, e, segment, binding, error)
                         : launch_all(d, e, segment, error);
    const prn_status left = leave_buffers(d, e, binding, status == PRN_OK ? error : NULL);
    return status == PRN_OK ? left : status;
}
