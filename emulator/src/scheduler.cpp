// Fibers, and the points where they meet.
//
// A fiber runs until it finishes or meets others: at a barrier (all threads of the block) or in a warp operation (the
// lanes of a mask). The scheduler resumes fibers in the chosen order; a warp operation completes when the last lane of
// its mask arrives, a barrier when every thread has. What real hardware leaves undefined is reported instead: threads
// at different barriers, threads that ended while others wait, lanes that never come.

#include "scheduler.h"
#include "checks.h"
#include "copies.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#ifndef __x86_64__
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define WITH_ASAN 1
#else
#define WITH_ASAN 0
#endif

// The section of all static __shared__ variables. Weak: a library without any has no such section.
extern "C" char __start_emulated_shared[] __attribute__((weak));
extern "C" char __stop_emulated_shared[] __attribute__((weak));

namespace emulator {

Index thread_index, block_index, block_size, grid_size;
void* dynamic_shared;

namespace {

constexpr size_t STACK_BYTES = WITH_ASAN ? 512 * 1024 : 128 * 1024;
constexpr unsigned char POISON = 0xff;  // a NaN in every float

enum class State { ready, meeting, done };

struct Fiber {
#ifdef __x86_64__
    void* stack_pointer = nullptr;
#else
    ucontext_t context;
#endif
    char* stack = nullptr;
    State state = State::done;
    Index thread = {};
    unsigned number = 0;  // in the block
    Meeting kind = Meeting::none;
    Place place = {};
    unsigned mask = 0, argument = 0, width = 0;
    uint64_t value = 0, result = 0;
    const void* operand = nullptr;
    unsigned operand_bytes = 0;
};

// Everything of the launch that runs. One at a time: `launch` holds the lock.
std::mutex running;
std::vector<std::unique_ptr<Fiber>> fibers;
unsigned threads;  // of the block
Fiber* current;
Fiber scheduler;
const Kernel* kernel;
void** kernel_parameters;
std::string failure;
std::vector<Gathered> gathered;  // by warp

#ifdef __x86_64__
// Saves the callee-saved registers on the present stack, stores its pointer, and continues on another.
extern "C" void emulator_switch(void** save, void* load);
__asm__(R"(
.text
.hidden emulator_switch
.globl emulator_switch
.type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulator_switch, .-emulator_switch
)");
#endif

#if WITH_ASAN
const void* scheduler_stack;
size_t scheduler_stack_bytes;
#endif

void switch_stacks(Fiber& from, Fiber& to) {
#ifdef __x86_64__
    emulator_switch(&from.stack_pointer, to.stack_pointer);
#else
    swapcontext(&from.context, &to.context);
#endif
}

// From the scheduler into a fiber, until it gives way.
void resume(Fiber& fiber) {
    current = &fiber;
    thread_index = fiber.thread;
    checks::resume(fiber.number, fiber.stack, STACK_BYTES);
#if WITH_ASAN
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, fiber.stack, STACK_BYTES);
#endif
    switch_stacks(scheduler, fiber);
#if WITH_ASAN
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
    current = nullptr;
}

// From the fiber that runs back to the scheduler.
void give_way(bool for_good) {
#if WITH_ASAN
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake, scheduler_stack, scheduler_stack_bytes);
#else
    (void)for_good;
#endif
    switch_stacks(*current, scheduler);
#if WITH_ASAN
    __sanitizer_finish_switch_fiber(fake, &scheduler_stack, &scheduler_stack_bytes);
#endif
}

// The first function on a fiber's stack.
void enter() {
#if WITH_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_bytes);
#endif
    kernel->run(kernel_parameters);
    if (copies::left(current->number)) give_up("thread " + text(current->thread) + " ended with copies that it did not wait for");
    current->state = State::done;
    give_way(true);
    abort();  // a finished fiber is not resumed
}

void prepare(Fiber& fiber) {
    if (fiber.stack == nullptr) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        void* at = mmap(nullptr, STACK_BYTES + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED) {
            perror("foveate emulator: no memory for the stacks of a block's threads");
            abort();
        }
        mprotect(at, page, PROT_NONE);  // an overflow hits this page
        fiber.stack = static_cast<char*>(at) + page;
    }
#if WITH_ASAN
    // Frames of a launch that was given up left their marks.
    __asan_unpoison_memory_region(fiber.stack, STACK_BYTES);
