// unfold: cuts images x (B, C, H, W) into patches y (B, N, C, ph, pw); N = rows * cols, row-major, remainders dropped.
// fold:   its adjoint, dx[b, c, i, j] = the sum of dy over the patches that cover pixel (i, j).
//
// unfold: one block column per patch; a thread moves four neighbouring elements of the patch, and stores them at once
// where the patch's size keeps them aligned. fold: a thread gathers one pixel, patches in row-major order.
#include "../common/base.cuh"

struct UnfoldParams {
    u32 batch;
    u32 channels;
    u32 height;
    u32 width;
    u32 rows;
    u32 cols;
    u32 patch_height;
    u32 patch_width;
    u32 stride_height;
    u32 stride_width;
};

constexpr u32 THREADS = 256;

// Grid (B * N, ceil(C * ph * pw / (4 * THREADS))).
template <typename T>
__device__ void unfold(const T* __restrict__ x, T* __restrict__ y, const UnfoldParams& p) {
    u32 size = p.channels * p.patch_height * p.patch_width;
    u32 first = 4 * (blockIdx.y * THREADS + threadIdx.x);
    if (first >= size) return;

    u32 patches = p.rows * p.cols;
    u32 image = blockIdx.x / patches, patch = blockIdx.x % patches;
    u32 top = patch / p.cols * p.stride_height, left = patch % p.cols * p.stride_width;
    u32 column = first % p.patch_width;
    u32 row = first / p.patch_width % p.patch_height;
    u32 channel = first / p.patch_width / p.patch_height;
    u64 plane = (u64)image * p.channels + channel;
    const T* line = x + (plane * p.height + top + row) * p.width + left;

    u32 count = size - first < 4 ? size - first : 4;
    Quad<T> moved;
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        if (i == count) break;
        moved.item[i] = line[column];
        if (++column < p.patch_width) continue;
        column = 0;
        // The next line of the patch; after its last line, the top of the next channel.
        bool wraps = ++row == p.patch_height;
        row = wraps ? 0 : row;
        line += wraps ? (u64)(p.height - p.patch_height + 1) * p.width : p.width;
    }

    store(y + (u64)blockIdx.x * size + first, moved, count, size % 4 == 0);
}

extern "C" __global__ void __launch_bounds__(THREADS)
unfold_f32(const float* __restrict__ x,  // (B, C, H, W)
           float* __restrict__ y,        // (B, N, C, ph, pw), 16-byte aligned
           UnfoldParams p) {
    unfold<float>(x, y, p);
}

extern "C" __global__ void __launch_bounds__(THREADS)
unfold_u8(const u8* __restrict__ x,  // (B, C, H, W)
          u8* __restrict__ y,        // (B, N, C, ph, pw), 4-byte aligned
          UnfoldParams p) {
    unfold<u8>(x, y, p);
}

// The patch rows (or columns) whose extent [r * stride, r * stride + patch) holds `at`: from `first` up to `end`.
__device__ inline void covering(u32 at, u32 patch, u32 stride, u32 count, u32& first, u32& end) {
    first = at < patch ? 0 : (at - patch) / stride + 1;
    end = at / stride + 1;
    if (end > count) end = count;
}

// Grid (ceil(B * C * H * W / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
fold_f32(const float* __restrict__ dy,  // (B, N, C, ph, pw)
         float* __restrict__ dx,        // (B, C, H, W)
         UnfoldParams p) {
    u64 at = global_thread();
    if (at >= (u64)p.batch * p.channels * p.height * p.width) return;
    u32 column = at % p.width;
    u32 row = at / p.width % p.height;
    u32 plane = at / p.width / p.height;
    u32 image = plane / p.channels, channel = plane % p.channels;
    u32 first_row, end_row, first_col, end_col;
    covering(row, p.patch_height, p.stride_height, p.rows, first_row, end_row);
    covering(column, p.patch_width, p.stride_width, p.cols, first_col, end_col);

    float sum = 0.0f;
    for (u32 r = first_row; r < end_row; r++) {
        for (u32 c = first_col; c < end_col; c++) {
            u64 patch = (u64)image * p.rows * p.cols + r * p.cols + c;
            u64 line = (patch * p.channels + channel) * p.patch_height + (row - r * p.stride_height);
            sum += dy[line * p.patch_width + (column - c * p.stride_width)];
        }
    }
    dx[at] = sum;
}
