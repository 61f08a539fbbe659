/* core/eval/tiles.c: the similarity matrix of two sets of embeddings, one tile at a time, on the device. */
#include "base/memory.h"
#include "eval/topk.h"
#include "model/compiled.h"

enum { TILE_ROWS = 512, TILE_COLUMNS = 4096 };

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static prn_status tile_program(prn__compiled *tile, const prn__device *device, int64_t rows, int64_t columns, int64_t embed_dim, prn_error *error)
{
    prn__graph *graph;
    prn_status status = prn__graph_create("similarity", &graph, error);
    if (status != PRN_OK) {
        return status;
    }
    int32_t r = prn__graph_symbol(graph, "R", rows), m = prn__graph_symbol(graph, "M", columns);
    int32_t a_slot = prn__graph_slot(graph, "a", PRN_REAL), b_slot = prn__graph_slot(graph, "b", PRN_REAL), y_slot = prn__graph_slot(graph, "y", PRN_REAL);
    int32_t inputs[PRN_OP_MAX_INPUTS] = {PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
    int32_t outputs[PRN_OP_MAX_OUTPUTS] = {PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
    inputs[0] = prn__graph_bound(graph, "a", a_slot, 0, 2, (const prn_dim[2]){prn__sized(1, r), prn__fixed(embed_dim)});
    inputs[1] = prn__graph_bound(graph, "b", b_slot, 0, 2, (const prn_dim[2]){prn__sized(1, m), prn__fixed(embed_dim)});
    outputs[0] = prn__graph_bound(graph, "y", y_slot, 0, 2, (const prn_dim[2]){prn__sized(1, r), prn__sized(1, m)});
    (void)prn__graph_op(graph, PRN_OP_SIMILARITY, inputs, outputs, 1, NULL, "similarity");
    return prn__compiled_init(tile, graph, device, error);
}

prn_status prn__similarity_tiles(const prn__device *device, const float *a, int64_t n, const float *b, int64_t m, int64_t embed_dim,
                                 prn__tile_visit visit, void *context, prn_error *error)
{
    const prn_backend *backend = device->backend;
    const int64_t rows = least(n, TILE_ROWS), columns = least(m, TILE_COLUMNS);
    prn__compiled tile = {0};
    prn_buffer *a_buffer = NULL, *b_buffer = NULL, *y_buffer = NULL, *workspace = NULL;
    float *scores = NULL;
    prn_status status;
    if (n == 0 || m == 0) {
        return PRN_OK;
    }
    status = tile_program(&tile, device, rows, columns, embed_dim, error);
    if (status != PRN_OK) {
        return status;
    }
    if ((status = prn__buffer_create(device, PRN_REAL, rows * embed_dim, "similarity rows", &a_buffer, NULL, error)) != PRN_OK ||
        (status = prn__buffer_create(device, PRN_REAL, columns * embed_dim, "similarity columns", &b_buffer, NULL, error)) != PRN_OK ||
        (status = prn__buffer_create(device, PRN_REAL, rows * columns, "similarity tile", &y_buffer, NULL, error)) != PRN_OK ||
        (status = prn__buffer_create(device, PRN_REAL, tile.program->workspace_elements, "similarity workspace", &workspace, NULL, error)) != PRN_OK) {
        goto done;
    }
    scores = prn__alloc_array((size_t)(rows * columns), sizeof *scores);
    if (scores == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "out of memory for a tile of similarities");
        goto done;
    }
    prn__compiled_bind(&tile, "workspace", workspace, 0);
    prn__compiled_bind(&tile, "a", a_buffer, 0);
    prn__compiled_bind(&tile, "b", b_buffer, 0);
    prn__compiled_bind(&tile, "y", y_buffer, 0);
    for (int64_t column = 0; column < m && status == PRN_OK; column += columns) {
        int64_t c = least(columns, m - column);
        status = backend->buffer_write(device->instance, b_buffer, 0, PRN_HOST_F32, b + column * embed_dim, c * embed_dim, error);
        prn__compiled_set(&tile, "M", c);
        for (int64_t row = 0; row < n && status == PRN_OK; row += rows) {
            int64_t r = least(rows, n - row);
            status = backend->buffer_write(device->instance, a_buffer, 0, PRN_HOST_F32, a + row * embed_dim, r * embed_dim, error);
            prn__compiled_set(&tile, "R", r);
            if (status == PRN_OK) {
                status = prn__compiled_run(&tile, "forward", error);
            }
            if (status == PRN_OK) {
                status = backend->buffer_read(device->instance, y_buffer, 0, PRN_HOST_F32, scores, r * c, error);
            }
            if (status == PRN_OK) {
                visit(context, scores, row, r, column, c);
            }
        }
    }
done:
    prn__free(scores);
    prn__buffer_destroy(device, a_buffer);
    prn__buffer_destroy(device, b_buffer);
    prn__buffer_destroy(device, y_buffer);
    prn__buffer_destroy(device, workspace);
    prn__compiled_fini(&tile);
    return status;
}