#endif
#ifdef __x86_64__
    void** top = reinterpret_cast<void**>(fiber.stack + STACK_BYTES);
    *--top = nullptr;                              // `enter` finds the alignment of a called function
    *--top = reinterpret_cast<void*>(&enter);      // where the first switch returns to
    for (int i = 0; i < 6; i++) *--top = nullptr;  // the registers it restores
    fiber.stack_pointer = top;
#else
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = STACK_BYTES;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
#endif
    fiber.state = State::ready;
    fiber.kind = Meeting::none;
}

const char* name_of(Meeting kind) {
    switch (kind) {
        case Meeting::barrier: return "__syncthreads";
        case Meeting::barrier_count: return "__syncthreads_count";
        case Meeting::barrier_and: return "__syncthreads_and";
        case Meeting::barrier_or: return "__syncthreads_or";
        case Meeting::warp: return "__syncwarp";
        case Meeting::shuffle: return "__shfl_sync";
        case Meeting::shuffle_up: return "__shfl_up_sync";
        case Meeting::shuffle_down: return "__shfl_down_sync";
        case Meeting::shuffle_xor: return "__shfl_xor_sync";
        case Meeting::ballot: return "a vote";
        case Meeting::gather: return "a warp-wide instruction";
        case Meeting::none: break;
    }
    return "nothing";
}

bool is_barrier(Meeting kind) { return kind >= Meeting::barrier && kind <= Meeting::barrier_or; }

std::string text(Place p) { return std::string(p.file) + ":" + std::to_string(p.line); }

void report(const std::string& what) {
    if (!failure.empty()) return;
    failure = std::string("kernel ") + kernel->name + ", block " + text(block_index) + ": " + what;
}

// Where the threads of the block are, one line per place, with a thread as an example.
std::string whereabouts() {
    std::map<std::string, std::pair<unsigned, unsigned>> places;  // count, first thread
    for (unsigned i = 0; i < threads; i++) {
        const Fiber& f = *fibers[i];
        std::string at = "ended";
        if (f.state == State::meeting) {
            at = std::string("in ") + name_of(f.kind) + " at " + text(f.place);
            char mask[16];
            snprintf(mask, sizeof mask, "%08x", f.mask);
            if (!is_barrier(f.kind)) at += std::string(" with mask ") + mask;
        }
        auto [entry, fresh] = places.try_emplace(at, 0u, i);
        entry->second.first++;
    }
    std::string all;
    for (const auto& [at, who] : places) {
        all += "\n  " + std::to_string(who.first) + " thread(s) " + at + ", the first is thread " + text(fibers[who.second]->thread);
    }
    return all;
}

// The fibers of the warp that `fiber` belongs to: [first, first + lanes).
unsigned warp_of(const Fiber& fiber) { return fiber.number / WARP_LANES; }

// Completes the warp operation of `fiber` if every lane of its mask has come.
void complete_warp(const Fiber& fiber) {
    unsigned first = warp_of(fiber) * WARP_LANES;
    Fiber* lanes[WARP_LANES] = {};
    for (unsigned lane = 0; lane < WARP_LANES; lane++) {
        if (!(fiber.mask >> lane & 1)) continue;
        if (first + lane >= threads) return;
        Fiber& other = *fibers[first + lane];
        if (other.state != State::meeting || other.kind != fiber.kind || other.mask != fiber.mask) return;
        lanes[lane] = &other;
    }
    uint64_t votes = 0;
    for (unsigned lane = 0; lane < WARP_LANES; lane++) {
        if (lanes[lane] && lanes[lane]->value) votes |= 1ull << lane;
        if (lanes[lane] && fiber.kind == Meeting::gather) {
            memcpy(gathered[warp_of(fiber)].lane[lane], lanes[lane]->operand, lanes[lane]->operand_bytes);
        }
    }
    for (unsigned lane = 0; lane < WARP_LANES; lane++) {
        Fiber* f = lanes[lane];
        if (!f) continue;
        unsigned width = f->width ? f->width : WARP_LANES, base = lane / width * width, from = lane;
        switch (f->kind) {
            case Meeting::shuffle: from = base + f->argument % width; break;
            case Meeting::shuffle_up: from = lane - base >= f->argument ? lane - f->argument : lane; break;
            case Meeting::shuffle_down: from = lane - base + f->argument < width ? lane + f->argument : lane; break;
            case Meeting::shuffle_xor: from = lane ^ f->argument; from = from < base + width ? from : lane; break;
            default: break;
        }
        // A lane outside the mask has no value to give.
        f->result = f->kind == Meeting::ballot ? votes : lanes[from] ? lanes[from]->value : ~0ull;
    }
    // The others do not order accesses to memory.
    if (fiber.kind == Meeting::warp) checks::warp_barrier(warp_of(fiber), fiber.mask);
    for (Fiber* f : lanes) {
        if (f) f->state = State::ready;
    }
}

