/* tests/gpu/test_emulated.c: the cuda backend on the emulated device (tests/gpu/emulator): the plugin and its kernels as a device would run
 * them, with a driver and a matrix library of plain C++ under them.
 *
 * What this proves: index arithmetic, reductions, planning, padding of packed rows, the graph cache, error paths. What it cannot: speed, machine
 * code, cuBLASLt's own choices, races that no order of threads shows.
 */
#include "model/test_support.h"

#include <dlfcn.h>

#include "gpu/emulated.h"
#include "plugin/conformance.h"
#include "train/trainer.h"

enum { BATCH = 5, STEPS = 4 };

typedef struct fixture {
    prn__pool *pool;
    prn__registry *registry;
    prn__device reference, cpu;
    prn__model *model, *narrow; /* narrow: for what is about the order of work and not about numbers */
    prn__batch batch[STEPS];
    float *flat, *narrow_flat;
} fixture;

/* The same, training the narrow model. */
static fixture narrow(const fixture *f)
{
    fixture result = *f;
    result.model = f->narrow;
    result.flat = f->narrow_flat;
    return result;
}

static float *first_weights(const prn__model *model)
{
    float *flat = prn__alloc_array((size_t)model->flat_elements, sizeof *flat);
    prn__model_init(model, 5, flat);
    return flat;
}

static int setup(void **state)
{
    static fixture f;
    prn__model_config config;
    OK(prn__pool_create(2, NULL, &f.pool, error));
    OK(prn__registry_create(f.pool, PRN_BUILD_DIR "/plugins", &f.registry, error));
    OK(prn__device_open(f.registry, "reference", NULL, 0, &f.reference, error));
    OK(prn__device_open(f.registry, "cpu", NULL, 0, &f.cpu, error));
    OK(prn__model_config_resolve("ViT-nano-32px", &config, error));
    config.text.vocab_size = 120;
    config.text.context_length = 12;
    config.embed_dim = 32;
    config.vision.width = config.text.width = 128;
    config.vision.head_width = 64; /* what the bf16 attention kernels serve */
    config.text.heads = 2;
    config.text.layers = config.vision.layers = 2; /* the last one attends with few queries */
    OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &f.model, error));
    f.flat = first_weights(f.model);
    for (int i = 0; i < STEPS; i++) {
        test_batch_make(&f.batch[i], &config, i == 2 ? BATCH - 1 : BATCH, 99 + (uint64_t)i % 3);
    }
    config.vision.width = config.text.width = 64;
    config.vision.head_width = 32;
    OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &f.narrow, error));
    f.narrow_flat = first_weights(f.narrow);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    for (int i = 0; i < STEPS; i++) {
        test_batch_free(&f->batch[i]);
    }
    prn__free(f->flat);
    prn__free(f->narrow_flat);
    prn__model_destroy(f->model);
    prn__model_destroy(f->narrow);
    prn__device_close(&f->cpu);
    prn__device_close(&f->reference);
    prn__registry_destroy(f->registry);
    prn__pool_destroy(f->pool);
    assert_int_equal(prn__alloc_live(), 0);
    return 0;
}

static prn__device open_cuda(const fixture *f, const char *precision, const char *graphs, const char *fast)
{
    const prn__option_pair pairs[] = {{"precision", precision}, {"graphs", graphs}, {"fast", fast}};
    prn__device device;
    OK(prn__device_open(f->registry, "cuda", pairs, 3, &device, error));
    return device;
}

/* ---- every operation ---- */

static void note(void *context, const prn__conformance_case *result)
{
    const int may_lack = strcmp(result->op, "decay_rows") == 0; /* what it saves is nothing on a device like this */
    if (!result->passed && (result->supported || !may_lack) && *(char *)context == '\0') {
        (void)snprintf(context, 512, "%s %s: %s", result->op, result->text, result->reason);
    }
}

static void conform(const fixture *f, const char *precision, const char *fast, const char *filter, uint64_t cases)
{
    prn__device device = open_cuda(f, precision, "true", fast);
    prn__conformance_summary summary;
    char first[512] = "";
    OK(prn__conformance_run(&device, &f->reference, filter, note, first, &summary, error));
    if (first[0] != '\0') {
        fail_msg("%s", first);
    }
    assert_int_equal(summary.failed, 0);
    assert_true((uint64_t)summary.passed >= cases);
    prn__device_close(&device);
}

