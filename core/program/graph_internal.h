/* core/program/graph_internal.h: the graph's insides, shared by the files of this room only. */
#ifndef PRN_PROGRAM_GRAPH_INTERNAL_H
#define PRN_PROGRAM_GRAPH_INTERNAL_H

#include "base/memory.h"
#include "program/graph.h"

/* No tensor is larger, so that sizes may be multiplied and added without looking. */
#define PRN__MAX_ELEMENTS (INT64_MAX / 16)

struct prn__graph {
    const char *name;
    prn__arena memory; /* names */
    prn_symbol *symbols;
    prn_slot *slots;
    prn_tensor *tensors;
    prn_op *ops;
    prn_segment *segments;
    uint32_t symbol_count, slot_count, tensor_count, op_count, segment_count;
    uint32_t symbol_capacity, slot_capacity, tensor_capacity, op_capacity, segment_capacity;
    uint32_t group;
    int is_finished;
    prn_error failure; /* the first one; status PRN_OK while there is none */
    prn_program program;
};

/* What an operation makes of its inputs. `known` bit i: shape[i] was inferred; otherwise the given output decides. */
typedef struct inference {
    prn_tensor shape[PRN_OP_MAX_OUTPUTS]; /* type, rank, dim only */
    uint32_t known;
    uint32_t may_be_bf16; /* bit i: a given output may be, with all others of them */
} inference;

/* Checks inputs and attributes; `out_given[i]` is a given output tensor or NULL. */
prn_status prn__infer(const prn__graph *graph, prn_op_kind kind, const int32_t *inputs, const prn_op_attrs *attrs, inference *result,
                      prn_error *error);

const char *prn__op_name(uint32_t kind);
uint32_t prn__op_inputs(uint32_t kind);
uint32_t prn__op_outputs(uint32_t kind);

/* "(B*50, 768)" into target; returns target. */
const char *prn__shape_text(const prn_symbol *symbols, const prn_tensor *tensor, char *target, size_t bytes);

/* Same type, rank and dimensions. */
int prn__same_shape(const prn_tensor *a, const prn_tensor *b);

/* A workspace tensor of the given type, rank and dims; its offset comes with the plan. */
int32_t prn__graph_temporary(prn__graph *graph, const char *name, const prn_tensor *like);

/* Keeps the first failure. */
void prn__graph_fail(prn__graph *graph, prn_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

prn_status prn__graph_plan_memory(prn__graph *graph, prn_error *error);

#endif
