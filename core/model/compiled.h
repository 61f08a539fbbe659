/* core/model/compiled.h: a finished program on a device, with the buffers that its slots and symbols are bound to.
 *
 * Shared by the embedder, the trainer and whoever else runs programs. Binding is by slot name, and a name that the
 * program does not have is ignored: a program may have lost a slot that nothing in it needs (a forward-only tower has no gradients).
 * Invariants: `run` allocates nothing; buffers are borrowed.
 */
#ifndef PRN_MODEL_COMPILED_H
#define PRN_MODEL_COMPILED_H

#include "plugin/registry.h"
#include "program/graph.h"

typedef struct prn__compiled {
    const prn__device *device; /* borrowed */
    prn__graph *graph;         /* owned, with the program */
    const prn_program *program;
    prn_executable *executable;
    prn_buffer **buffers;      /* (slot_count) */
    int64_t *offsets;          /* (slot_count), elements */
    int64_t *symbols;          /* (symbol_count) */
    struct {
        prn_binding *bindings; /* (room), into the arrays below */
        prn_buffer **buffers;  /* (room, slot_count) */
        int64_t *offsets, *symbols;
        prn_execution *executions; /* (room, and those beside) */
        uint32_t room, count, all;
    } blocks;
} prn__compiled;

/* Finishes and compiles `graph` and takes it (also on failure). An operation that the backend lacks is PRN_UNSUPPORTED,
 * named. `compiled` must be zeros; fini brings it back there. */
prn_status prn__compiled_init(prn__compiled *compiled, prn__graph *graph, const prn__device *device, prn_error *error);
void prn__compiled_fini(prn__compiled *compiled);

void prn__compiled_bind(prn__compiled *compiled, const char *slot, prn_buffer *buffer, int64_t offset);
void prn__compiled_set(prn__compiled *compiled, const char *symbol, int64_t value);
/* Runs the segment of that name; PRN_INTERNAL when a slot is unbound or there is no such segment. */
prn_status prn__compiled_run(prn__compiled *compiled, const char *segment, prn_error *error);

/* Blocks of a batch: one segment run once for each, as bound when it was kept. Backends that gain from it run them side by side
 * (prn_backend.execute_each), others one after the other; the results are the same. `reserve` makes room for so many, to be run with `beside` blocks
 * of other programs at most, and forgets those that were kept; `keep` keeps what is bound now as the next block. `run` takes several programs, the first
 * with that room, none of which writes where another reads or writes. */
prn_status prn__compiled_reserve_blocks(prn__compiled *compiled, uint32_t most, uint32_t beside, prn_error *error);
void prn__compiled_forget_blocks(prn__compiled *compiled);
void prn__compiled_keep_block(prn__compiled *compiled);
prn_status prn__compiled_run_blocks(prn__compiled *const *programs, uint32_t count, const char *segment, prn_error *error);

/* Bytes of an element, as plans count them; what a backend's REAL takes is not known to the core, and counts as 4. */
int64_t prn__type_bytes(prn_type type);
/* A buffer, counted into `*bytes` when given. */
prn_status prn__buffer_create(const prn__device *device, prn_type type, int64_t elements, const char *purpose, prn_buffer **buffer, int64_t *bytes,
                              prn_error *error);
void prn__buffer_destroy(const prn__device *device, prn_buffer *buffer); /* NULL is allowed */

#endif
