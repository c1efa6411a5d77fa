// Work on each element by itself. A block has ELEMENT_THREADS * ELEMENT_STEPS neighbouring elements, a thread every
// ELEMENT_THREADS-th of them, so that a warp reads and writes whole lines. Grid: that of Grid::elements.
#pragma once
#include "base.cuh"

constexpr u32 ELEMENT_THREADS = 256;
constexpr u32 ELEMENT_STEPS = 4;

// Calls f(index) for each of this thread's elements among `count`.
template <typename F>
__device__ inline void each_element(u64 count, F f) {
    u64 first = (u64)blockIdx.x * (ELEMENT_THREADS * ELEMENT_STEPS) + threadIdx.x;
#pragma unroll
    for (u32 step = 0; step < ELEMENT_STEPS; step++) {
        u64 at = first + step * ELEMENT_THREADS;
        if (at < count) f(at);
    }
}
