/* core/program/graph.h: building a program, deriving its backward pass, planning its memory.
 *
 * A graph is a program under construction. Building functions return a tensor index, or PRN_NO_TENSOR after a failure:
 * the first failure is kept in the graph and reported by `prn__graph_finish`, so a model reads as plain composition.
 * Shapes are inferred and checked at each call; messages name the operation, the tensors and both shapes.
 */
#ifndef PRN_PROGRAM_GRAPH_H
#define PRN_PROGRAM_GRAPH_H

#include <perennial/program.h>
#include "base/text.h"

typedef struct prn__graph prn__graph;

prn_status prn__graph_create(const char *name, prn__graph **graph, prn_error *error);
void prn__graph_destroy(prn__graph *graph); /* NULL is allowed */

int32_t prn__graph_symbol(prn__graph *graph, const char *name, int64_t maximum);
/* Slot 0, "workspace", exists from the start. Returns the slot's index. */
int32_t prn__graph_slot(prn__graph *graph, const char *name, prn_type type);
/* A tensor inside a bound slot (input, output, parameter, gradient). */
int32_t prn__graph_bound(prn__graph *graph, const char *name, int32_t slot, int64_t offset, uint32_t rank, const prn_dim *dims);
/* One tensor, until the next one is made; NULL when there is none. */
const prn_tensor *prn__graph_tensor(const prn__graph *graph, int32_t tensor);
static inline prn_dim prn__fixed(int64_t n) { prn_dim d = {n, PRN_NO_SYMBOL, 0}; return d; }
static inline prn_dim prn__sized(int64_t n, int32_t symbol) { prn_dim d = {n, symbol, 0}; return d; }

/* Operations written from now on belong to `group` (0: none). Groups are what checkpointing recomputes. */
void prn__graph_group(prn__graph *graph, uint32_t group);
/* Starts a new segment; operations before the first call belong to segment "forward". */
void prn__graph_segment(prn__graph *graph, const char *name);

/* One operation. Absent inputs are PRN_NO_TENSOR. Outputs: give a bound tensor's index in `outputs[i]`, or
 * PRN_NO_TENSOR to have a workspace tensor made (when `wanted` bit i is set) with the inferred shape; on return
 * `outputs[i]` holds what was used. `attrs` NULL for all zero. Returns outputs[0]. */
int32_t prn__graph_op(prn__graph *graph, prn_op_kind kind, const int32_t *inputs, int32_t *outputs, uint32_t wanted,
                      const prn_op_attrs *attrs, const char *name);

/* Plain composition on top of prn__graph_op; `out` PRN_NO_TENSOR for a workspace tensor. */
int32_t prn__graph_linear(prn__graph *graph, const char *name, int32_t x, int32_t w, int32_t bias, int32_t residual,
                          prn_activation activation, int transpose_w);
int32_t prn__graph_layer_norm(prn__graph *graph, const char *name, int32_t x, int32_t gain, int32_t bias, double epsilon);
int32_t prn__graph_attention(prn__graph *graph, const char *name, int32_t qkv, int32_t offsets, int32_t heads, int causal, int32_t positions);
int32_t prn__graph_read_attention(prn__graph *graph, const char *name, int32_t q, int32_t kv, int32_t offsets, int32_t rows, int32_t heads, int causal,
                                  int32_t positions, int32_t out);
int32_t prn__graph_lookup(prn__graph *graph, const char *name, int32_t ids, int32_t table, int32_t residual);
int32_t prn__graph_gather_rows(prn__graph *graph, const char *name, int32_t x, int32_t rows, int32_t stride, int32_t out);
int32_t prn__graph_l2_normalise(prn__graph *graph, const char *name, int32_t x, int32_t out);
int32_t prn__graph_axpby(prn__graph *graph, const char *name, double alpha, int32_t a, double beta, int32_t b, int32_t out);
/* `rows`: flags of the rows of a (program.h), or PRN_NO_TENSOR. */
int32_t prn__graph_dot(prn__graph *graph, const char *name, int32_t a, int32_t b, int32_t rows, int32_t out);

