/* plugins/backends/cuda/fatbin.h: the compiled kernels, as cuModuleLoadData takes them. */
#ifndef PRN_CUDA_FATBIN_H
#define PRN_CUDA_FATBIN_H

extern const unsigned char cuda_fatbin[];

#endif
