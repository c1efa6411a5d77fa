// Reductions over the lanes of a warp and over the warps of a block, with operations that commute.
#pragma once
#include "base.cuh"

struct Plus {
    __device__ float operator()(float a, float b) const { return a + b; }
};

// NaN is left out.
struct Larger {
    __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// All values of each group of LANES neighbouring lanes, in every lane of the group. Every lane receives the same bits: the
// butterfly takes the same pairs in every lane.
template <u32 LANES, typename T, typename F>
__device__ inline T lanes_fold(T value, F f) {
#pragma unroll
    for (u32 step = LANES / 2; step > 0; step /= 2) value = f(value, __shfl_xor_sync(ALL_LANES, value, step));
    return value;
}

__device__ inline float warp_sum(float value) { return lanes_fold<WARP>(value, Plus()); }

__device__ inline float warp_max(float value) { return lanes_fold<WARP>(value, Larger()); }

// All values of the block, in every thread: warps by their butterfly, then the warps in order. `of_warp` holds one value for
// each warp; the block must be whole warps, and meets two barriers here.
template <typename T, typename F>
__device__ inline T block_fold(T value, T* of_warp, F f) {
    value = lanes_fold<WARP>(value, f);
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = value;
    __syncthreads();  // every warp's value is written
    value = of_warp[0];
    for (u32 warp = 1; warp < blockDim.x / WARP; warp++) value = f(value, of_warp[warp]);
    __syncthreads();  // nobody reads them any more
    return value;
}

__device__ inline float block_sum_for_all(float value, float* of_warp) { return block_fold(value, of_warp, Plus()); }

__device__ inline float block_max_for_all(float value, float* of_warp) { return block_fold(value, of_warp, Larger()); }

// Sum over the block, in thread 0 alone: warps by their butterfly, then the warps in order. `of_warp` holds one value for
// each warp; the block must be whole warps, and meets a barrier here.
__device__ inline float block_sum(float value, float* of_warp) {
    value = warp_sum(value);
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = value;
    __syncthreads();  // every warp's sum is written
    float sum = of_warp[0];
    for (u32 warp = 1; threadIdx.x == 0 && warp < blockDim.x / WARP; warp++) sum += of_warp[warp];
    return sum;
}

// Sum of `value` over the threads before this one; `total` becomes that over all of the block. `of_warp` holds one value
// for each warp; the block must be whole warps, and meets two barriers here.
__device__ inline u32 block_sum_before(u32 value, u32* of_warp, u32& total) {
    u32 lane = threadIdx.x % WARP, sum = value;
    for (u32 step = 1; step < WARP; step *= 2) {
        u32 other = __shfl_up_sync(ALL_LANES, sum, step);
        if (lane >= step) sum += other;
    }
    if (lane == WARP - 1) of_warp[threadIdx.x / WARP] = sum;
    __syncthreads();  // every warp's sum is written
    u32 before = sum - value;
    total = 0;
    for (u32 warp = 0; warp < blockDim.x / WARP; warp++) {
        if (warp < threadIdx.x / WARP) before += of_warp[warp];
        total += of_warp[warp];
    }
    __syncthreads();  // nobody reads them any more
    return before;
}
