// A convolution with a 3 by 3 kernel and stride 1 by Winograd's F(4x4, 3x3) (Lavin and Gray 2015), interpolated at 0, +-5/8,
// +-3/2 and infinity: 36 products for 16 pixels instead of 144. A tile is 4 by 4 pixels of y and the 6 by 6 pixels of x that
// they see; T = batch * ceil(rows / 4) * ceil(columns / 4). Three steps around a product:
//
//   conv2d_winograd_filters   weight (O, C, 3, 3) -> u (36, O, C), G g G^T
//   conv2d_winograd_data      x -> v (36, C, T), B^T d B
//   (product.cu               36 products m (O, T) = u (O, C) * v (C, T))
//   conv2d_winograd_outputs   m (36, O, T) -> y, A^T m A, with bias, residual and ReLU, and the statistics of a batch norm
//
// Every step works on a tile by itself, and a product's bits follow from its own operands: so a result's bits follow from its
// own tile, whatever the batch. Points and transforms are those of winograd.wgsl.
#include "../common/reduce.cuh"
#include "params.cuh"

constexpr u32 THREADS = 128;

// The points' magnitudes and their squares, and 1 / the product of a point's differences to the others.
constexpr float A = 0.625f, B = 1.5f, A2 = A * A, B2 = B * B;
constexpr float AT_0 = 1.0f / (A2 * B2), AT_A = 1.0f / (2.0f * A2 * (A2 - B2)), AT_B = 1.0f / (2.0f * B2 * (B2 - A2));

// to = G g
__device__ inline void filter_of(float g0, float g1, float g2, float (&to)[6]) {
    float even_a = AT_A * fmaf(g2, A2, g0), odd_a = (AT_A * A) * g1;
    float even_b = AT_B * fmaf(g2, B2, g0), odd_b = (AT_B * B) * g1;
    to[0] = AT_0 * g0;
    to[1] = even_a + odd_a, to[2] = even_a - odd_a;
    to[3] = even_b + odd_b, to[4] = even_b - odd_b;
    to[5] = g2;
}

// to = B^T d
__device__ inline void data_of(const float (&d)[6], float (&to)[6]) {
    float even_a = fmaf(d[2], -B2, d[4]), odd_a = fmaf(d[1], -B2, d[3]);
    float even_b = fmaf(d[2], -A2, d[4]), odd_b = fmaf(d[1], -A2, d[3]);
    to[0] = fmaf(d[0], A2 * B2, fmaf(d[2], -A2 - B2, d[4]));
    to[1] = fmaf(odd_a, A, even_a), to[2] = fmaf(odd_a, -A, even_a);
    to[3] = fmaf(odd_b, B, even_b), to[4] = fmaf(odd_b, -B, even_b);
    to[5] = fmaf(d[1], A2 * B2, fmaf(d[3], -A2 - B2, d[5]));
}

// to = A^T m
__device__ inline void output_of(const float (&m)[6], float (&to)[4]) {
    float even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    to[0] = m[0] + (even_a + even_b);
    to[1] = fmaf(odd_a, A, odd_b * B);
    to[2] = fmaf(even_a, A2, even_b * B2);
    to[3] = fmaf(odd_a, A * A2, fmaf(odd_b, B * B2, m[5]));
}

// Where tile t is.
struct Tile {
    u32 image, row, column;  // of its first pixel of y
};

__device__ inline u32 tiles_across(const Conv2dTapsParams& p) { return ceil_div(p.columns, 4); }
__device__ inline u32 tiles_of_image(const Conv2dTapsParams& p) { return ceil_div(p.rows, 4) * tiles_across(p); }

__device__ inline Tile tile_of(u32 t, const Conv2dTapsParams& p) {
    u32 of_image = t % tiles_of_image(p);
    return {t / tiles_of_image(p), of_image / tiles_across(p) * 4, of_image % tiles_across(p) * 4};
}

// Grid (ceil(O * C / THREADS)): a thread has a filter.
extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_winograd_filters_f32(const float* __restrict__ weight,  // (O, C, 3, 3), or as weight_out and weight_in say
                            float* __restrict__ u,             // (36, O, C)
                            Conv2dTapsParams p) {
    u64 at = global_thread(), filters = (u64)p.outs * p.channels;
    if (at >= filters) return;
    const float* from = weight + at / p.channels * p.weight_out + at % p.channels * p.weight_in;
    float g[3][3], columns[3][6];
#pragma unroll
    for (u32 i = 0; i < 9; i++) g[i / 3][i % 3] = from[p.flipped ? 8 - i : i];
#pragma unroll
    for (u32 j = 0; j < 3; j++) filter_of(g[0][j], g[1][j], g[2][j], columns[j]);
#pragma unroll
    for (u32 i = 0; i < 6; i++) {
        float line[6];
        filter_of(columns[0][i], columns[1][i], columns[2][i], line);
#pragma unroll
        for (u32 j = 0; j < 6; j++) u[(6 * i + j) * filters + at] = line[j];
    }
}

