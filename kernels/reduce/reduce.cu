// sum: y[kept axes] = the sum of x over the other axes.
// max: the largest element over the other axes, and where it stands: of equals the first; NaN is smaller than any number,
// and the result only where there is nothing else.
//
// Neighbouring axes of one fate are merged, so at most three kept and three reduced axes are left; missing ones have size
// one. LANES threads share a result (common/rows.cuh). Of very many terms a block has a result and a part of its terms; or,
// where neighbouring results have neighbouring terms, 32 results and a part, a warp reading one line of terms. What the
// parts give goes to scratch and is reduced in its turn.
#include "../common/rows.cuh"
#include "../common/walk.cuh"

constexpr u32 THREADS = 256;

struct ReduceParams {
    u64 results;
    u64 terms;  // of one result
    u64 terms_per_part;
    DivisorParams parts;        // of one result
    DivisorParams kept_size_1;  // the outermost size follows from `results`
    DivisorParams kept_size_2;
    DivisorParams term_size_1;
    DivisorParams term_size_2;
    u64 kept_stride_0;  // in elements of x
    u64 kept_stride_1;
    u64 kept_stride_2;
    u64 term_stride_0;
    u64 term_stride_1;
    u64 term_stride_2;
};

// First element of x that belongs to result `at`.
__device__ inline u64 kept_offset(u64 at, const ReduceParams& p) {
    u64 middle, inner;
    u64 outer = divide(divide(at, p.kept_size_2, inner), p.kept_size_1, middle);
    return outer * p.kept_stride_0 + middle * p.kept_stride_1 + inner * p.kept_stride_2;
}

// From there to term `at`.
__device__ inline u64 term_offset(u64 at, const ReduceParams& p) {
    u64 middle, inner;
    u64 outer = divide(divide(at, p.term_size_2, inner), p.term_size_1, middle);
    return outer * p.term_stride_0 + middle * p.term_stride_1 + inner * p.term_stride_2;
}

// The part that a block works on: which of the groups of results, and from which term to which.
struct Part {
    u64 group;
    u32 number;
    u64 first;
    u64 end;
};

// Grid (groups * parts), parts innermost.
__device__ inline Part part_of_block(const ReduceParams& p) {
    Part part;
    part.group = divide(blockIdx.x, p.parts, part.number);
    part.first = part.number * p.terms_per_part;
    part.end = min(part.first + p.terms_per_part, p.terms);
    return part;
}

// The sum of terms `first` up to `end`, in every lane.
template <u32 LANES>
__device__ inline float sum_of_terms(const float* __restrict__ x, u64 first, u64 end, const ReduceParams& p,
                                     float* of_warp) {
    float sum = 0.0f;
    for (u64 term = first + threadIdx.x % LANES; term < end; term += LANES) sum += x[term_offset(term, p)];
    return row_sum<LANES>(sum, of_warp);
}

#define SUM(lanes)                                                                                                \
    extern "C" __global__ void __launch_bounds__(row_threads(lanes))                                              \
    sum_##lanes##_f32(const float* __restrict__ x, float* __restrict__ y /* (results) */, ReduceParams p) {       \
        __shared__ float of_warp[WARP];                                                                           \
        u64 result = row_of_thread<lanes>();                                                                      \
        u64 end = result < p.results ? p.terms : 0;                                                               \
        float sum = sum_of_terms<lanes>(x + kept_offset(result, p), 0, end, p, of_warp);                          \
        if (result < p.results && threadIdx.x % lanes == 0) y[result] = sum;                                      \
    }
SUM(1)
SUM(8)
SUM(32)
SUM(1024)

// A block per result and part. Grid (results * parts).
extern "C" __global__ void __launch_bounds__(THREADS)
sum_parts_f32(const float* __restrict__ x, float* __restrict__ y /* (results, parts) */, ReduceParams p) {
    __shared__ float of_warp[WARP];
    Part part = part_of_block(p);
    float sum = sum_of_terms<THREADS>(x + kept_offset(part.group, p), part.first, part.end, p, of_warp);
    if (threadIdx.x == 0) y[blockIdx.x] = sum;
}

// A block per 32 results and part: lane l of each warp has the l-th of them, warp w its terms w, w + 8, ... Grid
// (ceil(results / 32) * parts).
extern "C" __global__ void __launch_bounds__(THREADS)
sum_columns_f32(const float* __restrict__ x, float* __restrict__ y /* (parts, results) */, ReduceParams p) {
    __shared__ float of_warp[THREADS / WARP][WARP];
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    Part part = part_of_block(p);
    u64 result = part.group * WARP + lane;
    const float* from = x + kept_offset(result, p);
    float sum = 0.0f;
    for (u64 term = part.first + warp; result < p.results && term < part.end; term += THREADS / WARP) {
        sum += from[term_offset(term, p)];
    }
    of_warp[warp][lane] = sum;
    __syncthreads();  // the sums of all warps are there
    if (warp > 0 || result >= p.results) return;
    for (u32 other = 1; other < THREADS / WARP; other++) sum += of_warp[other][lane];
    y[part.number * p.results + result] = sum;
}

