// The hooks of the checking build. The kernels are compiled with -fsanitize=thread, which makes the compiler call a
// function before each access to memory that may be shared, with its address, size, and whether it is a write; and with
// -fsanitize=alignment, which makes it call another where a pointer is no multiple of what its type needs. The functions of
// those names here take the place of the sanitizers' runtimes.
//
// An access may be to the thread's own stack or to constants, which are of no concern, to shared memory, or to an
// allocation of global memory. Anything else is out of bounds.

#include "checks.h"
#include "lines.h"
#include "memory.h"
#include "scheduler.h"

#include <link.h>

#include <algorithm>
#include <string>

extern "C" char __start_emulated_shared[] __attribute__((weak));
extern "C" char __stop_emulated_shared[] __attribute__((weak));

namespace emulator::checks {

namespace {

struct Range {
    uintptr_t begin = 0, end = 0;
    bool holds(uintptr_t at) const { return at >= begin && at < end; }
};

// Memory whose accesses are remembered.
struct Region {
    const char* name;
    Range range;
    const Shadow* shadow;
};

bool inside;     // a launch
bool suspended;  // within an atomic operation, which has been entered as a whole
unsigned running;
Index grid, block;
Range stack, image, own;
Region statics = {"shared memory", {}, nullptr}, dynamic = {"dynamic shared memory", {}, nullptr};
// The allocations that accesses found last, by the access's place: an instruction mostly stays with one tensor.
constexpr size_t RECENT = 256;
const memory::Allocation* recent[RECENT];

Range range_of(const void* at, size_t bytes) {
    uintptr_t begin = reinterpret_cast<uintptr_t>(at);
    return {begin, begin + bytes};
}

// The library: constants, and the emulator's own variables.
Range find_image() {
    Range found;
    auto visit = [](dl_phdr_info* info, size_t, void* result) -> int {
        Range all = {~(uintptr_t)0, 0};
        for (int i = 0; i < info->dlpi_phnum; i++) {
            const ElfW(Phdr)& part = info->dlpi_phdr[i];
            if (part.p_type != PT_LOAD) continue;
            all.begin = std::min(all.begin, (uintptr_t)(info->dlpi_addr + part.p_vaddr));
            all.end = std::max(all.end, (uintptr_t)(info->dlpi_addr + part.p_vaddr + part.p_memsz));
        }
        if (!all.holds(reinterpret_cast<uintptr_t>(&inside))) return 0;
        *static_cast<Range*>(result) = all;
        return 1;
    };
    dl_iterate_phdr(visit, &found);
    return found;
}

const char* verb(Kind kind) { return kind == Kind::read ? "reads" : kind == Kind::write ? "writes" : "changes"; }

std::string bytes_text(size_t bytes) { return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes"); }

// "writes 4 bytes at kernels/pool/pool.cu:12".
std::string described(const Access& access, size_t bytes) {
    return std::string(verb(access.kind)) + " " + bytes_text(bytes) + " at " + line_of(access.place);
}

Index index_of(size_t number, Index size) {
    return {(unsigned)(number % size.x), (unsigned)(number / size.x % size.y), (unsigned)(number / size.x / size.y)};
}

// Ends the launch.
[[noreturn]] void found(const Access& now, size_t bytes, const std::string& what) {
    give_up("thread " + text(index_of(now.thread, block)) + " " + described(now, bytes) + ": " + what);
}

[[noreturn]] void found_race(const Access& then, const Access& now, size_t bytes, const Region& region) {
    std::string who = "thread " + text(index_of(then.thread, block));
    bool other_block = then.epoch < time::start_of_block();
    if (other_block) who += " of block " + text(index_of(time::block_of(then.epoch), grid));
    const char* order = other_block ? "nothing orders the blocks of a launch" : "no barrier lies between them";
    const char* did = then.kind == Kind::read ? " read" : then.kind == Kind::write ? " wrote" : " changed";
    found(now, bytes, std::string("race on ") + region.name + " with " + who + ", which" + did + " it at " + line_of(then.place) + "; " + order);
}

// Which memory ends, or begins, near an address that is in none.
std::string neighbours(uintptr_t at) {
    constexpr size_t NEAR = 4096;
    auto past = [&](const char* name, uintptr_t begin, size_t bytes) -> std::string {
        uintptr_t end = begin + bytes;
        if (bytes && at >= end && at - end < NEAR) return ", " + bytes_text(at - end) + " past the end of " + bytes_text(bytes) + " of " + name;
        if (bytes && at < begin && begin - at < NEAR) return ", " + bytes_text(begin - at) + " before " + bytes_text(bytes) + " of " + name;
        return "";
    };
    auto [before, after] = memory::around(at);
    return past(dynamic.name, dynamic.range.begin, dynamic.range.end - dynamic.range.begin) +
           (before ? past("global memory", before->begin, before->bytes) : "") + (after ? past("global memory", after->begin, after->bytes) : "");
}

// Whether an access needs no check: to the thread's own variables, to constants and to what the emulator keeps for it.
bool of_no_concern(uintptr_t at) {
    return stack.holds(at) || (image.holds(at) && !statics.range.holds(at)) || own.holds(at);
}

// The memory that another access is to. Ends the launch if that is none of the device's.
const Region* region_of(uintptr_t at, const Access& now, size_t bytes) {
    if (statics.range.holds(at)) return &statics;
    if (dynamic.range.holds(at)) return &dynamic;
    const memory::Allocation*& known = recent[now.place % RECENT];
    if (!known || !known->holds(at, 1)) known = memory::find(at);
    if (!known) found(now, bytes, "out of bounds: it lies in no allocation" + neighbours(at));
    static Region global = {"global memory", {}, nullptr};
    global.range = range_of(reinterpret_cast<const void*>(known->begin), known->bytes);
    global.shadow = &known->shadow;
    return &global;
}

void check(const void* address, size_t bytes, Kind kind, const void* from) {
    uintptr_t at = reinterpret_cast<uintptr_t>(address);
    if (!inside || suspended || of_no_concern(at)) return;
    Access now = time::now(running, kind, place_of(from));
    const Region* region = region_of(at, now, bytes);
    if (bytes > region->range.end - at) found(now, bytes, std::string("out of bounds: part of it lies beyond ") + region->name);
    bool global = region != &statics && region != &dynamic;
    uint32_t since = global ? time::start_of_launch() : time::start_of_block();
    size_t first = at - region->range.begin;
    uint8_t* written = region->shadow->written() + first;
    for (size_t i = 0; i < bytes; i++) {
        Cell& cell = region->shadow->cell(first + i);
        if (const Access* race = remember(cell, now, since)) found_race(*race, now, bytes, *region);
        bool there = global ? written[i] : cell.write.epoch >= since;
        if (kind != Kind::write && !there) found(now, bytes, std::string("nothing wrote this ") + region->name + (global ? " before" : " in this block before"));
        if (kind == Kind::write) written[i] = 1;
    }
}

}  // namespace

// `type` has its name in quotes.
void misaligned(const char* file, unsigned line, const char* type, unsigned alignment, const void* at) {
    if (!inside || reinterpret_cast<uintptr_t>(at) % alignment == 0) return;
    give_up("thread " + text(index_of(running, block)) + " at " + file + ":" + std::to_string(line) + ": misaligned: the address of a " +
            type + " is no multiple of " + std::to_string(alignment));
}

void start_launch(Index of_grid, Index of_block, size_t dynamic_bytes, const void* own_memory, size_t own_bytes) {
    static const Shadow of_statics(std::max<size_t>(__stop_emulated_shared - __start_emulated_shared, 1));
    static const Range of_image = find_image();
    static Shadow of_dynamic;
    image = of_image;
    grid = of_grid;
    block = of_block;
    own = range_of(own_memory, own_bytes);
    statics.range = range_of(__start_emulated_shared, (size_t)(__stop_emulated_shared - __start_emulated_shared));
    statics.shadow = &of_statics;
    if (dynamic_bytes > of_dynamic.size()) of_dynamic = Shadow(dynamic_bytes);
    dynamic.range = range_of(dynamic_shared, dynamic_bytes);
    dynamic.shadow = &of_dynamic;
    for (const memory::Allocation*& entry : recent) entry = nullptr;
    time::start_launch(block.x * block.y * block.z);
    suspended = false;
    inside = true;
}

void end_launch() { inside = false; }

void start_block() { time::start_block(); }

void resume(unsigned thread, const void* of_stack, size_t stack_bytes) {
    running = thread;
    stack = range_of(of_stack, stack_bytes);
}

}  // namespace emulator::checks

namespace emulator {

Atomic::Atomic(const void* at, unsigned bytes) {
    checks::check(at, bytes, Kind::atomic, __builtin_return_address(0));
    checks::suspended = true;
}

Atomic::~Atomic() { checks::suspended = false; }

}  // namespace emulator

// The names that the compiler calls.

#define HOOK extern "C" void
#define CHECK(at, bytes, kind) emulator::checks::check(at, bytes, emulator::Kind::kind, __builtin_return_address(0))
#define HOOKS_OF_SIZE(n)                                                    \
    HOOK __tsan_read##n(const void* at) { CHECK(at, n, read); }             \
    HOOK __tsan_write##n(const void* at) { CHECK(at, n, write); }           \
    HOOK __tsan_unaligned_read##n(const void* at) { CHECK(at, n, read); }   \
    HOOK __tsan_unaligned_write##n(const void* at) { CHECK(at, n, write); }
HOOKS_OF_SIZE(1)
HOOKS_OF_SIZE(2)
HOOKS_OF_SIZE(4)
HOOKS_OF_SIZE(8)
HOOKS_OF_SIZE(16)
HOOK __tsan_read_range(const void* at, size_t bytes) { CHECK(at, bytes, read); }
HOOK __tsan_write_range(const void* at, size_t bytes) { CHECK(at, bytes, write); }
HOOK __tsan_init() {}

// What the compiler says of an access through a misaligned pointer (or a null pointer, which other checks are for).
struct Type {
    uint16_t kind, info;
    char name[1];  // and the rest of it
};
struct Mismatch {
    const char* file;
    uint32_t line, column;
    const Type* type;
    uint8_t log_alignment, access;
};
HOOK __ubsan_handle_type_mismatch_v1(const Mismatch* what, const void* at) {
    emulator::checks::misaligned(what->file, what->line, what->type->name, 1u << what->log_alignment, at);
}
