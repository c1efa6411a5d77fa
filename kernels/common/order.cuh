// Floats as integers of the same order, and the order of the best of many: larger values first, of equal ones the earlier
// position first, NaN behind every number.
#pragma once
#include "math.cuh"

// Larger numbers have larger keys, both zeros the same one, and NaN has the smallest, 0.
__device__ inline u32 order_of(float value) {
    u32 bits = __float_as_uint(value + 0.0f);
    u32 key = bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
    return value == value ? key : 0;
}

// The number with this key.
__device__ inline float value_of(u32 key) {
    return key == 0 ? not_a_number() : __uint_as_float(key ^ (key >> 31 ? 0x80000000u : 0xffffffffu));
}

// Value and position as one key: larger is better.
__device__ inline u64 ranked(float value, u32 position) { return (u64)order_of(value) << 32 | (u32)~position; }

// The position in such a key.
__device__ inline u32 position_of(u64 key) { return ~(u32)key; }

// Sorts `slots` keys ascending by a bitonic network; `slots` is a power of two. Every thread of the block calls it.
__device__ inline void bitonic_sort(u64* keys, u32 slots) {
    for (u32 run = 2; run <= slots; run *= 2) {
        for (u32 gap = run / 2; gap > 0; gap /= 2) {
            __syncthreads();  // the keys are written, by the filling or by the stage before
            for (u32 pair = threadIdx.x; pair < slots / 2; pair += blockDim.x) {
                u32 low = pair / gap * 2 * gap + pair % gap, high = low + gap;
                u64 a = keys[low], b = keys[high];
                bool ascending = (low & run) == 0;
                if ((a > b) == ascending) {
                    keys[low] = b;
                    keys[high] = a;
                }
            }
        }
    }
    __syncthreads();  // sorted, for every thread
}
