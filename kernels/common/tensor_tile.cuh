// The tile of product.cuh on tensor cores: operands are rounded to `Words` (mma.cuh) on the way to shared memory, sums are
// f32. Eight warps, two along m and four along n, have 16 UNITS by 32 results each, as UNITS by 4 products of an mma
// instruction. Sums are in the order of the instruction: equal on every run and for any UNITS, but not those of FmaTile.
#pragma once
#include "mma.cuh"
#include "product.cuh"

template <typename Words, u32 UNITS = 2>
struct TensorTile {
    static constexpr u32 ROWS = 2 * UNITS, COLS = 8, RUN = 2;
    static constexpr u32 M = 32 * UNITS;
    static constexpr u32 DEPTH = 16;                    // words along k
    static constexpr u32 K = DEPTH * Words::NUMBERS;    // 32 numbers of 16 bits, 16 of TF32
    static constexpr u32 EACH = Words::NUMBERS;
    static constexpr u32 LEFT_EACH = M * K / THREADS, RIGHT_EACH = TILE_N * K / THREADS;
    // Words between rows: eight rows, four words of each, lie in different banks.
    static constexpr u32 PITCH = DEPTH + 4;

    // A tile of both operands for each stage.
    template <u32 STAGES>
    struct Stages {
        alignas(16) u32 left[STAGES][M][PITCH];
        alignas(16) u32 right[STAGES][TILE_N][PITCH];  // a row for each column of the tile
    };
    typedef Stages<2> Memory;

    // Four lanes have the columns of a row that belong to their warp, which is one of four along n.
    static constexpr u32 LANES = 4, PARTS = 4;
    static __device__ u32 part() { return threadIdx.x / WARP % 4; }

    float c[ROWS][COLS];  // c[2 i + a][2 j + b]: product (i, j) of the warp, as mma.cuh lays it out

    static __device__ u32 row(u32 r) { return warp_row() + r / 2 * 16 + r % 2 * 8 + lane() / 4; }
    static __device__ u32 column(u32 j) { return warp_column() + j / 2 * 8 + lane() % 4 * 2 + j % 2; }

    // Neighbouring threads have neighbouring words.
    static __device__ Spread<EACH> along_k() {
        return {threadIdx.x % DEPTH * EACH, threadIdx.x / DEPTH, 0, THREADS / DEPTH};
    }
    // Neighbouring threads have neighbouring rows or columns of a tile of `size`; the words of one follow each other.
    static __device__ Spread<EACH> along_side(u32 size) {
        return {threadIdx.x / size * (size * K / THREADS), threadIdx.x % size, EACH, 0};
    }

    template <typename Operands>
    static __device__ void store(Memory& memory, u32 which, const Operands& operands, const float* left,
                                 const float* right) {
        store_words<LEFT_EACH / EACH>(memory.left[which], operands.left_spread(), left);
        store_words<RIGHT_EACH / EACH>(memory.right[which], operands.right_spread(), right);
    }

    template <u32 STAGES>
    __device__ void multiply(const Stages<STAGES>& memory, u32 which) {
#pragma unroll
        for (u32 word = 0; word < DEPTH; word += 8) {
            u32 a[UNITS][4], b[4 * 2];
            // Matrices of a: rows 0..8 and 8..16, then the same rows four words on.
            const u32* rows = memory.left[which][warp_row() + lane() % 16] + word + lane() / 16 * 4;
#pragma unroll
            for (u32 i = 0; i < UNITS; i++) load_matrices(a[i], rows + i * 16 * PITCH);
            // Matrices of b: columns 0..8, the same four words on, then columns 8..16.
            const u32* columns = memory.right[which][warp_column() + lane() / 16 * 8 + lane() % 8] + word + lane() / 8 % 2 * 4;
#pragma unroll
            for (u32 j = 0; j < 4; j += 2) load_matrices(b + 2 * j, columns + j * 8 * PITCH);
#pragma unroll
            for (u32 i = 0; i < UNITS; i++)
#pragma unroll
                for (u32 j = 0; j < 4; j++) accumulate(i, j, a[i], b + 2 * j);
        }
    }

private:
    static __device__ u32 lane() { return threadIdx.x % WARP; }
    static __device__ u32 warp_row() { return threadIdx.x / WARP / 4 * (16 * UNITS); }
    static __device__ u32 warp_column() { return threadIdx.x / WARP % 4 * 32; }

    __device__ void accumulate(u32 i, u32 j, const u32* a, const u32* b) {
        float sums[4] = {c[2 * i][2 * j], c[2 * i][2 * j + 1], c[2 * i + 1][2 * j], c[2 * i + 1][2 * j + 1]};
        Words::multiply(sums, a, b);
        c[2 * i][2 * j] = sums[0], c[2 * i][2 * j + 1] = sums[1];
        c[2 * i + 1][2 * j] = sums[2], c[2 * i + 1][2 * j + 1] = sums[3];
    }

    // Rounds a thread's numbers and stores them, four words at once where they follow each other.
    template <u32 COUNT>
    static __device__ void store_words(u32 (*to)[PITCH], const Spread<EACH>& at, const float* numbers) {
        u32 words[COUNT];
#pragma unroll
        for (u32 i = 0; i < COUNT; i++) words[i] = Words::word(numbers + i * EACH);
        if (at.side_step == 0) {
            u32* row = to[at.first_side] + at.first_k / EACH;
#pragma unroll
            for (u32 i = 0; i < COUNT; i += 4) {
                *reinterpret_cast<Quad<u32>*>(row + i) = {{words[i], words[i + 1], words[i + 2], words[i + 3]}};
            }
        } else {
#pragma unroll
            for (u32 i = 0; i < COUNT; i++) to[at.side(i * EACH)][at.k(i * EACH) / EACH] = words[i];
        }
    }
};
