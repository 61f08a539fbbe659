/* tests/gpu/emulator/driver.cpp: the functions of libcuda.so.1 that the plugin calls, on host memory.
 *
 * Strict where a device is silent: work waits in its stream until somebody waits for it, so that host memory which is used again too early is
 * found, and work of one stream that should have waited for another's; PRN_EMULATOR_STREAMS turns that round; copies are checked against the allocation and need pinned host memory; nothing may be allocated while a stream is captured;
 * fresh memory holds what is no number; what was not freed is told when the last context goes.
 *
 *   PRN_EMULATOR_DEVICES  how many (1)          PRN_EMULATOR_MEMORY  bytes of one (8 GiB)
 *   PRN_EMULATOR_STREAMS  lazy (default): each stream runs when it is waited for; eager: every stream but the first runs as soon as it can;
 *                         mixed: some of each, by chance that is the same each time
 *   PRN_EMULATOR_FAIL     NAME:N  the N-th call (from 1, since this was set) of function NAME fails
 */
#include <cuda.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "machine.hpp"

struct CUevent_st {
    unsigned long recorded = 0, reached = 0; /* how often */
    CUstream stream = nullptr; /* where it was recorded last */
};
struct CUgraph_st {
    std::vector<std::function<bool()>> work;
};
struct CUgraphExec_st {
    std::vector<std::function<bool()>> work;
};
struct CUstream_st {
    std::deque<std::function<bool()>> queue;
    CUgraph capture = nullptr;
    unsigned number = 0; /* from 0, in the order of their making */
    bool is_running = false;
};
struct CUfunc_st {
    const emulated_kernel *kernel;
    int shared_limit = 48 << 10;
};
struct CUmod_st {
    std::vector<std::unique_ptr<CUfunc_st>> functions;
};
struct CUctx_st {
    int uses = 0;
};

namespace {

std::map<char *, size_t> device_memory, pinned_memory;
size_t used_bytes = 0;
std::set<CUstream> streams;
CUctx_st the_context;
CUcontext current = nullptr;
std::string last_wish;
int calls = 0; /* of what it names */
int live_objects = 0;
std::map<std::string, unsigned long> launches; /* by kernel, captured ones once */

bool inside(const std::map<char *, size_t> &memory, const void *at, size_t bytes)
{
    auto next = memory.upper_bound((char *)at);
    if (next == memory.begin()) {
        return false;
    }
    --next;
    return (char *)at + bytes <= next->first + next->second;
}

/* What PRN_EMULATOR_FAIL asks for. */
bool fails(const char *name)
{
    const char *wish = std::getenv("PRN_EMULATOR_FAIL");
    const size_t length = std::strlen(name);
    if (wish == nullptr || std::strncmp(wish, name, length) != 0 || wish[length] != ':') {
        return false;
    }
    if (last_wish != wish) {
        last_wish = wish;
        calls = 0;
    }
    return ++calls == std::atoi(wish + length + 1);
}

#define CALLED(result)                                \
    do {                                              \
        if (fails(std::string(__func__).substr(0, std::string(__func__).find('_')).c_str())) { \
            return result;                            \
        }                                             \
    } while (0)
#define NEEDS_CONTEXT                                 \
    if (current == nullptr) {                         \
        return CUDA_ERROR_INVALID_CONTEXT;            \
    }
#define NOT_CAPTURED                                                          \
    for (CUstream s : streams) {                                              \
        if (s->capture != nullptr) {                                          \
            return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;                     \
        }                                                                     \
    }

/* Until `event` was reached `target` times, or, without one, to the end. At most `most` pieces. */
CUresult drain(CUstream stream, const CUevent until, unsigned long target, unsigned long most = ~0ul)
{
    if (stream->is_running) { /* two streams that wait for each other */
        return CUDA_ERROR_LAUNCH_TIMEOUT;
    }
    stream->is_running = true;
    bool is_well = true;
    while (is_well && !stream->queue.empty() && (until == nullptr || until->reached < target) && most-- > 0) {
        std::function<bool()> work = std::move(stream->queue.front());
        stream->queue.pop_front();
        is_well = work();
    }
    stream->is_running = false;
    return is_well ? CUDA_SUCCESS : CUDA_ERROR_LAUNCH_FAILED;
}

/* What has come before it must not change what it may do now. */
bool submit(CUstream stream, std::function<bool()> work)
{
    static unsigned long chance = 1;
    if (stream->capture != nullptr) {
        stream->capture->work.push_back(std::move(work));
        return true;
    }
    stream->queue.push_back(std::move(work));
    const char *text = std::getenv("PRN_EMULATOR_STREAMS");
    if (text != nullptr && std::strcmp(text, "eager") == 0) {
        return stream->number == 0 || drain(stream, nullptr, 0) == CUDA_SUCCESS;
    }
    if (text != nullptr && std::strcmp(text, "mixed") == 0) {
        for (CUstream s : streams) {
            chance = chance * 6364136223846793005ul + 1442695040888963407ul;
            if (chance >> 62 == 0 && s->capture == nullptr && !s->is_running) {
                (void)drain(s, nullptr, 0, chance >> 40 & 3);
            }
        }
    }
    return true;
}

void drain_all()
{
    for (CUstream s : streams) {
        (void)drain(s, nullptr, 0);
    }
}

size_t memory_limit()
{
    const char *text = std::getenv("PRN_EMULATOR_MEMORY");
    return text != nullptr ? (size_t)std::strtoull(text, nullptr, 10) : (size_t)8 << 30;
}

int device_count()
{
    const char *text = std::getenv("PRN_EMULATOR_DEVICES");
    return text != nullptr ? std::atoi(text) : 1;
}

} // namespace

