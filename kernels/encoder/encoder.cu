// A residual network of basic blocks in evaluation mode (He et al. 2016), from bytes of patches to features or to attention
// logits, in one launch: a block of threads takes a few patches through all layers, and what lies between layers stays in
// its shared memory as f16. Products are f16 with f32 sums, on tensor cores; batch norm is folded into the weights. A value
// that f16 cannot hold sets a word that nobody here clears: the results are then not to be used.
//
// Patches lie one after another, or in images, where their numbers in the grid of patches say.
//
// In shared memory, in this order: where the patches begin; the layers' tables; the patches' pixels with their padding, as
// f16, and later, in the same place, their features; planes. A plane is
// (C / 8, (H + 2) * pitch + 1, 8), pitch = W + 1, a row of 16 bytes for eight channels of one pixel: one column of zeros
// lies between two rows of pixels and is the padding of both. So eight neighbours of one group of channels are what
// ldmatrix wants, and a tap of a convolution is a distance: no image is ever unfolded.
//
// Weights are packed as the registers of an mma instruction want them, and come straight from memory: every block reads the
// same ones, which stay in the L2 cache.
#include "../common/mma.cuh"
#include "../common/reduce.cuh"

constexpr u32 THREADS = 256;
constexpr u32 WARPS = THREADS / WARP;
constexpr u32 NONE = 0xffffffffu;
constexpr u32 MOST_PATCHES = 8;        // of a block at a time
constexpr float LARGEST = 65504.0f;    // of f16

// One step of the program. All numbers are the same for every block.
struct Layer {
    u32 clears;         // 1: rows [target, target + rows) become zero, and nothing else of this applies
    u32 rows;
    u32 source;         // first row of the plane that is read; NONE: this is the stem
    u32 source_group;   // its rows between groups of eight channels, between patches, and between rows of pixels
    u32 source_patch;
    u32 source_pitch;
    u32 target;         // of the plane that is written
    u32 target_group;
    u32 target_patch;
    u32 residual;       // of the plane that is added, laid out as the target; NONE
    u32 kernel;         // 1 or 3
    u32 in_steps;       // input channels / 16
    u32 out_channels;   // a multiple of 16
    u32 pixels;         // of the target
    u32 reads;          // the table of the pixel that each pixel of the target is around
    u32 writes;         // the table of where the target's pixels lie
    u32 weights;        // first of its quads of words
    u32 bias;           // first of its biases
    u32 relu;
};

struct EncoderParams {
    u64 image_stride;    // bytes between images, between channels, and between rows of pixels
    u64 channel_stride;
    u64 row_stride;
    u32 patches;
    u32 group;           // patches that a block takes at a time
    u32 layers;
    u32 tables;          // entries of all tables
    u32 channels;        // of the pixels
    u32 height;
    u32 width;
    u32 image_pitch;     // columns of the padded pixels, even
    u32 image_rows;      // rows of a channel of them
    u32 pad;             // columns and rows before the first pixel
    u32 planes;          // bytes before the planes
    u32 stem_stride;     // even
    u32 stem_height;     // pixels of the stem's result, before pooling
    u32 stem_width;
    u32 stem_steps;      // 16 steps along k each
    u32 stem_rows;       // table: where in the pixels each row of eight steps along k begins
    u32 stem_pixels;     // table: (row, column) of each pixel after pooling
    u32 pool_mean;       // else the maximum
    u32 features;
    u32 features_first;  // row of the last plane
    u32 features_group;
    u32 features_patch;
    u32 features_pixels;
    u32 features_table;
    u32 per_image;       // patches of an image in this launch
    u32 columns;         // patches in a row of an image's grid; 0: patches are cut out, and lie one after another
    u32 stride_y;        // pixels between patches of the grid
    u32 stride_x;
    u32 numbers_stride;  // numbers between the first ones of two images
    u32 results_stride;  // patches between the first results of two images
    u32 queries;         // rows of logits
    u32 fine;            // log2 of the rows of the fine table of positions
    u32 position_size;   // numbers in a row of those tables: `features`, or one more, to be even
    u32 reserved;        // makes the size a multiple of eight
};

// Where a patch of the launch belongs.
struct Member {
    u32 image, at;  // which image, and which of its patches in this launch

