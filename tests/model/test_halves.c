/* tests/model/test_halves.c: what the cpu backend makes of a tower changes no result, not by a bit: with precision bf16 it keeps in bf16 what products or
 * activations round anyway, and half of such a tensor's place stays untouched; in either precision it takes two operations as one where it can.
 */
#include "model/test_support.h"

#include "program/graph.h"

enum { ITEMS = 7, MOST_SLOTS = 12, CONTEXT = 12 };
static const float SPOILED = -77.25f;
static const char *const isas[] = {"baseline", "avx2", "avx512"};

typedef struct machine {
    prn__pool *pool;
    prn__registry *registry;
    prn__device device;
} machine;

static int machine_open(machine *m, const char *isa, const char *precision)
{
    const prn__option_pair options[] = {{"isa", isa}, {"precision", precision}};
    prn_error refused = PRN_ERROR_INIT;
    OK(prn__pool_create(2, NULL, &m->pool, error));
    OK(prn__registry_create(m->pool, PRN_BUILD_DIR "/plugins", &m->registry, error));
    return prn__device_open(m->registry, "cpu", options, 2, &m->device, &refused) == PRN_OK;
}

static void machine_close(machine *m)
{
    prn__device_close(&m->device);
    prn__registry_destroy(m->registry);
    prn__pool_destroy(m->pool);
}

/* Normally distributed; the same few thousand over and over. */
static float value_of(int64_t i, double size)
{
    enum { MANY = 4099 };
    static double normal[MANY];
    for (uint64_t k = 0; k < MANY && normal[0] == 0; k++) {
        normal[MANY - 1 - k] = prn__rng_normal(8, PRN__RNG_INIT, 1, k);
    }
    return (float)(size * normal[i % MANY]);
}

/* A copy of a program that runs the same operations. */
typedef struct variant {
    prn_program program;
    prn_tensor *tensors;
    prn_slot *slots;
    prn_segment *segments;
    int64_t elements; /* of the slot "apart" */
} variant;

static void variant_free(variant *v)
{
    prn__free(v->tensors);
    prn__free(v->slots);
    prn__free(v->segments);
}

/* Tensors of the workspace lie one behind the other in a slot that is no workspace: nothing is kept in bf16. */
static variant apart_of(const prn_program *program, const int64_t *symbols)
{
    variant a = {.program = *program};
    a.tensors = prn__alloc_array(program->tensor_count, sizeof *a.tensors);
    a.slots = prn__alloc_array(program->slot_count + 1, sizeof *a.slots);
    memcpy(a.slots, program->slots, program->slot_count * sizeof *a.slots);
    a.slots[program->slot_count] = (prn_slot){"apart", PRN_REAL, 1};
    for (uint32_t t = 0; t < program->tensor_count; t++) {
        a.tensors[t] = program->tensors[t];
        if (a.tensors[t].slot == PRN_SLOT_WORKSPACE) {
            a.tensors[t].slot = (int32_t)program->slot_count;
            a.tensors[t].offset = a.elements;
            a.elements += prn_tensor_elements(&a.tensors[t], symbols);
        }
    }
    a.program.tensors = a.tensors;
    a.program.slots = a.slots;
    a.program.slot_count++;
    return a;
}

/* A segment for every operation: none has a neighbour to become one with. */
static variant alone_of(const prn_program *program)
{
    variant a = {.program = *program};
    a.segments = prn__alloc_array(program->op_count, sizeof *a.segments);
    for (uint32_t i = 0; i < program->op_count; i++) {
        a.segments[i] = (prn_segment){"alone", i, 1};
    }
    a.program.segments = a.segments;
    a.program.segment_count = program->op_count;
    return a;
}

/* Ragged captions of 1 to CONTEXT tokens. */
typedef struct captions {
    int32_t tokens[ITEMS * CONTEXT], positions[ITEMS * CONTEXT], offsets[ITEMS + 1], ends[ITEMS];
} captions;

static void captions_make(const prn__model *model, captions *c)
{
    c->offsets[0] = 0;
    for (int32_t b = 0; b < ITEMS; b++) {
        c->offsets[b + 1] = c->offsets[b] + 1 + (5 * b + 11) % CONTEXT;
        c->ends[b] = c->offsets[b + 1] - 1;
        for (int32_t r = c->offsets[b]; r < c->offsets[b + 1]; r++) {
            c->positions[r] = r - c->offsets[b];
            c->tokens[r] = (int32_t)prn__rng_below(4, PRN__RNG_CROP, 0, (uint64_t)r, (uint64_t)model->config.text.vocab_size);
        }
    }
}

typedef struct outcome {
    float *embeddings, *gradients;
    int64_t untouched; /* elements of the workspace */
    uint64_t slopes;   /* gradients of activations that were operations of their own */
} outcome;

