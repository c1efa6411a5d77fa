// Work on rows. LANES threads share a row, a power of two that follows from the shape alone (src/cuda/rows.rs), and so
// does the order of a sum. A block has row_threads(LANES) threads, all of which call the functions here, also those
// whose row does not exist. Grid: ceil(rows / (row_threads(LANES) / LANES)).
#pragma once
#include "base.cuh"

__host__ __device__ constexpr u32 row_threads(u32 lanes) { return lanes > 256 ? lanes : 256; }

// Number of this thread's row.
template <u32 LANES>
__device__ inline u64 row_of_thread() {
    return (u64)blockIdx.x * (row_threads(LANES) / LANES) + threadIdx.x / LANES;
}

// All lanes' values under an operation that commutes, in every lane of the row with the same bits: within a warp by a
// butterfly, then warp by warp. `of_warp` has WARP values, and is used where a row has several warps.
template <u32 LANES, typename F>
__device__ inline float row_fold(float value, float* of_warp, F f) {
#pragma unroll
    for (u32 step = (LANES < WARP ? LANES : WARP) / 2; step > 0; step /= 2) {
        value = f(value, __shfl_xor_sync(ALL_LANES, value, step));
    }
    if (LANES > WARP) {
        if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = value;
        __syncthreads();  // every warp's value is written
        value = of_warp[0];
        for (u32 warp = 1; warp < LANES / WARP; warp++) value = f(value, of_warp[warp]);
        __syncthreads();  // nobody reads them any more
    }
    return value;
}

template <u32 LANES>
__device__ inline float row_sum(float value, float* of_warp) {
    return row_fold<LANES>(value, of_warp, [](float a, float b) { return a + b; });
}

// NaN counts for nothing.
template <u32 LANES>
__device__ inline float row_max(float value, float* of_warp) {
    return row_fold<LANES>(value, of_warp, [](float a, float b) { return fmaxf(a, b); });
}
