// sum: y[kept axes] = the sum of x over the other axes.
//
// Neighbouring axes of one fate are merged, so at most three kept and three summed axes are left; missing ones have size
// one. Few terms: a thread per result adds them in order. Many: a block per result and part of its terms, thread t taking
// t, t + THREADS, ...; several parts go to scratch and are summed the same way.
#include "../common/reduce.cuh"

constexpr u32 THREADS = 256;

struct SumParams {
    u32 results;
    u32 terms;            // of one result
    u32 terms_per_part;
    u32 kept_size_1;      // the outermost size follows from `results`
    u32 kept_size_2;
    u32 kept_stride_0;    // in elements of x
    u32 kept_stride_1;
    u32 kept_stride_2;
    u32 term_size_1;
    u32 term_size_2;
    u32 term_stride_0;
    u32 term_stride_1;
    u32 term_stride_2;
};

// First element of x that result `at` sums.
__device__ inline u64 kept_offset(u32 at, const SumParams& p) {
    u32 outer = at / p.kept_size_2;
    return (u64)(outer / p.kept_size_1) * p.kept_stride_0 + (u64)(outer % p.kept_size_1) * p.kept_stride_1 +
           (u64)(at % p.kept_size_2) * p.kept_stride_2;
}

// From there to term `at`.
__device__ inline u64 term_offset(u32 at, const SumParams& p) {
    u32 outer = at / p.term_size_2;
    return (u64)(outer / p.term_size_1) * p.term_stride_0 + (u64)(outer % p.term_size_1) * p.term_stride_1 +
           (u64)(at % p.term_size_2) * p.term_stride_2;
}

// A thread per result. Grid (ceil(results / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
sum_f32(const float* __restrict__ x, float* __restrict__ y /* (results) */, SumParams p) {
    u64 at = global_thread();
    if (at >= p.results) return;
    const float* from = x + kept_offset((u32)at, p);
    float sum = 0.0f;
    for (u32 term = 0; term < p.terms; term++) sum += from[term_offset(term, p)];
    y[at] = sum;
}

// A block per result and part. Grid (results, parts).
extern "C" __global__ void __launch_bounds__(THREADS)
sum_parts_f32(const float* __restrict__ x, float* __restrict__ y /* (results, parts) */, SumParams p) {
    __shared__ float of_warp[THREADS / WARP];
    const float* from = x + kept_offset(blockIdx.x, p);
    u32 first = blockIdx.y * p.terms_per_part, end = min(first + p.terms_per_part, p.terms);
    float sum = 0.0f;
    for (u32 term = first + threadIdx.x; term < end; term += THREADS) sum += from[term_offset(term, p)];
    sum = block_sum(sum, of_warp);
    if (threadIdx.x == 0) y[(u64)blockIdx.x * gridDim.y + blockIdx.y] = sum;
}