    __device__ Member(const EncoderParams& p, u32 patch) : image(patch / p.per_image), at(patch % p.per_image) {}
    // Its number in the image's grid.
    __device__ u32 number(const EncoderParams& p, const i32* numbers) const {
        return (u32)numbers[(u64)image * p.numbers_stride + at];
    }
    __device__ u64 result(const EncoderParams& p) const { return (u64)image * p.results_stride + at; }
};

// What a block has in shared memory.
struct Shared {
    u64* corners;  // first byte of each patch
    u16* tables;
    u16* image;  // bits of f16
    u32* rows;   // four words each

    __device__ u32* row(u32 at) const { return rows + 4 * at; }
    // One of the eight channels of a row.
    __device__ u16* value(u32 row, u32 channel) const { return reinterpret_cast<u16*>(rows) + 8 * row + channel; }
};

__device__ inline float from_half(u16 bits) {
#ifndef FOVEATE_EMULATOR
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#else
    return __uint_as_float(F16::wide(bits));
#endif
}

__device__ inline u16 to_half(float value) {
    const float both[2] = {value, 0.0f};
    return (u16)HalfWords::word(both);
}

__device__ inline float lowest() { return __uint_as_float(SIGN | INFINITE); }
// Whether f16 cannot hold it.
__device__ inline bool overflows(float value) { return !(fabsf(value) <= LARGEST); }
// NaN passes through.
__device__ inline float relu(float value) { return value < 0.0f ? 0.0f : value; }
__device__ inline float larger(float a, float b) { return b > a || b != b ? b : a; }

// Pixel n of a group of patches of so many pixels: which patch, which pixel of it.
struct Place {
    u32 patch, pixel;

    __device__ Place(u32 n, u32 pixels) : patch(0), pixel(n) {
        while (pixel >= pixels) patch++, pixel -= pixels;
    }
};

// The parts that the warps of a block do side by side: 32 channels by some tiles of pixels.
struct Parts {
    u32 tiles;   // of the whole
    u32 each;    // tiles of a part, at most MOST
    u32 along;   // parts along the pixels

    __device__ Parts(u32 of_tiles, u32 most) : tiles(of_tiles) {
        along = ceil_div(tiles, most);
        each = ceil_div(tiles, along);
    }
    __device__ u32 first_tile(u32 part) const { return part % along * each; }
    __device__ u32 count(u32 part) const { return min(each, tiles - min(tiles, first_tile(part))); }
};

// The weights of 32 channels: quads of words, one for each lane, for each of two times 16 channels and each step along k.
struct Weights {
    const Quad<u32>* __restrict__ first;
    u32 steps;

    __device__ Weights(const Quad<u32>* all, u32 weights, u32 part_m, u32 of_steps)
        : first(all + weights + (u64)part_m * 2 * of_steps * WARP + threadIdx.x % WARP), steps(of_steps) {}
    __device__ void load(u32 step, Quad<u32> (&a)[2]) const {
        a[0] = first[step * WARP];
        a[1] = first[(steps + step) * WARP];
    }
};

// Convolutions of 16 pixels a tile.
constexpr u32 MOST_TILES = 6;

struct Sums {
    float c[2][MOST_TILES][2][4];  // (16 channels, tile, eight pixels), as mma.cuh lays them out
};

// Adds one tap of one group of 16 channels, which lies `distance` rows from the pixels at `base`.
__device__ inline void add_step(Sums& sums, const Quad<u32> (&a)[2], const Shared& shared, const u32 (&base)[MOST_TILES],
                                u32 distance, u32 tiles) {
#pragma unroll
    for (u32 t = 0; t < MOST_TILES; t++) {
        if (t < tiles) {
            u32 b[4];
            load_matrices(b, shared.row(base[t] + distance));
#pragma unroll
            for (u32 m = 0; m < 2; m++)
#pragma unroll
                for (u32 half = 0; half < 2; half++) HalfWords::multiply(sums.c[m][t][half], a[m].item, b + 2 * half);
        }
    }
}

