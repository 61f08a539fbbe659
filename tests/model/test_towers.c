/* tests/model/test_towers.c: MACs of the published configurations; packed text against the padded form, rows that are read against all, body and head
 * against the whole.
 */
#include "model/test_support.h"

#include "model/compiled.h"
#include "model/embedder.h"
#include "model/texts.h"

/* open_clip's table (model_profile.csv): GFLOPs of one image and one text at 77 tokens, 2 x MACs. */
static void test_published_flops(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double gflops, image, text;
    } known[] = {
        {"ViT-S-32", 5.66, 2.29, 3.38},      {"ViT-M-32", 9.95, 3.99, 5.96},        {"ViT-B-32", 14.78, 8.82, 5.96},       {"ViT-B-16", 41.09, 35.13, 5.96},
        {"ViT-L-14", 175.33, 162.03, 13.3},  {"ViT-L-14-336", 395.22, 381.92, 13.3}, {"ViT-H-14", 381.68, 334.59, 47.09},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        prn__model_config config;
        prn__model *model;
        double image, text;
        OK(prn__model_config_resolve(known[i].name, &config, error));
        OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &model, error));
        OK(prn__model_forward_macs(model, &image, &text, error));
        print_message("%s: %.3f + %.3f = %.3f GFLOPs\n", known[i].name, 2e-9 * image, 2e-9 * text, 2e-9 * (image + text));
        NEAR(2e-9 * (image + text), known[i].gflops, 0.01 * known[i].gflops);
        NEAR(2e-9 * image, known[i].image, 0.01 * known[i].image);
        NEAR(2e-9 * text, known[i].text, 0.01 * known[i].text);
        prn__model_destroy(model);
    }
}

/* MACs written out for one configuration: exact. */
static void test_macs_by_hand(void **state)
{
    (void)state;
    prn__model_config config;
    prn__model *model;
    double image, text;
    OK(prn__model_config_resolve("ViT-B-32", &config, error));
    OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &model, error));
    OK(prn__model_forward_macs(model, &image, &text, error));
    const double c = 768, t = 50, ct = 512, tt = 77;
    NEAR(image, 49 * 3072 * c + 12 * (t * 12 * c * c + 2 * t * t * c) + c * 512, 0.5);
    NEAR(text, 12 * (tt * 12 * ct * ct + 2 * tt * tt * ct) + ct * 512, 0.5);
    prn__model_destroy(model);
}

enum { ITEMS = 7 };

typedef struct fixture {
    prn__model *model;
    float *flat;
    prn__batch batch;
    test_device device;
} fixture;

static void fixture_open(fixture *f, const char *backend, int quick_gelu)
{
    prn__model_config config;
    OK(prn__model_config_resolve("ViT-nano-32px", &config, error));
    config.text.vocab_size = 90;
    config.quick_gelu = quick_gelu;
    OK(prn__model_create(&config, PRN__DECAY_DIMENSIONS, &f->model, error));
    f->flat = prn__alloc_array((size_t)f->model->flat_elements, sizeof *f->flat);
    prn__model_init(f->model, 17, f->flat);
    test_batch_make(&f->batch, &config, ITEMS, 4);
    test_device_open(&f->device, backend, 2);
}

static void fixture_close(fixture *f)
{
    test_device_close(&f->device);
    test_batch_free(&f->batch);
    prn__free(f->flat);
    prn__model_destroy(f->model);
    assert_int_equal(prn__alloc_live(), 0);
}

typedef struct outcome {
    double *embeddings, *gradients;
} outcome;

typedef enum tower_form { READ_ROWS, EVERY_ROW, BODY_AND_HEAD } tower_form;

/* The head of a tower, and what lies between it and the body. */
typedef struct head {
    prn__compiled program;
    prn_buffer *buffers[5]; /* attended, residual, the gradients by these, workspace */
} head;

