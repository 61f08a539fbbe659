/* tests/gpu/emulator/machine.cpp: a block's threads as fibers. */
#include "machine.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#include "emulator.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define FIBER_LEAVE(save, bottom, size) __sanitizer_start_switch_fiber(save, bottom, size)
#define FIBER_ENTER(save, bottom, size) __sanitizer_finish_switch_fiber(save, bottom, size)
#else
#define FIBER_LEAVE(save, bottom, size) ((void)(save), (void)(bottom), (void)(size))
#define FIBER_ENTER(save, bottom, size) ((void)(save), (void)(bottom), (void)(size))
#endif

emulated_index threadIdx, blockIdx, blockDim, gridDim;

/* Leaving one stack for another. swapcontext asks the kernel each time, which is most of an emulated kernel's time. */
#if defined(__x86_64__)
typedef void *place;
extern "C" void emulated_switch(place *save, place to);
__asm__(".text\n"
        ".globl emulated_switch\n"
        ".hidden emulated_switch\n"
        ".type emulated_switch, @function\n"
        "emulated_switch:\n"
        "pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
        "movq %rsp, (%rdi)\n"
        "movq %rsi, %rsp\n"
        "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n"
        "ret\n"
        ".size emulated_switch, . - emulated_switch\n");
static void place_init(place *p, char *stack, size_t bytes, void (*run)())
{
    void **top = (void **)(((uintptr_t)stack + bytes) / 16 * 16);
    *--top = nullptr; /* no caller; keeps the stack as a call would leave it */
    *--top = (void *)run;
    for (int i = 0; i < 6; i++) {
        *--top = nullptr;
    }
    *p = top;
}
static void place_switch(place *from, place *to)
{
    emulated_switch(from, *to);
}
#else
typedef ucontext_t place;
static void place_init(place *p, char *stack, size_t bytes, void (*run)())
{
    getcontext(p);
    p->uc_stack.ss_sp = stack;
    p->uc_stack.ss_size = bytes;
    p->uc_link = nullptr;
    makecontext(p, run, 0);
}
static void place_switch(place *from, place *to)
{
    swapcontext(from, to);
}
#endif

namespace {

enum waiting { READY, AT_BLOCK, AT_WARP, ENDED };
constexpr size_t STACK = 128 << 10;
constexpr unsigned MOST_THREADS = 1024;

struct fiber {
    place context;
    std::unique_ptr<char[]> stack;
    void *asan = nullptr;
};

/* A copy to shared memory that nobody has waited for. */
struct copy {
    void *to;
    const void *from; /* NULL: zeros */
    unsigned bytes;
};

/* A fiber runs threads one after the other until one waits; that one then keeps it. */
struct block {
    const emulated_kernel *kernel;
    const void *arguments;
    unsigned threads;
    waiting state[MOST_THREADS];
    int owner[MOST_THREADS]; /* fiber of a thread that waits, or -1 */
    unsigned next;           /* position in `order` of the first thread that has not begun */
    std::vector<unsigned> order;
    const char *fault;
    std::deque<std::vector<copy>> copies[MOST_THREADS]; /* the last group of each thread is still open */
};

std::vector<std::unique_ptr<fiber>> fibers;
std::vector<int> idle;
block now;
place scheduler;
void *scheduler_asan;
const void *scheduler_bottom;
size_t scheduler_size;
int running = -1;
std::unique_ptr<char[]> shared_memory;
alignas(16) char lane_rooms[MOST_THREADS][64];

void switch_to_scheduler()
{
    fiber &f = *fibers[(size_t)running];
    FIBER_LEAVE(&f.asan, scheduler_bottom, scheduler_size);
    place_switch(&f.context, &scheduler);
    FIBER_ENTER(f.asan, &scheduler_bottom, &scheduler_size);
}

void run_fiber()
{
    FIBER_ENTER((void *)nullptr, &scheduler_bottom, &scheduler_size);
    for (;;) {
        while (now.next < now.threads) {
            const unsigned thread = now.order[now.next++];
            threadIdx = {thread, 0, 0};
            now.kernel->call(now.arguments);
            now.state[threadIdx.x] = ENDED;
            if (now.owner[threadIdx.x] >= 0) { /* it has waited: others may be ready before new ones begin */
                now.owner[threadIdx.x] = -1;
                break;
            }
        }
        idle.push_back(running);
        switch_to_scheduler();
    }
}

int new_fiber()
{
    if (!idle.empty()) {
        const int i = idle.back();
        idle.pop_back();
        return i;
    }
    fibers.emplace_back(new fiber);
    fiber &f = *fibers.back();
    f.stack.reset(new char[STACK]);
    place_init(&f.context, f.stack.get(), STACK, run_fiber);
    return (int)fibers.size() - 1;
}

void resume(int i)
{
    running = i;
    FIBER_LEAVE(&scheduler_asan, fibers[(size_t)i]->stack.get(), STACK);
    place_switch(&scheduler, &fibers[(size_t)i]->context);
    FIBER_ENTER(scheduler_asan, (const void **)nullptr, (size_t *)nullptr);
    running = -1;
}

/* Frees those who wait for all of [first, first + count) when all do. */
bool release(unsigned first, unsigned count, waiting what)
{
    unsigned waiters = 0, ended = 0;
    for (unsigned t = first; t < first + count; t++) {
        waiters += now.state[t] == what;
        ended += now.state[t] == ENDED;
    }
    if (waiters == 0 || waiters + ended < count) {
        return false;
    }
    if (ended > 0) {
        now.fault = "a barrier that some threads of the block never reach";
        return false;
    }
    for (unsigned t = first; t < first + count; t++) {
        now.state[t] = READY;
    }
    return true;
}

void wait_for(waiting what)
{
    const unsigned thread = threadIdx.x;
    now.state[thread] = what;
    now.owner[thread] = running;
    switch_to_scheduler();
    threadIdx = {thread, 0, 0};
}

enum sequence { FORWARD, BACKWARD, MIXED };

sequence chosen_order()
{
    const char *text = std::getenv("PRN_EMULATOR_ORDER");
    return text == nullptr || text[0] == 'f' ? FORWARD : text[0] == 'b' ? BACKWARD : MIXED;
}

std::vector<unsigned> make_order(unsigned count, sequence how)
{
    std::vector<unsigned> order(count);
    for (unsigned i = 0; i < count; i++) {
        order[i] = how == BACKWARD ? count - 1 - i : i;
    }
    uint64_t state = count;
    for (unsigned i = count; how == MIXED && i > 1; i--) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        std::swap(order[i - 1], order[(state >> 33) % i]);
    }
    return order;
}

