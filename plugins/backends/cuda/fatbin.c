/* plugins/backends/cuda/fatbin.c: puts the file PRN_FATBIN, which the build has made, into the plugin's constant data. */
#include "fatbin.h"

__asm__(".pushsection .rodata\n"
        ".balign 64\n"
        ".globl cuda_fatbin\n"
        ".hidden cuda_fatbin\n"
        ".type cuda_fatbin, %object\n"
        "cuda_fatbin:\n"
        ".incbin \"" PRN_FATBIN "\"\n"
        ".size cuda_fatbin, . - cuda_fatbin\n"
        ".popsection\n");