static void head_open(head *h, const fixture *f, int is_text, prn__compiled *body)
{
    static const char *const names[4] = {"attended", "residual", "attended_gradients", "residual_gradients"};
    const prn__tower_options options = {.max_items = ITEMS, .training = 1};
    const int64_t width = is_text ? f->model->config.text.width : f->model->config.vision.width;
    prn__graph *graph;
    memset(h, 0, sizeof *h);
    OK(prn__model_tower_head(f->model, is_text, &options, &graph, error));
    OK(prn__compiled_init(&h->program, graph, &f->device.device, error));
    for (int i = 0; i < 5; i++) {
        const int64_t elements = i < 4 ? ITEMS * width : h->program.program->workspace_elements;
        OK(prn__buffer_create(&f->device.device, PRN_REAL, elements, "test", &h->buffers[i], NULL, error));
        prn__compiled_bind(&h->program, i < 4 ? names[i] : "workspace", h->buffers[i], 0);
        if (i < 4) {
            assert_true(prn__program_slot(body->program, names[i]) > 0);
            prn__compiled_bind(body, names[i], h->buffers[i], 0);
        }
    }
    assert_int_equal(prn__program_slot(body->program, "embeddings"), -1);
    prn__compiled_set(&h->program, "B", ITEMS);
}

static void head_close(head *h, const fixture *f)
{
    prn__compiled_fini(&h->program);
    for (int i = 0; i < 5; i++) {
        prn__buffer_destroy(&f->device.device, h->buffers[i]);
    }
}

/* Forward and backward of the text tower over rows given explicitly, or of the image tower (`tokens` NULL); the seed of the backward pass is
 * a fixed pattern. */
static outcome run_tower(const fixture *f, const int32_t *tokens, const int32_t *positions, const int32_t *offsets, const int32_t *ends, int64_t rows,
                         tower_form form)
{
    const prn__device *device = &f->device.device;
    const prn_backend *backend = device->backend;
    const int64_t e = f->model->config.embed_dim, flat = f->model->flat_elements;
    const prn__tower_options options = {.max_items = ITEMS, .training = 1, .every_row = form == EVERY_ROW,
                                         .part = form == BODY_AND_HEAD ? PRN__TOWER_BODY : PRN__TOWER_WHOLE};
    prn__compiled tower = {0}, *last = &tower; /* the program that has the embeddings */
    head h;
    prn__graph *graph;
    enum { TOKENS, POSITIONS, OFFSETS, ENDS, INTEGERS };
    static const char *const names[INTEGERS] = {"tokens", "positions", "offsets", "ends"};
    const int32_t *const sources[INTEGERS] = {tokens, positions, offsets, ends};
    const int64_t counts[INTEGERS] = {rows, rows, ITEMS + 1, ITEMS}, side = f->model->config.vision.image_size, pixels = ITEMS * side * side * 3;
    prn_buffer *integers[INTEGERS] = {NULL}, *images = NULL, *parameters, *gradients, *embeddings, *seed, *workspace;
    outcome out = {prn__alloc_array(ITEMS * (size_t)e, sizeof(double)), prn__alloc_array((size_t)flat, sizeof(double))};
    OK((tokens == NULL ? prn__model_image_tower : prn__model_text_tower)(f->model, &options, &graph, error));
    OK(prn__compiled_init(&tower, graph, device, error));
    if (tokens == NULL) {
        OK(prn__buffer_create(device, PRN_U8, pixels, "images", &images, NULL, error));
        OK(backend->buffer_write(device->instance, images, 0, PRN_HOST_U8, f->batch.images, pixels, error));
        prn__compiled_bind(&tower, "images", images, 0);
    }
    for (int i = 0; i < INTEGERS && tokens != NULL; i++) {
        OK(prn__buffer_create(device, PRN_I32, counts[i], names[i], &integers[i], NULL, error));
        OK(backend->buffer_write(device->instance, integers[i], 0, PRN_HOST_I32, sources[i], counts[i], error));
        prn__compiled_bind(&tower, names[i], integers[i], 0);
    }
    OK(prn__buffer_create(device, PRN_REAL, flat, "parameters", &parameters, NULL, error));
    OK(prn__buffer_create(device, PRN_REAL, flat, "gradients", &gradients, NULL, error));
    OK(prn__buffer_create(device, PRN_REAL, ITEMS * e, "embeddings", &embeddings, NULL, error));
    OK(prn__buffer_create(device, PRN_REAL, ITEMS * e, "seed", &seed, NULL, error));
    OK(prn__buffer_create(device, PRN_REAL, tower.program->workspace_elements, "workspace", &workspace, NULL, error));
    OK(backend->buffer_write(device->instance, parameters, 0, PRN_HOST_F32, f->flat, flat, error));
    for (int64_t i = 0; i < ITEMS * e; i++) {
        out.embeddings[i] = sin((double)i);
    }
    OK(backend->buffer_write(device->instance, seed, 0, PRN_HOST_F64, out.embeddings, ITEMS * e, error));
    prn__compiled_bind(&tower, "workspace", workspace, 0);
    prn__compiled_bind(&tower, "parameters", parameters, 0);
    prn__compiled_bind(&tower, "gradients", gradients, 0);
    if (form == BODY_AND_HEAD) {
        head_open(&h, f, tokens != NULL, &tower);
        prn__compiled_bind(&h.program, "parameters", parameters, 0);
        prn__compiled_bind(&h.program, "gradients", gradients, 0);
        last = &h.program;
    }
    prn__compiled_bind(last, "embeddings", embeddings, 0);
    prn__compiled_bind(last, "embedding_gradients", seed, 0);
    prn__compiled_set(&tower, "B", ITEMS);
    if (tokens != NULL) {
        prn__compiled_set(&tower, "N", rows);
    }
    OK(prn__compiled_run(&tower, "forward", error));
    if (last != &tower) {
        OK(prn__compiled_run(last, "forward", error));
        OK(prn__compiled_run(last, "backward", error));
    }
    OK(prn__compiled_run(&tower, "backward", error));
    OK(backend->buffer_read(device->instance, embeddings, 0, PRN_HOST_F64, out.embeddings, ITEMS * e, error));
    OK(backend->buffer_read(device->instance, gradients, 0, PRN_HOST_F64, out.gradients, flat, error));
    for (int i = 0; i < INTEGERS; i++) {
        prn__buffer_destroy(device, integers[i]);
    }
    prn__buffer_destroy(device, images);
    prn__buffer_destroy(device, parameters);
    prn__buffer_destroy(device, gradients);
    prn__buffer_destroy(device, embeddings);
    prn__buffer_destroy(device, seed);
    prn__buffer_destroy(device, workspace);
    prn__compiled_fini(&tower);
    if (form == BODY_AND_HEAD) {
        head_close(&h, f);
    }
    return out;
}