bool run_block()
{
    for (unsigned t = 0; t < now.threads; t++) {
        now.state[t] = READY;
        now.owner[t] = -1;
        now.copies[t].resize(1); /* empty since the block before */
    }
    now.next = 0;
    now.fault = nullptr;
    while (now.next < now.threads) { /* each fiber starts threads until one of them waits */
        resume(new_fiber());
    }
    for (;;) {
        bool any = false, all_ended = true;
        for (unsigned t : now.order) {
            if (now.state[t] == READY && now.owner[t] >= 0) {
                any = true;
                resume(now.owner[t]);
            }
            all_ended = all_ended && now.state[t] == ENDED;
        }
        if (all_ended) {
            for (unsigned t = 0; t < now.threads; t++) {
                if (now.copies[t].size() > 1 || !now.copies[t][0].empty()) {
                    emulated_fault("a copy to shared memory that nobody has waited for");
                }
            }
            return true;
        }
        bool freed = release(0, now.threads, AT_BLOCK);
        for (unsigned first = 0; first < now.threads; first += 32) {
            freed = release(first, now.threads - first < 32 ? now.threads - first : 32, AT_WARP) || freed;
        }
        if (now.fault != nullptr || (!any && !freed)) {
            emulated_fault(now.fault != nullptr ? now.fault : "threads wait for each other in different places");
        }
    }
}

} // namespace

void emulated_fault(const char *what)
{
    std::fprintf(stderr, "emulator: kernel %s, block %u,%u: %s\n", now.kernel->name, blockIdx.x, blockIdx.y, what);
    std::abort(); /* fibers cannot be unwound */
}

void emulated_copy(void *to, const void *from, unsigned bytes, int is_there)
{
    if ((uintptr_t)to % bytes != 0 || (uintptr_t)from % bytes != 0) {
        emulated_fault("a copy to shared memory that is not aligned");
    }
    now.copies[threadIdx.x].back().push_back({to, is_there ? from : nullptr, bytes});
}

void emulated_copies_close()
{
    now.copies[threadIdx.x].emplace_back();
}

void emulated_copies_wait(unsigned open)
{
    std::deque<std::vector<copy>> &groups = now.copies[threadIdx.x];
    for (; groups.size() > open + 1; groups.pop_front()) {
        for (const copy &c : groups.front()) {
            if (c.from != nullptr) {
                std::memcpy(c.to, c.from, c.bytes);
            } else {
                std::memset(c.to, 0, c.bytes);
            }
        }
    }
}

void *emulated_shared()
{
    return shared_memory.get();
}

void emulated_block_barrier()
{
    wait_for(AT_BLOCK);
}

void emulated_warp_barrier()
{
    wait_for(AT_WARP);
}

void *emulated_lane_room(unsigned lane)
{
    return lane_rooms[threadIdx.x / 32 * 32 + lane];
}

bool emulated_launch(const emulated_kernel &kernel, const void *arguments, unsigned blocks_x, unsigned blocks_y, unsigned threads, size_t shared)
{
    const sequence how = chosen_order();
    const std::vector<unsigned> order_x = make_order(blocks_x, how);
    now.kernel = &kernel;
    now.arguments = arguments;
    now.threads = threads;
    now.order = make_order(threads, how);
    blockDim = {threads, 1, 1};
    gridDim = {blocks_x, blocks_y, 1};
    for (unsigned y = 0; y < blocks_y; y++) {
        for (unsigned x : order_x) {
            shared_memory.reset(new char[shared + 1]);
            std::memset(shared_memory.get(), 0xff, shared);
            blockIdx = {x, y, 0};
            if (!run_block()) {
                return false;
            }
        }
    }
    shared_memory.reset();
    return true;
}