static void test_conformance(void **state)
{
    conform(*state, "fp32", "false", NULL, 1024);
}

/* Kernels run in another order: a result that changes is a race. */
static void test_conformance_backward(void **state)
{
    assert_int_equal(setenv("PRN_EMULATOR_ORDER", "backward", 1), 0);
    conform(*state, "fp32", "false", "norm", 60);
    conform(*state, "fp32", "false", "attention", 160);
    assert_int_equal(setenv("PRN_EMULATOR_ORDER", "mixed", 1), 0);
    conform(*state, "fp32", "false", "cross_entropy", 56);
    conform(*state, "fp32", "true", "lookup", 18);
    assert_int_equal(unsetenv("PRN_EMULATOR_ORDER"), 0);
}

/* Without the library's products, and without its fused bias gradients. */
static void test_own_products(void **state)
{
    assert_int_equal(setenv("PRN_EMULATOR_PRODUCTS", "none", 1), 0);
    conform(*state, "fp32", "false", "linear", 264);
    conform(*state, "fp32", "false", "similarity", 70);
    assert_int_equal(setenv("PRN_EMULATOR_PRODUCTS", "plain", 1), 0);
    conform(*state, "fp32", "false", "linear_grad_w", 88);
    assert_int_equal(setenv("PRN_EMULATOR_PRODUCTS", "refused", 1), 0);
    conform(*state, "bf16", "false", "linear_grad_w", 88);
    conform(*state, "bf16", "false", "similarity", 70);
    assert_int_equal(unsetenv("PRN_EMULATOR_PRODUCTS"), 0);
}

static void test_conformance_bf16(void **state)
{
    conform(*state, "bf16", "false", NULL, 1024);
}

/* ---- training ---- */

typedef struct outcome {
    double loss[STEPS];
    float *weights;
} outcome;

static prn__trainer_config base_config(void)
{
    return (prn__trainer_config){.batch = BATCH, .optimizer = {.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-6, .decay = 0.2}};
}

/* The same batches in turn, from the same weights; the last equals the first, so that graphs come back. `tells`: the trainer is told what comes. */
static outcome train_telling(const fixture *f, const prn__device *device, const prn__trainer_config *config, int tells)
{
    prn__trainer *trainer;
    outcome result;
    result.weights = prn__alloc_array((size_t)f->model->flat_elements, sizeof *result.weights);
    OK(prn__trainer_create(f->model, device, config, &trainer, error));
    OK(prn__trainer_set_state(trainer, f->flat, NULL, NULL, 0, error));
    for (int i = 0; i < STEPS; i++) {
        prn__step_result step;
        if (tells && i != 1) { /* once it was not known in time */
            prn__trainer_expect(trainer, i + 1 < STEPS ? &f->batch[i + 1] : NULL);
        }
        OK(prn__trainer_step(trainer, &f->batch[i], 1e-3, &step, error));
        result.loss[i] = step.loss;
    }
    OK(prn__trainer_get_state(trainer, result.weights, NULL, NULL, NULL, error));
    prn__trainer_destroy(trainer);
    return result;
}

static outcome train(const fixture *f, const prn__device *device, const prn__trainer_config *config)
{
    return train_telling(f, device, config, 0);
}

static double farthest(const fixture *f, const outcome *a, const outcome *b)
{
    return test_max_difference(a->weights, b->weights, f->model->flat_elements);
}

static void check_same(const fixture *f, const outcome *a, const outcome *b)
{
    assert_memory_equal(a->loss, b->loss, sizeof a->loss);
    assert_memory_equal(a->weights, b->weights, (size_t)f->model->flat_elements * sizeof *a->weights);
}

static void check_training(const fixture *f, const char *precision, double loss_bound, double weight_bound)
{
    prn__trainer_config config = base_config();
    prn__device graphs = open_cuda(f, precision, "true", "false"), plain = open_cuda(f, precision, "false", "false");
    prn__device fast = open_cuda(f, precision, "true", "true");
    for (int form = 0; form < 3; form++) {
        config.micro_batch = form == 1 ? 3 : 0;
        config.checkpoint = form == 2;
        const prn__device *other = form == 1 ? &fast : &plain;
        outcome cpu = train(f, &f->cpu, &config), a = train(f, &graphs, &config), b = train(f, other, &config);
        if (other == &plain) {
            check_same(f, &a, &b);
        }
        for (int i = 0; i < STEPS; i++) {
            assert_true(fabs(a.loss[i] - cpu.loss[i]) <= loss_bound);
            assert_true(fabs(b.loss[i] - cpu.loss[i]) <= loss_bound);
        }
        assert_true(farthest(f, &a, &cpu) <= weight_bound);
        assert_true(farthest(f, &a, &cpu) > 0);
        prn__free(cpu.weights);
        prn__free(a.weights);
        prn__free(b.weights);
    }
    prn__device_close(&fast);
    prn__device_close(&plain);
    prn__device_close(&graphs);
}