// Releases the barrier that every thread of the block waits at, or reports that they do not wait at the same one.
void complete_barrier() {
    const Fiber* first = nullptr;
    bool same = true;
    uint64_t count = 0;
    for (unsigned i = 0; i < threads; i++) {
        const Fiber& f = *fibers[i];
        if (f.state != State::meeting) {
            same = false;
            continue;
        }
        if (!first) first = &f;
        same = same && f.kind == first->kind && f.place.line == first->place.line && f.place.file == first->place.file;
        count += f.value;
    }
    if (!same) return report("divergent barrier: its threads are" + whereabouts());
    checks::barrier();
    for (unsigned i = 0; i < threads; i++) {
        Fiber& f = *fibers[i];
        f.result = f.kind == Meeting::barrier_and ? count == threads : f.kind == Meeting::barrier_or ? count != 0 : count;
        f.state = State::ready;
    }
}

struct Order {
    enum { forward, reversed, shuffled } kind = forward;
    uint64_t seed = 1;
    bool known = true;
};

Order read_order() {
    Order order;
    const char* text = getenv("FOVEATE_EMULATOR_ORDER");
    std::string name = text ? text : "forward";
    size_t colon = name.find(':');
    if (colon != std::string::npos) order.seed = strtoull(name.c_str() + colon + 1, nullptr, 10);
    name = name.substr(0, colon);
    if (name == "reversed") order.kind = Order::reversed;
    else if (name == "shuffled") order.kind = Order::shuffled;
    else order.known = name == "forward";
    return order;
}

// A round: every fiber that is ready runs once.
void run_block(std::vector<unsigned>& turns, const Order& order, uint64_t& random) {
    while (failure.empty()) {
        if (order.kind == Order::shuffled) {
            for (size_t i = turns.size(); i > 1; i--) {
                random = random * 6364136223846793005ull + 1442695040888963407ull;
                std::swap(turns[i - 1], turns[(random >> 33) % i]);
            }
        }
        bool progress = false;
        for (unsigned turn : turns) {
            Fiber& f = *fibers[turn];
            if (f.state != State::ready) continue;
            progress = true;
            resume(f);
            if (!failure.empty()) return;
            if (f.state == State::meeting && !is_barrier(f.kind)) complete_warp(f);
        }
        if (progress) continue;
        bool finished = true, at_barrier = false, in_warp = false;
        for (unsigned i = 0; i < threads; i++) {
            const Fiber& f = *fibers[i];
            if (f.state != State::meeting) continue;
            finished = false;
            (is_barrier(f.kind) ? at_barrier : in_warp) = true;
        }
        if (finished) return;
        if (in_warp) return report("deadlock: a warp operation waits for lanes that do not come; its threads are" + whereabouts());
        if (at_barrier) complete_barrier();
    }
}

#if WITH_ASAN
// The section has its red zones between the variables.
__attribute__((no_sanitize_address))
#endif
void poison_shared(size_t dynamic_bytes) {
    if (dynamic_bytes) memset(dynamic_shared, POISON, dynamic_bytes);
    volatile char* end = __stop_emulated_shared;
    for (volatile char* at = __start_emulated_shared; at && at < end; at += 8) {
        if (end - at >= 8) *reinterpret_cast<volatile uint64_t*>(at) = ~0ull;
        else for (volatile char* last = at; last < end; last++) *last = (char)POISON;
    }
}

// Says which thread of which kernel it was that will end the process.
void say_where(const char* what) {
    if (!kernel) return;
    char line[512];
    int length = snprintf(line, sizeof line, "foveate emulator: kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s\n", kernel->name,
                          block_index.x, block_index.y, block_index.z, thread_index.x, thread_index.y, thread_index.z, what);
    if (length > 0 && write(2, line, (size_t)length) < 0) _exit(1);
}

