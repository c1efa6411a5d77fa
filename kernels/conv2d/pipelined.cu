// A convolution of all channels on tensor cores whose operands are rounded and packed once, and then copied to shared memory
// beside the arithmetic: a ring of STAGES tiles, of which one is multiplied while the others arrive (async_copy.cuh). A run
// of channels of one pixel, 16 bytes, is a copy; a tap of the kernel is another address, so no image is unfolded.
//
//   conv2d_pack_image_*    x (B, C, H, W) -> (B, C / EACH, H, W, EACH), rounded, with zeros behind the last channel
//   conv2d_pack_weight_*   weight (O, C, kh, kw) -> (O, kh, kw, C / EACH, EACH)
//   conv2d_pipelined_*     y from these, with bias, residual and ReLU
//
// where EACH numbers are 16 bytes. k runs over taps, then channels: a result is one chain of products in this order, and its
// bits do not depend on the tile.
#include "../common/async_copy.cuh"
#include "../common/tensor_tile.cuh"
#include "epilogue.cuh"
#include "params.cuh"

constexpr u32 STAGES = 4;
constexpr u32 PACK_THREADS = 128;

template <typename Words>
constexpr u32 EACH = 4 * Words::NUMBERS;

// `number(i)` is channel i of a run; rounds them all.
template <typename Words, typename Number>
__device__ inline Quad<u32> packed(const Number& number) {
    Quad<u32> run;
#pragma unroll
    for (u32 word = 0; word < 4; word++) {
        float numbers[Words::NUMBERS];
#pragma unroll
        for (u32 i = 0; i < Words::NUMBERS; i++) numbers[i] = number(word * Words::NUMBERS + i);
        run.item[word] = Words::word(numbers);
    }
    return run;
}

template <typename Words, typename Pixel>
__device__ inline void pack_image(const Pixel* __restrict__ x, Quad<u32>* __restrict__ to, const Conv2dTapsParams& p) {
    u32 runs = ceil_div(p.channels, EACH<Words>);
    u64 at = global_thread(), plane = (u64)p.height * p.width;
    if (at >= plane * runs * p.batch) return;
    u32 first = (u32)(at / plane % runs) * EACH<Words>;
    const Pixel* from = x + (at / plane / runs * p.channels + first) * plane + at % plane;
    to[at] = packed<Words>([&](u32 i) { return first + i < p.channels ? (float)from[i * plane] : 0.0f; });
}

// Grid (ceil(B * runs * H * W / PACK_THREADS)).
#define PACK_IMAGE(name, Words, Pixel)                                                      \
    extern "C" __global__ void __launch_bounds__(PACK_THREADS)                              \
    name(const Pixel* __restrict__ x,   /* (B, C, H, W) */                                  \
         Quad<u32>* __restrict__ image, /* (B, runs, H, W) */                               \
         Conv2dTapsParams p) {                                                              \
        pack_image<Words>(x, image, p);                                                     \
    }
PACK_IMAGE(conv2d_pack_image_tf32, Tf32Words, float)
PACK_IMAGE(conv2d_pack_image_f16, HalfWords, float)
PACK_IMAGE(conv2d_pack_image_bf16, Bf16Words, float)
PACK_IMAGE(conv2d_pack_image_u8_tf32, Tf32Words, u8)
PACK_IMAGE(conv2d_pack_image_u8_f16, HalfWords, u8)
PACK_IMAGE(conv2d_pack_image_u8_bf16, Bf16Words, u8)

template <typename Words>
__device__ inline void pack_weight(const float* __restrict__ weight, Quad<u32>* __restrict__ to,
                                   const Conv2dTapsParams& p) {
    u32 runs = ceil_div(p.channels, EACH<Words>), taps = p.kernel_height * p.kernel_width;
    u64 at = global_thread();
    if (at >= (u64)p.outs * taps * runs) return;
    u32 first = (u32)(at % runs) * EACH<Words>, tap = (u32)(at / runs % taps);
    const float* from = weight + at / runs / taps * p.weight_out + (p.flipped ? taps - 1 - tap : tap);
    to[at] = packed<Words>(
        [&](u32 i) { return first + i < p.channels ? from[(u64)(first + i) * p.weight_in] : 0.0f; });
}

