/* tests/gpu/test_parity.c: what tests/train/test_parity.c asks of the host's backends, asked of cuda: equal to PyTorch's CLIP on the small fixtures,
 * in embeddings, loss, every gradient, and the weights after 20 steps. */
#define main parity_of_host_backends
#include "train/test_parity.c"
#undef main

#include "gpu/emulated.h"

static void test_gelu_cuda(void **state)
{
    (void)state;
    check("clip-tiny-gelu", "cuda", NULL, &FP32);
}

static void test_quickgelu_cuda(void **state)
{
    (void)state;
    check("clip-tiny-quickgelu", "cuda", NULL, &FP32);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gelu_cuda), cmocka_unit_test(test_quickgelu_cuda)};
    const int started = emulated_start(argv);
    (void)argc;
    return started == 1 ? cmocka_run_group_tests(tests, NULL, NULL) : started == 0 ? 0 : 1;
}