// Bias, residual, ReLU, and to the plane. Returns whether a value overflowed.
__device__ inline bool write(const Layer& l, const Sums& sums, const Shared& shared, const float* __restrict__ bias,
                             u32 first_channel, u32 first_pixel, u32 tiles, u32 all_pixels) {
    u32 lane = threadIdx.x % WARP;
    bool lost = false;
#pragma unroll
    for (u32 t = 0; t < MOST_TILES; t++) {
        if (t >= tiles) break;
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            u32 n = first_pixel + 16 * t + i / 2 * 8 + lane % 4 * 2 + i % 2;
            if (n >= all_pixels) continue;
            Place place(n, l.pixels);
            u32 pixel = place.patch * l.target_patch + shared.tables[l.writes + place.pixel];
#pragma unroll
            for (u32 part = 0; part < 4; part++) {
                u32 channel = first_channel + 8 * part + lane / 4, row = pixel + channel / 8 * l.target_group;
                if (channel >= l.out_channels) break;
                float value = sums.c[part / 2][t][i / 2][part % 2 * 2 + i % 2] + bias[l.bias + channel];
                if (l.residual != NONE) value += from_half(*shared.value(l.residual + row, channel % 8));
                lost |= overflows(value);
                *shared.value(l.target + row, channel % 8) = to_half(l.relu ? relu(value) : value);
            }
        }
    }
    return lost;
}

__device__ inline bool convolve(const Layer& l, const Shared& shared, const Quad<u32>* __restrict__ weights,
                                const float* __restrict__ bias, u32 patches) {
    u32 lane = threadIdx.x % WARP, all_pixels = patches * l.pixels;
    u32 taps = l.kernel * l.kernel, reach = l.kernel / 2;
    Parts parts(ceil_div(all_pixels, 16), MOST_TILES);
    bool lost = false;
    for (u32 part = threadIdx.x / WARP; part < ceil_div(l.out_channels, 32) * parts.along; part += WARPS) {
        u32 part_m = part / parts.along, tiles = parts.count(part), first_pixel = 16 * parts.first_tile(part);
        // The rows that this lane points ldmatrix to: pixels 0..8 of two groups of channels, then pixels 8..16.
        u32 base[MOST_TILES];
#pragma unroll
        for (u32 t = 0; t < MOST_TILES; t++) {
            u32 n = min(first_pixel + 16 * t + lane / 16 * 8 + lane % 8, all_pixels - 1);
            Place place(n, l.pixels);
            base[t] = l.source + place.patch * l.source_patch + shared.tables[l.reads + place.pixel] + lane / 8 % 2 * l.source_group;
        }
        Sums sums = {};
        Weights packed(weights, l.weights, part_m, taps * l.in_steps);
        Quad<u32> a[2], next[2];
        packed.load(0, next);
        for (u32 tap = 0, step = 0; tap < taps; tap++) {
            // May wrap around zero.
            u32 distance = (tap / l.kernel - reach) * l.source_pitch + tap % l.kernel - reach;
            for (u32 s = 0; s < l.in_steps; s++) {
                step++;
                a[0] = next[0], a[1] = next[1];
                if (step < packed.steps) packed.load(step, next);
                add_step(sums, a, shared, base, distance + 2 * s * l.source_group, tiles);
            }
        }
        lost |= write(l, sums, shared, bias, 32 * part_m, first_pixel, tiles, all_pixels);
    }
    return lost;
}

// The first layer: convolution, ReLU and 3 by 3 maxima with stride 2, of which only the maxima are kept. Steps along k are
// (channel, row, column), eight columns a row, of which the weight has fewer and the rest are zero. A tile has eight pixels.
constexpr u32 STEM_TILES = 4;

// Window w of the maximum around pixel (row, column) after pooling, in the stem's result.
struct Window {
    u32 y, x;

    __device__ Window(u32 at, u32 w) : y(2 * (at >> 8) + w / 3 - 1), x(2 * (at & 255u) + w % 3 - 1) {}
    __device__ bool exists(const EncoderParams& p) const { return y < p.stem_height && x < p.stem_width; }
};