/* Adam's step is lr for a gradient of any size, so that a weight whose gradient is rounding can differ by it, whatever the precision. */
static void test_training_fp32(void **state)
{
    check_training(*state, "fp32", 2e-4, 2.5e-3);
}

static void test_training_bf16(void **state)
{
    check_training(*state, "bf16", 0.08, 9e-3);
}

/* Gradients say more than weights after Adam: relative to the whole vector. */
static void test_gradients(void **state)
{
    const fixture *f = *state;
    const int64_t n = f->model->flat_elements;
    static const struct {
        const char *precision;
        double bound;
    } forms[] = {{"fp32", 2e-5}, {"bf16", 5e-2}};
    const prn__trainer_config config = base_config();
    double *want = prn__alloc_array((size_t)n, sizeof *want), *got = prn__alloc_array((size_t)n, sizeof *got), want_loss, loss;
    prn__trainer *trainer;
    OK(prn__trainer_create(f->model, &f->reference, &config, &trainer, error));
    OK(prn__trainer_set_state(trainer, f->flat, NULL, NULL, 0, error));
    OK(prn__trainer_gradients(trainer, &f->batch[0], &want_loss, want, error));
    prn__trainer_destroy(trainer);
    for (size_t k = 0; k < sizeof forms / sizeof forms[0]; k++) {
        prn__device device = open_cuda(f, forms[k].precision, "true", "false");
        OK(prn__trainer_create(f->model, &device, &config, &trainer, error));
        OK(prn__trainer_set_state(trainer, f->flat, NULL, NULL, 0, error));
        for (int turn = 0; turn < 3; turn++) { /* as they come, captured, replayed */
            double difference = 0, norm = 0;
            OK(prn__trainer_gradients(trainer, &f->batch[0], &loss, got, error));
            for (int64_t i = 0; i < n; i++) {
                difference += (got[i] - want[i]) * (got[i] - want[i]);
                norm += want[i] * want[i];
            }
            assert_true(sqrt(difference / norm) <= forms[k].bound);
            assert_true(fabs(loss - want_loss) <= forms[k].bound);
        }
        prn__trainer_destroy(trainer);
        prn__device_close(&device);
    }
    prn__free(want);
    prn__free(got);
}

static unsigned long launches_of(const char *kernel)
{
    unsigned long (*count)(const char *) = NULL;
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL), *found = driver != NULL ? dlsym(driver, "emulated_launches") : NULL;
    memcpy(&count, &found, sizeof count);
    return count != NULL ? count(kernel) : 0;
}

/* bf16 attention of head widths that kernels are made for and that are padded to one of them, over one tile and over three, causal and not, with
 * activations in bf16: gradients of a whole model against fp64. */
