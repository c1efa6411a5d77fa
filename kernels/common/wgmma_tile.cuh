// The tile of product.cuh on the tensor cores of compute capability 9.0, the twin of TensorTile<Words> (tensor_tile.cuh): the
// same numbers in a tile, fetched by the same threads and rounded alike, but multiplied by warpgroups (wgmma.cuh). Two of
// them, side by side along n, have 64 by 64 results each.
#pragma once
#include "product.cuh"
#include "wgmma.cuh"

template <typename Words>
struct WgmmaTile {
    static constexpr u32 ROWS = 2, COLS = 16, RUN = 2;
    static constexpr u32 M = 64;
    static constexpr u32 DEPTH = 16;                    // words along k
    static constexpr u32 K = DEPTH * Words::NUMBERS;    // 32 numbers of 16 bits, 16 of TF32
    static constexpr u32 EACH = Words::NUMBERS;
    static constexpr u32 LEFT_EACH = M * K / THREADS, RIGHT_EACH = TILE_N * K / THREADS;

    // An operand of SIZE rows: core matrices of eight rows by four words, first along the rows, then along k.
    template <u32 SIZE>
    struct Operand {
        alignas(128) u32 word[DEPTH / 4][SIZE / 8][8][4];

        __device__ u32* run(u32 row, u32 first_word) { return word[first_word / 4][row / 8][row % 8]; }
        __device__ Descriptor from(u32 row, u32 first_word) const {
            return describe(word[first_word / 4][row / 8], {SIZE * 16, 128});
        }
    };

    struct Memory {
        Operand<M> left[2];
        Operand<TILE_N> right[2];  // a row for each column of the tile
    };

    // Four lanes have the columns of a row that belong to their warpgroup.
    static constexpr u32 LANES = 4, PARTS = 2;
    static __device__ u32 part() { return threadIdx.x / (4 * WARP); }

    float c[ROWS][COLS];

    static __device__ u32 row(u32 r) { return threadIdx.x / WARP % 4 * 16 + r * 8 + threadIdx.x % WARP / 4; }
    static __device__ u32 column(u32 j) { return first_column() + j / 2 * 8 + threadIdx.x % 4 * 2 + j % 2; }

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
        fence_shared();
    }

    __device__ void multiply(const Memory& memory, u32 which) {
        Warpgroup<Words> group;
        group.begin();
#pragma unroll
        for (u32 word = 0; word < DEPTH; word += 8) {
            group.multiply(c, memory.left[which].from(0, word), memory.right[which].from(first_column(), word));
        }
        group.wait();
    }

private:
    // Of this thread's warpgroup.
    static __device__ u32 first_column() { return threadIdx.x / (4 * WARP) * 64; }

    // Rounds a thread's numbers and stores them, four words at once where they follow each other.
    template <u32 COUNT, u32 SIZE>
    static __device__ void store_words(Operand<SIZE>& to, const Spread<EACH>& at, const float* numbers) {
        u32 words[COUNT];
#pragma unroll
        for (u32 i = 0; i < COUNT; i++) words[i] = Words::word(numbers + i * EACH);
        if (at.side_step == 0) {
#pragma unroll
            for (u32 i = 0; i < COUNT; i += 4) {
                u32* run = to.run(at.first_side, at.first_k / EACH + i);
                *reinterpret_cast<Quad<u32>*>(run) = {{words[i], words[i + 1], words[i + 2], words[i + 3]}};
            }
        } else {
#pragma unroll
            for (u32 i = 0; i < COUNT; i++) {
                u32 word = at.k(i * EACH) / EACH;
                to.run(at.side(i * EACH), word)[word % 4] = words[i];
            }
        }
    }
};