/* Packed rows against rows padded to the context length with other tokens behind the end: same embeddings, same gradients. */
static void packed_and_padded(const char *backend, double bound)
{
    fixture f;
    fixture_open(&f, backend, 0);
    const int64_t context = f.model->config.text.context_length;
    const prn__batch *batch = &f.batch;
    int32_t *tokens = prn__alloc_array((size_t)(ITEMS * context), 4), *positions = prn__alloc_array((size_t)(ITEMS * context), 4);
    int32_t offsets[ITEMS + 1], ends[ITEMS];
    assert_true(batch->token_count < ITEMS * context);
    for (int64_t b = 0; b < ITEMS; b++) {
        offsets[b] = (int32_t)batch->offsets[b];
        ends[b] = (int32_t)batch->offsets[b + 1] - 1;
        for (int64_t i = batch->offsets[b]; i < batch->offsets[b + 1]; i++) {
            positions[i] = (int32_t)(i - batch->offsets[b]);
        }
    }
    offsets[ITEMS] = (int32_t)batch->token_count;
    outcome packed = run_tower(&f, batch->tokens, positions, offsets, ends, batch->token_count, READ_ROWS);
    for (int64_t b = 0; b < ITEMS; b++) {
        const int64_t length = batch->offsets[b + 1] - batch->offsets[b];
        offsets[b] = (int32_t)(b * context);
        ends[b] = (int32_t)(b * context + length - 1);
        for (int64_t i = 0; i < context; i++) {
            /* zeros behind the end in one item, other words in the next: neither may matter */
            tokens[b * context + i] = i < length ? batch->tokens[batch->offsets[b] + i] : b % 2 == 0 ? 0 : (int32_t)((b * 31 + i * 7) % 80);
            positions[b * context + i] = (int32_t)i;
        }
    }
    offsets[ITEMS] = (int32_t)(ITEMS * context);
    outcome padded = run_tower(&f, tokens, positions, offsets, ends, ITEMS * context, READ_ROWS);
    AT_MOST(test_relative(packed.embeddings, padded.embeddings, ITEMS * f.model->config.embed_dim), bound);
    AT_MOST(test_relative(packed.gradients, padded.gradients, f.model->flat_elements), bound);
    double norm = 0;
    for (int64_t i = 0; i < f.model->flat_elements; i++) {
        norm += packed.gradients[i] * packed.gradients[i];
    }
    assert_true(norm > 1e-6);
    /* and the end matters: reading one row earlier gives something else */
    ends[0]--;
    outcome moved = run_tower(&f, tokens, positions, offsets, ends, ITEMS * context, READ_ROWS);
    assert_true(test_relative(moved.embeddings, padded.embeddings, ITEMS * f.model->config.embed_dim) > 1e-3);
    outcome *const all[] = {&packed, &padded, &moved};
    for (int i = 0; i < 3; i++) {
        prn__free(all[i]->embeddings);
        prn__free(all[i]->gradients);
    }
    prn__free(tokens);
    prn__free(positions);
    fixture_close(&f);
}