static void test_head_widths(void **state)
{
    const fixture *f = *state;
    static const struct {
        int64_t width, patch, context; /* (24 / patch)^2 + 1 positions */
        const char *kernel;
    } forms[] = {
        {16, 2, 150, "prn_attention_mma_grad_q_32"}, {40, 8, 40, "prn_attention_mma_grad_64"}, {64, 2, 150, "prn_attention_mma_grad_kv_64"},
        {80, 2, 100, "prn_attention_mma_grad_q_96"}, {88, 8, 64, "prn_attention_mma_grad_96"}, {128, 2, 70, "prn_attention_mma_grad_kv_128"},
        {104, 6, 30, "prn_attention_mma_grad_128"},  {32, 8, 20, "prn_attention_mma_grad_32"},
    };
    prn__device device = open_cuda(f, "bf16", "true", "false");
    for (size_t k = 0; k < sizeof forms / sizeof forms[0]; k++) {
        const prn__trainer_config trainer_config = base_config();
        prn__model_config config;
        prn__model *model;
        prn__trainer *trainer;
        prn__batch batch;
        double *vectors[2], losses[2], difference = 0, norm = 0;
        const unsigned long before = launches_of(forms[k].kernel);
        OK(prn__model_config_resolve("ViT-nano-32px", &config, error));
        config.text.vocab_size = 120;
        config.text.context_length = forms[k].context;
        config.embed_dim = 32;
        config.vision.image_size = 24;
        config.vision.patch_size = forms[k].patch;
        config.vision.width = config.text.width = 2 * forms[k].width;
        config.vision.head_width = forms[k].width;
        config.text.heads = 2;
        config.text.layers = config.vision.layers = 2; /* the last one attends with one query an item */
        OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &model, error));
        float *flat = prn__alloc_array((size_t)model->flat_elements, sizeof *flat);
        prn__model_init(model, 7, flat);
        test_batch_make(&batch, &config, BATCH, 31 + k);
        for (int side = 0; side < 2; side++) {
            vectors[side] = prn__alloc_array((size_t)model->flat_elements, sizeof *vectors[side]);
            OK(prn__trainer_create(model, side == 0 ? &f->reference : &device, &trainer_config, &trainer, error));
            OK(prn__trainer_set_state(trainer, flat, NULL, NULL, 0, error));
            OK(prn__trainer_gradients(trainer, &batch, &losses[side], vectors[side], error));
            prn__trainer_destroy(trainer);
        }
        for (int64_t i = 0; i < model->flat_elements; i++) {
            difference += (vectors[1][i] - vectors[0][i]) * (vectors[1][i] - vectors[0][i]);
            norm += vectors[0][i] * vectors[0][i];
        }
        print_message("head width %d: gradients %.2g of their norm apart\n", (int)forms[k].width, sqrt(difference / norm));
        assert_true(sqrt(difference / norm) <= 6e-2);
        if (!on_device() && launches_of(forms[k].kernel) == before) {
            fail_msg("%s was not launched", forms[k].kernel);
        }
        prn__free(vectors[0]);
        prn__free(vectors[1]);
        prn__free(flat);
        test_batch_free(&batch);
        prn__model_destroy(model);
    }
    prn__device_close(&device);
}

/* Updates that are put together, whether gradients are held or all kept, give the bytes of one after the other (as they are when each is timed). */
static void test_updates(void **state)
{
    const fixture *f = *state;
    const prn__option_pair timed[] = {{"time_operations", "true"}};
    prn__device together = open_cuda(f, "fp32", "false", "false"), apart;
    OK(prn__device_open(f->registry, "cuda", timed, 1, &apart, error));
    for (int form = 0; form < 6; form++) { /* the last two: moments in bf16 */
        prn__trainer_config config = base_config();
        config.optimizer.clip_norm = form % 2 == 1 ? 0.5 : 0;
        config.optimizer.bf16_moments = form >= 4;
        config.keep_all = form == 2 || form == 3 || form == 5;
        const unsigned long before = launches_of("prn_adamw");
        outcome some = train(f, &together, &config);
        const unsigned long few = launches_of("prn_adamw") - before;
        outcome each = train(f, &apart, &config);
        const unsigned long many = launches_of("prn_adamw") - before - few;
        check_same(f, &some, &each);
        if (!on_device()) {
            print_message("%s%s%s: %lu launches for %lu updates\n", config.keep_all ? "all kept" : "held", form % 2 ? ", clipped" : "",
                          form >= 4 ? ", moments in bf16" : "", few, many);
            assert_true(many >= (config.keep_all ? 2 * STEPS : STEPS * (unsigned long)f->model->parameter_count / 2));
            assert_true(form % 4 == 0 ? 3 * few <= 2 * many : few <= 3 * STEPS); /* without clipping, memory is used again before there are many */
        }
        prn__free(some.weights);
        prn__free(each.weights);
    }
    prn__device_close(&apart);
    prn__device_close(&together);
}

/* Images that are copied beside the step before: the same bytes, whichever stream is the faster one. */
static void test_ahead(void **state)
{
    const fixture small = narrow(*state), *f = &small;
    static const char *const orders[] = {"lazy", "eager", "mixed"};
    prn__trainer_config config = base_config();
    for (int form = 0; form < 6; form++) {
        prn__device device = open_cuda(f, form % 2 == 1 ? "bf16" : "fp32", form < 4 ? "true" : "false", "false");
        config.micro_batch = form / 2 == 1 ? 2 : 0;
        config.checkpoint = form >= 4;
        outcome plain = train(f, &device, &config);
        for (size_t k = 0; k < (on_device() ? 1 : sizeof orders / sizeof orders[0]); k++) {
            assert_int_equal(setenv("PRN_EMULATOR_STREAMS", orders[k], 1), 0);
            outcome ahead = train_telling(f, &device, &config, 1);
            check_same(f, &plain, &ahead);
            prn__free(ahead.weights);
        }
        assert_int_equal(unsetenv("PRN_EMULATOR_STREAMS"), 0);
        prn__free(plain.weights);
        prn__device_close(&device);
    }
}