static void buffer_fill(const prn__device *d, const prn__model *model, const char *name, prn_buffer *buffer, int64_t n)
{
    const double size = strcmp(name, "gradients") == 0 ? 0 : 0.2;
    const int is_images = strcmp(name, "images") == 0, is_workspace = strcmp(name, "workspace") == 0;
    float *values = prn__alloc_array((size_t)n + 1, sizeof *values);
    captions c;
    captions_make(model, &c);
    const int32_t *ids = strcmp(name, "tokens") == 0      ? c.tokens
                         : strcmp(name, "positions") == 0 ? c.positions
                         : strcmp(name, "offsets") == 0   ? c.offsets
                         : strcmp(name, "ends") == 0      ? c.ends
                                                          : NULL;
    for (int64_t i = 0; i < n; i++) {
        if (is_images) {
            ((uint8_t *)values)[i] = (uint8_t)prn__rng_below(3, PRN__RNG_CROP, 0, (uint64_t)i, 256);
        } else {
            values[i] = is_workspace ? SPOILED : value_of(i, size);
        }
    }
    OK(d->backend->buffer_write(d->instance, buffer, 0, is_images ? PRN_HOST_U8 : ids != NULL ? PRN_HOST_I32 : PRN_HOST_F32,
                                ids != NULL ? (const void *)ids : values, n, error));
    prn__free(values);
}

/* Forward and backward pass. */
static outcome run(const prn__device *d, const prn__model *model, const prn_program *program, const int64_t *symbols, int64_t apart_elements)
{
    const prn_backend *backend = d->backend;
    const int64_t embed = ITEMS * model->config.embed_dim, side = model->config.vision.image_size;
    prn_buffer *buffers[MOST_SLOTS] = {NULL};
    prn_executable *executable;
    outcome r = {.embeddings = prn__alloc_array((size_t)embed, sizeof(float)), .gradients = prn__alloc_array((size_t)model->flat_elements, sizeof(float))};
    assert_true(program->slot_count <= MOST_SLOTS);
    for (uint32_t s = 0; s < program->slot_count; s++) {
        const char *name = s == 0 ? "workspace" : program->slots[s].name;
        const int is_flat = strcmp(name, "parameters") == 0 || strcmp(name, "gradients") == 0;
        const int is_rows = strcmp(name, "tokens") == 0 || strcmp(name, "positions") == 0;
        const int64_t n = s == 0                           ? program->workspace_elements
                          : strcmp(name, "apart") == 0     ? apart_elements
                          : strcmp(name, "images") == 0    ? ITEMS * side * side * 3
                          : strcmp(name, "offsets") == 0   ? ITEMS + 1
                          : strcmp(name, "ends") == 0      ? ITEMS
                          : is_rows                        ? symbols[1]
                          : is_flat                        ? model->flat_elements
                                                           : embed;
        OK(backend->buffer_create(d->instance, program->slots[s].type, n, name, &buffers[s], error));
        buffer_fill(d, model, name, buffers[s], n);
    }
    OK(backend->compile(d->instance, program, &executable, error));
    const prn_binding binding = {.struct_size = (uint32_t)sizeof binding, .slot_count = program->slot_count, .buffers = buffers, .symbol_values = symbols,
                                 .symbol_count = program->symbol_count};
    for (uint32_t segment = 0; segment < program->segment_count; segment++) {
        OK(backend->execute(d->instance, executable, segment, &binding, error));
    }
    prn_op_time times[64];
    uint32_t count = 0;
    OK(backend->op_times(d->instance, times, 64, &count, 1, error));
    for (uint32_t k = 0; k < count; k++) {
        r.slopes += times[k].kind == PRN_OP_ACTIVATION_GRAD ? times[k].calls : 0;
    }
    for (uint32_t s = 0; s < program->slot_count; s++) {
        if (strcmp(program->slots[s].name, "embeddings") == 0) {
            OK(backend->buffer_read(d->instance, buffers[s], 0, PRN_HOST_F32, r.embeddings, embed, error));
        } else if (strcmp(program->slots[s].name, "gradients") == 0) {
            OK(backend->buffer_read(d->instance, buffers[s], 0, PRN_HOST_F32, r.gradients, model->flat_elements, error));
        }
    }
    float *workspace = prn__alloc_array((size_t)program->workspace_elements + 1, sizeof *workspace);
    OK(backend->buffer_read(d->instance, buffers[0], 0, PRN_HOST_F32, workspace, program->workspace_elements, error));
    for (int64_t i = 0; i < program->workspace_elements; i++) {
        r.untouched += workspace[i] == SPOILED;
    }
    prn__free(workspace);
    backend->executable_destroy(d->instance, executable);
    for (uint32_t s = 0; s < program->slot_count; s++) {
        backend->buffer_destroy(d->instance, buffers[s]);
    }
    return r;
}

