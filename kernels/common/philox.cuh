// Random words of Philox4x32-10, as in src/rng.rs: four words from a 128-bit counter and a 64-bit key.
#pragma once
#include "base.cuh"

struct Four {
    u32 word[4];
};

// A stretch of the random sequence, set aside for one operation: its key, and the counter of its first block.
struct Stretch {
    u32 key_0;
    u32 key_1;
    u64 first;
};

__device__ inline Four philox(Four c, u32 key_0, u32 key_1) {
#pragma unroll
    for (u32 round = 0; round < 10; round++) {
        u32 high_0 = __umulhi(0xd2511f53u, c.word[0]), low_0 = 0xd2511f53u * c.word[0];
        u32 high_1 = __umulhi(0xcd9e8d57u, c.word[2]), low_1 = 0xcd9e8d57u * c.word[2];
        c = {{high_1 ^ c.word[1] ^ key_0, low_1, high_0 ^ c.word[3] ^ key_1, low_0}};
        key_0 += 0x9e3779b9u;
        key_1 += 0xbb67ae85u;
    }
    return c;
}

// The four words of block `at` of a stretch: words 4 at, .., 4 at + 3 of it.
__device__ inline Four block_of(const Stretch& stretch, u64 at) {
    u64 counter = stretch.first + at;
    return philox({{(u32)counter, (u32)(counter >> 32), 0, 0}}, stretch.key_0, stretch.key_1);
}