/* Writes ahead and at once, reads and copies of one buffer, in any order: each sees what came before it. */
static void test_ahead_buffers(void **state)
{
    const fixture *f = *state;
    static const char *const orders[] = {"lazy", "eager", "mixed"};
    enum { N = 3000000 }; /* more than a slot of pinned memory */
    float *given = prn__alloc_array(N, sizeof *given), *got = prn__alloc_array(N, sizeof *got);
    for (size_t k = 0; k < (on_device() ? 1 : sizeof orders / sizeof orders[0]); k++) {
        assert_int_equal(setenv("PRN_EMULATOR_STREAMS", orders[k], 1), 0);
        prn__device device = open_cuda(f, k == 1 ? "bf16" : "fp32", "true", "false");
        const prn_backend *b = device.backend;
        prn_buffer *one, *two, *integers;
        prn_error refused = PRN_ERROR_INIT;
        const int32_t number = 3;
        OK(b->buffer_create(device.instance, PRN_REAL, N, "one", &one, error));
        OK(b->buffer_create(device.instance, PRN_REAL, N, "two", &two, error));
        OK(b->buffer_create(device.instance, PRN_I32, 4, "integers", &integers, error));
        for (int turn = 0; turn < 6; turn++) {
            for (int i = 0; i < N; i++) {
                given[i] = (float)((i + 7 * turn) % 1001);
            }
            OK((turn == 4 ? b->buffer_write : b->buffer_write_ahead)(device.instance, one, 0, PRN_HOST_F32, given, N, error));
            OK(b->buffer_copy(device.instance, two, 0, one, 0, N, error));
            memset(given, 0, (size_t)N * sizeof *given); /* the host's again */
            OK(b->buffer_write_ahead(device.instance, one, 0, PRN_HOST_F32, given, N, error)); /* not before the copy has read it */
            OK(b->buffer_read(device.instance, turn % 2 == 0 ? two : one, 0, PRN_HOST_F32, got, N, error));
            for (int i = 0; i < N; i++) {
                if (got[i] != (turn % 2 == 0 ? (float)((i + 7 * turn) % 1001) : 0)) {
                    fail_msg("streams %s, turn %d: %g at %d", orders[k], turn, (double)got[i], i);
                }
            }
        }
        assert_int_equal(b->buffer_write_ahead(device.instance, integers, 0, PRN_HOST_I32, &number, 1, &refused), PRN_UNSUPPORTED);
        assert_int_equal(b->buffer_write_ahead(device.instance, one, 1, PRN_HOST_F32, given, N, &refused), PRN_INVALID);
        OK(b->buffer_write_ahead(device.instance, one, 0, PRN_HOST_F32, given, N, error));
        b->buffer_destroy(device.instance, one); /* on its way */
        b->buffer_destroy(device.instance, two);
        b->buffer_destroy(device.instance, integers);
        prn__device_close(&device);
    }
    assert_int_equal(unsetenv("PRN_EMULATOR_STREAMS"), 0);
    prn__free(given);
    prn__free(got);
}

/* Device memory in use after a step. */
static uint64_t memory_of(const fixture *f, const char *precision)
{
    prn__trainer_config config = base_config();
    prn__device device = open_cuda(f, precision, "true", "false");
    prn_device_info info = {.struct_size = sizeof info};
    prn__trainer *trainer;
    uint32_t count = 0;
    OK(prn__trainer_create(f->model, &device, &config, &trainer, error));
    OK(prn__trainer_set_state(trainer, f->flat, NULL, NULL, 0, error));
    OK(prn__trainer_step(trainer, &f->batch[0], 1e-3, NULL, error));
    OK(device.backend->devices(prn__registry_host(f->registry), &info, 1, &count, error));
    prn__trainer_destroy(trainer);
    prn__device_close(&device);
    return info.memory_bytes - info.memory_free_bytes;
}