// Grid (ceil(T / THREADS), C): a thread has a tile of a channel.
template <typename Pixel>
__device__ inline void data(const Pixel* __restrict__ x, float* __restrict__ v, const Conv2dTapsParams& p) {
    u32 t = blockIdx.x * THREADS + threadIdx.x, tiles = p.batch * tiles_of_image(p);
    if (t >= tiles) return;
    Tile tile = tile_of(t, p);
    i32 top = (i32)tile.row + p.top, left = (i32)tile.column + p.left;
    const Pixel* plane = x + ((u64)tile.image * p.channels + blockIdx.y) * p.height * p.width;
    float columns[6][6];
#pragma unroll
    for (u32 j = 0; j < 6; j++) {
        float d[6];
#pragma unroll
        for (u32 i = 0; i < 6; i++) {
            u32 row = top + i, column = left + j;  // negative positions become large ones
            d[i] = row < p.height && column < p.width ? (float)plane[row * p.width + column] : 0.0f;
        }
        data_of(d, columns[j]);
    }
    u64 apart = (u64)p.channels * tiles;
    float* to = v + (u64)blockIdx.y * tiles + t;
#pragma unroll
    for (u32 i = 0; i < 6; i++) {
        float d[6], line[6];
#pragma unroll
        for (u32 j = 0; j < 6; j++) d[j] = columns[j][i];
        data_of(d, line);
#pragma unroll
        for (u32 j = 0; j < 6; j++) to[(6 * i + j) * apart] = line[j];
    }
}

#define WINOGRAD_DATA(name, Pixel)                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                   \
    name(const Pixel* __restrict__ x, /* (B, C, H, W) */                                    \
         float* __restrict__ v,       /* (36, C, T) */                                      \
         Conv2dTapsParams p) {                                                              \
        data(x, v, p);                                                                      \
    }
WINOGRAD_DATA(conv2d_winograd_data_f32, float)
WINOGRAD_DATA(conv2d_winograd_data_u8, u8)

// The 4 by 4 pixels of a tile, and bit 4 i + j for each that exists.
struct Pixels {
    float value[4][4];
    u32 exist;
};

// How many pixels a block has, their mean, and the sum of squares about it, to its part of `parts` (O, p.parts, 3).
__device__ inline void keep_statistics(const Pixels& own, float* __restrict__ parts, const Conv2dTapsParams& p) {
    __shared__ float of_warp[WARP];
    float count = 0.0f, sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (u32 i = 0; i < 16; i++) {
        bool exists = own.exist >> i & 1;
        count += exists ? 1.0f : 0.0f;
        sum += exists ? own.value[i / 4][i % 4] : 0.0f;
    }
    count = block_sum_for_all(count, of_warp);
    float mean = block_sum_for_all(sum, of_warp) / count;
#pragma unroll
    for (u32 i = 0; i < 16; i++) {
        float apart = own.exist >> i & 1 ? own.value[i / 4][i % 4] - mean : 0.0f;
        squares += apart * apart;
    }
    squares = block_sum_for_all(squares, of_warp);
    if (threadIdx.x > 0) return;
    float* to = parts + 3 * ((u64)blockIdx.y * p.parts + p.first_part + blockIdx.x);
    to[0] = count;
    to[1] = mean;
    to[2] = squares;
}

// Grid (ceil(T / THREADS), O): a thread has a tile of a channel.
extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_winograd_outputs_f32(const float* __restrict__ m,         // (36, O, T)
                            const float* __restrict__ bias,      // (O), or null
                            const float* __restrict__ residual,  // (B, O, rows, columns), or null
                            float* __restrict__ y,               // (B, O, rows, columns)
                            float* __restrict__ parts,           // (O, p.parts, 3), or null
                            Conv2dTapsParams p) {
    u32 t = blockIdx.x * THREADS + threadIdx.x, tiles = p.batch * tiles_of_image(p);
    Pixels own;
    own.exist = 0;
    if (t < tiles) {
        const float* from = m + (u64)blockIdx.y * tiles + t;
        u64 apart = (u64)p.outs * tiles;
        float columns[6][4];
#pragma unroll
        for (u32 j = 0; j < 6; j++) {
            float products[6];
#pragma unroll
            for (u32 i = 0; i < 6; i++) products[i] = from[(6 * i + j) * apart];
            output_of(products, columns[j]);
        }
        Tile tile = tile_of(t, p);
        u64 plane = ((u64)tile.image * p.outs + blockIdx.y) * p.rows * p.columns;
        float added = bias ? bias[blockIdx.y] : 0.0f;
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            float products[6];
#pragma unroll
            for (u32 j = 0; j < 6; j++) products[j] = columns[j][i];
            output_of(products, own.value[i]);
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
                u32 row = tile.row + i, column = tile.column + j;
                if (row >= p.rows || column >= p.columns) continue;
                u64 to = plane + row * p.columns + column;
                float value = own.value[i][j] + added;
                if (residual) value += residual[to];
                y[to] = p.relu && value < 0.0f ? 0.0f : value;
                own.exist |= 1u << (4 * i + j);
            }
        }
    }
    if (parts != nullptr) keep_statistics(own, parts, p);
}
