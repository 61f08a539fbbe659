/* tests/gpu/emulator/machine.hpp: between the emulator's parts: kernels by name, running a launch, work that is recorded. */
#ifndef PRN_EMULATOR_MACHINE_HPP
#define PRN_EMULATOR_MACHINE_HPP

#include <cstddef>
#include <functional>

struct emulated_kernel {
    const char *name;
    void (*call)(const void *arguments);
    size_t bytes;
    unsigned threads;
};
extern const emulated_kernel emulated_kernels[]; /* ended by a NULL name */

/* Runs every block; 0 on a fault, which is printed. */
bool emulated_launch(const emulated_kernel &kernel, const void *arguments, unsigned blocks_x, unsigned blocks_y, unsigned threads, size_t shared);

/* Waits in the stream, or, while the stream is being captured, is recorded. */
void emulated_submit(void *stream, std::function<bool()> work);

/* Whether [memory, memory + bytes) is device memory. */
bool emulated_is_device(const void *memory, size_t bytes);

#endif
