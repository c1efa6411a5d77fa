// blend_patches: y[b, k, c] = sum over windows n of w[b, k, n] times the window of x[b, c] at n, windows of indicator 0 left
// out, and its gradients for the image and for the indicators, dw[b, k, n] = <window n of x[b], dy[b, k]>.
//
// blend: a block has one b, k and c and THREADS * STEPS pixels of the patch. It looks through the indicators, THREADS at a
// time, lists those that are not zero in their order, and adds up their windows. Image: a thread gathers one pixel from the
// patches whose windows cover it, in the order of patches and windows. Indicators: a block has one of them.
#include "../common/reduce.cuh"

constexpr u32 THREADS = 128;
constexpr u32 STEPS = 4;

struct BlendParams {
    u32 batch;
    u32 channels;
    u32 height;
    u32 width;
    u32 patches;        // K
    u32 rows;           // of windows
    u32 cols;
    u32 patch_height;
    u32 patch_width;
    u32 stride_height;
    u32 stride_width;
    u32 chunks;         // blocks of a patch
    u32 hits;           // 1: gradients of indicators that are not zero alone
};

// Whether an indicator takes part: NaN does.
__device__ inline bool takes_part(float weight) { return !(weight == 0.0f); }

// Where window n begins in a plane, which has fewer than 2^31 pixels.
__device__ inline u32 window_at(const BlendParams& p, u32 n) {
    return n / p.cols * p.stride_height * p.width + n % p.cols * p.stride_width;
}

// The windows that take part, of as many as the block has threads.
struct List {
    u32 places[THREADS];
    float weights[THREADS];
    u32 of_warp[THREADS / WARP];
};

// Lists the windows from `first` on that take part, and says how many do. Every thread of the block calls it.
__device__ inline u32 fill(List& list, const float* indicators, u32 first, const BlendParams& p) {
    u32 n = first + threadIdx.x, lane = threadIdx.x % WARP;
    float weight = n < p.rows * p.cols ? indicators[n] : 0.0f;
    u32 found = __ballot_sync(ALL_LANES, takes_part(weight));
    __syncthreads();  // nobody reads the last list any more
    if (lane == 0) list.of_warp[threadIdx.x / WARP] = __popc(found);
    __syncthreads();  // every warp's number is there
    u32 before = __popc(found & ((1u << lane) - 1)), count = 0;
    for (u32 warp = 0; warp < THREADS / WARP; warp++) {
        if (warp < threadIdx.x / WARP) before += list.of_warp[warp];
        count += list.of_warp[warp];
    }
    if (takes_part(weight)) {
        list.places[before] = window_at(p, n);
        list.weights[before] = weight;
    }
    __syncthreads();  // the list is complete
    return count;
}

// Grid (B * K * C * chunks).
extern "C" __global__ void __launch_bounds__(THREADS)
blend_f32(const float* __restrict__ x,  // (B, C, H, W)
          const float* __restrict__ w,  // (B, K, N)
          float* __restrict__ y,        // (B, K, C, ph, pw)
          BlendParams p) {
    __shared__ List list;
    u32 chunk = blockIdx.x % p.chunks, channel = blockIdx.x / p.chunks % p.channels;
    u32 row = blockIdx.x / p.chunks / p.channels;
    u32 pixels = p.patch_height * p.patch_width, windows = p.rows * p.cols;
    const float* plane = x + ((u64)(row / p.patches) * p.channels + channel) * p.height * p.width;
    u32 at[STEPS];
    float sum[STEPS];
#pragma unroll
    for (u32 step = 0; step < STEPS; step++) {
        // Beyond the patch: its last pixel again, which is not written.
        u32 pixel = min((chunk * STEPS + step) * THREADS + threadIdx.x, pixels - 1);
        at[step] = pixel / p.patch_width * p.width + pixel % p.patch_width;
        sum[step] = 0.0f;
    }
    for (u32 first = 0; first < windows; first += THREADS) {
        u32 count = fill(list, w + (u64)row * windows, first, p);
        for (u32 hit = 0; hit < count; hit++) {
#pragma unroll
            for (u32 step = 0; step < STEPS; step++) {
                sum[step] = fmaf(list.weights[hit], plane[at[step] + list.places[hit]], sum[step]);
            }
        }
    }
    float* to = y + ((u64)row * p.channels + channel) * pixels;
#pragma unroll
    for (u32 step = 0; step < STEPS; step++) {
        u32 pixel = (chunk * STEPS + step) * THREADS + threadIdx.x;
        if (pixel < pixels) to[pixel] = sum[step];
    }
}

// The windows along an axis that reach position `at`: from `first` up to `end`.
struct Covering {
    u32 first, end;
};

__device__ inline Covering covering(u32 at, u32 size, u32 stride, u32 count) {
    return {at < size ? 0 : (at - size) / stride + 1, min(at / stride + 1, count)};
}

// Grid (ceil(B * C * H * W / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
blend_grad_image_f32(const float* __restrict__ w,   // (B, K, N)
                     const float* __restrict__ dy,  // (B, K, C, ph, pw)
                     float* __restrict__ dx,        // (B, C, H, W)
                     BlendParams p) {
    u64 pixel = global_thread();
    if (pixel >= (u64)p.batch * p.channels * p.height * p.width) return;
    u32 col = (u32)(pixel % p.width), row = (u32)(pixel / p.width % p.height);
    u64 plane = pixel / p.width / p.height, channel = plane % p.channels, image = plane / p.channels;
    Covering down = covering(row, p.patch_height, p.stride_height, p.rows);
    Covering across = covering(col, p.patch_width, p.stride_width, p.cols);
    float sum = 0.0f;
    for (u32 k = 0; k < p.patches; k++) {
        u64 patch = image * p.patches + k, lines = (patch * p.channels + channel) * p.patch_height;
        for (u32 r = down.first; r < down.end; r++) {
            const float* line = dy + (lines + row - r * p.stride_height) * p.patch_width;
            for (u32 q = across.first; q < across.end; q++) {
                float weight = w[(patch * p.rows + r) * p.cols + q];
                if (takes_part(weight)) sum = fmaf(weight, line[col - q * p.stride_width], sum);
            }
        }
    }
    dx[pixel] = sum;
}

// Grid (B * K * N).
extern "C" __global__ void __launch_bounds__(THREADS)
blend_grad_indicators_f32(const float* __restrict__ x,   // (B, C, H, W)
                          const float* __restrict__ w,   // (B, K, N)
                          const float* __restrict__ dy,  // (B, K, C, ph, pw)
                          float* __restrict__ dw,        // (B, K, N)
                          BlendParams p) {
    __shared__ float of_warp[THREADS / WARP];
    if (p.hits && !takes_part(w[blockIdx.x])) {
        if (threadIdx.x == 0) dw[blockIdx.x] = 0.0f;
        return;  // the whole block
    }
    u32 windows = p.rows * p.cols, patch = blockIdx.x / windows;
    u32 elements = p.channels * p.patch_height * p.patch_width;
    const float* corner = x + (u64)(patch / p.patches) * p.channels * p.height * p.width + window_at(p, blockIdx.x % windows);
    const float* given = dy + (u64)patch * elements;
    float sum = 0.0f;
    for (u32 at = threadIdx.x; at < elements; at += THREADS) {
        u32 line = at / p.patch_width;
        u64 row = (u64)(line / p.patch_height) * p.height + line % p.patch_height;
        sum = fmaf(given[at], corner[row * p.width + at % p.patch_width], sum);
    }
    sum = block_sum(sum, of_warp);
    if (threadIdx.x == 0) dw[blockIdx.x] = sum;
}