__device__ inline bool stem_part(const EncoderParams& p, const Layer& l, const Shared& shared, const Weights& packed,
                                 const float* __restrict__ bias, u32 first_channel, u32 first_pixel, u32 tiles,
                                 u32 all_pixels) {
    u32 lane = threadIdx.x % WARP;
    auto clamped = [&](u32 n) { return Place(min(n, all_pixels - 1), l.pixels); };
    float best[2][STEM_TILES][4];
#pragma unroll
    for (u32 i = 0; i < 2 * STEM_TILES * 4; i++) best[i / 4 / STEM_TILES][i / 4 % STEM_TILES][i % 4] = lowest();
    for (u32 w = 0; w < 9; w++) {
        u32 from[STEM_TILES];  // where the window's pixels begin that this lane fetches
#pragma unroll
        for (u32 t = 0; t < STEM_TILES; t++) {
            Place place = clamped(first_pixel + 8 * t + lane / 4);
            Window window(shared.tables[p.stem_pixels + place.pixel], w);
            u32 patch = place.patch * p.channels * p.image_rows * p.image_pitch;
            from[t] = window.exists(p) ? patch + p.stem_stride * (window.y * p.image_pitch + window.x) : 0;
        }
        float c[2][STEM_TILES][4] = {};
        for (u32 step = 0; step < p.stem_steps; step++) {
            Quad<u32> a[2];
            packed.load(step, a);
            u32 rows[2] = {shared.tables[p.stem_rows + 2 * step], shared.tables[p.stem_rows + 2 * step + 1]};
#pragma unroll
            for (u32 t = 0; t < STEM_TILES; t++) {
                if (t < tiles) {
                    u32 b[2];
#pragma unroll
                    for (u32 i = 0; i < 2; i++) {
                        b[i] = *reinterpret_cast<const u32*>(shared.image + from[t] + rows[i] + lane % 4 * 2);
                    }
                    HalfWords::multiply(c[0][t], a[0].item, b);
                    HalfWords::multiply(c[1][t], a[1].item, b);
                }
            }
        }
#pragma unroll
        for (u32 t = 0; t < STEM_TILES; t++)
#pragma unroll
            for (u32 i = 0; i < 2; i++) {
                Place place = clamped(first_pixel + 8 * t + lane % 4 * 2 + i);
                if (!Window(shared.tables[p.stem_pixels + place.pixel], w).exists(p)) continue;
#pragma unroll
                for (u32 m = 0; m < 4; m++) {
                    float& of = best[m / 2][t][m % 2 * 2 + i];
                    of = larger(of, c[m / 2][t][m % 2 * 2 + i]);
                }
            }
    }
    bool lost = false;
#pragma unroll
    for (u32 t = 0; t < STEM_TILES; t++)
#pragma unroll
        for (u32 i = 0; i < 2; i++) {
            u32 n = first_pixel + 8 * t + lane % 4 * 2 + i;
            if (t >= tiles || n >= all_pixels) continue;
            Place place(n, l.pixels);
            u32 pixel = l.target + place.patch * l.target_patch + shared.tables[l.writes + place.pixel];
#pragma unroll
            for (u32 m = 0; m < 4; m++) {
                u32 channel = first_channel + 8 * m + lane / 4;
                if (channel >= l.out_channels) break;
                float value = best[m / 2][t][m % 2 * 2 + i] + bias[l.bias + channel];
                lost |= overflows(value);
                *shared.value(pixel + channel / 8 * l.target_group, channel % 8) = to_half(relu(value));
            }
        }
    return lost;
}

__device__ inline bool stem(const EncoderParams& p, const Layer& l, const Shared& shared,
                            const Quad<u32>* __restrict__ weights, const float* __restrict__ bias, u32 patches) {
    u32 all_pixels = patches * l.pixels;
    Parts parts(ceil_div(all_pixels, 8), STEM_TILES);
    bool lost = false;
    for (u32 part = threadIdx.x / WARP; part < ceil_div(l.out_channels, 32) * parts.along; part += WARPS) {
        u32 part_m = part / parts.along;
        Weights packed(weights, l.weights, part_m, p.stem_steps);
        lost |= stem_part(p, l, shared, packed, bias, 32 * part_m, 8 * parts.first_tile(part), parts.count(part),
                          all_pixels);
    }
    return lost;
}

// Where a patch of the launch begins.
__device__ inline u64 corner(const EncoderParams& p, const i32* __restrict__ numbers, u32 patch) {
    if (p.columns == 0) return (u64)patch * p.channels * p.height * p.width;
    Member member(p, patch);
    u32 number = member.number(p, numbers), y = number / p.columns * p.stride_y, x = number % p.columns * p.stride_x;
    return member.image * p.image_stride + y * p.row_stride + x;
}