// An element and the number of its term, below 2^31, as a word that is the larger the larger the element, and among equals
// the earlier. No element at all is 0.
__device__ inline u64 candidate(float value, u64 term) {
    u32 bits = (u32)__float_as_int(value), sign = 0x80000000u;
    if (bits == sign) bits = 0;  // both zeros are one number
    u32 order = bits & sign ? ~bits : bits | sign;
    if (value != value) order = 0;
    return (u64)order << 32 | (u32)~term;
}

__device__ inline u64 term_of(u64 candidate) { return (u32)~candidate; }

struct Better {
    __device__ u64 operator()(u64 a, u64 b) const { return max(a, b); }
};

// The best of terms `first` up to `end`, in every lane.
template <u32 LANES>
__device__ inline u64 best_term(const float* __restrict__ x, u64 first, u64 end, const ReduceParams& p, u64* of_warp) {
    u64 best = 0;
    for (u64 term = first + threadIdx.x % LANES; term < end; term += LANES) {
        best = max(best, candidate(x[term_offset(term, p)], term));
    }
    return row_fold<LANES>(best, of_warp, Better());
}

// What becomes of the best term of a result: its value and its position in x, or, where `y` is null, its number.
__device__ inline void found(const float* x, float* y, i32* at, u64 result, u64 best, const ReduceParams& p) {
    u64 term = term_of(best), element = kept_offset(result, p) + term_offset(term, p);
    if (y) y[result] = x[element];
    at[result] = (i32)(y ? element : term);
}

#define MAX(lanes)                                                                                                \
    extern "C" __global__ void __launch_bounds__(row_threads(lanes))                                              \
    max_##lanes##_f32(const float* __restrict__ x,                                                                \
                      float* __restrict__ y,  /* (results), or null for an argmax */                              \
                      i32* __restrict__ at,   /* (results) */                                                     \
                      ReduceParams p) {                                                                           \
        __shared__ u64 of_warp[WARP];                                                                             \
        u64 result = row_of_thread<lanes>();                                                                      \
        u64 end = result < p.results ? p.terms : 0;                                                               \
        u64 best = best_term<lanes>(x + kept_offset(result, p), 0, end, p, of_warp);                              \
        if (end > 0 && threadIdx.x % lanes == 0) found(x, y, at, result, best, p);                                \
    }
MAX(1)
MAX(8)
MAX(32)
MAX(1024)

// A block per result and part. Grid (results * parts).
extern "C" __global__ void __launch_bounds__(THREADS)
max_parts_f32(const float* __restrict__ x, u64* __restrict__ best /* (results, parts) */, ReduceParams p) {
    __shared__ u64 of_warp[WARP];
    Part part = part_of_block(p);
    u64 own = best_term<THREADS>(x + kept_offset(part.group, p), part.first, part.end, p, of_warp);
    if (threadIdx.x == 0) best[blockIdx.x] = own;
}

// A warp per result. Grid (ceil(results / (THREADS / WARP))).
extern "C" __global__ void __launch_bounds__(THREADS)
max_of_parts_f32(const float* __restrict__ x,
                 const u64* __restrict__ parts,  // (results, parts)
                 float* __restrict__ y,          // (results), or null for an argmax
                 i32* __restrict__ at,           // (results)
                 ReduceParams p) {
    u64 result = row_of_thread<WARP>(), count = p.parts.size;
    u64 best = 0;
    for (u64 part = threadIdx.x % WARP; result < p.results && part < count; part += WARP) {
        best = max(best, parts[result * count + part]);
    }
    best = lanes_fold<WARP>(best, Better());
    if (result < p.results && threadIdx.x % WARP == 0) found(x, y, at, result, best, p);
}

struct MaxGradParams {
    u64 count;
    u64 elements;  // of dx
};

// dx[at[i]] = dy[i], where dx is zero before; the positions differ from each other. Grid (ceil(count / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
max_grad_f32(const float* __restrict__ dy,  // (count)
             const i32* __restrict__ at,    // (count); those outside of dx lead nowhere
             float* __restrict__ dx,        // (elements)
             MaxGradParams p) {
    u64 i = global_thread();
    if (i >= p.count) return;
    i64 to = at[i];
    if (to >= 0 && to < (i64)p.elements) dx[to] = dy[i];
}
