/* core/report/model_report.c: see model_report.h. FLOPs are 2 x MACs, as the field's tables have them. */
#include "report/model_report.h"

#include <inttypes.h>
#include <string.h>

#include "report/json.h"
#include "report/table.h"

prn_status prn__model_facts_of(const prn__model_config *config, prn__model_facts *facts, prn_error *error)
{
    prn__model *model = NULL;
    facts->config = *config;
    prn_status status = prn__model_create(config, PRN__DECAY_DIMENSIONS, &model, error);
    if (status == PRN_OK) {
        facts->parameters = model->elements;
        status = prn__model_forward_macs(model, &facts->image_macs, &facts->text_macs, error);
        prn__model_destroy(model);
    }
    return status;
}

static double gflops(double macs)
{
    return 2 * macs * 1e-9;
}

static const char *activation_of(const prn__model_config *c)
{
    return c->quick_gelu ? "QuickGELU" : "GELU";
}

void prn__model_print(const prn__model_facts *facts, prn__text *target)
{
    const prn__model_config *c = &facts->config;
    char number[32];
    int64_t side = c->vision.image_size / c->vision.patch_size;
    prn__table *table = prn__table_create();
    prn__table_column(table, "", 'l');
    prn__table_column(table, "", 'l');
    prn__table_cell(table, "parameters");
    prn__table_cell(table, "%.2f M (%s)", (double)facts->parameters * 1e-6, prn__format_count(facts->parameters, number, sizeof number));
    prn__table_cell(table, "forward");
    prn__table_cell(table, "%.*f GFLOPs: image %.*f, text %.*f (one image, one text of %" PRId64 " tokens)",
                    gflops(facts->image_macs + facts->text_macs) < 0.1 ? 4 : 2, gflops(facts->image_macs + facts->text_macs),
                    gflops(facts->image_macs) < 0.1 ? 4 : 2, gflops(facts->image_macs), gflops(facts->text_macs) < 0.1 ? 4 : 2,
                    gflops(facts->text_macs), c->text.context_length);
    prn__table_cell(table, "embedding");
    prn__table_cell(table, "%" PRId64, c->embed_dim);
    prn__table_cell(table, "activation");
    prn__table_cell(table, "%s", activation_of(c));
    prn__table_cell(table, "image tower");
    prn__table_cell(table, "%" PRId64 " block%s of width %" PRId64 ", %" PRId64 " heads; %" PRId64 "x%" PRId64 " pixels in patches of %" PRId64
                    ": %" PRId64 " positions", c->vision.layers, c->vision.layers == 1 ? "" : "s", c->vision.width, c->vision.width / c->vision.head_width, c->vision.image_size,
                    c->vision.image_size, c->vision.patch_size, side * side + 1);
    prn__table_cell(table, "text tower");
    prn__table_cell(table, "%" PRId64 " block%s of width %" PRId64 ", %" PRId64 " heads; up to %" PRId64 " of %s tokens", c->text.layers,
                    c->text.layers == 1 ? "" : "s", c->text.width, c->text.heads, c->text.context_length, prn__format_count(c->text.vocab_size, number, sizeof number));
    prn__text_append_safe(target, c->name[0] != '\0' ? c->name : "(no name)", strlen(c->name[0] != '\0' ? c->name : "(no name)"), 0);
    prn__text_puts(target, "\n");
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
}

static void put_facts(prn__json *json, json_t *root, const prn__model_facts *facts)
{
    const prn__model_config *c = &facts->config;
    prn__json_string(json, root, "name", c->name);
    prn__json_integer(json, root, "parameters", facts->parameters);
    prn__json_real(json, root, "forward_flops", 2 * (facts->image_macs + facts->text_macs));
    prn__json_real(json, root, "image_flops", 2 * facts->image_macs);
    prn__json_real(json, root, "text_flops", 2 * facts->text_macs);
    prn__json_integer(json, root, "embed_dim", c->embed_dim);
    prn__json_boolean(json, root, "quick_gelu", c->quick_gelu);
    json_t *vision = prn__json_object(json, root, "vision");
    prn__json_integer(json, vision, "image_size", c->vision.image_size);
    prn__json_integer(json, vision, "patch_size", c->vision.patch_size);
    prn__json_integer(json, vision, "width", c->vision.width);
    prn__json_integer(json, vision, "layers", c->vision.layers);
    prn__json_integer(json, vision, "head_width", c->vision.head_width);
    prn__json_real(json, vision, "mlp_ratio", c->vision.mlp_ratio);
    json_t *text = prn__json_object(json, root, "text");
    prn__json_integer(json, text, "context_length", c->text.context_length);
    prn__json_integer(json, text, "vocab_size", c->text.vocab_size);
    prn__json_integer(json, text, "width", c->text.width);
    prn__json_integer(json, text, "heads", c->text.heads);
    prn__json_integer(json, text, "layers", c->text.layers);
    prn__json_real(json, text, "mlp_ratio", c->text.mlp_ratio);
}

void prn__model_json(const prn__model_facts *facts, const char *const *programs, prn__text *target)
{
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL);
    put_facts(&json, root, facts);
    if (programs != NULL) {
        json_t *object = prn__json_object(&json, root, "programs");
        prn__json_string(&json, object, "image", programs[0]);
        prn__json_string(&json, object, "text", programs[1]);
    }
    prn__json_finish(&json, root, target);
}

void prn__model_list_print(const prn__model_facts *facts, size_t count, prn__text *target)
{
    static const char *const heads[] = {"name", "parameters", "GFLOPs", "image", "patch", "image tower", "text tower", "embedding", "activation"};
    static const char aligns[] = {'l', 'r', 'r', 'r', 'r', 'r', 'r', 'r', 'l'};
    prn__table *table = prn__table_create();
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        prn__table_column(table, heads[i], aligns[i]);
    }
    for (size_t i = 0; i < count; i++) {
        const prn__model_config *c = &facts[i].config;
        double cost = gflops(facts[i].image_macs + facts[i].text_macs);
        prn__table_cell(table, "%s", c->name);
        prn__table_cell(table, "%.2f M", (double)facts[i].parameters * 1e-6);
        prn__table_cell(table, "%.*f", cost < 1 ? 3 : 2, cost);
        prn__table_cell(table, "%" PRId64, c->vision.image_size);
        prn__table_cell(table, "%" PRId64, c->vision.patch_size);
        prn__table_cell(table, "%" PRId64 " x %" PRId64, c->vision.layers, c->vision.width);
        prn__table_cell(table, "%" PRId64 " x %" PRId64, c->text.layers, c->text.width);
        prn__table_cell(table, "%" PRId64, c->embed_dim);
        prn__table_cell(table, "%s", activation_of(c));
    }
    prn__table_print(table, 0, target);
    prn__table_destroy(table);
    prn__text_puts(target, "\ntowers: blocks x width; GFLOPs: one image and one text of full context length, forward\n");
}

void prn__model_list_json(const prn__model_facts *facts, size_t count, prn__text *target)
{
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL), *models = prn__json_array(&json, root, "models");
    for (size_t i = 0; i < count; i++) {
        put_facts(&json, prn__json_object(&json, models, NULL), &facts[i]);
    }
    prn__json_finish(&json, root, target);
}
