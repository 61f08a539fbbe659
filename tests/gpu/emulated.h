/* tests/gpu/emulated.h: running a test of the cuda backend on the emulated device, or, with PRN_GPU_DEVICE=1, on the machine's own. */
#ifndef PRN_TESTS_GPU_EMULATED_H
#define PRN_TESTS_GPU_EMULATED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline int on_device(void)
{
    const char *text = getenv("PRN_GPU_DEVICE");
    return text != NULL && strcmp(text, "1") == 0;
}

/* Starts the program again with the emulator on its library path, which the loader reads when a process starts. 1: the tests can be run; 0: this
 * build has no cuda backend, so there is nothing to test; -1: it could not be started again. */
static inline int emulated_start(char **argv)
{
    static const char folder[] = PRN_BUILD_DIR "/emulated";
    const char *path = getenv("LD_LIBRARY_PATH");
    if (access(PRN_BUILD_DIR "/plugins/backend_cuda.so", F_OK) != 0) {
        (void)printf("the cuda backend was left out of this build\n");
        return 0;
    }
    if (on_device() || (path != NULL && strcmp(path, folder) == 0)) {
        return 1;
    }
    if (setenv("LD_LIBRARY_PATH", folder, 1) == 0) {
        (void)execv(argv[0], argv);
    }
    return -1;
}

#endif
