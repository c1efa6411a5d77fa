// What every kernel starts from: fixed-width names, grid helpers, and the rules that make results repeatable.
//
// Rules of this folder:
// * entry points are `extern "C" __global__`, with pointers first (operands, results, scratch) and one parameter struct,
//   by value, last; a struct `XParams` has the same fields in Rust (`src/ops`) and, where it has one, in WGSL;
// * contraction is off (`--fmad=false`): a fused multiply-add is written `fmaf` where it is meant, so a kernel gives
//   the same bits under every compiler that obeys IEEE 754;
// * no floating-point atomics, and every reduction has an order that depends on the shapes alone;
// * `__shared__` variables are declared in the body of an entry point and handed to templates by reference.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;

// Shared memory sized by the launch, as an array of T. At most one per kernel.
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(T, name)                          \
    extern __shared__ __align__(16) u8 shared_bytes[];   \
    T* name = reinterpret_cast<T*>(shared_bytes)
#endif

constexpr u32 WARP = 32;
constexpr u32 ALL_LANES = 0xffffffffu;

// Smallest q with q * b >= a.
__host__ __device__ constexpr u32 ceil_div(u32 a, u32 b) { return (a + b - 1) / b; }

// Index of this thread over the whole one-dimensional grid.
__device__ inline u64 global_thread() { return (u64)blockIdx.x * blockDim.x + threadIdx.x; }

// Neighbours, moved at once where they are aligned.
template <typename T, u32 COUNT>
struct alignas(COUNT * sizeof(T)) Run {
    T item[COUNT];
};
template <typename T>
using Quad = Run<T, 4>;

// Stores the first `count` of some neighbours; `aligned`: `to` is a multiple of COUNT from an aligned beginning.
template <typename T, u32 COUNT>
__device__ inline void store(T* to, const Run<T, COUNT>& from, u32 count, bool aligned) {
    if (aligned && count >= COUNT) {
        *reinterpret_cast<Run<T, COUNT>*>(to) = from;
        return;
    }
#pragma unroll
    for (u32 i = 0; i < COUNT; i++) {
        if (i < count) to[i] = from.item[i];
    }
}