/* A known gradient: `gradient` is dLoss/d`tensor`. As a seed it is read; as a target it is written (bound tensors). */
typedef struct prn__gradient {
    int32_t tensor;
    int32_t gradient;
    int32_t accumulate; /* targets: add to what is there */
} prn__gradient;

/* Derives the backward pass of everything written so far into a new segment named `segment`.
 * Seeds: where the gradient enters. Targets: tensors whose gradient is wanted. Every tensor bound in `parameter_slot`
 * that the seeds depend on gets its gradient added at the same offset of `gradient_slot` (PRN_NO_SYMBOL for none).
 * With `checkpoint` 1, activations inside a group are not kept: the group's forward operations are written again at
 * the start of the group's backward part (activation checkpointing as a program transformation; results are bit-equal). */
prn_status prn__graph_derive(prn__graph *graph, const char *segment, const prn__gradient *seeds, uint32_t seed_count,
                             const prn__gradient *targets, uint32_t target_count, int32_t parameter_slot, int32_t gradient_slot,
                             int checkpoint, prn_error *error);

/* What is computed again where the backward pass reads it, from what is kept anyway, and so is not kept itself.
 * Bit-equal on a backend whose activation does not depend on what it is fused with. */
typedef enum prn__recompute {
    PRN__RECOMPUTE_NOTHING = 0,
    PRN__RECOMPUTE_CHEAP = 1,      /* layer norms, activations, patches: little beside a matrix product */
    PRN__RECOMPUTE_ATTENTION = 2,  /* and what attention makes */
    PRN__RECOMPUTE_SUMS = 3,       /* as 2, and the residual sums behind attention, with their linear layers */
    PRN__RECOMPUTE_PROJECTIONS = 4 /* as 2, and the linear layers that make what attention reads */
} prn__recompute;

/* What a derivation may do beyond that. All zero: nothing. */
typedef struct prn__derive_options {
    int checkpoint; /* as above */
    prn__recompute recompute;
    /* With `gradient_slot` PRN_SLOT_WORKSPACE, the parameters' gradients are tensors of the workspace, and this is called for each where its
     * gradient is complete and nothing written later reads the parameter: what it writes may use up the gradient and change the parameter.
     * NULL with any other slot. */
    void (*complete)(void *context, prn__graph *graph, int32_t parameter, int32_t gradient);
    void *context;
} prn__derive_options;
prn_status prn__graph_derive_with(prn__graph *graph, const char *segment, const prn__gradient *seeds, uint32_t seed_count, const prn__gradient *targets,
                                  uint32_t target_count, int32_t parameter_slot, int32_t gradient_slot, const prn__derive_options *options,
                                  prn_error *error);

/* Removes operations whose results nobody needs, plans the workspace (tensors whose lifetimes do not overlap share
 * memory; offsets are multiples of 64 elements), validates, and gives out the finished program, owned by the graph. */
prn_status prn__graph_finish(prn__graph *graph, const prn_program **program, prn_error *error);

/* Multiply-accumulates of one operation, or of one segment (all segments: -1), for given symbol values; only matrix
 * products count (LINEAR, ATTENTION, SIMILARITY, PATCHES no, and their gradients), as in the field's tables. Attention over
 * ragged rows counts `row_lengths` when given (count = symbol value of its items), else uniform full length. [any] */
double prn__program_op_macs(const prn_program *program, uint32_t op, const int64_t *values, double attention_pairs);
double prn__program_macs(const prn_program *program, int32_t segment, const int64_t *values, double attention_pairs);

/* A readable listing: slots, then each operation with shapes, storage and MACs. [any] */
void prn__program_print(const prn_program *program, prn__text *target);

/* Index of a segment or slot by name, -1 when absent. [any] */
int32_t prn__program_segment(const prn_program *program, const char *name);
int32_t prn__program_slot(const prn_program *program, const char *name);

#endif
