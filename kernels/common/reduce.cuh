// Reductions over the 32 lanes of a warp. Every lane receives the same bits: the butterfly adds the same pairs in
// every lane, and both operations commute.
#pragma once
#include "base.cuh"

__device__ inline float warp_sum(float value) {
    for (u32 step = WARP / 2; step > 0; step /= 2) value += __shfl_xor_sync(ALL_LANES, value, step);
    return value;
}

__device__ inline float warp_max(float value) {
    for (u32 step = WARP / 2; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, step));
    return value;
}

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

// As block_sum, in every thread, with a barrier before it returns.
__device__ inline float block_sum_for_all(float value, float* of_warp) {
    value = warp_sum(value);
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = value;
    __syncthreads();  // every warp's sum is written
    float sum = of_warp[0];
    for (u32 warp = 1; warp < blockDim.x / WARP; warp++) sum += of_warp[warp];
    __syncthreads();  // nobody reads them any more
    return sum;
}

// The largest value of the block, in every thread, with a barrier before it returns. NaN is left out.
__device__ inline float block_max_for_all(float value, float* of_warp) {
    value = warp_max(value);
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = value;
    __syncthreads();  // every warp's maximum is written
    float most = of_warp[0];
    for (u32 warp = 1; warp < blockDim.x / WARP; warp++) most = fmaxf(most, of_warp[warp]);
    __syncthreads();  // nobody reads them any more
    return most;
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
