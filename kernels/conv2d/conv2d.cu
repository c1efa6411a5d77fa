// conv2d, NCHW, cross-correlation with stride (sh, sw) and padding (top, left, and below and right by the output size):
//
//   y[b, co, i, j]       = bias[co] + sum over ci, r, s of  x[b, ci, i sh + r - top, j sw + s - left] weight[co, ci, r, s]
//   fused: y             = f(y + residual), f(v) = max(v, 0) if asked for; x in bytes as well
//   dx[b, ci, u, v]      = sum over co, r, s with u + top - r = i sh and v + left - s = j sw of  dy[b, co, i, j] weight[co, ci, r, s]
//   dweight[co, ci, r, s] = sum over b, i, j of  dy[b, co, i, j] x[b, ci, i sh + r - top, j sw + s - left]
//
// where ci and co run over one group of channels. All three are one tiled product whose image operand is gathered on
// the way to shared memory (gathered.cuh); the groups are further blocks along z. Pixels of a batch, taps of a channel
// times channels, and elements of one plane are below 2^31; a tensor may have more elements.
#include "forward.cuh"

CONV2D(conv2d_f32, FmaTile<8>)
CONV2D(conv2d_tf32, TensorTile<Tf32Words>)
CONV2D(conv2d_f16, TensorTile<HalfWords>)
CONV2D(conv2d_bf16, TensorTile<Bf16Words>)

CONV2D_FUSED(conv2d_fused_f32, FmaTile<8>, float)
CONV2D_FUSED(conv2d_fused_tf32, TensorTile<Tf32Words>, float)
CONV2D_FUSED(conv2d_fused_f16, TensorTile<HalfWords>, float)
CONV2D_FUSED(conv2d_fused_bf16, TensorTile<Bf16Words>, float)
CONV2D_FUSED(conv2d_fused_u8_f32, FmaTile<8>, u8)
CONV2D_FUSED(conv2d_fused_u8_tf32, TensorTile<Tf32Words>, u8)
CONV2D_FUSED(conv2d_fused_u8_f16, TensorTile<HalfWords>, u8)
CONV2D_FUSED(conv2d_fused_u8_bf16, TensorTile<Bf16Words>, u8)

// The part of one axis that a phase of the grad-input works on: the positions u with u % stride == phase, which meet
// only the taps r = first_tap + t * stride, at output position (u / stride) + shift - t.
struct Phase {
    u32 count;      // positions
    u32 first_tap;
    u32 taps;
    i32 shift;
};

__device__ inline Phase phase_of(u32 phase, u32 size, u32 kernel, u32 stride, u32 pad) {
    Phase of;
    of.count = phase < size ? ceil_div(size - phase, stride) : 0;
    of.first_tap = (phase + pad) % stride;
    of.taps = of.first_tap < kernel ? ceil_div(kernel - of.first_tap, stride) : 0;
    of.shift = (phase + pad) / stride;
    return of;
}

// Grid (ceil(B * ceil(H / sh) * ceil(W / sw) / TILE_N), ceil(Ci / groups / T::M), groups * sh * sw): z is a group and a
// phase of the stride, within which the gradient is a convolution of stride one.
template <typename T>
__device__ inline void grad_input(ProductMemory<T>& memory, const float* __restrict__ dy, const float* __restrict__ weight,
                                  float* __restrict__ dx, const Conv2dParams& p) {
    u32 phases = p.stride_height * p.stride_width, group = blockIdx.z / phases;
    u32 phase_y = blockIdx.z % phases / p.stride_width, phase_x = blockIdx.z % p.stride_width;
    u32 ins = p.in_channels / p.groups, outs = p.out_channels / p.groups;  // of the group
    u32 first_in = group * ins, first_out = group * outs;
    Phase down = phase_of(phase_y, p.height, p.kernel_height, p.stride_height, p.pad_top);
    Phase across = phase_of(phase_x, p.width, p.kernel_width, p.stride_width, p.pad_left);
    u32 out_plane = p.out_height * p.out_width, in_plane = p.height * p.width;
    u32 plane = down.count * across.count;
    u32 pixels = p.batch * plane;
    u32 tile_n = blockIdx.x * TILE_N;
    u32 tile_m = blockIdx.y * T::M;
    if (tile_n >= pixels) return;  // the whole block

    u32 n = tile_n + threadIdx.x % TILE_N;
    u32 image = n / plane, pixel = n % plane;
    i32 top = (i32)(pixel / across.count) + down.shift, left = (i32)(pixel % across.count) + across.shift;
    i64 of_dy = ((i64)image * p.out_channels + first_out) * out_plane + (i64)top * p.out_width + left;

    u32 taps = down.taps * across.taps, kernel = p.kernel_height * p.kernel_width;
    Factors<float> factors = {weight + (u64)first_out * ins * kernel, dy, kernel, ins, p.out_height, p.out_width};
    T tile;
    multiply(tile, memory, factors, tile_m, {of_dy, top, left}, n < pixels, 0, outs * taps, [&](u32 k) {
        u32 channel = k / taps, t = k % taps / across.taps, u = k % taps % across.taps;
        u32 r = down.first_tap + t * p.stride_height, s = across.first_tap + u * p.stride_width;
        i64 of_weight = (i64)channel * ins * kernel + r * p.kernel_width + s;
        i64 of_plane = (i64)channel * out_plane - (i64)(t * p.out_width + u);
        return Step{of_weight, of_plane, -(i32)t, -(i32)u};
    });

    for (u32 j = 0; j < T::COLS; j++) {
        u32 at = tile_n + T::column(j);
        if (at >= pixels) break;
        u32 of = at % plane;
        u32 row = phase_y + of / across.count * p.stride_height, col = phase_x + of % across.count * p.stride_width;
        float* to = dx + ((u64)(at / plane) * p.in_channels + first_in) * in_plane + row * p.width + col;
        for (u32 r = 0; r < T::ROWS; r++) {
            u32 m = tile_m + T::row(r);
            if (m >= ins) break;
            to[(u64)m * in_plane] = tile.c[r][j];
        }
    }
}

