/* plugins/backends/cpu/attention.c: attention of all rows or of one an item, and their gradients; a task is a range of (row group, head or heads) pairs. */
#include "share.h"

#include <math.h>

enum { ATTENTION_WORK = 3 << 19 }; /* multiply-accumulates of one task of small matrix products */

static void attention_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int is_grad = v->op->kind == PRN_OP_ATTENTION_GRAD;
    const int32_t *offsets = v->in[is_grad ? 4 : 1].data;
    const half_kernels *half = s->instance->half;
    void (*const kernel)(const attention_job *job) = is_grad ? (half != NULL ? half->attention_grad : s->k->attention_grad)
                                                             : (half != NULL ? half->attention : s->k->attention);
    attention_job job = {
        .qkv = in(v, is_grad ? 1 : 0),
        .qkv_is_half = is_half(s->executable, v->op->input[is_grad ? 1 : 0]),
        .y_is_half = is_half(s->executable, is_grad ? v->op->input[2] : v->op->output[0]),
        .scratch = worker_room(s->executable, worker),
        .c = v->n,
        .heads = v->heads,
        .width = v->head_width,
        .scale = (float)(1 / sqrt((double)v->head_width)),
        .causal = v->op->attrs.causal,
        .accumulate = v->op->attrs.accumulate,
    };
    if (is_grad) {
        job.dy = in(v, 0);
        job.y_in = in(v, 2);
        job.lse_in = in(v, 3);
        job.dqkv = out(v, 0);
        job.dy_is_half = is_half(s->executable, v->op->input[0]);
        job.dqkv_is_half = is_half(s->executable, v->op->output[0]);
    } else {
        job.y = out(v, 0);
        job.lse = out(v, 1);
    }
    for (int64_t pair = first_of(s, index), end = pair + count_of(s, index); pair < end; pair++) {
        const int64_t item = pair / v->heads;
        job.head = pair % v->heads;
        job.first = v->per_item > 0 ? item * v->per_item : offsets[item];
        job.rows = v->per_item > 0 ? v->per_item : offsets[item + 1] - job.first;
        if (job.rows > 0) {
            kernel(&job);
        }
    }
}

static void attention(share *s)
{
    const operation *v = s->v;
    const int is_grad = v->op->kind == PRN_OP_ATTENTION_GRAD;
    const int32_t *offsets = v->in[is_grad ? 4 : 1].data;
    double work = 0; /* pairs of a query and a key */
    if (v->per_item > 0) {
        work = (double)v->items * (double)v->per_item * (double)v->per_item;
    }
    for (int64_t i = 0; i < v->items && v->per_item == 0; i++) {
        const double rows = (double)offsets[i + 1] - (double)offsets[i];
        work += rows * rows;
    }
    /* two products of width D forward, five backward; `+ 32`: the exponentials and the copies */
    work *= (double)v->heads * ((double)v->head_width + 32) * (is_grad ? 5 : 2);
    s->total = v->items * v->heads;
    if (s->total > 0 && v->head_width > 0) {
        const double each = work / (double)s->total;
        s->step = each * (double)s->total <= (double)ATTENTION_WORK ? s->total : most(1, (int64_t)((double)ATTENTION_WORK / (each + 1)));
        spread(s, attention_task);
    }
}

static void read_attention_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int is_grad = v->op->kind == PRN_OP_READ_ATTENTION_GRAD;
    (void)worker;
    const int64_t parts = pieces_of(v->heads, READ_HEADS);
    const int dkv_is_half = is_grad && is_half(s->executable, v->op->output[1]);
    for (int64_t pair = first_of(s, index), last = pair + count_of(s, index); pair < last; pair++) {
        const int64_t item = pair / parts, head = pair % parts * READ_HEADS, at = head * v->head_width, query = item * v->n + at;
        const int has_query = item < v->k;
        int64_t first, end, seen;
        read_group(v, item, &first, &end, &seen);
        const int64_t row = end > first ? first * 2 * v->n + at : 0;
        const read_attention_job job = {
            .q = in(v, is_grad) + (has_query ? query : 0),
            .dy = is_grad ? in(v, 0) + (has_query ? query : 0) : NULL,
            .y = is_grad ? NULL : out(v, 0) + query,
            .dq = is_grad && has_query && out(v, 0) != NULL ? out(v, 0) + query : NULL,
            .kv = in(v, 1 + is_grad) + row,
            .dkv = is_grad && out(v, 1) != NULL ? element_at(out(v, 1), row, dkv_is_half) : NULL,
            .dkv_is_half = dkv_is_half,
            .rows = end - first,
            .seen = seen - first,
            .c = v->n,
            .heads = least(READ_HEADS, v->heads - head),
            .width = v->head_width,
            .scale = (float)(1 / sqrt((double)v->head_width)),
            .accumulate = v->op->attrs.accumulate,
        };
        (is_grad ? s->k->read_attention_grad : s->k->read_attention)(&job);
    }
}

/* Backward also takes groups without a query: their rows receive zero. */
static void read_attention(share *s)
{
    const operation *v = s->v;
    const int is_grad = v->op->kind == PRN_OP_READ_ATTENTION_GRAD;
    s->total = (is_grad ? most(v->k, v->items) : v->k) * pieces_of(v->heads, READ_HEADS);
    if (s->total > 0 && v->head_width > 0) {
        const double work = (double)v->m * (double)v->n * (is_grad ? 6 : 2), each = work / (double)s->total;
        s->step = work <= (double)ATTENTION_WORK ? s->total : most(1, (int64_t)((double)ATTENTION_WORK / (each + 1)));
        spread(s, read_attention_task);
    }
}

void attention_run(share *s)
{
    const uint32_t kind = s->v->op->kind;
    if (kind == PRN_OP_READ_ATTENTION || kind == PRN_OP_READ_ATTENTION_GRAD) {
        read_attention(s);
    } else {
        attention(s);
    }
}
