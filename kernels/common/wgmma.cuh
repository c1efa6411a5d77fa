// Products of a warpgroup, four warps, on the tensor cores of compute capability 9.0: c (64, 64) += a (64, K) b (K, 64), with
// f32 sums. Both operands are in shared memory, in runs of 16 bytes along k: a row of a and a column of b have two runs to an
// instruction, whatever the numbers in them: K = 16 of 16 bits, or 8 of TF32. Eight rows of a run lie side by side, 128
// bytes, a core matrix; a descriptor says where the first of an operand is, and how far apart two of them are along k and along
// its rows.
//
// Lane l of warp w, with g = l / 4 and t = l % 4, has c[r][2 j + i] = (16 w + 8 r + g, 8 j + 2 t + i).
//
// The operands are read behind the kernel's back: what threads wrote there must pass fence_shared() and a barrier first, and c
// must not be touched between begin() and wait(). On the emulator a product is computed at wait(), by the meaning of its
// descriptors, in ascending k.
#pragma once
#include "mma.cuh"

// Bytes between two core matrices along k and along rows; both are multiples of 16.
struct CoreMatrices {
    u32 along_k, along_rows;
};

#ifndef FOVEATE_EMULATOR

typedef u64 Descriptor;

// Of the operand that begins here, a multiple of 16 bytes, in the layout without swizzle.
__device__ inline Descriptor describe(const void* at, CoreMatrices apart) {
    u64 address = (u32)__cvta_generic_to_shared(at);
    return (address & 0x3ffff) >> 4 | (u64)(apart.along_k >> 4) << 16 | (u64)(apart.along_rows >> 4) << 32;
}

// What this thread wrote to shared memory is seen by the products of those who meet it at a barrier.
__device__ inline void fence_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

#define WGMMA(shape, types, layout)                                                                                \
    asm volatile("{ .reg .pred add; setp.ne.b32 add, 1, 0; wgmma.mma_async.sync.aligned." shape ".f32." types " "                                           \
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                         \
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "               \
                 "%32, %33, add, 1, 1" layout "; }"                                                                 \
                 : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[1][0]), "+f"(c[1][1]),                 \
                   "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][2]), "+f"(c[1][3]),                 \
                   "+f"(c[0][4]), "+f"(c[0][5]), "+f"(c[1][4]), "+f"(c[1][5]),                 \
                   "+f"(c[0][6]), "+f"(c[0][7]), "+f"(c[1][6]), "+f"(c[1][7]),                 \
                   "+f"(c[0][8]), "+f"(c[0][9]), "+f"(c[1][8]), "+f"(c[1][9]),                 \
                   "+f"(c[0][10]), "+f"(c[0][11]), "+f"(c[1][10]), "+f"(c[1][11]),                 \
                   "+f"(c[0][12]), "+f"(c[0][13]), "+f"(c[1][12]), "+f"(c[1][13]),                 \
                   "+f"(c[0][14]), "+f"(c[0][15]), "+f"(c[1][14]), "+f"(c[1][15])                  \
                 : "l"(a), "l"(b))

template <typename Words>
struct Warpgroup {
    static __device__ void begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
    static __device__ void multiply(float (&c)[2][16], Descriptor a, Descriptor b);
    static __device__ void wait() {
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
    }
};

template <>
__device__ inline void Warpgroup<HalfWords>::multiply(float (&c)[2][16], Descriptor a, Descriptor b) {
    WGMMA("m64n64k16", "f16.f16", ", 0, 0");
}
template <>
__device__ inline void Warpgroup<Bf16Words>::multiply(float (&c)[2][16], Descriptor a, Descriptor b) {
    WGMMA("m64n64k16", "bf16.bf16", ", 0, 0");
}
template <>
__device__ inline void Warpgroup<Tf32Words>::multiply(float (&c)[2][16], Descriptor a, Descriptor b) {
    WGMMA("m64n64k8", "tf32.tf32", "");
}

#else

// The bits, and the address whose upper half they lack.
struct Descriptor {
    u64 bits;
    const unsigned char* near;
};

inline Descriptor describe(const void* at, CoreMatrices apart) {
    const unsigned char* near = static_cast<const unsigned char*>(at);
    u64 bits = ((u64)near & 0x3ffff) >> 4 | (u64)(apart.along_k >> 4) << 16 | (u64)(apart.along_rows >> 4) << 32;
    return {bits, near};
}

inline void fence_shared() {}

// Word `word` of row `row` of an operand.
inline u32 described_word(const Descriptor& of, u32 row, u32 word) {
    const unsigned char* begin = of.near - ((u64)of.near & 0x3ffff) + ((of.bits & 0x3fff) << 4);
    u64 along_k = (of.bits >> 16 & 0x3fff) << 4, along_rows = (of.bits >> 32 & 0x3fff) << 4;
    u64 at = word / 4 * along_k + row / 8 * along_rows + row % 8 * 16 + word % 4 * 4;
    return *reinterpret_cast<const u32*>(begin + at);
}

template <typename Words>
struct Warpgroup {
    float (*c)[16] = nullptr;
    Descriptor a[4], b[4];
    u32 count = 0;

    void begin() { count = 0; }
    void multiply(float (&sums)[2][16], Descriptor left, Descriptor right) {
        if (count == 4) emulator::trap("more products than the emulator keeps", {__FILE__, __LINE__});
        u64 mine[2] = {left.bits, right.bits};
        // One instruction of all lanes, for the same operands.
        const emulator::Gathered& all = emulator::gather(ALL_LANES, mine, sizeof(mine), {__FILE__, __LINE__});
        if (memcmp(all.lane[0], mine, sizeof(mine))) emulator::trap("lanes with different descriptors", {__FILE__, __LINE__});
        c = sums, a[count] = left, b[count] = right, count++;
    }
    void wait() {
        for (u32 at = 0; at < count; at++) {
            for (u32 r = 0; r < 2; r++) {
                u32 row = threadIdx.x / WARP % 4 * 16 + r * 8 + threadIdx.x % WARP / 4, left[8];
                for (u32 word = 0; word < 8; word++) left[word] = described_word(a[at], row, word);
                for (u32 j = 0; j < 16; j++) add(c[r][j], left, b[at], j / 2 * 8 + threadIdx.x % 4 * 2 + j % 2);
            }
        }
        count = 0;
    }

private:
    static void add(float& sum, const u32 (&left)[8], const Descriptor& b, u32 column) {
        for (u32 word = 0; word < 8; word++) {
            u32 right = described_word(b, column, word);
            for (u32 part = 0; part < Words::NUMBERS; part++) {
                sum = fmaf(Words::number(left[word], part), Words::number(right, part), sum);
            }
        }
    }
};

#endif