/* The last block over the rows that are read, against all rows: same embeddings, same gradients, fewer MACs. And cut in body and head: the same embeddings to
 * the last bit. */
static void read_and_every_row(const char *backend, double bound)
{
    fixture f;
    fixture_open(&f, backend, 0);
    const prn__batch *batch = &f.batch;
    int32_t *positions = prn__alloc_array((size_t)batch->token_count, 4), offsets[ITEMS + 1], ends[ITEMS];
    offsets[ITEMS] = (int32_t)batch->token_count;
    for (int64_t b = 0; b < ITEMS; b++) {
        offsets[b] = (int32_t)batch->offsets[b];
        ends[b] = (int32_t)batch->offsets[b + 1] - 1;
        for (int64_t i = batch->offsets[b]; i < batch->offsets[b + 1]; i++) {
            positions[i] = (int32_t)(i - batch->offsets[b]);
        }
    }
    for (int is_text = 0; is_text < 2; is_text++) {
        const int32_t *tokens = is_text ? batch->tokens : NULL;
        outcome read = run_tower(&f, tokens, positions, offsets, ends, batch->token_count, READ_ROWS);
        outcome every = run_tower(&f, tokens, positions, offsets, ends, batch->token_count, EVERY_ROW);
        outcome cut = run_tower(&f, tokens, positions, offsets, ends, batch->token_count, BODY_AND_HEAD);
        assert_memory_equal(cut.embeddings, read.embeddings, (size_t)(ITEMS * f.model->config.embed_dim) * sizeof(double));
        AT_MOST(test_relative(cut.gradients, read.gradients, f.model->flat_elements), bound);
        AT_MOST(test_relative(read.embeddings, every.embeddings, ITEMS * f.model->config.embed_dim), bound);
        AT_MOST(test_relative(read.gradients, every.gradients, f.model->flat_elements), bound);
        double macs[2], norm = 0;
        for (int i = 0; i < 2; i++) {
            const prn__tower_options options = {.max_items = 1, .every_row = i};
            const int64_t values[2] = {1, f.model->config.text.context_length};
            const prn_program *program;
            prn__graph *graph;
            OK((is_text ? prn__model_text_tower : prn__model_image_tower)(f.model, &options, &graph, error));
            OK(prn__graph_finish(graph, &program, error));
            macs[i] = prn__program_macs(program, -1, values, 0);
            prn__graph_destroy(graph);
        }
        const double c = is_text ? (double)f.model->config.text.width : (double)f.model->config.vision.width;
        const double left_out = is_text ? (double)f.model->config.text.context_length - 1 : 16;
        /* queries and the output projection 1 each, the two layers behind them 8; and of attention, the scores and sums of all queries but one */
        NEAR(macs[1] - macs[0], (10 * c * c + 2 * c * (left_out + 1)) * left_out, 0.5);
        for (int64_t i = 0; i < f.model->flat_elements; i++) {
            norm += read.gradients[i] * read.gradients[i];
        }
        assert_true(norm > 1e-6);
        outcome *const all[] = {&read, &every, &cut};
        for (int i = 0; i < 3; i++) {
            prn__free(all[i]->embeddings);
            prn__free(all[i]->gradients);
        }
    }
    prn__free(positions);
    fixture_close(&f);
}

