// What follows the sums of a convolution before they are written: bias, residual, ReLU; and the statistics of what a block
// has, for a batch norm behind the convolution.
#pragma once
#include "../common/reduce.cuh"

struct Epilogue {
    const float* __restrict__ bias;      // (Co), or null
    const float* __restrict__ residual;  // (B, Co, Ho, Wo), or null
    float* __restrict__ y;               // (B, Co, Ho, Wo)
    u32 out_channels;                    // Co
    u32 out_plane;                       // Ho * Wo
    u32 pixels;                          // B * Ho * Wo
    u32 first_out;                       // first channel of the group
    u32 outs;                            // channels of the group
    bool relu;
};

// Writes a thread's part of the tile of channels from tile_m and pixels from tile_n on.
template <typename T>
__device__ inline void finish(const T& tile, const Epilogue& e, u32 tile_m, u32 tile_n) {
#pragma unroll
    for (u32 j = 0; j < T::COLS; j++) {
        u32 at = tile_n + T::column(j);
        if (at >= e.pixels) break;
        u64 first = ((u64)(at / e.out_plane) * e.out_channels + e.first_out) * e.out_plane + at % e.out_plane;
#pragma unroll
        for (u32 r = 0; r < T::ROWS; r++) {
            u32 m = tile_m + T::row(r);
            if (m >= e.outs) break;
            u64 to = first + (u64)m * e.out_plane;
            float value = e.bias ? tile.c[r][j] + e.bias[e.first_out + m] : tile.c[r][j];
            if (e.residual) value += e.residual[to];
            e.y[to] = e.relu && value < 0.0f ? 0.0f : value;
        }
    }
}

// Of a tile's rows, by the groups of lanes that share them.
template <typename T>
struct RowSums {
    float sum[T::PARTS][T::M];
    float squares[T::PARTS][T::M];  // about the row's mean
};

// How many pixels a tile has of each of its channels, their mean, and the sum of squares about it, to part `part` of `parts`
// (Co, count, 3), which batch_norm.cu merges. From registers, in an order that the tile fixes. Every thread of the block must
// call it.
template <typename T>
__device__ inline void keep_statistics(const T& tile, RowSums<T>& rows, const Epilogue& e, u32 tile_m, u32 tile_n,
                                       float* __restrict__ parts, u32 count, u32 part) {
    u32 pixels = min(TILE_N, e.pixels - tile_n);
    bool first = threadIdx.x % T::LANES == 0;
#pragma unroll
    for (u32 r = 0; r < T::ROWS; r++) {
        float sum = 0.0f;
#pragma unroll
        for (u32 j = 0; j < T::COLS; j++) sum += T::column(j) < pixels ? tile.c[r][j] : 0.0f;
        sum = lanes_fold<T::LANES>(sum, Plus());
        if (first) rows.sum[T::part()][T::row(r)] = sum;
    }
    __syncthreads();  // every row's sums are written
#pragma unroll
    for (u32 r = 0; r < T::ROWS; r++) {
        float mean = 0.0f, squares = 0.0f;
#pragma unroll
        for (u32 i = 0; i < T::PARTS; i++) mean += rows.sum[i][T::row(r)];
        mean /= (float)pixels;
#pragma unroll
        for (u32 j = 0; j < T::COLS; j++) {
            float apart = T::column(j) < pixels ? tile.c[r][j] - mean : 0.0f;
            squares += apart * apart;
        }
        squares = lanes_fold<T::LANES>(squares, Plus());
        if (first) rows.squares[T::part()][T::row(r)] = squares;
    }
    __syncthreads();  // and their squares
    if (threadIdx.x >= T::M || tile_m + threadIdx.x >= e.outs) return;
    float sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (u32 i = 0; i < T::PARTS; i++) {
        sum += rows.sum[i][threadIdx.x];
        squares += rows.squares[i][threadIdx.x];
    }
    float* to = parts + 3 * ((u64)(e.first_out + tile_m + threadIdx.x) * count + part);
    to[0] = (float)pixels;
    to[1] = sum / (float)pixels;
    to[2] = squares;
}