static void same(const prn__model *model, const outcome *want, outcome got, int64_t slopes)
{
    assert_int_equal(got.slopes, slopes);
    assert_memory_equal(got.embeddings, want->embeddings, sizeof(float) * (size_t)(ITEMS * model->config.embed_dim));
    assert_memory_equal(got.gradients, want->gradients, sizeof(float) * (size_t)model->flat_elements);
    prn__free(got.embeddings);
    prn__free(got.gradients);
}

static void same_bytes(const prn__model *model, int is_text, int64_t items, const prn__tower_options *options, const char *isa)
{
    prn__graph *graph;
    const prn_program *program;
    captions c;
    captions_make(model, &c);
    const int64_t symbols[2] = {items, c.offsets[items]}, layers = is_text ? model->config.text.layers : model->config.vision.layers;
    OK((is_text ? prn__model_text_tower : prn__model_image_tower)(model, options, &graph, error));
    OK(prn__graph_finish(graph, &program, error));
    variant apart = apart_of(program, symbols), alone = alone_of(program);
    outcome by[2] = {{0}};
    machine m[2] = {{0}};
    for (int half = 0; half < 2 && machine_open(&m[half], isa, half ? "bf16" : "fp32"); half++) {
        const prn__device *d = &m[half].device;
        by[half] = run(d, model, program, symbols, 0);
        assert_int_equal(by[half].slopes, 0);
        same(model, &by[half], run(d, model, &apart.program, symbols, apart.elements), 0);
        same(model, &by[half], run(d, model, &alone.program, symbols, 0), options->training ? layers : 0);
    }
    if (by[1].embeddings != NULL) {
        double difference = 0, size = 0;
        for (int64_t i = 0; i < items * model->config.embed_dim; i++) {
            assert_true(fabsf(by[1].embeddings[i] - by[0].embeddings[i]) < 0.05f);
        }
        for (int64_t i = 0; i < model->flat_elements; i++) {
            difference += pow((double)by[1].gradients[i] - (double)by[0].gradients[i], 2);
            size += pow((double)by[0].gradients[i], 2);
        }
        assert_true(!options->training || (size > 0 && difference < 4e-4 * size));
        const int is_kept = options->training && !options->recompute && options->checkpoint == PRN__CHECKPOINT_NONE; /* nothing else comes to lie there */
        assert_true(!is_kept || by[1].untouched > by[0].untouched + 4 * symbols[is_text] * model->config.vision.width);
    }
    for (int half = 0; half < 2; half++) {
        prn__free(by[half].embeddings);
        prn__free(by[half].gradients);
        machine_close(&m[half]);
    }
    variant_free(&apart);
    variant_free(&alone);
    prn__graph_destroy(graph);
}

static prn__model *model_of(int quick, int64_t layers, int64_t image_size, int64_t patch_size)
{
    prn__model_config config;
    prn__model *model;
    OK(prn__model_config_resolve("ViT-nano-32px", &config, error));
    config.text.vocab_size = 64;
    config.text.context_length = CONTEXT;
    config.vision.image_size = image_size;
    config.vision.patch_size = patch_size;
    config.vision.layers = config.text.layers = layers;
    config.vision.width = config.text.width = 72; /* no multiple of a panel's width */
    config.vision.head_width = 24;
    config.text.heads = 3;
    config.embed_dim = 20;
    config.quick_gelu = quick;
    OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &model, error));
    return model;
}

static void test_towers(void **state)
{
    static const prn__tower_options forms[] = {{.max_items = ITEMS, .training = 1},
                                               {.max_items = ITEMS, .training = 1, .recompute = 1},
                                               {.max_items = ITEMS, .training = 1, .checkpoint = PRN__CHECKPOINT_BLOCKS, .recompute = 1},
                                               {.max_items = ITEMS, .training = 1, .checkpoint = PRN__CHECKPOINT_SELECTIVE, .recompute = 1},
                                               {.max_items = ITEMS}};
    (void)state;
    for (int quick = 0; quick < 2; quick++) {
        prn__model *model = model_of(quick, 3, 32, 8);
        for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
            for (int k = 0; k < 6; k++) {
                same_bytes(model, k % 2, ITEMS, &forms[i], isas[k / 2]);
            }
        }
        prn__model_destroy(model);
    }
    assert_int_equal(prn__alloc_live(), 0);
}

/* More rows than attention takes at a time. */
static void test_long_rows(void **state)
{
    const prn__tower_options options = {.max_items = ITEMS, .training = 1};
    prn__model *model = model_of(0, 2, 104, 4);
    (void)state;
    for (int isa = 0; isa < 3; isa++) {
        same_bytes(model, 0, 1, &options, isas[isa]);
    }
    prn__model_destroy(model);
    assert_int_equal(prn__alloc_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_towers), cmocka_unit_test(test_long_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
