// Device memory: the table of allocations.
#pragma once
#include "shadow.h"

#include <string>
#include <utility>

namespace emulator::memory {

struct Allocation {
    uintptr_t begin;
    size_t bytes;
    Shadow shadow;  // in the checking build

    bool holds(uintptr_t at, size_t count) const { return at - begin <= bytes && count <= bytes - (at - begin); }
};

// Bytes that the device has, and those that are free.
size_t total();
size_t available();

// A new allocation, filled with NaN; zero if the host has no memory for it.
uintptr_t allocate(size_t bytes);
// False if there is none that begins here.
bool release(uintptr_t at);
// The allocation that an address lies in.
const Allocation* find(uintptr_t at);
// The allocations that begin before this address and behind it.
std::pair<const Allocation*, const Allocation*> around(uintptr_t at);
// Whether [at, at + bytes) lies in one allocation.
bool owned(uintptr_t at, size_t bytes);

// For the checking build: the host wrote these bytes, or copied what stands elsewhere.
void wrote(uintptr_t at, size_t bytes);
void copied(uintptr_t to, uintptr_t from, size_t bytes);
// What is wrong with reading these bytes on the host: nothing, or that nothing wrote them.
std::string fault_of_reading(uintptr_t at, size_t bytes);

}  // namespace emulator::memory