/* Activations of two bytes take the room of two bytes. */
static void test_memory(void **state)
{
    const uint64_t wide = memory_of(*state, "fp32"), narrow = memory_of(*state, "bf16");
    print_message("device memory after a step: %.1f MiB in fp32, %.1f in bf16\n", (double)wide / (1 << 20), (double)narrow / (1 << 20));
    assert_true(narrow + 200000 < wide);
}

/* Weights and moments from cpu go on on cuda, and the other way round. */
static void test_resume_across(void **state)
{
    const fixture *f = *state;
    const int64_t n = f->model->flat_elements;
    const prn__trainer_config config = base_config();
    prn__device cuda = open_cuda(f, "fp32", "true", "false");
    float *kept[3], *ends[2];
    for (int i = 0; i < 3; i++) {
        kept[i] = prn__alloc_array((size_t)n, sizeof **kept);
    }
    for (int way = 0; way < 2; way++) {
        prn__trainer *first, *second;
        int64_t updates = 0;
        ends[way] = prn__alloc_array((size_t)n, sizeof **ends);
        OK(prn__trainer_create(f->model, way == 0 ? &cuda : &f->cpu, &config, &first, error));
        OK(prn__trainer_set_state(first, f->flat, NULL, NULL, 0, error));
        OK(prn__trainer_step(first, &f->batch[0], 1e-3, NULL, error));
        OK(prn__trainer_get_state(first, kept[0], kept[1], kept[2], &updates, error));
        prn__trainer_destroy(first);
        OK(prn__trainer_create(f->model, way == 0 ? &f->cpu : &cuda, &config, &second, error));
        OK(prn__trainer_set_state(second, kept[0], kept[1], kept[2], updates, error));
        OK(prn__trainer_step(second, &f->batch[1], 1e-3, NULL, error));
        OK(prn__trainer_get_state(second, ends[way], NULL, NULL, &updates, error));
        assert_int_equal(updates, 2);
        prn__trainer_destroy(second);
    }
    assert_true(test_max_difference(ends[0], ends[1], n) <= 2.5e-3);
    for (int i = 0; i < 3; i++) {
        prn__free(kept[i]);
    }
    prn__free(ends[0]);
    prn__free(ends[1]);
    prn__device_close(&cuda);
}

/* ---- what goes wrong ---- */

static void test_out_of_memory(void **state)
{
    const fixture *f = *state;
    const prn__trainer_config config = base_config();
    prn_error failure = PRN_ERROR_INIT;
    prn__trainer *trainer;
    assert_int_equal(setenv("PRN_EMULATOR_MEMORY", "36700160", 1), 0); /* 35 MiB, 32 of them for the matrix library */
    prn__device device = open_cuda(f, "fp32", "true", "false");
    assert_int_equal(prn__trainer_create(f->model, &device, &config, &trainer, &failure), PRN_NO_MEMORY);
    assert_non_null(strstr(failure.message, "out of device memory"));
    assert_non_null(strstr(failure.message, "MiB are free"));
    assert_non_null(strstr(failure.message, "micro_batch"));
    prn__device_close(&device);
    assert_int_equal(unsetenv("PRN_EMULATOR_MEMORY"), 0);
}

/* Opens, trains three steps, closes. */
static prn_status whole_life(const fixture *f, prn_error *failure)
{
    const prn__trainer_config config = base_config();
    prn__device device;
    prn__trainer *trainer = NULL;
    prn_status status = prn__device_open(f->registry, "cuda", NULL, 0, &device, failure);
    if (status != PRN_OK) {
        return status;
    }
    status = prn__trainer_create(f->model, &device, &config, &trainer, failure);
    if (status == PRN_OK) {
        status = prn__trainer_set_state(trainer, f->flat, NULL, NULL, 0, failure);
    }
    for (int turn = 0; turn < 3 && status == PRN_OK; turn++) {
        prn__trainer_expect(trainer, &f->batch[0]);
        status = prn__trainer_step(trainer, &f->batch[0], 1e-3, NULL, failure);
    }
    prn__trainer_destroy(trainer);
    prn__device_close(&device);
    return status;
}

/* Each function of the driver fails at its first, third, ninth, ... call: an error that says something every time, nothing left behind (the
 * emulator looks when the last context goes), and the next life is none the worse. */
