// Work on each element by itself. A block has ELEMENT_THREADS * ELEMENT_STEPS neighbouring elements, a thread every
// ELEMENT_THREADS-th of them, so that a warp reads and writes whole lines. Grid: that of Grid::elements.
#pragma once
#include "base.cuh"

constexpr u32 ELEMENT_THREADS = 256;
constexpr u32 ELEMENT_STEPS = 4;

// Calls f(index) for each of this thread's elements among `count`. Where all elements of the block exist there is no
// branch between the calls, so that the loads of all of them are under way at once.
template <typename F>
__device__ inline void each_element(u64 count, F f) {
    u64 start = (u64)blockIdx.x * (ELEMENT_THREADS * ELEMENT_STEPS), first = start + threadIdx.x;
    if (start + ELEMENT_THREADS * ELEMENT_STEPS <= count) {
#pragma unroll
        for (u32 step = 0; step < ELEMENT_STEPS; step++) f(first + step * ELEMENT_THREADS);
        return;
    }
    for (u64 at = first; at < count; at += ELEMENT_THREADS) f(at);
}

// The same in two steps, store(index, load(index)), for functions that branch: all loads come before the first of them.
// `block` is this block's number among those of the elements.
template <typename Load, typename Store>
__device__ inline void each_element_of_block(u64 block, u64 count, Load load, Store store) {
    u64 start = block * (ELEMENT_THREADS * ELEMENT_STEPS), first = start + threadIdx.x;
    if (start + ELEMENT_THREADS * ELEMENT_STEPS <= count) {
        decltype(load(first)) value[ELEMENT_STEPS];
#pragma unroll
        for (u32 step = 0; step < ELEMENT_STEPS; step++) value[step] = load(first + step * ELEMENT_THREADS);
#pragma unroll
        for (u32 step = 0; step < ELEMENT_STEPS; step++) store(first + step * ELEMENT_THREADS, value[step]);
        return;
    }
    for (u64 at = first; at < count; at += ELEMENT_THREADS) store(at, load(at));
}

template <typename Load, typename Store>
__device__ inline void each_element(u64 count, Load load, Store store) {
    each_element_of_block(blockIdx.x, count, load, store);
}
