// The estimated expectation y[b] = sum over samples m of c_m f_m, its gradient for the features, c_m dy, and the estimated
// gradient of the attention, by the formulas of src/ops/expectation/mod.rs. The weights are 1 / K with replacement, else
// c_m = (r_m + a_m (K - m)) / K, m from 1, where r_m is the mass before draw m.
//
// A thread has one of the D features of a row and goes through its samples. For the attention a block has a row: its warps
// make p[m] = <dy, f_m>, then one thread goes through the samples from front to back, and back again for what depends on
// later ones.
#include "../common/reduce.cuh"

constexpr u32 THREADS = 256;
constexpr float TINY = 1e-30f;

// With replacement; the estimators without.
enum Kind { REPLACE, OFFICIAL, UNBIASED };

struct ExpectationParams {
    u32 rows;     // B
    u32 samples;  // K
    u32 width;    // D
    u32 kind;     // a Kind
};

// K times the weight of sample m, of which `left` is the mass before.
__device__ inline float weight(const ExpectationParams& p, u32 m, float a, float left) {
    return p.kind == REPLACE ? 1.0f : fmaf(a, (float)(p.samples - 1 - m), fmaxf(left, a));
}

// Grid (ceil(B * D / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
expectation_f32(const float* __restrict__ attention,  // (B, K)
                const float* __restrict__ features,   // (B, K, D)
                float* __restrict__ y,                // (B, D)
                ExpectationParams p) {
    u64 at = global_thread(), row = at / p.width;
    if (row >= p.rows) return;
    const float *a = attention + row * p.samples, *f = features + row * p.samples * p.width + at % p.width;
    float left = 1.0f, sum = 0.0f;
    for (u32 m = 0; m < p.samples; m++) {
        sum = fmaf(weight(p, m, a[m], left), f[(u64)m * p.width], sum);
        left -= a[m];
    }
    y[at] = sum / (float)p.samples;
}

// Grid (ceil(B * D / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
expectation_grad_features_f32(const float* __restrict__ attention,  // (B, K)
                              const float* __restrict__ dy,         // (B, D)
                              float* __restrict__ df,               // (B, K, D)
                              ExpectationParams p) {
    u64 at = global_thread(), row = at / p.width;
    if (row >= p.rows) return;
    const float* a = attention + row * p.samples;
    float* to = df + row * p.samples * p.width + at % p.width;
    float left = 1.0f, given = dy[at];
    for (u32 m = 0; m < p.samples; m++) {
        to[(u64)m * p.width] = weight(p, m, a[m], left) / (float)p.samples * given;
        left -= a[m];
    }
}

// da of one row from its p; `later` is for the way back.
__device__ inline void attention_of_row(const float* a, const float* of_p, float* later, float* da, u32 samples, u32 kind) {
    float share = (float)samples;
    float left = 1.0f;    // mass before this draw
    float seen = 0.0f;    // sum of a p over the earlier ones
    float before = 0.0f;  // sum of their p
    for (u32 m = 0; m < samples; m++) {
        float own = of_p[m], mass = fmaxf(a[m], TINY);
        if (kind == REPLACE) {
            da[m] = own / mass / share;
            continue;
        }
        float r = fmaxf(left, a[m]), h = fmaf(r, own, seen), by_a = h / mass;
        if (kind == OFFICIAL) {
            da[m] = (fmaf(by_a, r, before) - (float)m * own) / share;
        } else {
            da[m] = by_a;
            later[m] = h / fmaxf(r, TINY) - own;
        }
        left -= a[m];
        seen = fmaf(a[m], own, seen);
        before += own;
    }
    if (kind != UNBIASED) return;
    float after = 0.0f;
    for (u32 m = samples; m-- > 0;) {
        da[m] = (da[m] + fmaf((float)(samples - 1 - m), of_p[m], after)) / share;
        after += later[m];
    }
}

// Grid (B).
extern "C" __global__ void __launch_bounds__(THREADS)
expectation_grad_attention_f32(const float* __restrict__ attention,  // (B, K)
                               const float* __restrict__ features,   // (B, K, D)
                               const float* __restrict__ dy,         // (B, D)
                               float* __restrict__ da,               // (B, K)
                               float* __restrict__ of_p,             // (B, K), scratch
                               float* __restrict__ later,            // (B, K), scratch
                               ExpectationParams p) {
    u64 first = (u64)blockIdx.x * p.samples;
    const float* given = dy + (u64)blockIdx.x * p.width;
    for (u32 m = threadIdx.x / WARP; m < p.samples; m += THREADS / WARP) {
        const float* f = features + (first + m) * p.width;
        float sum = 0.0f;
        for (u32 at = threadIdx.x % WARP; at < p.width; at += WARP) sum = fmaf(given[at], f[at], sum);
        sum = warp_sum(sum);
        if (threadIdx.x % WARP == 0) of_p[first + m] = sum;
    }
    __syncthreads();  // p of the row is there
    if (threadIdx.x == 0) attention_of_row(attention + first, of_p + first, later + first, da + first, p.samples, p.kind);
}
