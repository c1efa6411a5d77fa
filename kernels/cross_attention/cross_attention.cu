// Cross-attention between its matrix products: softmax of the logits, scores, dropout, and their gradient.
//
//   p = softmax over n of the logits, masked = mask * p, scores[b, n] = the mean over r of p[b, r, n]
//   dp = mask * ds + dscores / R,  ds = p * (dp - sum over n of p * dp)
//
// A block per row (b, r), its threads over the inputs n; for the scores a thread per input. The mask of an image has a word
// for each entry (r, n), whole blocks of four; a thread draws the four of a block at once.
#include "../common/math.cuh"
#include "../common/philox.cuh"
#include "../common/reduce.cuh"

constexpr u32 THREADS = 256;

struct AttentionParams {
    u64 first;      // counter of the first block of words of the first image
    u32 key_0;
    u32 key_1;
    u32 images;
    u32 rows;       // R of an image
    u32 inputs;     // N
    u32 dropout;    // 0: the mask is 1
    u32 threshold;  // words below it drop their entry
    float factor;   // of the kept ones
};

// Calls body(n, mask) for every input of this block's row, each by one thread, which has the same ones in every call.
template <typename Body>
__device__ inline void each_input(const AttentionParams& p, const Body& body) {
    if (!p.dropout) {
        for (u32 n = threadIdx.x; n < p.inputs; n += blockDim.x) body(n, 1.0f);
        return;
    }
    u64 image = blockIdx.x / p.rows, begin = (u64)(blockIdx.x % p.rows) * p.inputs, end = begin + p.inputs;
    u64 blocks_of_image = ((u64)p.rows * p.inputs + 3) / 4;
    Stretch stretch = {p.key_0, p.key_1, p.first + image * blocks_of_image};
    for (u64 block = begin / 4 + threadIdx.x; 4 * block < end; block += blockDim.x) {
        Four words = block_of(stretch, block);
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            u64 entry = 4 * block + i;
            if (entry >= begin && entry < end) {
                body((u32)(entry - begin), words.word[i] < p.threshold ? 0.0f : p.factor);
            }
        }
    }
}

// Grid (B * R); a block has a warp or more, up to THREADS.
extern "C" __global__ void __launch_bounds__(THREADS)
attention_softmax_f32(float* __restrict__ all,         // (B, R, N): logits, then p
                      float* __restrict__ all_masked,  // (B, R, N) with dropout, else null
                      AttentionParams p) {
    __shared__ float of_warp[THREADS / WARP];
    float* row = all + (u64)blockIdx.x * p.inputs;
    float largest = -infinity();
    for (u32 n = threadIdx.x; n < p.inputs; n += blockDim.x) largest = fmaxf(largest, row[n]);
    largest = block_max_for_all(largest, of_warp);
    float sum = 0.0f;
    for (u32 n = threadIdx.x; n < p.inputs; n += blockDim.x) {
        float power = exp_of(row[n] - largest);
        row[n] = power;
        sum += power;
    }
    sum = block_sum_for_all(sum, of_warp);  // and every power is written
    float* masked = all_masked ? all_masked + (u64)blockIdx.x * p.inputs : nullptr;
    each_input(p, [&](u32 n, float mask) {
        float share = row[n] / sum;
        row[n] = share;
        if (masked) masked[n] = mask * share;
    });
}

// Grid (ceil(B * N / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
attention_scores_f32(const float* __restrict__ all,  // (B, R, N)
                     float* __restrict__ scores,     // (B, N)
                     AttentionParams p) {
    u64 at = global_thread();
    if (at >= (u64)p.images * p.inputs) return;
    const float* column = all + at / p.inputs * p.rows * p.inputs + at % p.inputs;
    float sum = 0.0f;
    for (u32 row = 0; row < p.rows; row++) sum += column[(u64)row * p.inputs];
    scores[at] = sum / (float)p.rows;
}

// Grid (B * R); a block has a warp or more, up to THREADS.
extern "C" __global__ void __launch_bounds__(THREADS)
attention_softmax_grad_f32(const float* __restrict__ all,      // p (B, R, N)
                           const float* __restrict__ dscores,  // (B, N)
                           float* __restrict__ all_ds,         // (B, R, N): the gradient of the masked weights, then ds
                           float* __restrict__ all_masked,     // (B, R, N)
                           AttentionParams p) {
    __shared__ float of_warp[THREADS / WARP];
    u64 first = (u64)blockIdx.x * p.inputs;
    const float *row = all + first, *of_scores = dscores + (u64)(blockIdx.x / p.rows) * p.inputs;
    float *ds = all_ds + first, *masked = all_masked + first;
    float sum = 0.0f;
    each_input(p, [&](u32 n, float mask) {
        float dp = fmaf(mask, ds[n], of_scores[n] / (float)p.rows);
        ds[n] = dp;
        masked[n] = mask * row[n];
        sum = fmaf(row[n], dp, sum);
    });
    sum = block_sum_for_all(sum, of_warp);  // and every dp is written
    for (u32 n = threadIdx.x; n < p.inputs; n += blockDim.x) ds[n] = row[n] * (ds[n] - sum);
}
