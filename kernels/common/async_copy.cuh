// Copies from global to shared memory that go on beside the arithmetic (cp.async), 16 bytes each. A thread's copies since its
// last commit are a group; wait_copies<N>() returns when all groups but the N newest are there, for this thread: what other
// threads copied is there after a barrier behind their wait. On the emulator a copy is made when it is waited for, so that
// a wait or a barrier that is missing is seen.
#pragma once
#include "base.cuh"

#ifndef FOVEATE_EMULATOR

// Both addresses are multiples of 16; without a source, zeros.
__device__ inline void copy_async(void* to, const void* from, bool exists) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"((u32)__cvta_generic_to_shared(to)), "l"(from), "r"(exists ? 16 : 0)
                 : "memory");
}

__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <u32 LEFT>
__device__ inline void wait_copies() {
    asm volatile("cp.async.wait_group %0;" : : "n"(LEFT) : "memory");
}

#else

inline void copy_async(void* to, const void* from, bool exists) { emulator::begin_copy(to, exists ? from : nullptr); }

inline void commit_copies() { emulator::commit_copies(); }

template <u32 LEFT>
inline void wait_copies() {
    emulator::Copy copy;
    while (emulator::next_copy(LEFT, &copy)) {
        Quad<u32> four = {};
        if (copy.from) four = *static_cast<const Quad<u32>*>(copy.from);
        *static_cast<Quad<u32>*>(copy.to) = four;
    }
}

#endif