// Pixels of `patches` patches from `first` on, with zeros around them.
__device__ inline void fetch(const EncoderParams& p, const Shared& shared, const u8* __restrict__ pixels,
                             const i32* __restrict__ numbers, u32 first, u32 patches) {
    if (threadIdx.x < patches) shared.corners[threadIdx.x] = corner(p, numbers, first + threadIdx.x);
    __syncthreads();  // it is known where the patches begin
    u32 padded = p.image_rows * p.image_pitch;
    for (u32 at = threadIdx.x; at < patches * p.channels * padded; at += THREADS) {
        u32 plane = at / padded, y = at % padded / p.image_pitch - p.pad, x = at % p.image_pitch - p.pad;
        bool inside = y < p.height && x < p.width;
        u64 from = shared.corners[plane / p.channels] + plane % p.channels * p.channel_stride + y * p.row_stride + x;
        shared.image[at] = inside ? to_half((float)pixels[from]) : 0;
    }
}

// The positional encoding of patch `number` of its grid, by the sum formulas: the tables have sines and cosines, in turn, of
// the numbers below 2^fine, then of all multiples of 2^fine.
__device__ inline float position(const EncoderParams& p, const float* __restrict__ positions, u32 number, u32 channel) {
    const float* low = positions + (u64)(number & ((1u << p.fine) - 1)) * p.position_size + channel / 2 * 2;
    const float* high = positions + ((u64)(number >> p.fine) + (1u << p.fine)) * p.position_size + channel / 2 * 2;
    return channel % 2 == 0 ? fmaf(high[0], low[1], high[1] * low[0]) : fmaf(high[1], low[1], -(high[0] * low[0]));
}

// Features of `patches` patches to their logits: the products with each query, a warp for each of them. A sum has the same
// order whichever of the patches it is of.
__device__ inline void score(const EncoderParams& p, const float* features, const float* __restrict__ queries,
                             float* __restrict__ logits, u32 first, u32 patches) {
    u32 lane = threadIdx.x % WARP;
    for (u32 query = threadIdx.x / WARP; query < p.queries; query += WARPS) {
        float sums[MOST_PATCHES] = {};
        for (u32 d = lane; d < p.features; d += WARP) {
            float factor = queries[(u64)query * p.features + d];
#pragma unroll
            for (u32 patch = 0; patch < MOST_PATCHES; patch++)
                if (patch < patches) sums[patch] = fmaf(features[patch * p.features + d], factor, sums[patch]);
        }
#pragma unroll
        for (u32 patch = 0; patch < MOST_PATCHES; patch++) {
            if (patch >= patches) break;
            float sum = warp_sum(sums[patch]);
            if (lane == 0) logits[Member(p, first + patch).result(p) * p.queries + query] = sum;
        }
    }
}

// Mean or maximum over the pixels of the last plane.
__device__ inline void pool(const EncoderParams& p, const Shared& shared, float* features, u32 patches) {
    for (u32 at = threadIdx.x; at < patches * p.features; at += THREADS) {
        u32 channel = at % p.features;
        u32 row = p.features_first + at / p.features * p.features_patch + channel / 8 * p.features_group;
        float sum = 0.0f, most = lowest();
        for (u32 pixel = 0; pixel < p.features_pixels; pixel++) {
            float value = from_half(*shared.value(row + shared.tables[p.features_table + pixel], channel % 8));
            sum += value;
            most = larger(most, value);
        }
        features[at] = p.pool_mean ? sum / (float)p.features_pixels : most;
    }
}

// What becomes of the last plane: features, or, where there are queries, the logits of features and positions.
__device__ inline void finish(const EncoderParams& p, const Shared& shared, const i32* __restrict__ numbers,
                              const float* __restrict__ queries, const float* __restrict__ positions,
                              float* __restrict__ results, u32 first, u32 patches) {
    if (!queries) return pool(p, shared, results + (u64)first * p.features, patches);
    float* features = reinterpret_cast<float*>(shared.image);
    pool(p, shared, features, patches);
    if (positions) {
        // Each thread adds to what it has written itself.
        for (u32 at = threadIdx.x; at < patches * p.features; at += THREADS) {
            u32 number = Member(p, first + at / p.features).number(p, numbers);
            features[at] += position(p, positions, number, at % p.features);
        }
    }
    __syncthreads();  // the features are complete
    score(p, features, queries, results, first, patches);
}

