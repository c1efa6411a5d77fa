// Images of another size, and the adjoint: along each axis, an output of the smaller side (`small`) is a weighted sum of
// taps of the other (`large`), whichever of them has more pixels:
//
//   area: output i is the mean of inputs floor(i L / S) .. ceil((i + 1) L / S);
//   bilinear: it lies at (i + 1/2) L / S - 1/2, moved into the image, between two neighbours.
//
// Places are computed in integers: a float has too few digits for the larger images. A thread per element of the result,
// neighbouring threads on neighbouring columns.
#include "../common/base.cuh"

constexpr u32 THREADS = 256;

enum Mode { AREA, BILINEAR };

struct ResizeParams {
    u64 count;  // elements of the result
    u32 small_height;
    u32 small_width;
    u32 large_height;
    u32 large_width;
};

// The inputs of an output: `count` from `first` on. Bilinear: the second has this part of the weight.
template <Mode MODE>
struct Taps {
    u32 first, count;
    float part;

    __device__ Taps(u32 i, u32 small, u32 large) {
        if (MODE == AREA) {
            first = (u32)((u64)i * large / small);
            count = (u32)(((u64)(i + 1) * large + small - 1) / small) - first;
            part = 0.0f;
            return;
        }
        u64 ahead = (u64)(2 * (u64)i + 1) * large, unit = 2 * (u64)small;
        u64 place = ahead > small ? ahead - small : 0;  // in units of 1 / (2 small)
        first = (u32)min(place / unit, (u64)(large - 1));
        count = first + 1 < large ? 2 : 1;
        part = (float)(place - first * unit) / (float)unit;
    }

    __device__ float weight(u32 n) const {
        if (MODE == AREA) return 1.0f / (float)count;
        return n > 0 ? part : count > 1 ? 1.0f - part : 1.0f;
    }

    // The weight of input `at`, zero if it is no tap.
    __device__ float weight_of(u32 at) const {
        u32 n = at - first;  // a very large number before the first
        return n < count ? weight(n) : 0.0f;
    }
};

// Grid (ceil(count / THREADS)).
template <Mode MODE>
__device__ inline void resize(const float* __restrict__ x, float* __restrict__ y, const ResizeParams& p) {
    u64 at = global_thread();
    if (at >= p.count) return;
    u64 line = at / p.small_width, plane = line / p.small_height;
    Taps<MODE> rows((u32)(line % p.small_height), p.small_height, p.large_height);
    Taps<MODE> cols((u32)(at % p.small_width), p.small_width, p.large_width);
    const float* from = x + (plane * p.large_height + rows.first) * p.large_width + cols.first;
    float sum = 0.0f;
    for (u32 r = 0; r < rows.count; r++) {
        float of_row = 0.0f;
        for (u32 q = 0; q < cols.count; q++) of_row = fmaf(cols.weight(q), from[(u64)r * p.large_width + q], of_row);
        sum = fmaf(rows.weight(r), of_row, sum);
    }
    y[at] = sum;
}

// Outputs that may have input `at` among their taps.
struct Readers {
    u32 first, end;
};

template <Mode MODE>
__device__ inline Readers readers(u32 at, u32 small, u32 large) {
    if (MODE == AREA) {
        return {(u32)((u64)at * small / large), (u32)(((u64)(at + 1) * small + large - 1) / large)};
    }
    // One more on either side than the exact bounds.
    u64 unit = 2 * (u64)large;
    u64 before = at > 0 ? (2 * (u64)at - 1) * small / unit : 0, end = (2 * (u64)at + 3) * small / unit + 2;
    return {(u32)(before > 0 ? before - 1 : 0), (u32)min(end, (u64)small)};
}

// Grid (ceil(count / THREADS)).
template <Mode MODE>
__device__ inline void resize_grad(const float* __restrict__ dy, float* __restrict__ dx, const ResizeParams& p) {
    u64 at = global_thread();
    if (at >= p.count) return;
    u64 line = at / p.large_width, plane = line / p.large_height;
    u32 row = (u32)(line % p.large_height), col = (u32)(at % p.large_width);
    Readers rows = readers<MODE>(row, p.small_height, p.large_height);
    Readers cols = readers<MODE>(col, p.small_width, p.large_width);
    float sum = 0.0f;
    for (u32 i = rows.first; i < rows.end; i++) {
        float u = Taps<MODE>(i, p.small_height, p.large_height).weight_of(row);
        if (u == 0.0f) continue;
        const float* from = dy + (plane * p.small_height + i) * p.small_width;
        float of_row = 0.0f;
        for (u32 j = cols.first; j < cols.end; j++) {
            float v = Taps<MODE>(j, p.small_width, p.large_width).weight_of(col);
            if (v != 0.0f) of_row = fmaf(v, from[j], of_row);
        }
        sum = fmaf(u, of_row, sum);
    }
    dx[at] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
resize_area_f32(const float* __restrict__ x,  // (B, C, H, W), large
                float* __restrict__ y,        // (B, C, h, w), small
                ResizeParams p) {
    resize<AREA>(x, y, p);
}

extern "C" __global__ void __launch_bounds__(THREADS)
resize_bilinear_f32(const float* __restrict__ x,  // (B, C, H, W), large
                    float* __restrict__ y,        // (B, C, h, w), small
                    ResizeParams p) {
    resize<BILINEAR>(x, y, p);
}

extern "C" __global__ void __launch_bounds__(THREADS)
resize_area_grad_f32(const float* __restrict__ dy,  // (B, C, h, w), small
                     float* __restrict__ dx,        // (B, C, H, W), large
                     ResizeParams p) {
    resize_grad<AREA>(dy, dx, p);
}

extern "C" __global__ void __launch_bounds__(THREADS)
resize_bilinear_grad_f32(const float* __restrict__ dy,  // (B, C, h, w), small
                         float* __restrict__ dx,        // (B, C, H, W), large
                         ResizeParams p) {
    resize_grad<BILINEAR>(dy, dx, p);
}
