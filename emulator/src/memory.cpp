// Device memory, of the host's.

#include "memory.h"
#include "checks.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

namespace emulator::memory {

namespace {

constexpr size_t ALIGNMENT = 256;
// Of no allocation, behind each one, so that running over its end does not mean running into the next.
constexpr size_t GAP = checks::ON ? 4096 : 0;
constexpr unsigned char POISON = 0xff;  // a NaN in every float

std::map<uintptr_t, Allocation> allocations;  // by `begin`
size_t in_use;

}  // namespace

size_t total() {
    const char* text = getenv("FOVEATE_EMULATOR_MEMORY");  // bytes
    return text ? strtoull(text, nullptr, 10) : (size_t)4 << 30;
}

size_t available() { return total() - std::min(total(), in_use); }

uintptr_t allocate(size_t bytes) {
    void* start = nullptr;
    if (posix_memalign(&start, ALIGNMENT, bytes + GAP)) return 0;
    memset(start, POISON, bytes);
    uintptr_t at = reinterpret_cast<uintptr_t>(start);
    allocations.emplace(at, Allocation{at, bytes, checks::ON ? Shadow(bytes) : Shadow()});
    in_use += bytes;
    return at;
}

bool release(uintptr_t at) {
    auto found = allocations.find(at);
    if (found == allocations.end()) return false;
    in_use -= found->second.bytes;
    memset(reinterpret_cast<void*>(at), POISON, found->second.bytes);
    allocations.erase(found);
    free(reinterpret_cast<void*>(at));
    return true;
}

std::pair<const Allocation*, const Allocation*> around(uintptr_t at) {
    auto after = allocations.upper_bound(at);
    const Allocation* before = after == allocations.begin() ? nullptr : &std::prev(after)->second;
    return {before, after == allocations.end() ? nullptr : &after->second};
}

const Allocation* find(uintptr_t at) {
    const Allocation* of = around(at).first;
    return of && of->holds(at, 1) ? of : nullptr;
}

bool owned(uintptr_t at, size_t bytes) {
    if (bytes == 0) return true;
    const Allocation* of = find(at);
    return of && of->holds(at, bytes);
}

void wrote(uintptr_t at, size_t bytes) {
    if (!checks::ON || bytes == 0) return;
    const Allocation* of = find(at);
    memset(of->shadow.written() + (at - of->begin), 1, bytes);
}

void copied(uintptr_t to, uintptr_t from, size_t bytes) {
    if (!checks::ON || bytes == 0) return;
    const Allocation *target = find(to), *source = find(from);
    memmove(target->shadow.written() + (to - target->begin), source->shadow.written() + (from - source->begin), bytes);
}

std::string fault_of_reading(uintptr_t at, size_t bytes) {
    if (!checks::ON || bytes == 0) return "";
    const Allocation* of = find(at);
    const uint8_t* written = of->shadow.written() + (at - of->begin);
    const void* gap = memchr(written, 0, bytes);
    if (!gap) return "";
    size_t first = (size_t)(static_cast<const uint8_t*>(gap) - of->shadow.written());
    return "a copy to the host reads global memory that nothing wrote: byte " + std::to_string(first) + " of an allocation of " +
           std::to_string(of->bytes);
}

}  // namespace emulator::memory