// Grid: any number of blocks; each takes every so-manieth group of patches. The layer without a source is the stem's.
extern "C" __global__ void __launch_bounds__(THREADS)
encoder_f16(const u8* __restrict__ pixels,       // (patches, channels, height, width), or images
            const Layer* __restrict__ layers,    // (layers)
            const u16* __restrict__ tables,      // (tables)
            const Quad<u32>* __restrict__ weights,
            const float* __restrict__ bias,
            const i32* __restrict__ numbers,     // (images, numbers_stride) of the patches in their grids, or null
            const float* __restrict__ queries,   // (queries, features); null: the results are features
            const float* __restrict__ positions, // tables of `position`, or null: none are added
            float* __restrict__ results,         // (patches, features), or (images, results_stride, queries)
            u32* __restrict__ overflow,          // (1), set to 1 where f16 overflows
            EncoderParams p) {
    DYNAMIC_SHARED(u8, memory);
    u32 tables_at = 8 * MOST_PATCHES, image = tables_at + ceil_div(2 * p.tables, 16) * 16;
    Shared shared = {reinterpret_cast<u64*>(memory), reinterpret_cast<u16*>(memory + tables_at),
                     reinterpret_cast<u16*>(memory + image), reinterpret_cast<u32*>(memory + p.planes)};
    bool lost = false;
    for (u32 at = threadIdx.x; at < p.tables; at += THREADS) shared.tables[at] = tables[at];
    for (u64 first = (u64)blockIdx.x * p.group; first < p.patches; first += (u64)gridDim.x * p.group) {
        u32 patches = min(p.group, p.patches - (u32)first);
        fetch(p, shared, pixels, numbers, (u32)first, patches);
        __syncthreads();  // the pixels are there
        for (u32 at = 0; at < p.layers; at++) {
            const Layer l = layers[at];
            if (l.clears) {
                for (u32 i = threadIdx.x; i < l.rows; i += THREADS) {
                    *reinterpret_cast<Quad<u32>*>(shared.row(l.target + i)) = {{0, 0, 0, 0}};
                }
            } else if (l.source == NONE) {
                lost |= stem(p, l, shared, weights, bias, patches);
            } else {
                lost |= convolve(l, shared, weights, bias, patches);
            }
            __syncthreads();  // the layer is complete
        }
        finish(p, shared, numbers, queries, positions, results, (u32)first, patches);
        __syncthreads();  // nobody reads the last plane or the features any more
    }
    if (__any_sync(ALL_LANES, lost) && threadIdx.x % WARP == 0) atomicOr(overflow, 1u);
}

struct PackParams {
    u32 out_channels;  // a multiple of 16; packed are as many as fill 32, the last ones zero
    u32 in_channels;
    u32 kernel_height;
    u32 kernel_width;
    u32 steps;
    u32 stem;     // 1: steps along k are (channel, row, eight columns), else (tap, channel)
    u32 first;    // first of the layer's quads
};

// Weights (out_channels, in_channels, kernel_height, kernel_width) as the registers of an mma: a thread packs the quad of
// one lane. Grid (ceil(ceil(out_channels / 32) * 2 * steps * WARP / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
encoder_pack_f16(const float* __restrict__ weight, Quad<u32>* __restrict__ packed, PackParams p) {
    u32 at = (u32)global_thread(), quads = ceil_div(p.out_channels, 32) * 2 * p.steps * WARP;
    if (at >= quads) return;
    u32 lane = at % WARP, step = at / WARP % p.steps, m = at / WARP / p.steps;
    u32 kernel = p.kernel_height * p.kernel_width;
    auto element = [&](u32 row, u32 k) {
        if (16 * m + row >= p.out_channels) return 0.0f;
        u32 of_row = (16 * m + row) * p.in_channels;
        if (!p.stem) {
            u32 tap = (16 * step + k) / p.in_channels, channel = (16 * step + k) % p.in_channels;
            return weight[(of_row + channel) * kernel + tap];
        }
        u32 line = 2 * step + k / 8, channel = line / p.kernel_height, r = line % p.kernel_height, s = k % 8;
        bool exists = channel < p.in_channels && s < p.kernel_width;
        return exists ? weight[(of_row + channel) * kernel + r * p.kernel_width + s] : 0.0f;
    };
    Quad<u32> quad;
    for (u32 i = 0; i < 4; i++) {
        u32 row = lane / 4 + i % 2 * 8, k = lane % 4 * 2 + i / 2 * 8;
        const float both[2] = {element(row, k), element(row, k + 1)};
        quad.item[i] = HalfWords::word(both);
    }
    packed[p.first + at] = quad;
}
