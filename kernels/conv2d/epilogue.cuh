// What follows the sums of a convolution before they are written: bias, residual, ReLU.
#pragma once

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
