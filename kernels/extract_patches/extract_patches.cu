// extract_patches: y[b, k, c, i, j] = x[b, c, offsets[b, k, 0] + i, offsets[b, k, 1] + j], and 0 outside the image.
// place_patches:   its adjoint, y[b, c, r, q] = the sum of the patches that cover the pixel, each at its offset, in order.
//
// extract: one block column per patch; a thread moves four neighbouring elements of it. place: a thread per pixel; the
// block goes through the offsets of its image in shared memory, so no two threads add to one pixel.
#include "../common/base.cuh"

constexpr u32 THREADS = 256;

struct PatchesParams {
    u32 patches;       // K
    u32 channels;
    u32 height;
    u32 width;
    u32 patch_height;
    u32 patch_width;
    u32 blocks;        // of an image, for place_patches
};

// Grid (B * K, ceil(C * ph * pw / (4 * THREADS))).
template <typename T>
__device__ inline void extract(const T* __restrict__ x, const i32* __restrict__ offsets, T* __restrict__ y,
                               const PatchesParams& p) {
    u32 size = p.channels * p.patch_height * p.patch_width;
    u32 first = 4 * (blockIdx.y * THREADS + threadIdx.x);
    if (first >= size) return;
    u32 top = (u32)offsets[2 * (u64)blockIdx.x], left = (u32)offsets[2 * (u64)blockIdx.x + 1];
    u64 plane = (u64)p.height * p.width;
    const T* image = x + blockIdx.x / p.patches * (p.channels * plane);
    u32 count = min(4u, size - first);
    Quad<T> moved = {};
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        if (i == count) break;
        u32 at = first + i, line = at / p.patch_width;
        // Negative positions are very large ones.
        u32 row = top + line % p.patch_height, col = left + at % p.patch_width;
        if (row < p.height && col < p.width) {
            moved.item[i] = image[line / p.patch_height * plane + (u64)row * p.width + col];
        }
    }
    store(y + (u64)blockIdx.x * size + first, moved, count, size % 4 == 0);
}

extern "C" __global__ void __launch_bounds__(THREADS)
extract_patches_f32(const float* __restrict__ x,      // (B, C, H, W)
                    const i32* __restrict__ offsets,  // (B, K, 2)
                    float* __restrict__ y,            // (B, K, C, ph, pw), 16-byte aligned
                    PatchesParams p) {
    extract(x, offsets, y, p);
}

extern "C" __global__ void __launch_bounds__(THREADS)
extract_patches_u8(const u8* __restrict__ x,         // (B, C, H, W)
                   const i32* __restrict__ offsets,  // (B, K, 2)
                   u8* __restrict__ y,               // (B, K, C, ph, pw), 4-byte aligned
                   PatchesParams p) {
    extract(x, offsets, y, p);
}

// Grid (B * blocks).
extern "C" __global__ void __launch_bounds__(THREADS)
place_patches_f32(const float* __restrict__ patches,  // (B, K, C, ph, pw)
                  const i32* __restrict__ offsets,    // (B, K, 2)
                  float* __restrict__ y,              // (B, C, H, W)
                  PatchesParams p) {
    __shared__ i32 of_chunk[2 * THREADS];
    u64 image = blockIdx.x / p.blocks, pixels = (u64)p.channels * p.height * p.width;
    u64 pixel = (u64)(blockIdx.x % p.blocks) * THREADS + threadIdx.x;
    u32 col = (u32)(pixel % p.width), row = (u32)(pixel / p.width % p.height);
    u64 channel = pixel / p.width / p.height, area = (u64)p.patch_height * p.patch_width;
    const float* planes = patches + (image * p.patches * p.channels + channel) * area;
    float sum = 0.0f;
    for (u32 first = 0; first < p.patches; first += THREADS) {
        u32 count = min(THREADS, p.patches - first);
        for (u32 i = threadIdx.x; i < 2 * count; i += THREADS) of_chunk[i] = offsets[2 * (image * p.patches + first) + i];
        __syncthreads();  // the offsets are there
        for (u32 k = 0; pixel < pixels && k < count; k++) {
            u32 i = row - (u32)of_chunk[2 * k], j = col - (u32)of_chunk[2 * k + 1];  // negative: very large
            if (i < p.patch_height && j < p.patch_width) {
                sum += planes[(first + k) * p.channels * area + (u64)i * p.patch_width + j];
            }
        }
        __syncthreads();  // nobody reads them any more
    }
    if (pixel < pixels) y[image * pixels + pixel] = sum;
}
