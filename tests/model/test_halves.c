/* tests/model/test_halves.c: with precision bf16 the cpu backend keeps in bf16 what products or activations round anyway: where a tensor lies changes no
 * result, not by a bit, and half of its place stays untouched.
 */
#include "model/test_support.h"

#include "program/graph.h"

enum { ITEMS = 7, MOST_SLOTS = 12 };
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

static float value_of(uint64_t slot, int64_t i, double size)
{
    return (float)(size * prn__rng_normal(8, PRN__RNG_INIT, slot, (uint64_t)i));
}

/* A copy of a program whose tensors of the workspace lie one behind the other in a slot that is no workspace. */
typedef struct apart {
    prn_program program;
    prn_tensor *tensors;
    prn_slot *slots;
    int64_t elements;
} apart;

static apart apart_of(const prn_program *program)
{
    apart a = {.program = *program};
    const int64_t items = ITEMS;
    a.tensors = prn__alloc_array(program->tensor_count, sizeof *a.tensors);
    a.slots = prn__alloc_array(program->slot_count + 1, sizeof *a.slots);
    memcpy(a.slots, program->slots, program->slot_count * sizeof *a.slots);
    a.slots[program->slot_count] = (prn_slot){"apart", PRN_REAL, 1};
    for (uint32_t t = 0; t < program->tensor_count; t++) {
        a.tensors[t] = program->tensors[t];
        if (a.tensors[t].slot == PRN_SLOT_WORKSPACE) {
            a.tensors[t].slot = (int32_t)program->slot_count;
            a.tensors[t].offset = a.elements;
            a.elements += prn_tensor_elements(&a.tensors[t], &items);
        }
    }
    a.program.tensors = a.tensors;
    a.program.slots = a.slots;
    a.program.slot_count++;
    return a;
}

typedef struct outcome {
    float *embeddings, *gradients;
    int64_t untouched; /* elements of the workspace */
} outcome;

/* Forward and backward pass. */
static outcome run(const prn__device *d, const prn__model *model, const prn_program *program, int64_t apart_elements)
{
    const prn_backend *backend = d->backend;
    const int64_t embed = ITEMS * model->config.embed_dim, side = model->config.vision.image_size, items = ITEMS;
    prn_buffer *buffers[MOST_SLOTS] = {NULL};
    prn_executable *executable;
    const float spoiled = -77.25f;
    outcome r = {.embeddings = prn__alloc_array((size_t)embed, sizeof(float)), .gradients = prn__alloc_array((size_t)model->flat_elements, sizeof(float))};
    assert_true(program->slot_count <= MOST_SLOTS);
    for (uint32_t s = 0; s < program->slot_count; s++) {
        const char *name = program->slots[s].name;
        const int is_images = strcmp(name, "images") == 0, is_flat = strcmp(name, "parameters") == 0 || strcmp(name, "gradients") == 0;
        const int64_t n = s == 0 ? program->workspace_elements : strcmp(name, "apart") == 0 ? apart_elements : is_images ? items * side * side * 3
                          : is_flat ? model->flat_elements : embed;
        OK(backend->buffer_create(d->instance, is_images ? PRN_U8 : PRN_REAL, n, name, &buffers[s], error));
        float *values = prn__alloc_array((size_t)n + 1, sizeof *values);
        for (int64_t i = 0; i < n; i++) {
            values[i] = s == 0 ? spoiled : value_of(strcmp(name, "parameters") == 0 ? 1 : 2, i, strcmp(name, "gradients") == 0 ? 0 : 0.2);
        }
        if (is_images) {
            for (int64_t i = 0; i < n; i++) {
                ((uint8_t *)values)[i] = (uint8_t)prn__rng_below(3, PRN__RNG_CROP, 0, (uint64_t)i, 256);
            }
        }
        OK(backend->buffer_write(d->instance, buffers[s], 0, is_images ? PRN_HOST_U8 : PRN_HOST_F32, values, n, error));
        prn__free(values);
    }
    OK(backend->compile(d->instance, program, &executable, error));
    const prn_binding binding = {.struct_size = (uint32_t)sizeof binding, .slot_count = program->slot_count, .buffers = buffers, .symbol_values = &items,
                                 .symbol_count = 1};
    for (uint32_t segment = 0; segment < program->segment_count; segment++) {
        OK(backend->execute(d->instance, executable, segment, &binding, error));
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
        r.untouched += workspace[i] == spoiled;
    }
    prn__free(workspace);
    backend->executable_destroy(d->instance, executable);
    for (uint32_t s = 0; s < program->slot_count; s++) {
        backend->buffer_destroy(d->instance, buffers[s]);
    }
    return r;
}

static void outcome_free(outcome *r)
{
    prn__free(r->embeddings);
    prn__free(r->gradients);
}

static void same_bytes(const prn__model *model, const prn__tower_options *options, const char *isa)
{
    prn__graph *graph;
    const prn_program *program;
    machine half, whole;
    OK(prn__model_image_tower(model, options, &graph, error));
    OK(prn__graph_finish(graph, &program, error));
    apart a = apart_of(program);
    if (machine_open(&half, isa, "bf16")) {
        outcome kept = run(&half.device, model, program, 0), other = run(&half.device, model, &a.program, a.elements);
        assert_true(machine_open(&whole, isa, "fp32"));
        outcome fp32 = run(&whole.device, model, program, 0);
        for (int64_t i = 0; i < ITEMS * model->config.embed_dim; i++) {
            assert_true(isfinite(kept.embeddings[i]) && fabsf(kept.embeddings[i] - fp32.embeddings[i]) < 0.05f);
        }
        assert_memory_equal(kept.embeddings, other.embeddings, sizeof(float) * (size_t)(ITEMS * model->config.embed_dim));
        assert_memory_equal(kept.gradients, other.gradients, sizeof(float) * (size_t)model->flat_elements);
        const int is_kept = options->training && !options->recompute && options->checkpoint == PRN__CHECKPOINT_NONE; /* nothing else comes to lie there */
        assert_true(!is_kept || kept.untouched > fp32.untouched + ITEMS * model->config.vision.width);
        outcome_free(&kept);
        outcome_free(&other);
        outcome_free(&fp32);
        machine_close(&whole);
    }
    machine_close(&half);
    prn__free(a.tensors);
    prn__free(a.slots);
    prn__graph_destroy(graph);
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
        prn__model_config config;
        prn__model *model;
        OK(prn__model_config_resolve("ViT-nano-32px", &config, error));
        config.text.vocab_size = 64;
        config.vision.layers = 3;
        config.vision.width = 72; /* no multiple of a panel's width */
        config.vision.head_width = 24;
        config.embed_dim = 20;
        config.quick_gelu = quick;
        OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &model, error));
        for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
            for (int isa = 0; isa < 3; isa++) {
                same_bytes(model, &forms[i], isas[isa]);
            }
        }
        prn__model_destroy(model);
    }
    assert_int_equal(prn__alloc_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_towers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