// Grid (ceil(O * kh * kw * runs / PACK_THREADS)).
#define PACK_WEIGHT(name, Words)                                                            \
    extern "C" __global__ void __launch_bounds__(PACK_THREADS)                              \
    name(const float* __restrict__ weight, /* (O, C, kh, kw), or as weight_out and weight_in say */ \
         Quad<u32>* __restrict__ packed,   /* (O, kh, kw, runs) */                          \
         Conv2dTapsParams p) {                                                              \
        pack_weight<Words>(weight, packed, p);                                              \
    }
PACK_WEIGHT(conv2d_pack_weight_tf32, Tf32Words)
PACK_WEIGHT(conv2d_pack_weight_f16, HalfWords)
PACK_WEIGHT(conv2d_pack_weight_bf16, Bf16Words)

// Fills the stages of the ring, one after another. Four threads have the four runs of a row of a tile; LINES rows of either
// operand are filled at once.
template <typename T>
struct Filler {
    static constexpr u32 RUNS = T::DEPTH / 4, LINES = THREADS / RUNS;
    static constexpr u32 COLUMNS = TILE_N / LINES;

    const Conv2dTapsParams& p;
    const Quad<u32>* __restrict__ image;
    const Quad<u32>* __restrict__ weight;
    u32 runs;                 // of all channels
    u32 of_tap, r, s;         // this thread's next run, and the tap that it belongs to
    u32 k;                    // the same, over all taps
    u32 tile_m;
    i64 of_image[COLUMNS];    // where the pixels of this thread's columns lie at tap (0, 0)
    u32 top[COLUMNS], left[COLUMNS];

    static __device__ u32 run() { return threadIdx.x % RUNS; }
    static __device__ u32 line() { return threadIdx.x / RUNS; }

    __device__ Filler(const Conv2dTapsParams& p, const Quad<u32>* image, const Quad<u32>* weight, u32 runs, u32 tile_m,
                      u32 tile_n)
        : p(p), image(image), weight(weight), runs(runs), of_tap(run()), r(0), s(0), k(run()), tile_m(tile_m) {
        u32 plane = p.rows * p.columns;
#pragma unroll
        for (u32 i = 0; i < COLUMNS; i++) {
            u32 n = tile_n + line() + i * LINES, pixel = n % plane;
            // No pixel of x is that far down.
            top[i] = n < p.batch * plane ? pixel / p.columns * p.stride_height + p.top : 0x80000000u;
            left[i] = pixel % p.columns * p.stride_width + p.left;
            of_image[i] = (i64)(n / plane) * runs * p.height * p.width + (i64)(i32)top[i] * p.width + (i32)left[i];
        }
        next_tap();
    }

    __device__ void next_tap() {
        while (of_tap >= runs && r < p.kernel_height) {
            of_tap -= runs;
            if (++s == p.kernel_width) s = 0, r++;
        }
    }

    template <typename Memory>
    __device__ void fill(Memory& memory, u32 stage) {
        bool exists = r < p.kernel_height;
        i64 of_step = ((i64)of_tap * p.height + r) * p.width + s;
#pragma unroll
        for (u32 i = 0; i < COLUMNS; i++) {
            u32 y = top[i] + r, x = left[i] + s;  // negative positions become large ones
            bool inside = exists && y < p.height && x < p.width;
            copy_async(&memory.right[stage][line() + i * LINES][4 * run()], image + (inside ? of_image[i] + of_step : 0), inside);
        }
        u64 depth = (u64)p.kernel_height * p.kernel_width * runs;
#pragma unroll
        for (u32 i = 0; i < ceil_div(T::M, LINES); i++) {
            u32 row = line() + i * LINES, m = tile_m + row;
            bool inside = exists && m < p.outs;
            if (row < T::M) copy_async(&memory.left[stage][row][4 * run()], weight + (inside ? m * depth + k : 0), inside);
        }
        k += RUNS;
        of_tap += RUNS;
        next_tap();
    }
};

