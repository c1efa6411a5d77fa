// Gated attention pooling between its matrix products. Forward, from two products with the weights:
//
//   t = tanh(t + bias_v),  s = sigmoid(s + bias_u),  logit = sum over l of w t s
//
// Backward up to the logits, dl = a * (da' - sum over the bag of a da') with da' = da + <h, dy>, and through the hidden
// layer, to_tanh = dl w s (1 - t^2) and to_sigmoid = dl w t s (1 - s), with the sums over instances that are the gradients of
// biases and w. A warp works on an instance, a block on a bag; for the sums a thread has one l and a run of instances.
#include "../common/math.cuh"
#include "../common/reduce.cuh"

constexpr u32 THREADS = 256;

struct GatedParams {
    u32 instances;     // of all bags
    u32 of_bag;        // N
    u32 features;      // D
    u32 hidden;        // L
    u32 runs;
    u32 rows_per_run;
};

// The instance that this warp works on.
__device__ inline u32 instance() { return blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP; }

// Grid (ceil(B * N * WARP / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
gate_f32(float* __restrict__ t,             // (B * N, L): the product with v, then the tanh
         float* __restrict__ s,             // (B * N, L): the product with u, then the sigmoid
         const float* __restrict__ bias_v,  // (L)
         const float* __restrict__ bias_u,  // (L)
         const float* __restrict__ w,       // (L)
         float* __restrict__ logits,        // (B * N)
         GatedParams p) {
    u32 row = instance();
    if (row >= p.instances) return;  // the whole warp
    float sum = 0.0f;
    for (u32 l = threadIdx.x % WARP; l < p.hidden; l += WARP) {
        u64 at = (u64)row * p.hidden + l;
        float left = tanh_of(t[at] + bias_v[l]), right = sigmoid_of(s[at] + bias_u[l]);
        t[at] = left;
        s[at] = right;
        sum = fmaf(w[l] * left, right, sum);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) logits[row] = sum;
}

// da' in dl. Grid (ceil(B * N * WARP / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
gated_weight_grad_f32(const float* __restrict__ h,   // (B, N, D)
                      const float* __restrict__ dy,  // (B, D)
                      const float* __restrict__ da,  // (B, N)
                      float* __restrict__ dl,        // (B, N)
                      GatedParams p) {
    u32 row = instance();
    if (row >= p.instances) return;  // the whole warp
    const float *features = h + (u64)row * p.features, *given = dy + (u64)(row / p.of_bag) * p.features;
    float sum = 0.0f;
    for (u32 i = threadIdx.x % WARP; i < p.features; i += WARP) sum = fmaf(features[i], given[i], sum);
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) dl[row] = sum + da[row];
}

// dl from da', in place. Grid (B).
extern "C" __global__ void __launch_bounds__(THREADS)
gated_logit_grad_f32(const float* __restrict__ all_a,  // (B, N)
                     float* __restrict__ all_dl,       // (B, N)
                     GatedParams p) {
    __shared__ float of_warp[THREADS / WARP];
    const float* a = all_a + (u64)blockIdx.x * p.of_bag;
    float* dl = all_dl + (u64)blockIdx.x * p.of_bag;
    float sum = 0.0f;
    for (u32 n = threadIdx.x; n < p.of_bag; n += THREADS) sum = fmaf(a[n], dl[n], sum);
    sum = block_sum_for_all(sum, of_warp);
    for (u32 n = threadIdx.x; n < p.of_bag; n += THREADS) dl[n] = a[n] * (dl[n] - sum);
}

// Grid (runs, ceil(L / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
gate_grad_f32(const float* __restrict__ t,       // (B * N, L)
              const float* __restrict__ s,       // (B * N, L)
              const float* __restrict__ w,       // (L)
              const float* __restrict__ dl,      // (B * N)
              float* __restrict__ to_tanh,       // (B * N, L)
              float* __restrict__ to_sigmoid,    // (B * N, L)
              float* __restrict__ sums,          // (3, runs, L): of bias_v, bias_u, w
              GatedParams p) {
    u32 l = blockIdx.y * THREADS + threadIdx.x;
    if (l >= p.hidden) return;
    u32 first = blockIdx.x * p.rows_per_run, end = min(first + p.rows_per_run, p.instances);
    float weight = w[l], of_tanh = 0.0f, of_sigmoid = 0.0f, of_w = 0.0f;
    for (u32 row = first; row < end; row++) {
        u64 at = (u64)row * p.hidden + l;
        float left = t[at], right = s[at], logit = dl[row];
        float before_tanh = logit * weight * right * (1.0f - left * left);
        float before_sigmoid = logit * weight * left * right * (1.0f - right);
        to_tanh[at] = before_tanh;
        to_sigmoid[at] = before_sigmoid;
        of_tanh += before_tanh;
        of_sigmoid += before_sigmoid;
        of_w += logit * left * right;
    }
    float* to = sums + (u64)blockIdx.x * p.hidden + l;
    u64 apart = (u64)p.runs * p.hidden;
    to[0] = of_tanh;
    to[apart] = of_sigmoid;
    to[2 * apart] = of_w;
}
