// Tensor cores: products of one warp, c (16, 8) += a (16, K) b (K, 8), with f32 sums. A row of a and a column of b are eight
// words of 32 bits, whatever the numbers in them: two of 16 bits (K = 16), or one of TF32 (K = 8). Lane l, with g = l / 4
// and t = l % 4, holds
//
//   a   words t and t + 4 of rows g and g + 8:   a[0] = (g, t), a[1] = (g + 8, t), a[2] = (g, t + 4), a[3] = (g + 8, t + 4)
//   b   words t and t + 4 of column g:           b[0] = (t, g), b[1] = (t + 4, g)
//   c   two columns of rows g and g + 8:         c[0], c[1] = (g, 2 t + 0 and 1), c[2], c[3] = (g + 8, 2 t + 0 and 1)
//
// A GPU adds up the K products of one instruction in an order of its own; the emulator in ascending k.
#pragma once
#include "floats.cuh"

// How operands are rounded and multiplied: NUMBERS to a word; word(low, high) rounds to nearest.
#ifndef FOVEATE_EMULATOR

#define MMA(shape, types)                                                                                      \
    asm volatile("mma.sync.aligned." shape ".row.col.f32." types ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "   \
                 "{%8, %9}, {%0, %1, %2, %3};"                                                                 \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                              \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))

struct HalfWords {
    static constexpr u32 NUMBERS = 2;
    static __device__ u32 word(const float* numbers) {
        u32 word;
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(numbers[1]), "f"(numbers[0]));
        return word;
    }
    static __device__ void multiply(float* c, const u32* a, const u32* b) { MMA("m16n8k16", "f16.f16"); }
};

struct Bf16Words {
    static constexpr u32 NUMBERS = 2;
    static __device__ u32 word(const float* numbers) {
        u32 word;
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(numbers[1]), "f"(numbers[0]));
        return word;
    }
    static __device__ void multiply(float* c, const u32* a, const u32* b) { MMA("m16n8k16", "bf16.bf16"); }
};

struct Tf32Words {
    static constexpr u32 NUMBERS = 1;
    static __device__ u32 word(const float* numbers) {
        u32 word;
        asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(numbers[0]));
        return word;
    }
    static __device__ void multiply(float* c, const u32* a, const u32* b) { MMA("m16n8k8", "tf32.tf32"); }
};

// Reads four matrices of eight rows by four words from shared memory: word t of row g of each. Lane l says where row
// l % 8 of matrix l / 8 begins, a multiple of 16 bytes.
__device__ inline void load_matrices(u32* words, const u32* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"((u32)__cvta_generic_to_shared(row))
                 : "memory");
}

#else

struct EmulatedLane {
    u32 a[4], b[2];
};

template <typename Words>
inline void emulated_multiply(float* c, const u32* a, const u32* b) {
    EmulatedLane mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    const emulator::Gathered& all = emulator::gather(ALL_LANES, &mine, sizeof(mine), {__FILE__, __LINE__});
    u32 lane = threadIdx.x % WARP;
    for (u32 i = 0; i < 4; i++) {
        u32 row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (u32 word = 0; word < 8; word++) {
            EmulatedLane left, right;
            memcpy(&left, all.lane[row % 8 * 4 + word % 4], sizeof(left));
            memcpy(&right, all.lane[column * 4 + word % 4], sizeof(right));
            for (u32 part = 0; part < Words::NUMBERS; part++) {
                float x = Words::number(left.a[row / 8 + word / 4 * 2], part), y = Words::number(right.b[word / 4], part);
                c[i] = fmaf(x, y, c[i]);
            }
        }
    }
}

template <typename Format>
struct ShortWords {
    static constexpr u32 NUMBERS = 2;
    static u32 word(const float* numbers) {
        u32 low = Format::nearest(__float_as_uint(numbers[0])), high = Format::nearest(__float_as_uint(numbers[1]));
        return low | high << 16;
    }
    static float number(u32 word, u32 part) { return __uint_as_float(Format::wide((u16)(word >> 16 * part))); }
    static void multiply(float* c, const u32* a, const u32* b) { emulated_multiply<ShortWords>(c, a, b); }
};
typedef ShortWords<F16> HalfWords;
typedef ShortWords<Bf16> Bf16Words;

struct Tf32Words {
    static constexpr u32 NUMBERS = 1;
    // Ten bits of fraction, ties away from zero.
    static u32 word(const float* numbers) {
        u32 bits = __float_as_uint(numbers[0]);
        return (bits & ~SIGN) < INFINITE ? (bits + 0x1000u) & ~0x1fffu : bits;
    }
    static float number(u32 word, u32) { return __uint_as_float(word); }
    static void multiply(float* c, const u32* a, const u32* b) { emulated_multiply<Tf32Words>(c, a, b); }
};

inline void load_matrices(u32* words, const u32* row) {
    const emulator::Gathered& all = emulator::gather(ALL_LANES, &row, sizeof(row), {__FILE__, __LINE__});
    u32 lane = threadIdx.x % WARP;
    const u32* rows[4];
    for (u32 i = 0; i < 4; i++) memcpy(&rows[i], all.lane[i * 8 + lane / 4], sizeof(rows[i]));
    for (u32 i = 0; i < 4; i++) words[i] = rows[i][lane % 4];
}

#endif
