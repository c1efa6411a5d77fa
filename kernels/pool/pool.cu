// Maxima of windows, and where each was found: codes = i * kernel width + j. Padding counts as minus infinity, the first of
// equal pixels in scan order wins, and a NaN is the maximum of its window. A thread finds one maximum.
//
// The gradient: dx[pixel] = the sum of dy over the windows whose maximum it was, in scan order. A thread per pixel looks at
// the windows that hold it, so no two threads add to one pixel.
#include "../common/walk.cuh"

constexpr u32 THREADS = 256;

struct MaxPool2dParams {
    u64 count;             // windows, or, for the gradient, pixels
    DivisorParams rows;    // of windows, or of pixels
    DivisorParams cols;
    DivisorParams stride_height;
    DivisorParams stride_width;
    u32 height;
    u32 width;
    u32 out_height;
    u32 out_width;
    u32 kernel_height;
    u32 kernel_width;
    u32 top;
    u32 left;
};

// Grid (ceil(planes * h * w / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
max_pool2d_f32(const float* __restrict__ x,  // (planes, H, W)
               float* __restrict__ y,        // (planes, h, w)
               u8* __restrict__ codes,       // (planes, h, w)
               MaxPool2dParams p) {
    u64 at = global_thread();
    if (at >= p.count) return;
    u32 r, q;
    u64 plane = divide(divide(at, p.cols, q), p.rows, r);
    i32 top = (i32)(r * (u32)p.stride_height.size) - (i32)p.top;
    i32 left = (i32)(q * (u32)p.stride_width.size) - (i32)p.left;
    const float* image = x + plane * p.height * p.width;

    float most = 0.0f;
    u32 code = 0;
    bool first = true;
    for (u32 i = 0; i < p.kernel_height; i++) {
        i32 row = top + (i32)i;
        if (row < 0 || row >= (i32)p.height) continue;
        for (u32 j = 0; j < p.kernel_width; j++) {
            i32 col = left + (i32)j;
            if (col < 0 || col >= (i32)p.width) continue;
            float value = image[(u64)row * p.width + col];
            bool beats = value > most || (value != value && most == most);
            code = first || beats ? i * p.kernel_width + j : code;
            most = first || beats ? value : most;
            first = false;
        }
    }
    y[at] = most;
    codes[at] = (u8)code;
}

// The windows along an axis that hold the pixel `at` behind the padding: from `first` up to `end`.
__device__ inline void windows(u32 at, u32 kernel, const DivisorParams& stride, u32 count, u32& first, u32& end) {
    u32 rest;
    first = at < kernel ? 0 : (u32)divide(at - kernel, stride, rest) + 1;
    end = min((u32)divide(at, stride, rest) + 1, count);
}

// Grid (ceil(planes * H * W / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
max_pool2d_grad_f32(const float* __restrict__ dy,  // (planes, h, w)
                    const u8* __restrict__ codes,  // (planes, h, w)
                    float* __restrict__ dx,        // (planes, H, W)
                    MaxPool2dParams p) {
    u64 at = global_thread();
    if (at >= p.count) return;
    u32 row, col, first_r, end_r, first_q, end_q;
    u64 plane = divide(divide(at, p.cols, col), p.rows, row);
    row += p.top;
    col += p.left;
    windows(row, p.kernel_height, p.stride_height, p.out_height, first_r, end_r);
    windows(col, p.kernel_width, p.stride_width, p.out_width, first_q, end_q);

    float total = 0.0f;
    for (u32 r = first_r; r < end_r; r++) {
        for (u32 q = first_q; q < end_q; q++) {
            u64 window = (plane * p.out_height + r) * p.out_width + q;
            u32 i = row - r * (u32)p.stride_height.size, j = col - q * (u32)p.stride_width.size;
            if (codes[window] == i * p.kernel_width + j) total += dy[window];
        }
    }
    dx[at] = total;
}