#define CONV2D_GRAD_INPUT(name, T)                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                   \
    name(const float* __restrict__ dy,     /* (B, Co, Ho, Wo) */                            \
         const float* __restrict__ weight, /* (Co, Ci / groups, kh, kw) */                  \
         float* __restrict__ dx,           /* (B, Ci, H, W) */                              \
         Conv2dParams p) {                                                                  \
        __shared__ ProductMemory<T> memory;                                                 \
        grad_input(memory, dy, weight, dx, p);                                              \
    }
CONV2D_GRAD_INPUT(conv2d_grad_input_f32, FmaTile<8>)
CONV2D_GRAD_INPUT(conv2d_grad_input_tf32, TensorTile<Tf32Words>)
CONV2D_GRAD_INPUT(conv2d_grad_input_f16, TensorTile<HalfWords>)
CONV2D_GRAD_INPUT(conv2d_grad_input_bf16, TensorTile<Bf16Words>)

struct Conv2dSplitParams {
    Conv2dParams conv;
    u32 splits;
    u32 pixels_per_split;  // the last split takes what is left
};

// Grid (ceil(Ci / groups * kh * kw / TILE_N), ceil(Co / groups / T::M), groups * splits): z is a group and a split, which
// sums its range of output pixels. The splits are added by product_sum_f32.
template <typename T>
__device__ inline void grad_weight(ProductMemory<T>& memory, const float* __restrict__ x, const float* __restrict__ dy,
                                   float* __restrict__ parts, const Conv2dSplitParams& split) {
    const Conv2dParams& p = split.conv;
    u32 out_plane = p.out_height * p.out_width, in_plane = p.height * p.width;
    u32 group = blockIdx.z / split.splits, part = blockIdx.z % split.splits;
    u32 ins = p.in_channels / p.groups, outs = p.out_channels / p.groups;  // of the group
    u32 first_in = group * ins, first_out = group * outs;
    u32 taps = p.kernel_height * p.kernel_width, columns = ins * taps;
    u32 tile_n = blockIdx.x * TILE_N, tile_m = blockIdx.y * T::M;

    u32 n = tile_n + threadIdx.x % TILE_N;
    u32 channel = n / taps, r = n % taps / p.kernel_width, s = n % p.kernel_width;
    Column column = {(i64)channel * in_plane + r * p.width + s, (i32)r, (i32)s};

    u32 pixels = p.batch * out_plane;
    u32 first = part * split.pixels_per_split;
    u32 end = part + 1 == split.splits ? pixels : first + split.pixels_per_split;
    Factors<float> factors = {dy + (u64)first_out * out_plane, x, out_plane, outs, p.height, p.width};
    T tile;
    multiply(tile, memory, factors, tile_m, column, n < columns, first, end, [&](u32 k) {
        u32 image = k / out_plane, pixel = k % out_plane;
        i32 top = (i32)(pixel / p.out_width * p.stride_height) - (i32)p.pad_top;
        i32 left = (i32)(pixel % p.out_width * p.stride_width) - (i32)p.pad_left;
        i64 of_x = ((i64)image * p.in_channels + first_in) * in_plane + (i64)top * p.width + left;
        return Step{(i64)image * p.out_channels * out_plane + pixel, of_x, top, left};
    });

    float* to = parts + ((u64)part * p.out_channels + first_out) * columns;
    for (u32 i = 0; i < T::ROWS; i++) {
        u32 m = tile_m + T::row(i);
        if (m >= outs) break;
        for (u32 j = 0; j < T::COLS; j++) {
            u32 at = tile_n + T::column(j);
            if (at < columns) to[(u64)m * columns + at] = tile.c[i][j];
        }
    }
}

#define CONV2D_GRAD_WEIGHT(name, T)                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS)                                   \
    name(const float* __restrict__ x,  /* (B, Ci, H, W) */                                  \
         const float* __restrict__ dy, /* (B, Co, Ho, Wo) */                                \
         float* __restrict__ parts,    /* (splits, Co, Ci / groups, kh, kw) */              \
         Conv2dSplitParams p) {                                                             \
        __shared__ ProductMemory<T> memory;                                                 \
        grad_weight(memory, x, dy, parts, p);                                               \
    }
CONV2D_GRAD_WEIGHT(conv2d_grad_weight_f32, FmaTile<8>)
CONV2D_GRAD_WEIGHT(conv2d_grad_weight_tf32, TensorTile<Tf32Words>)
CONV2D_GRAD_WEIGHT(conv2d_grad_weight_f16, TensorTile<HalfWords>)
CONV2D_GRAD_WEIGHT(conv2d_grad_weight_bf16, TensorTile<Bf16Words>)