// Grid (ceil(B * rows * columns / TILE_N), ceil(O / M)).
template <typename Words, u32 UNITS>
__device__ inline void convolve(u8* shared, const Quad<u32>* __restrict__ image, const Quad<u32>* __restrict__ weight,
                                const float* __restrict__ bias, const float* __restrict__ residual,
                                float* __restrict__ y, float* __restrict__ parts, const Conv2dTapsParams& p) {
    typedef TensorTile<Words, UNITS> T;
    auto& memory = *reinterpret_cast<typename T::template Stages<STAGES>*>(shared);
    u32 runs = ceil_div(p.channels, EACH<Words>), plane = p.rows * p.columns;
    u32 tile_n = blockIdx.x * TILE_N, tile_m = blockIdx.y * T::M;
    u32 count = ceil_div(p.kernel_height * p.kernel_width * runs, T::DEPTH / 4);
    Filler<T> filler(p, image, weight, runs, tile_m, tile_n);
    T tile;
#pragma unroll
    for (u32 i = 0; i < T::ROWS; i++)
#pragma unroll
        for (u32 j = 0; j < T::COLS; j++) tile.c[i][j] = 0.0f;

    for (u32 stage = 0; stage + 1 < STAGES; stage++) {
        if (stage < count) filler.fill(memory, stage);
        commit_copies();
    }
    for (u32 at = 0; at < count; at++) {
        wait_copies<STAGES - 2>();
        __syncthreads();  // tile `at` is there for all, and tile at - 1 is multiplied
        if (at + STAGES - 1 < count) filler.fill(memory, (at + STAGES - 1) % STAGES);
        commit_copies();
        tile.multiply(memory, at % STAGES);
    }
    Epilogue epilogue = {bias, residual, y, p.outs, plane, p.batch * plane, 0, p.outs, p.relu != 0};
    finish(tile, epilogue, tile_m, tile_n);
    if (parts == nullptr) return;
    wait_copies<0>();
    __syncthreads();  // nobody reads or fills the stages any more
    auto& rows = *reinterpret_cast<RowSums<T>*>(shared);
    keep_statistics(tile, rows, epilogue, tile_m, tile_n, parts, p.parts, p.first_part + blockIdx.x);
}

#define CONV2D_PIPELINED(name, Words, UNITS)                                                \
    extern "C" __global__ void __launch_bounds__(THREADS)                                   \
    name(const Quad<u32>* __restrict__ image,   /* (B, runs, H, W) */                       \
         const Quad<u32>* __restrict__ weight,  /* (O, kh, kw, runs) */                     \
         const float* __restrict__ bias,        /* (O), or null */                          \
         const float* __restrict__ residual,    /* (B, O, rows, columns), or null */        \
         float* __restrict__ y,                 /* (B, O, rows, columns) */                 \
         float* __restrict__ parts,             /* (O, p.parts, 3), or null */              \
         Conv2dTapsParams p) {                                                              \
        DYNAMIC_SHARED(u8, shared); /* T::Stages<STAGES> */                                 \
        convolve<Words, UNITS>(shared, image, weight, bias, residual, y, parts, p);         \
    }
// Tiles of 32, 64 and 128 channels.
CONV2D_PIPELINED(conv2d_pipelined_32_tf32, Tf32Words, 1)
CONV2D_PIPELINED(conv2d_pipelined_32_f16, HalfWords, 1)
CONV2D_PIPELINED(conv2d_pipelined_32_bf16, Bf16Words, 1)
CONV2D_PIPELINED(conv2d_pipelined_64_tf32, Tf32Words, 2)
CONV2D_PIPELINED(conv2d_pipelined_64_f16, HalfWords, 2)
CONV2D_PIPELINED(conv2d_pipelined_64_bf16, Bf16Words, 2)
CONV2D_PIPELINED(conv2d_pipelined_128_tf32, Tf32Words, 4)
CONV2D_PIPELINED(conv2d_pipelined_128_f16, HalfWords, 4)
CONV2D_PIPELINED(conv2d_pipelined_128_bf16, Bf16Words, 4)