#if WITH_ASAN
// The sanitizer's own report, with addresses and lines, comes before.
struct FaultHandler {
    FaultHandler() { __asan_set_error_report_callback([](const char*) { say_where("out of bounds"); }); }
    ~FaultHandler() { __asan_set_error_report_callback(nullptr); }
};
#else
// Memory that is not there. Lets the process end as it would have.
void on_fault(int signal_number, siginfo_t* info, void*) {
    char what[64];
    snprintf(what, sizeof what, "invalid access to %p", info->si_addr);
    say_where(what);
    signal(signal_number, SIG_DFL);
}

struct FaultHandler {
    struct sigaction segv, bus;
    FaultHandler() {
        struct sigaction ours = {};
        ours.sa_sigaction = on_fault;
        ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaction(SIGSEGV, &ours, &segv);
        sigaction(SIGBUS, &ours, &bus);
    }
    ~FaultHandler() {
        sigaction(SIGSEGV, &segv, nullptr);
        sigaction(SIGBUS, &bus, nullptr);
    }
};
#endif

}  // namespace

std::string text(Index i) {
    return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}

unsigned thread_number() { return current->number; }

bool order_is_known() { return read_order().known; }

uint64_t meet(Meeting kind, unsigned mask, uint64_t value, unsigned argument, unsigned width, Place place) {
    Fiber& self = *current;
    if (!is_barrier(kind) && !(mask >> self.number % WARP_LANES & 1)) trap("the calling lane is not in the mask", place);
    self.kind = kind;
    self.mask = mask;
    self.value = value;
    self.argument = argument;
    self.width = width;
    self.place = place;
    self.state = State::meeting;
    give_way(false);
    return self.result;
}

const Gathered& gather(unsigned mask, const void* mine, unsigned bytes, Place place) {
    if (bytes > GATHER_BYTES) trap("a gather of too many bytes", place);
    current->operand = mine;
    current->operand_bytes = bytes;
    meet(Meeting::gather, mask, 0, 0, 0, place);
    return gathered[warp_of(*current)];
}

void give_up(const std::string& what) {
    report(what);
    give_way(true);
    abort();
}

void trap(const char* what, Place place) { give_up("thread " + text(current->thread) + " at " + text(place) + ": " + what); }

std::string launch(const Kernel& which, void** parameters, Index grid, Index block, size_t dynamic_bytes) {
    std::lock_guard<std::mutex> lock(running);
    FaultHandler handler;
    (void)handler;
    kernel = &which;
    kernel_parameters = parameters;
    failure.clear();
    grid_size = grid;
    block_size = block;
    threads = block.x * block.y * block.z;
    while (fibers.size() < threads) fibers.push_back(std::make_unique<Fiber>());
    gathered.resize((threads + WARP_LANES - 1) / WARP_LANES);
    // Of exactly the size asked for, so that an overrun is one for the sanitizer too.
    std::unique_ptr<void, void (*)(void*)> dynamic(nullptr, free);
    if (dynamic_bytes) {
        void* at = nullptr;
        if (posix_memalign(&at, 128, dynamic_bytes)) return "no memory for dynamic shared memory";
        dynamic.reset(at);
    }
    dynamic_shared = dynamic.get();

    checks::start_launch(grid, block, dynamic_bytes, gathered.data(), gathered.size() * sizeof(Gathered));

    Order order = read_order();
    uint64_t random = order.seed;
    std::vector<unsigned> turns(threads);
    for (unsigned i = 0; i < threads; i++) turns[i] = order.kind == Order::reversed ? threads - 1 - i : i;
    for (unsigned z = 0; z < grid.z && failure.empty(); z++)
        for (unsigned y = 0; y < grid.y && failure.empty(); y++)
            for (unsigned x = 0; x < grid.x && failure.empty(); x++) {
                block_index = {x, y, z};
                poison_shared(dynamic_bytes);
                checks::start_block();
                copies::start_block(threads);
                for (unsigned i = 0; i < threads; i++) {
                    Fiber& f = *fibers[i];
                    f.number = i;
                    f.thread = {i % block.x, i / block.x % block.y, i / block.x / block.y};
                    prepare(f);
                }
                run_block(turns, order, random);
            }
    checks::end_launch();
    dynamic_shared = nullptr;
    kernel = nullptr;
    return failure;
}

}  // namespace emulator