void emulated_submit(void *stream, std::function<bool()> work)
{
    submit((CUstream)stream, std::move(work));
}

bool emulated_is_device(const void *memory, size_t bytes)
{
    return inside(device_memory, memory, bytes);
}

extern "C" {

/* For tests: launches of a kernel so far. */
unsigned long emulated_launches(const char *kernel)
{
    const auto found = launches.find(kernel);
    return found != launches.end() ? found->second : 0;
}

CUresult cuInit(unsigned flags)
{
    CALLED(CUDA_ERROR_UNKNOWN);
    return flags != 0 ? CUDA_ERROR_INVALID_VALUE : device_count() > 0 ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

CUresult cuDriverGetVersion(int *version)
{
    *version = 13000;
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char **text)
{
    *text = error == CUDA_ERROR_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : error == CUDA_ERROR_NO_DEVICE ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_OF_THE_EMULATOR";
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count)
{
    CALLED(CUDA_ERROR_UNKNOWN);
    *count = device_count();
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    CALLED(CUDA_ERROR_UNKNOWN);
    *device = ordinal;
    return ordinal >= 0 && ordinal < device_count() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceGetName(char *name, int bytes, CUdevice)
{
    std::snprintf(name, (size_t)bytes, "emulated device");
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice)
{
    CALLED(CUDA_ERROR_UNKNOWN);
    *value = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? 9 : attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? 0 : 1;
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice)
{
    *bytes = memory_limit();
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice)
{
    CALLED(CUDA_ERROR_OUT_OF_MEMORY);
    the_context.uses++;
    *context = &the_context;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice)
{
    if (--the_context.uses == 0 && (!device_memory.empty() || !pinned_memory.empty() || live_objects != 0)) {
        std::fprintf(stderr, "emulator: left behind: %zu pieces of device memory, %zu of pinned memory, %d objects\n", device_memory.size(),
                     pinned_memory.size(), live_objects);
        std::abort();
    }
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context)
{
    CALLED(CUDA_ERROR_INVALID_CONTEXT);
    current = context;
    return CUDA_SUCCESS;
}

CUresult cuMemGetInfo(size_t *free_bytes, size_t *all)
{
    NEEDS_CONTEXT
    *all = memory_limit();
    *free_bytes = *all > used_bytes ? *all - used_bytes : 0;
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr *memory, size_t bytes)
{
    CALLED(CUDA_ERROR_OUT_OF_MEMORY);
    NEEDS_CONTEXT
    NOT_CAPTURED
    if (bytes == 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (used_bytes + bytes > memory_limit()) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    void *made = nullptr;
    if (posix_memalign(&made, 256, bytes) != 0) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    std::memset(made, 0xff, bytes);
    device_memory[(char *)made] = bytes;
    used_bytes += bytes;
    *memory = (CUdeviceptr)made;
    return CUDA_SUCCESS;
}

CUresult cuMemFree(CUdeviceptr memory)
{
    NEEDS_CONTEXT
    NOT_CAPTURED
    const auto found = device_memory.find((char *)memory);
    if (found == device_memory.end()) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    drain_all();
    used_bytes -= found->second;
    std::free(found->first);
    device_memory.erase(found);
    return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void **memory, size_t bytes, unsigned)
{
    CALLED(CUDA_ERROR_OUT_OF_MEMORY);
    NEEDS_CONTEXT
    *memory = std::malloc(bytes);
    pinned_memory[(char *)*memory] = bytes;
    return CUDA_SUCCESS;
}

CUresult cuMemFreeHost(void *memory)
{
    drain_all();
    pinned_memory.erase((char *)memory);
    std::free(memory);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr target, const void *source, size_t bytes, CUstream stream)
{
    CALLED(CUDA_ERROR_UNKNOWN);
    NEEDS_CONTEXT
    if (!inside(device_memory, (void *)target, bytes) || !inside(pinned_memory, source, bytes)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    submit(stream, [=] {
        std::memcpy((void *)target, source, bytes);
        return true;
    });
    return CUDA_SUCCESS;
}

CUresult cuMemcpyDtoHAsync(void *target, CUdeviceptr source, size_t bytes, CUstream stream)
{
    CALLED(CUDA_ERROR_UNKNOWN);
    NEEDS_CONTEXT
    if (!inside(device_memory, (void *)source, bytes) || !inside(pinned_memory, target, bytes)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    submit(stream, [=] {
        std::memcpy(target, (void *)source, bytes);
        return true;
    });
    return CUDA_SUCCESS;
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream)
{
    CALLED(CUDA_ERROR_UNKNOWN);
    if (!inside(device_memory, (void *)source, bytes) || !inside(device_memory, (void *)target, bytes)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    submit(stream, [=] {
        std::memcpy((void *)target, (void *)source, bytes);
        return true;
    });
    return CUDA_SUCCESS;
}

CUresult cuMemsetD8Async(CUdeviceptr target, unsigned char value, size_t count, CUstream stream)
{
    CALLED(CUDA_ERROR_UNKNOWN);
    if (!inside(device_memory, (void *)target, count)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    submit(stream, [=] {
        std::memset((void *)target, value, count);
        return true;
    });
    return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *stream, unsigned)
{
    CALLED(CUDA_ERROR_OUT_OF_MEMORY);
    NEEDS_CONTEXT
    *stream = new CUstream_st;
    (*stream)->number = (unsigned)streams.size();
    streams.insert(*stream);
    live_objects++;
    return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream stream)
{
    (void)drain(stream, nullptr, 0);
    streams.erase(stream);
    delete stream;
    live_objects--;
    return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream stream)
{
    CALLED(CUDA_ERROR_LAUNCH_FAILED);
    return stream->capture != nullptr ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : drain(stream, nullptr, 0);
}

CUresult cuEventCreate(CUevent *event, unsigned)
{
    CALLED(CUDA_ERROR_OUT_OF_MEMORY);
    *event = new CUevent_st;
    live_objects++;
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent event)
{
    drain_all();
    delete event;
    live_objects--;
    return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent event, CUstream stream)
{
    CALLED(CUDA_ERROR_UNKNOWN);
    if (stream->capture != nullptr) {
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    event->stream = stream;
    const unsigned long number = ++event->recorded;
    submit(stream, [=] {
        event->reached = number;
        return true;
    });
    return CUDA_SUCCESS;
}

CUresult cuEventSynchronize(CUevent event)
{
    CALLED(CUDA_ERROR_UNKNOWN);
    return event->reached >= event->recorded ? CUDA_SUCCESS : drain(event->stream, event, event->recorded);
}

/* For the event as it was last recorded before this call; not for later ones. */
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
    CALLED(CUDA_ERROR_UNKNOWN);
    if (flags != 0 || stream->capture != nullptr) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    const unsigned long target = event->recorded;
    submit(stream, [=] { return event->reached >= target || drain(event->stream, event, target) == CUDA_SUCCESS; });
    return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent, CUevent)
{
    *milliseconds = 1;
    return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    CALLED(CUDA_ERROR_NO_BINARY_FOR_GPU);
    const unsigned magic = 0xba55ed50u; /* a fat binary */
    if (std::memcmp(image, &magic, sizeof magic) != 0) {
        return CUDA_ERROR_INVALID_IMAGE;
    }
    *module = new CUmod_st;
    live_objects++;
    return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule module)
{
    delete module;
    live_objects--;
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    CALLED(CUDA_ERROR_NOT_FOUND);
    for (const emulated_kernel *k = emulated_kernels; k->name != nullptr; k++) {
        if (std::strcmp(k->name, name) == 0) {
            module->functions.emplace_back(new CUfunc_st{k});
            *function = module->functions.back().get();
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_NOT_FOUND;
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value)
{
    CALLED(CUDA_ERROR_INVALID_VALUE);
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value > (227 << 10)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    function->shared_limit = value;
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned blocks_x, unsigned blocks_y, unsigned blocks_z, unsigned threads, unsigned threads_y, unsigned threads_z,
                        unsigned shared, CUstream stream, void **parameters, void **extra)
{
    CALLED(CUDA_ERROR_LAUNCH_FAILED);
    NEEDS_CONTEXT
    if (blocks_x == 0 || blocks_x > 0x7fffffffu || blocks_y == 0 || blocks_y > 65535 || blocks_z != 1 || threads == 0 || threads > function->kernel->threads ||
        threads % 32 != 0 || threads_y != 1 || threads_z != 1 || shared > (unsigned)function->shared_limit || extra != nullptr) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    launches[function->kernel->name]++;
    const std::string arguments((const char *)parameters[0], function->kernel->bytes);
    const emulated_kernel *kernel = function->kernel;
    submit(stream, [=] { return emulated_launch(*kernel, arguments.data(), blocks_x, blocks_y, threads, shared); });
    return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode)
{
    CALLED(CUDA_ERROR_UNKNOWN);
    stream->capture = new CUgraph_st;
    live_objects++;
    return CUDA_SUCCESS;
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph)
{
    *graph = stream->capture;
    stream->capture = nullptr;
    return CUDA_SUCCESS;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *made, CUgraph graph, unsigned long long)
{
    CALLED(CUDA_ERROR_OUT_OF_MEMORY);
    *made = new CUgraphExec_st{graph->work};
    live_objects++;
    return CUDA_SUCCESS;
}

CUresult cuGraphLaunch(CUgraphExec graph, CUstream stream)
{
    CALLED(CUDA_ERROR_LAUNCH_FAILED);
    for (const auto &work : graph->work) {
        submit(stream, work);
    }
    return CUDA_SUCCESS;
}

CUresult cuGraphExecDestroy(CUgraphExec graph)
{
    delete graph;
    live_objects--;
    return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph graph)
{
    delete graph;
    live_objects--;
    return CUDA_SUCCESS;
}

} // extern "C"
