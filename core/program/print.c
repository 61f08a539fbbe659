/* core/program/print.c: a program as a table that a person can read. */
#include "program/graph_internal.h"

#include <string.h>

static void print_tensor(const prn_program *program, int32_t t, prn__text *target)
{
    char shape[96];
    const prn_tensor *tensor = &program->tensors[t];
    prn__text_printf(target, "%s%s", tensor->name, prn__shape_text(program->symbols, tensor, shape, sizeof shape));
    if (tensor->slot != PRN_SLOT_WORKSPACE) {
        prn__text_printf(target, "@%s+%lld", program->slots[tensor->slot].name, (long long)tensor->offset);
    } else {
        prn__text_printf(target, "@%lld", (long long)tensor->offset);
    }
}

void prn__program_print(const prn_program *program, prn__text *target)
{
    int64_t *values = prn__alloc_array(program->symbol_count + 1, sizeof *values);
    char number[32];
    if (values == NULL) {
        target->failed = 1;
        return;
    }
    prn__text_printf(target, "program %s\n", program->name);
    for (uint32_t i = 0; i < program->symbol_count; i++) {
        values[i] = program->symbols[i].maximum;
        prn__text_printf(target, "  size   %-20s at most %lld\n", program->symbols[i].name, (long long)program->symbols[i].maximum);
    }
    for (uint32_t i = 0; i < program->slot_count; i++) {
        static const char *const type[] = {"?", "real", "i32", "u8", "bf16"};
        prn__text_printf(target, "  slot   %-20s %-4s %s\n", program->slots[i].name, type[program->slots[i].type <= PRN_BF16 ? program->slots[i].type : 0],
                         program->slots[i].is_written ? "written" : "read only");
    }
    prn__text_printf(target, "  workspace %lld elements at these sizes\n", (long long)program->workspace_elements);
    for (uint32_t s = 0; s < program->segment_count; s++) {
        const prn_segment *segment = &program->segments[s];
        prn__text_printf(target, "segment %s: %u operations, %s MACs\n", segment->name, segment->op_count,
                         prn__format_si(prn__program_macs(program, (int32_t)s, values, 0), number, sizeof number));
        for (uint32_t i = segment->first_op; i < segment->first_op + segment->op_count; i++) {
            const prn_op *op = &program->ops[i];
            double macs = prn__program_op_macs(program, i, values, 0);
            prn__text_printf(target, "%5u %3u %-24s %9s  ", i, op->group, prn__op_name(op->kind), macs > 0 ? prn__format_si(macs, number, sizeof number) : "");
            const char *comma = "";
            for (uint32_t k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
                if (op->output[k] >= 0) {
                    prn__text_puts(target, comma);
                    print_tensor(program, op->output[k], target);
                    comma = ", ";
                }
            }
            prn__text_puts(target, op->attrs.accumulate ? "  +=  " : "  <-  ");
            comma = "";
            for (uint32_t k = 0; k < PRN_OP_MAX_INPUTS; k++) {
                if (op->input[k] >= 0) {
                    prn__text_puts(target, comma);
                    print_tensor(program, op->input[k], target);
                    comma = ", ";
                }
            }
            prn__text_puts(target, "\n");
        }
    }
    prn__free(values);
}