static void test_failing_driver(void **state)
{
    const fixture small = narrow(*state), *f = &small;
    static const char *const names[] = {"cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuMemAlloc",
                                        "cuMemHostAlloc", "cuStreamWaitEvent", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuMemsetD8Async", "cuStreamCreate",
                                        "cuStreamSynchronize", "cuEventCreate", "cuEventRecord", "cuModuleLoadData", "cuModuleGetFunction",
                                        "cuLaunchKernel", "cuStreamBeginCapture", "cuGraphLaunch"};
    prn_error failure = PRN_ERROR_INIT;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int failures = 0;
        for (int at = 1; at < 1 << 20; at *= 3) {
            char wish[64];
            failure = (prn_error)PRN_ERROR_INIT;
            (void)snprintf(wish, sizeof wish, "%s:%d", names[i], at);
            assert_int_equal(setenv("PRN_EMULATOR_FAIL", wish, 1), 0);
            if (whole_life(f, &failure) == PRN_OK) {
                break;
            }
            assert_true(failure.message[0] != '\0');
            failures++;
        }
        assert_int_equal(unsetenv("PRN_EMULATOR_FAIL"), 0);
        if (failures == 0) {
            fail_msg("%s never failed", names[i]);
        }
    }
    if (whole_life(f, &failure) != PRN_OK) {
        fail_msg("%s", failure.message);
    }
    /* no memory for a graph: what it would have replayed is launched */
    assert_int_equal(setenv("PRN_EMULATOR_FAIL", "cuGraphInstantiateWithFlags:1", 1), 0);
    if (whole_life(f, &failure) != PRN_OK) {
        fail_msg("%s", failure.message);
    }
    assert_int_equal(unsetenv("PRN_EMULATOR_FAIL"), 0);
}

static void test_no_device(void **state)
{
    const fixture *f = *state;
    const prn_backend *backend;
    prn_error failure = PRN_ERROR_INIT;
    prn_device_info info = {.struct_size = sizeof info};
    uint32_t count = 7;
    prn__device device;
    OK(prn__registry_backend(f->registry, "cuda", &backend, NULL, error));
    assert_int_equal(setenv("PRN_EMULATOR_DEVICES", "0", 1), 0);
    assert_int_equal(backend->devices(prn__registry_host(f->registry), &info, 1, &count, &failure), PRN_OK);
    assert_int_equal(count, 0);
    assert_non_null(strstr(failure.message, "NO_DEVICE"));
    assert_int_equal(prn__device_open(f->registry, "cuda", NULL, 0, &device, &failure), PRN_NOT_FOUND);
    OK(prn__device_open(f->registry, "auto", NULL, 0, &device, error));
    assert_string_equal(device.backend->name, "cpu");
    prn__device_close(&device);
    assert_int_equal(setenv("PRN_EMULATOR_DEVICES", "2", 1), 0);
    const prn__option_pair second = {"device", "1"}, third = {"device", "2"};
    OK(prn__device_open(f->registry, "cuda", &second, 1, &device, error));
    prn__device_close(&device);
    assert_int_equal(prn__device_open(f->registry, "cuda", &third, 1, &device, &failure), PRN_NOT_FOUND);
    assert_non_null(strstr(failure.message, "device=2"));
    assert_int_equal(unsetenv("PRN_EMULATOR_DEVICES"), 0);
    OK(prn__device_open(f->registry, "auto", NULL, 0, &device, error));
    assert_string_equal(device.backend->name, "cuda");
    prn__device_close(&device);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest anywhere[] = {
        cmocka_unit_test(test_conformance),     cmocka_unit_test(test_conformance_bf16), cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_head_widths),
        cmocka_unit_test(test_training_fp32),   cmocka_unit_test(test_training_bf16),    cmocka_unit_test(test_resume_across),
        cmocka_unit_test(test_ahead),           cmocka_unit_test(test_ahead_buffers),    cmocka_unit_test(test_updates),
    };
    const struct CMUnitTest emulated[] = {
        cmocka_unit_test(test_memory),               cmocka_unit_test(test_conformance_backward), cmocka_unit_test(test_own_products), cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_no_device),            cmocka_unit_test(test_failing_driver),
    };
    const int started = emulated_start(argv);
    if (started != 1) {
        return started == 0 ? 0 : 1;
    }
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const int failed = cmocka_run_group_tests(anywhere, setup, teardown);
    return on_device() ? failed : failed + cmocka_run_group_tests(emulated, setup, teardown);
}
