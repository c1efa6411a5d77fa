// The tiled product at the heart of matrix products and convolutions:
//
//   c[m, n] = sum over k of left[m, k] * right[k, n]
//
// One block makes a tile of M x TILE_N of c in steps of K: both operands go through shared memory, two tiles deep, so that a
// tile is fetched while the one before it is multiplied. There are two kinds of tile, which say how numbers are kept and
// multiplied, and which results a thread holds: FmaTile below, in f32, and TensorTile of tensor_tile.cuh. Both have
//   M, K, ROWS, COLS                       sizes of the tile, and of a thread's part c[ROWS][COLS]
//   row(r), column(j)                      where in the tile a thread's results are; RUN columns are side by side
//   LANES, PARTS, part()                   a row's columns are with LANES neighbouring lanes of each of PARTS groups
//   Memory                                 the two tiles of both operands
//   along_k(), along_side(size)            how the threads share an operand that is to be fetched
//   LEFT_EACH, RIGHT_EACH, EACH            numbers that a thread fetches of either, so many of them side by side along k
//
// Where the operands come from is the part of `Operands`, which has
//   void prepare(u32 at)                       what the block needs to know before tile `at` is fetched, in shared memory
//   void fetch(u32 at, float* left, float* right)  this thread's numbers of tile `at`, zeros where there are none
//   Spread left_spread(), right_spread()       which numbers those are
#pragma once
#include "base.cuh"

constexpr u32 TILE_N = 128;
constexpr u32 THREADS = 256;

// How the threads of a block share a tile of an operand: number i of a thread is at step(i) along k, at side(i) of m or n.
template <u32 EACH>
struct Spread {
    u32 first_k, first_side;
    u32 k_step, side_step;

    __device__ u32 k(u32 i) const { return first_k + i / EACH * k_step + i % EACH; }
    __device__ u32 side(u32 i) const { return first_side + i / EACH * side_step; }
};

// Multiplies `count` tiles, with everything that leads to them. Every thread of the block must call it.
template <typename T, typename Operands>
__device__ inline void run_tiles(T& tile, typename T::Memory& memory, u32 count, Operands& operands) {
#pragma unroll
    for (u32 r = 0; r < T::ROWS; r++)
#pragma unroll
        for (u32 j = 0; j < T::COLS; j++) tile.c[r][j] = 0.0f;
    if (count == 0) return;

    float left[T::LEFT_EACH], right[T::RIGHT_EACH];
    operands.prepare(0);
    __syncthreads();  // tile 0 is prepared
    operands.fetch(0, left, right);
    T::store(memory, 0, operands, left, right);
    operands.prepare(1);
    __syncthreads();  // tile 0 is stored and tile 1 prepared
    for (u32 at = 0; at < count; at++) {
        bool more = at + 1 < count;
        if (more) operands.fetch(at + 1, left, right);
        tile.multiply(memory, at % 2);
        if (more) {
            T::store(memory, (at + 1) % 2, operands, left, right);
            operands.prepare(at + 2);
        }
        __syncthreads();  // tile `at` is read, tile `at + 1` stored and tile `at + 2` prepared
    }
}

// In f32 on the ordinary cores. A thread has OWN_ROWS rows by four columns. Each c is one chain of fused multiply-adds over
// ascending k: its bits depend on its own operands alone, not on the tile.
template <u32 OWN_ROWS>
struct FmaTile {
    static constexpr u32 ROWS = OWN_ROWS, COLS = 4, RUN = COLS;
    static constexpr u32 M = THREADS / WARP * ROWS, K = 16;
    static constexpr u32 EACH = 1, LEFT_EACH = M * K / THREADS, RIGHT_EACH = TILE_N * K / THREADS;

    struct Memory {
        // The pads keep transposing stores at two-way bank conflicts and rows 16-byte aligned.
        alignas(16) float left[2][K][M + 4];
        alignas(16) float right[2][K][TILE_N + 4];
    };

    static constexpr u32 LANES = WARP, PARTS = 1;
    static __device__ u32 part() { return 0; }

    float c[ROWS][COLS];  // this thread's part

    static __device__ u32 row(u32 r) { return threadIdx.x / WARP * ROWS + r; }
    static __device__ u32 column(u32 j) { return threadIdx.x % WARP * COLS + j; }

    // Neighbouring threads have neighbouring k.
    static __device__ Spread<EACH> along_k() { return {threadIdx.x % K, threadIdx.x / K, 0, THREADS / K}; }
    // Neighbouring threads have neighbouring rows or columns of a tile of `size`.
    static __device__ Spread<EACH> along_side(u32 size) {
        return {threadIdx.x / size, threadIdx.x % size, THREADS / size, 0};
    }

    template <typename Operands>
    static __device__ void store(Memory& memory, u32 which, const Operands& operands, const float* left,
                                 const float* right) {
        Spread<EACH> at = operands.left_spread();
#pragma unroll
        for (u32 i = 0; i < LEFT_EACH; i++) memory.left[which][at.k(i)][at.side(i)] = left[i];
        at = operands.right_spread();
#pragma unroll
        for (u32 i = 0; i < RIGHT_EACH; i++) memory.right[which][at.k(i)][at.side(i)] = right[i];
    }

    __device__ void multiply(const Memory& memory, u32 which) {
#pragma unroll
        for (u32 k = 0; k < K; k++) {
            // The same rows for a whole warp (a broadcast), four columns each.
            const float4 cols = *reinterpret_cast<const float4*>(&memory.right[which][k][column(0)]);
            const float b[COLS] = {cols.x, cols.y, cols.z, cols.w};
            float a[ROWS];
            rows(&memory.left[which][k][row(0)], a);
#pragma unroll
            for (u32 r = 0; r < ROWS; r++)
#pragma unroll
                for (u32 j = 0; j < COLS; j++) c[r][j] = fmaf(a[r], b[j], c[r][j]);
        }
    }

private:
    // Reads ROWS neighbours, four at once where they are aligned.
    static __device__ void rows(const float* from, float* to) {
#pragma unroll
        for (u32 r = 0; r < ROWS; r += 4) {
            if (ROWS % 4 == 0) {
                const float4 four = *reinterpret_cast<const float4*>(from + r);
                to[r] = four.x, to[r + 1] = four.y, to[r + 2] = four.z, to[r + 3] = four.w;
            } else {
#pragma unroll
                for (u32 i = r; i < ROWS; i++) to[i] = from[i];
            }
        }
    }
};
