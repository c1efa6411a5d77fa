// philox:       words[i] = philox(counter[i], key[i]), four words from four.
// random_words: the words of a stretch of the random sequence with one key.
//
// A thread per block of four words, stored at once.
#include "../common/philox.cuh"

constexpr u32 THREADS = 256;

struct PhiloxParams {
    u64 count;  // of words
    u64 first;  // counter of the first block of the stretch
};

// Stores the words of block `at` that are below `count`. words: 16-byte aligned.
__device__ inline void store_block(u32* words, u64 at, u64 count, const Four& four) {
    u64 left = count - 4 * at;
    store(words + 4 * at, Quad<u32>{{four.word[0], four.word[1], four.word[2], four.word[3]}}, left < 4 ? (u32)left : 4, true);
}

// Grid (ceil(n / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
philox_u32(const u32* __restrict__ counter,  // (n, 4)
           const u32* __restrict__ key,      // (n, 2)
           u32* __restrict__ words,          // (n, 4)
           PhiloxParams p) {
    u64 at = global_thread();
    if (4 * at >= p.count) return;
    const u32* c = counter + 4 * at;
    store_block(words, at, p.count, philox({{c[0], c[1], c[2], c[3]}}, key[2 * at], key[2 * at + 1]));
}

// Grid (ceil(count / (4 * THREADS))).
extern "C" __global__ void __launch_bounds__(THREADS)
random_words_u32(const u32* __restrict__ key,  // (2)
                 u32* __restrict__ words,      // (count)
                 PhiloxParams p) {
    u64 at = global_thread();
    if (4 * at >= p.count) return;
    store_block(words, at, p.count, block_of({key[0], key[1], p.first}, at));
}
