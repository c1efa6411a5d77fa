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
