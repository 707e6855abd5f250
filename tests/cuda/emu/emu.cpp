/* See emu.h. */
#include "convert.h"
#include "emu.h"

#include <stdlib.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#define EMU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMU_ASAN 1
#endif
#endif
#ifdef EMU_ASAN
#include <sanitizer/common_interface_defs.h>
#else
static void __sanitizer_start_switch_fiber(void **, const void *, size_t) {}
static void __sanitizer_finish_switch_fiber(void *, const void **, size_t *) {}
#endif

emu_index threadIdx, blockIdx, blockDim, gridDim;

enum { STACK = 64 * 1024, WARP = 32, SHARED = 16, LAUNCH_FAILURE = 719 };
enum state { READY, AT_BARRIER, AT_WARP, DONE };

struct fiber {
    ucontext_t context;
    char *stack;
    void *shadow; /* AddressSanitizer's, while the fiber is away */
    state is;
    uint32_t given;
    int arrays; /* of shared memory that it has named */
};

static struct {
    fiber *all;
    char *stacks; /* of all of them, and they are kept */
    unsigned n, now, room;
    const std::function<void()> *body;
    ucontext_t scheduler;
    const void *stack; /* the scheduler's */
    size_t stack_size;
    bool reverse;
    void *shared[SHARED];
} emu;

void emu_reverse(int on) { emu.reverse = on; }

/* ---- switching ---- */

static void leave(state why)
{
    fiber *f = &emu.all[emu.now];
    f->is = why;
    __sanitizer_start_switch_fiber(why == DONE ? NULL : &f->shadow, emu.stack, emu.stack_size);
    swapcontext(&f->context, &emu.scheduler);
    __sanitizer_finish_switch_fiber(f->shadow, &emu.stack, &emu.stack_size);
}

static void entry()
{
    __sanitizer_finish_switch_fiber(NULL, &emu.stack, &emu.stack_size);
    (*emu.body)();
    leave(DONE);
}

static void go_on(unsigned i)
{
    void *shadow = NULL;
    emu.now = i;
    threadIdx.x = i;
    __sanitizer_start_switch_fiber(&shadow, emu.all[i].stack, STACK);
    swapcontext(&emu.scheduler, &emu.all[i].context);
    __sanitizer_finish_switch_fiber(shadow, NULL, NULL);
}

void __syncthreads() { leave(AT_BARRIER); }
void __syncwarp(unsigned) { leave(AT_WARP); }
int __syncthreads_or(int mine)
{
    int any = 0;
    emu.all[emu.now].given = mine != 0;
    leave(AT_BARRIER);
    for (unsigned i = 0; i < emu.n; i++)
        any |= (int)emu.all[i].given;
    leave(AT_BARRIER);
    return any;
}
unsigned emu_lane() { return emu.now % WARP; }

void *emu_shared(size_t bytes)
{
    fiber *f = &emu.all[emu.now];
    if (f->arrays == SHARED)
        abort();
    void **p = &emu.shared[f->arrays++];
    if (!*p)
        *p = memset(malloc(bytes), 0xff, bytes);
    return *p;
}

/* All lanes give, then all take, then all may give again. */
uint32_t emu_exchange(uint32_t mine, unsigned lane)
{
    const unsigned from = emu.now / WARP * WARP + lane;
    emu.all[emu.now].given = mine;
    leave(AT_WARP);
    const uint32_t theirs = from < emu.n ? emu.all[from].given : mine;
    leave(AT_WARP);
    return theirs;
}

/* ---- scheduling ---- */

/* Lets threads [from, to) go on when all of them wait there, or (of a warp) are done. */
static bool release(unsigned from, unsigned to, state where)
{
    unsigned waiting = 0, done = 0;
    for (unsigned i = from; i < to; i++) {
        waiting += emu.all[i].is == where;
        done += emu.all[i].is == DONE;
    }
    if (!waiting || waiting + (where == AT_WARP ? done : 0) < to - from)
        return false;
    for (unsigned i = from; i < to; i++)
        if (emu.all[i].is == where)
            emu.all[i].is = READY;
    return true;
}

/* Runs each thread until it waits or is done; then releases those whose rendezvous is complete. */
static int run_block()
{
    for (;;) {
        unsigned done = 0;
        for (unsigned k = 0; k < emu.n; k++) {
            const unsigned i = emu.reverse ? emu.n - 1 - k : k;
            if (emu.all[i].is == READY)
                go_on(i);
        }
        for (unsigned i = 0; i < emu.n; i++)
            done += emu.all[i].is == DONE;
        if (done == emu.n)
            return 0;
        bool released = release(0, emu.n, AT_BARRIER);
        for (unsigned w = 0; w < emu.n; w += WARP)
            released |= release(w, w + WARP < emu.n ? w + WARP : emu.n, AT_WARP);
        if (!released)
            return LAUNCH_FAILURE;
    }
}

/* Apart from the loop over fibers, because getcontext may return twice as far as a compiler knows. */
static void make_fiber(fiber *f, char *stack)
{
    f->is = READY;
    f->shadow = NULL;
    f->arrays = 0;
    f->stack = stack;
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = stack;
    f->context.uc_stack.ss_size = STACK;
    f->context.uc_link = NULL;
    makecontext(&f->context, entry, 0);
}

static void make_room(unsigned threads)
{
    if (threads <= emu.room)
        return;
    emu.all = (fiber *)realloc(emu.all, threads * sizeof *emu.all);
    emu.stacks = (char *)realloc(emu.stacks, (size_t)threads * STACK);
    emu.room = threads;
}

int emu_launch(unsigned blocks, unsigned threads, const std::function<void()> &body)
{
    int failed = 0;
    make_room(threads);
    emu.n = threads;
    emu.body = &body;
    blockDim.x = threads;
    gridDim.x = blocks;
    for (unsigned k = 0; k < blocks && !failed; k++) {
        blockIdx.x = emu.reverse ? blocks - 1 - k : k;
        for (unsigned i = 0; i < threads; i++)
            make_fiber(&emu.all[i], emu.stacks + (size_t)i * STACK);
        failed = run_block();
        for (void *&p : emu.shared) {
            free(p);
            p = NULL;
        }
    }
    return failed;
}

static float half_of(uint32_t word, int which) { return tn__from_bf16((uint16_t)(word >> 16 * which)); }

/* Of lane 4 g + t: the terms 2 u.. and 8 + 2 u.. of its rows are in lanes 4 g + u, those of its columns 2 t + j in lanes
 * 4 (2 t + j) + u. */
void emu_mma(float *c, const uint32_t *a, const uint32_t *b)
{
    const unsigned lane = emu_lane(), g = lane / 4, t = lane % 4;
    for (unsigned u = 0; u < 4; u++) {
        uint32_t left[4], right[2][2];
        for (int i = 0; i < 4; i++)
            left[i] = emu_exchange(a[i], 4 * g + u);
        for (unsigned j = 0; j < 2; j++)
            for (int i = 0; i < 2; i++)
                right[j][i] = emu_exchange(b[i], 4 * (2 * t + j) + u);
        for (int k = 0; k < 4; k++)
            for (int row = 0; row < 2; row++)
                for (int j = 0; j < 2; j++)
                    c[2 * row + j] += half_of(left[row + k / 2 * 2], k % 2) * half_of(right[j][k / 2], k % 2);
    }
}
