// Work on rows. LANES threads share a row, a power of two that follows from the shape alone (src/cuda/rows.rs), and so
// does the order of a sum. A block has row_threads(LANES) threads, all of which call the functions here, also those
// whose row does not exist. Grid: ceil(rows / (row_threads(LANES) / LANES)).
#pragma once
#include "reduce.cuh"

__host__ __device__ constexpr u32 row_threads(u32 lanes) { return lanes > 256 ? lanes : 256; }

// Number of this thread's row.
template <u32 LANES>
__device__ inline u64 row_of_thread() {
    return (u64)blockIdx.x * (row_threads(LANES) / LANES) + threadIdx.x / LANES;
}

// This thread's elements of its row, where rows of `size` elements lie one behind the other: `first`, `first + LANES`, ...
// below `end`; none if there is no such row.
struct Lane {
    u64 first;
    u64 end;
};

template <u32 LANES>
__device__ inline Lane lane_of(u64 rows, u64 size) {
    u64 row = row_of_thread<LANES>();
    return {row * size + threadIdx.x % LANES, row < rows ? (row + 1) * size : 0};
}

// All values of a row in each of its lanes, with the same bits. `of_warp` has WARP values, and is used where a row has the
// whole block.
template <u32 LANES, typename T, typename F>
__device__ inline T row_fold(T value, T* of_warp, F f) {
    static_assert(LANES <= WARP || LANES == row_threads(LANES), "a row has a part of a warp or a whole block");
    if constexpr (LANES > WARP) {
        return block_fold(value, of_warp, f);
    } else {
        return lanes_fold<LANES>(value, f);
    }
}

template <u32 LANES>
__device__ inline float row_sum(float value, float* of_warp) {
    return row_fold<LANES>(value, of_warp, Plus());
}

// NaN counts for nothing.
template <u32 LANES>
__device__ inline float row_max(float value, float* of_warp) {
    return row_fold<LANES>(value, of_warp, Larger());
}
