// The forward pass of conv2d.cu, in tiles of any kind.
#pragma once
#include "gathered.cuh"

#include "epilogue.cuh"
#include "params.cuh"

// Grid (ceil(B * Ho * Wo / TILE_N), ceil(Co / groups / T::M), groups). Gives what the results were finished with.
template <typename T, typename Pixel>
__device__ inline Epilogue convolve(T& tile, ProductMemory<T>& memory, const Pixel* __restrict__ x, const float* __restrict__ weight,
                                const float* __restrict__ bias, const float* __restrict__ residual,
                                float* __restrict__ y, const Conv2dParams& p, bool relu) {
    u32 out_plane = p.out_height * p.out_width, in_plane = p.height * p.width;
    u32 taps = p.kernel_height * p.kernel_width;
    u32 ins = p.in_channels / p.groups, outs = p.out_channels / p.groups;  // of the group
    u32 first_in = blockIdx.z * ins, first_out = blockIdx.z * outs;
    u32 depth = ins * taps;
    u32 pixels = p.batch * out_plane;
    u32 tile_n = blockIdx.x * TILE_N, tile_m = blockIdx.y * T::M;

    u32 n = tile_n + threadIdx.x % TILE_N;
    u32 image = n / out_plane, pixel = n % out_plane;
    i32 top = (i32)(pixel / p.out_width * p.stride_height) - (i32)p.pad_top;
    i32 left = (i32)(pixel % p.out_width * p.stride_width) - (i32)p.pad_left;
    Column column = {((i64)image * p.in_channels + first_in) * in_plane + (i64)top * p.width + left, top, left};

    Factors<Pixel> factors = {weight + (u64)first_out * depth, x, depth, outs, p.height, p.width};
    multiply(tile, memory, factors, tile_m, column, n < pixels, 0, depth, [&](u32 k) {
        u32 channel = k / taps, r = k % taps / p.kernel_width, s = k % p.kernel_width;
        return Step{(i64)k, (i64)channel * in_plane + r * p.width + s, (i32)r, (i32)s};
    });

    Epilogue epilogue = {bias, residual, y, p.out_channels, out_plane, pixels, first_out, outs, relu};
    finish(tile, epilogue, tile_m, tile_n);
    return epilogue;
}

#define CONV2D(name, T)                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS)                                   \
    name(const float* __restrict__ x,      /* (B, Ci, H, W) */                              \
         const float* __restrict__ weight, /* (Co, Ci / groups, kh, kw) */                  \
         const float* __restrict__ bias,   /* (Co), or null */                              \
         float* __restrict__ y,            /* (B, Co, Ho, Wo) */                            \
         float* __restrict__ parts,        /* (Co, gridDim.x, 3), or null */                \
         Conv2dParams p) {                                                                  \
        __shared__ ProductMemory<T> memory;                                                 \
        __shared__ RowSums<T> rows;                                                         \
        T tile;                                                                             \
        Epilogue e = convolve(tile, memory, x, weight, bias, nullptr, y, p, false);         \
        if (parts == nullptr) return;                                                       \
        keep_statistics(tile, rows, e, blockIdx.y * T::M, blockIdx.x * TILE_N, parts, gridDim.x, blockIdx.x); \
    }

#define CONV2D_FUSED(name, T, Pixel)                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                   \
    name(const Pixel* __restrict__ x,        /* (B, Ci, H, W) */                            \
         const float* __restrict__ weight,   /* (Co, Ci / groups, kh, kw) */                \
         const float* __restrict__ bias,     /* (Co) */                                     \
         const float* __restrict__ residual, /* (B, Co, Ho, Wo), or null */                 \
         float* __restrict__ y,              /* (B, Co, Ho, Wo) */                          \
         Conv2dFusedParams p) {                                                             \
        __shared__ ProductMemory<T> memory;                                                 \
        T tile;                                                                             \
        convolve(tile, memory, x, weight, bias, residual, y, p.conv, p.relu);               \
    }
