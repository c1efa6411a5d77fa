// The product that all three convolution kernels are, without an unfolded image:
//
//   c[m, n] = sum over k of  left[m * left_pitch + step(k).left] * image[pixel(step(k), column(n))]
//
// A step is what one k contributes to the addresses, a column what one n does; their sum is a pixel, and a pixel
// outside the plane is zero. Forward: m output channel, n output pixel, k (ci, kh, kw). Grad-input: m input channel,
// n input pixel, k (co, kh, kw). Grad-weight: m output channel, n (ci, kh, kw), k output pixel.
#pragma once
#include "../common/tensor_tile.cuh"

struct Step {
    i64 left;    // offset into a row of `left`; negative: this k does not exist
    i64 image;   // offset into `image`
    i32 y, x;    // position in the plane
};

struct Column {
    i64 image;
    i32 y, x;
};

// `T` is the kind of tile.
template <typename T>
struct ProductMemory {
    typename T::Memory tiles;
    Step steps[2][T::K];
};

// What is multiplied. `Pixel` is float or u8, whose values count as 0 to 255.
template <typename Pixel>
struct Factors {
    const float* __restrict__ left;   // (rows, ...): row m starts at m * left_pitch
    const Pixel* __restrict__ image;
    i64 left_pitch;
    u32 rows;                         // valid m
    u32 height, width;                // of the plane
};

// The operands of a tile for k in [first, end): `make_step(k)` gives the step of k < end.
template <typename T, typename Pixel, typename MakeStep>
struct Gathered {
    const Factors<Pixel>& of;
    Step (*steps)[T::K];
    u32 tile_m;
    Column column;                    // of the one n that this thread fetches
    bool column_exists;
    u32 first, end;
    const MakeStep& make_step;

    static __device__ Spread<T::EACH> left_spread() { return T::along_k(); }
    static __device__ Spread<T::EACH> right_spread() { return T::along_side(TILE_N); }

    __device__ void prepare(u32 at) {
        if (threadIdx.x >= T::K) return;
        u32 k = first + at * T::K + threadIdx.x;
        steps[at % 2][threadIdx.x] = k < end ? make_step(k) : Step{-1, 0, 0, 0};
    }

    __device__ void fetch(u32 tile, float* left, float* right) const {
        Spread<T::EACH> at = left_spread();
#pragma unroll
        for (u32 i = 0; i < T::LEFT_EACH; i++) {
            i64 step_left = steps[tile % 2][at.k(i)].left;
            u32 m = tile_m + at.side(i);
            left[i] = step_left >= 0 && m < of.rows ? of.left[m * of.left_pitch + step_left] : 0.0f;
        }
        at = right_spread();
#pragma unroll
        for (u32 i = 0; i < T::RIGHT_EACH; i++) {
            const Step step = steps[tile % 2][at.k(i)];
            u32 y = step.y + column.y, x = step.x + column.x;  // negative positions become large ones
            bool inside = column_exists && step.left >= 0 && y < of.height && x < of.width;
            right[i] = inside ? (float)of.image[step.image + column.image] : 0.0f;
        }
    }
};

// Multiplies k in [first, end) of rows from `tile_m` on and this thread's column. Every thread of the block must call it.
template <typename T, typename Pixel, typename MakeStep>
__device__ inline void multiply(T& tile, ProductMemory<T>& memory, const Factors<Pixel>& of, u32 tile_m,
                                const Column& column, bool column_exists, u32 first, u32 end, const MakeStep& make_step) {
    Gathered<T, Pixel, MakeStep> operands = {of, memory.steps, tile_m, column, column_exists, first, end, make_step};
    run_tiles(tile, memory.tiles, first < end ? ceil_div(end - first, T::K) : 0, operands);
}
