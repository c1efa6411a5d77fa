// dropout: y = x * scale where the element's random word is at least `threshold`, else 0. A thread has the four elements of
// a block of words. Grid (ceil(count / (4 * THREADS))).
#include "../common/philox.cuh"

constexpr u32 THREADS = 256;

struct DropoutParams {
    u64 count;
    u64 first;  // counter of the first block of words
    u32 key_0;
    u32 key_1;
    u32 threshold;
    float scale;
};

extern "C" __global__ void __launch_bounds__(THREADS)
dropout_f32(const float* __restrict__ x, float* __restrict__ y, DropoutParams p) {
    u64 block = global_thread();
    if (4 * block >= p.count) return;
    Four words = block_of({p.key_0, p.key_1, p.first}, block);
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        u64 at = 4 * block + i;
        if (at < p.count) y[at] = words.word[i] >= p.threshold ? x[at] * p.scale : 0.0f;
    }
}