static void test_read_rows_reference(void **state) { (void)state; read_and_every_row("reference", 1e-12); }
static void test_read_rows_cpu(void **state) { (void)state; read_and_every_row("cpu", 1e-5); }
static void test_padding_reference(void **state) { (void)state; packed_and_padded("reference", 1e-12); }
static void test_padding_cpu(void **state) { (void)state; packed_and_padded("cpu", 1e-5); }

/* Any chunk size gives the same embeddings, normalised; both backends agree; no item at all is fine. */
static void test_embedder(void **state)
{
    (void)state;
    for (int quick = 0; quick < 2; quick++) {
        fixture f, g;
        fixture_open(&f, "reference", quick);
        const int64_t e = f.model->config.embed_dim;
        float *want = prn__alloc_array(2 * ITEMS * (size_t)e, sizeof *want), *got = prn__alloc_array(2 * ITEMS * (size_t)e, sizeof *got);
        prn__embedder *embedder;
        test_device_open(&g.device, "cpu", 2);
        static const int64_t chunks[] = {ITEMS, 1, 3, 50};
        for (int i = 0; i < 8; i++) {
            float *target = i == 0 ? want : got;
            OK(prn__embedder_create(f.model, i < 4 ? &f.device.device : &g.device.device, chunks[i % 4], &embedder, error));
            OK(prn__embedder_set_weights(embedder, f.flat, error));
            OK(prn__embedder_images(embedder, f.batch.images, 0, target, error));
            OK(prn__embedder_texts(embedder, f.batch.tokens, f.batch.offsets, 0, target, error));
            OK(prn__embedder_images(embedder, f.batch.images, ITEMS, target, error));
            OK(prn__embedder_texts(embedder, f.batch.tokens, f.batch.offsets, ITEMS, target + ITEMS * e, error));
            AT_MOST(test_max_difference(target, want, 2 * ITEMS * e), i < 4 ? 1e-7 : 1e-6);
            for (int64_t row = 0; row < 2 * ITEMS; row++) {
                double norm = 0;
                for (int64_t j = 0; j < e; j++) {
                    norm += (double)target[row * e + j] * (double)target[row * e + j];
                }
                NEAR(norm, 1, 1e-5);
            }
            prn_error refused = PRN_ERROR_INIT;
            const int64_t bad[2] = {0, f.model->config.text.context_length + 1};
            assert_int_equal(prn__embedder_texts(embedder, f.batch.tokens, bad, 1, got, &refused), PRN_INVALID);
            prn__embedder_destroy(embedder);
        }
        test_device_close(&g.device);
        prn__free(want);
        prn__free(got);
        fixture_close(&f);
    }
}

static void test_no_memory(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f, "cpu", 0);
    prn_error error = PRN_ERROR_INIT;
    int64_t live = prn__alloc_live();
    int finished = 0;
    for (int64_t nth = 1; nth < 100000 && !finished; nth += 1 + nth / 15) {
        prn__embedder *embedder;
        prn__alloc_fail_at(nth);
        prn_status status = prn__embedder_create(f.model, &f.device.device, 4, &embedder, &error);
        prn__alloc_fail_at(0);
        if (status == PRN_OK) {
            finished = 1;
            prn__embedder_destroy(embedder);
        } else if (status != PRN_NO_MEMORY) {
            fail_msg("allocation %lld: %s: %s", (long long)nth, prn_status_name(status), error.message);
        }
        assert_int_equal(prn__alloc_live(), live);
    }
    assert_true(finished);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_flops), cmocka_unit_test(test_macs_by_hand), cmocka_unit_test(test_padding_reference),
        cmocka_unit_test(test_padding_cpu),     cmocka_unit_test(test_embedder),     cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_read_rows_reference), cmocka_unit_test(test_read_rows_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
