// The product that all three convolution kernels are, without an unfolded image:
//
//   c[m, n] = sum over k of  left[m * left_pitch + step(k).left] * image[pixel(step(k), column(n))]
//
// A step is what one k contributes to the addresses, a column what one n does; their sum is a pixel, and a pixel
// outside the plane is zero. Forward: m output channel, n output pixel, k (ci, kh, kw). Grad-input: m input channel,
// n input pixel, k (co, kh, kw). Grad-weight: m output channel, n (ci, kh, kw), k output pixel.
//
// One block makes a TILE_M x TILE_N tile of c in steps of TILE_K: both operands go through shared memory, two tiles
// deep, so that a tile is fetched while the one before it is multiplied. A thread holds 8 rows by 4 columns of c.
// Each c is one chain of fused multiply-adds over ascending k: its bits depend on its own operands alone.
#pragma once
#include "../common/base.cuh"

constexpr u32 TILE_M = 64;
constexpr u32 TILE_N = 128;
constexpr u32 TILE_K = 16;
constexpr u32 THREADS = 256;
constexpr u32 ROWS = 8;  // of c per thread
constexpr u32 COLS = 4;

struct Step {
    i64 left;    // offset into a row of `left`; negative: this k does not exist
    i64 image;   // offset into `image`
    i32 y, x;    // position in the plane
};

struct Column {
    i64 image;
    i32 y, x;
};

struct ProductTiles {
    // The pad keeps the transposing stores of `left` at two-way bank conflicts and rows 16-byte aligned.
    alignas(16) float left[2][TILE_K][TILE_M + 4];
    alignas(16) float image[2][TILE_K][TILE_N];
    Step steps[2][TILE_K];
};

struct Product {
    const float* __restrict__ left;   // (rows, ...): row m starts at m * left_pitch
    const float* __restrict__ image;
    i64 left_pitch;
    u32 rows;                         // valid m
    u32 height, width;                // of the plane
    float c[ROWS][COLS];              // this thread's part of the tile

    // First row and column of this thread's part, within the block's tile.
    static __device__ u32 row() { return threadIdx.x / WARP * ROWS; }
    static __device__ u32 column() { return threadIdx.x % WARP * COLS; }
    // The column whose image elements this thread fetches, within the block's tile.
    static __device__ u32 fetched_column() { return threadIdx.x % TILE_N; }

    // Multiplies k in [first, end). `make_step(k)` gives the step of k < end. Every thread of the block must call it.
    template <typename MakeStep>
    __device__ void run(ProductTiles& tiles, u32 tile_m, const Column& column, bool column_exists, u32 first, u32 end,
                        const MakeStep& make_step) {
#pragma unroll
        for (u32 r = 0; r < ROWS; r++)
#pragma unroll
            for (u32 j = 0; j < COLS; j++) c[r][j] = 0.0f;
        if (first >= end) return;

        u32 count = ceil_div(end - first, TILE_K);
        Fetched fetched;
        fill_steps(tiles.steps[0], first, end, make_step);
        __syncthreads();  // steps 0 are visible
        fetch(fetched, tiles.steps[0], tile_m, column, column_exists);
        store(fetched, tiles, 0);
        fill_steps(tiles.steps[1], first + TILE_K, end, make_step);
        __syncthreads();  // tile 0 and steps 1 are visible
        for (u32 at = 0; at < count; at++) {
            bool more = at + 1 < count;
            if (more) fetch(fetched, tiles.steps[(at + 1) % 2], tile_m, column, column_exists);
            multiply(tiles, at % 2);
            if (more) {
                store(fetched, tiles, (at + 1) % 2);
                fill_steps(tiles.steps[at % 2], first + (at + 2) * TILE_K, end, make_step);
            }
            __syncthreads();  // tile `at` is read, tile `at + 1` and steps `at + 2` are visible
        }
    }

private:
    static constexpr u32 LEFT_EACH = TILE_M * TILE_K / THREADS;
    static constexpr u32 IMAGE_EACH = TILE_N * TILE_K / THREADS;
    struct Fetched {
        float left[LEFT_EACH];
        float image[IMAGE_EACH];
    };

    template <typename MakeStep>
    static __device__ void fill_steps(Step* steps, u32 first, u32 end, const MakeStep& make_step) {
        if (threadIdx.x >= TILE_K) return;
        u32 k = first + threadIdx.x;
        steps[threadIdx.x] = k < end ? make_step(k) : Step{-1, 0, 0, 0};
    }

    // Neighbouring threads fetch neighbouring k of `left` and neighbouring n of `image`.
    __device__ void fetch(Fetched& to, const Step* steps, u32 tile_m, const Column& column, bool exists) const {
        i64 step_left = steps[threadIdx.x % TILE_K].left;
#pragma unroll
        for (u32 i = 0; i < LEFT_EACH; i++) {
            u32 m = tile_m + threadIdx.x / TILE_K + i * (THREADS / TILE_K);
            to.left[i] = step_left >= 0 && m < rows ? left[m * left_pitch + step_left] : 0.0f;
        }
#pragma unroll
        for (u32 i = 0; i < IMAGE_EACH; i++) {
            const Step step = steps[threadIdx.x / TILE_N + i * (THREADS / TILE_N)];
            u32 y = step.y + column.y, x = step.x + column.x;  // negative positions become large ones
            bool inside = exists && step.left >= 0 && y < height && x < width;
            to.image[i] = inside ? image[step.image + column.image] : 0.0f;
        }
    }

    static __device__ void store(const Fetched& from, ProductTiles& tiles, u32 which) {
#pragma unroll
        for (u32 i = 0; i < LEFT_EACH; i++) {
            tiles.left[which][threadIdx.x % TILE_K][threadIdx.x / TILE_K + i * (THREADS / TILE_K)] = from.left[i];
        }
#pragma unroll
        for (u32 i = 0; i < IMAGE_EACH; i++) {
            tiles.image[which][threadIdx.x / TILE_N + i * (THREADS / TILE_N)][threadIdx.x % TILE_N] = from.image[i];
        }
    }

    __device__ void multiply(const ProductTiles& tiles, u32 which) {
#pragma unroll
        for (u32 k = 0; k < TILE_K; k++) {
            // The same eight rows for a whole warp (a broadcast), four columns each.
            const float4* rows_at = reinterpret_cast<const float4*>(&tiles.left[which][k][row()]);
            const float4 low = rows_at[0], high = rows_at[1];
            const float4 cols = *reinterpret_cast<const float4*>(&tiles.image[which][k][column()]);
            const float a[ROWS] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
            const float b[COLS] = {cols.x, cols.y, cols.z, cols.w};
#pragma unroll
            for (u32 r = 0; r < ROWS; r++)
#pragma unroll
                for (u32 j = 0; j < COLS; j++) c[r][j] = fmaf(a[r], b[j], c[r][j]);
        }
    }
};
