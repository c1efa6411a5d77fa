// The tiled product at the heart of matrix products and convolutions:
//
//   c[m, n] = sum over k of left[m, k] * right[k, n]
//
// One block makes a tile of M x TILE_N of c in steps of TILE_K: both operands go through shared memory, two tiles deep, so
// that a tile is fetched while the one before it is multiplied. A thread holds ROWS rows by COLS columns of c. Each c is
// one chain of fused multiply-adds over ascending k: its bits depend on its own operands alone, not on the tile.
//
// Where the operands come from is the part of `Operands`, which has
//   void prepare(u32 at)                       what the block needs to know before tile `at` is fetched, in shared memory
//   void fetch(u32 at, float* left, float* right)  this thread's elements of tile `at`, zeros where there are none
//   Spread left_spread(), right_spread()       which elements those are
#pragma once
#include "base.cuh"

constexpr u32 TILE_N = 128;
constexpr u32 TILE_K = 16;
constexpr u32 THREADS = 256;
constexpr u32 COLS = 4;  // of c per thread

// How the threads of a block share a tile: element i of a thread is at (k + i k_step, side + i side_step).
struct Spread {
    u32 k, side;
    u32 k_step, side_step;

    // Neighbouring threads have neighbouring k.
    static __device__ Spread along_k() { return {threadIdx.x % TILE_K, threadIdx.x / TILE_K, 0, THREADS / TILE_K}; }
    // Neighbouring threads have neighbouring rows or columns of a tile of `size`.
    static __device__ Spread along_side(u32 size) { return {threadIdx.x / size, threadIdx.x % size, THREADS / size, 0}; }
};

template <u32 ROWS>
struct Tile {
    static constexpr u32 M = THREADS / WARP * ROWS;
    static constexpr u32 LEFT_EACH = M * TILE_K / THREADS;
    static constexpr u32 RIGHT_EACH = TILE_N * TILE_K / THREADS;

    struct Memory {
        // The pads keep transposing stores at two-way bank conflicts and rows 16-byte aligned.
        alignas(16) float left[2][TILE_K][M + 4];
        alignas(16) float right[2][TILE_K][TILE_N + 4];
    };

    float c[ROWS][COLS];  // this thread's part

    // First row and column of this thread's part, within the tile.
    static __device__ u32 row() { return threadIdx.x / WARP * ROWS; }
    static __device__ u32 column() { return threadIdx.x % WARP * COLS; }

    // Multiplies `count` tiles. Every thread of the block must call it.
    template <typename Operands>
    __device__ void run(Memory& memory, u32 count, Operands& operands) {
#pragma unroll
        for (u32 r = 0; r < ROWS; r++)
#pragma unroll
            for (u32 j = 0; j < COLS; j++) c[r][j] = 0.0f;
        if (count == 0) return;

        float left[LEFT_EACH], right[RIGHT_EACH];
        operands.prepare(0);
        __syncthreads();  // tile 0 is prepared
        operands.fetch(0, left, right);
        store(memory, 0, operands, left, right);
        operands.prepare(1);
        __syncthreads();  // tile 0 is stored and tile 1 prepared
        for (u32 at = 0; at < count; at++) {
            bool more = at + 1 < count;
            if (more) operands.fetch(at + 1, left, right);
            multiply(memory, at % 2);
            if (more) {
                store(memory, (at + 1) % 2, operands, left, right);
                operands.prepare(at + 2);
            }
            __syncthreads();  // tile `at` is read, tile `at + 1` stored and tile `at + 2` prepared
        }
    }

private:
    template <typename Operands>
    static __device__ void store(Memory& memory, u32 which, const Operands& operands, const float* left,
                                 const float* right) {
        Spread at = operands.left_spread();
#pragma unroll
        for (u32 i = 0; i < LEFT_EACH; i++) memory.left[which][at.k + i * at.k_step][at.side + i * at.side_step] = left[i];
        at = operands.right_spread();
#pragma unroll
        for (u32 i = 0; i < RIGHT_EACH; i++) {
            memory.right[which][at.k + i * at.k_step][at.side + i * at.side_step] = right[i];
        }
    }

    __device__ void multiply(const Memory& memory, u32 which) {
#pragma unroll
        for (u32 k = 0; k < TILE_K; k++) {
            // The same rows for a whole warp (a broadcast), four columns each.
            const float4 cols = *reinterpret_cast<const float4*>(&memory.right[which][k][column()]);
            const float b[COLS] = {cols.x, cols.y, cols.z, cols.w};
            float a[ROWS];
            rows(&memory.left[which][k][row()], a);
#pragma unroll
            for (u32 r = 0; r < ROWS; r++)
#pragma unroll
                for (u32 j = 0; j < COLS; j++) c[r][j] = fmaf(a[r], b[j], c[r][j]);
        }
    }

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
