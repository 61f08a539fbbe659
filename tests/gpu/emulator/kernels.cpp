/* tests/gpu/emulator/kernels.cpp: the plugin's kernels, compiled for the host, and their names. */
#include "machine.hpp"

#include "../../../plugins/backends/cuda/kernels.cu"

#define CALL(name, type, threads)                                            \
    static void call_##name(const void *arguments)                           \
    {                                                                        \
        type copy;                                                           \
        std::memcpy(&copy, arguments, sizeof copy);                          \
        prn_##name(copy);                                                    \
    }
CUDA_KERNELS(CALL)

const emulated_kernel emulated_kernels[KERNEL_COUNT + 1] = {
#define ENTRY(name, type, threads) {"prn_" #name, call_##name, sizeof(type), threads},
    CUDA_KERNELS(ENTRY){nullptr, nullptr, 0, 0},
};
