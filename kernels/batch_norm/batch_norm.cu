// Batch normalisation of x (B, C, plane), and its gradient. A channel's elements are cut into parts, a few whole images or a
// piece of one image, which follow from the shape alone; a block reduces a part, and a warp per channel joins the parts.
//
// Statistics: of each part the mean, and then the sum of squares about it; the parts are merged (Chan, Golub and LeVeque,
// "Updating formulae and a pairwise algorithm for computing sample variances", 1979), so that no digits are lost whatever
// the mean.
//
//   y = (x - mean) * inv_std * weight + bias, then + residual, then max(., 0), each if asked for
//   dx = weight * inv_std * (g - (sum of g + normal * sum of g normal) / values), normal = (x - mean) * inv_std
//
// where g is dy, or 0 where there was a ReLU and the normalised value was not positive.
#include "../common/elements.cuh"
#include "../common/rows.cuh"
#include "../common/walk.cuh"

constexpr u32 THREADS = 256;

struct PartParams {
    DivisorParams channels;
    DivisorParams plane;
    u64 batch;
    u64 images_per_part;
    u64 pieces;  // of an image; one where a part has several images
    u64 piece;   // pixels of a piece; the last may be shorter
    u64 parts;   // of a channel
    u64 relu;    // whether there was one; gradient alone
};

// The part of a channel that this block has. Grid (channels * parts), channels innermost.
struct Part {
    u32 channel;
    u64 number;
    u64 first;  // element of x
    u32 count;
};

__device__ inline Part part_of_block(const PartParams& p) {
    Part part;
    part.number = divide(blockIdx.x, p.channels, part.channel);
    u64 image = part.number / p.pieces * p.images_per_part, pixel = part.number % p.pieces * p.piece;
    part.first = (image * p.channels.size + part.channel) * p.plane.size + pixel;
    part.count = (u32)(min(p.images_per_part, p.batch - image) * min(p.piece, p.plane.size - pixel));
    return part;
}

// Element `at` of a part. Parts of one image run on; those of several have whole planes, an image apart.
__device__ inline u64 element_of(const Part& part, u32 at, const PartParams& p) {
    if (p.images_per_part == 1) return part.first + at;
    u64 pixel, image = divide(at, p.plane, pixel);
    return part.first + image * p.channels.size * p.plane.size + pixel;
}

extern "C" __global__ void __launch_bounds__(THREADS)
batch_norm_statistics_f32(const float* __restrict__ x,  // (B, C, plane)
                          float* __restrict__ parts,    // (C, parts, 3): values, mean, squares about it
                          PartParams p) {
    __shared__ float of_warp[WARP];
    Part part = part_of_block(p);
    float sum = 0.0f;
    for (u32 at = threadIdx.x; at < part.count; at += THREADS) sum += x[element_of(part, at, p)];
    float mean = row_sum<THREADS>(sum, of_warp) / (float)part.count;
    float squares = 0.0f;
    for (u32 at = threadIdx.x; at < part.count; at += THREADS) {
        float apart = x[element_of(part, at, p)] - mean;
        squares += apart * apart;
    }
    squares = row_sum<THREADS>(squares, of_warp);
    if (threadIdx.x > 0) return;
    float* to = parts + 3 * (part.channel * p.parts + part.number);
    to[0] = (float)part.count;
    to[1] = mean;
    to[2] = squares;
}

// Statistics of some of a channel's values.
struct Merged {
    double count;
    double mean;
    double squares;
};

__device__ inline Merged merge(const Merged& a, const Merged& b) {
    if (b.count == 0.0) return a;
    double count = a.count + b.count, apart = b.mean - a.mean, share = b.count / count;
    return {count, a.mean + apart * share, a.squares + b.squares + apart * apart * a.count * share};
}

struct MergeParams {
    u64 channels;
    u64 parts;
    float eps;
    float momentum;
};

// Merges the parts of each channel, moves the running estimates, and gives 1 / sqrt(variance + eps). A warp per channel:
// lane l merges parts l, l + 32, ..., then pairs of lanes merge theirs in a tree. Grid (ceil(channels / 8)).
extern "C" __global__ void __launch_bounds__(THREADS)
batch_norm_merge_f32(const float* __restrict__ parts,         // (C, parts, 3)
                     const float* __restrict__ running_mean,  // (C), as all that follow
                     const float* __restrict__ running_var,
                     float* __restrict__ new_mean,
                     float* __restrict__ new_var,
                     float* __restrict__ mean,
                     float* __restrict__ inv_std,
                     MergeParams p) {
    u64 channel = row_of_thread<WARP>();
    Merged own = {0.0, 0.0, 0.0};
    for (u64 part = threadIdx.x % WARP; channel < p.channels && part < p.parts; part += WARP) {
        const float* from = parts + 3 * (channel * p.parts + part);
        own = merge(own, {from[0], from[1], from[2]});
    }
    for (u32 step = WARP / 2; step > 0; step /= 2) {
        Merged other;
        other.count = __shfl_down_sync(ALL_LANES, own.count, step);
        other.mean = __shfl_down_sync(ALL_LANES, own.mean, step);
        other.squares = __shfl_down_sync(ALL_LANES, own.squares, step);
        own = merge(own, other);
    }
    if (channel >= p.channels || threadIdx.x % WARP > 0) return;
    float kept = 1.0f - p.momentum, own_mean = (float)own.mean;
    mean[channel] = own_mean;
    inv_std[channel] = 1.0f / sqrtf((float)(own.squares / own.count) + p.eps);
    new_mean[channel] = kept * running_mean[channel] + p.momentum * own_mean;
    new_var[channel] = kept * running_var[channel] + p.momentum * (float)(own.squares / (own.count - 1.0));
}

struct InvStdParams {
    u32 channels;
    float eps;
};

// Grid (ceil(channels / THREADS)).
extern "C" __global__ void __launch_bounds__(THREADS)
batch_norm_inv_std_f32(const float* __restrict__ variance, float* __restrict__ inv_std, InvStdParams p) {
    u64 channel = global_thread();
    if (channel < p.channels) inv_std[channel] = 1.0f / sqrtf(variance[channel] + p.eps);
}

// What the kernels need that go over all of x, on the grid of common/elements.cuh.
struct NormaliseParams {
    u64 count;
    DivisorParams plane;
    DivisorParams channels;
    u32 relu;
    float through_statistics;  // 1 / values of a channel in training, 0 in evaluation; gradient alone
};

__device__ inline u32 channel_of(u64 at, const NormaliseParams& p) {
    u32 pixel, channel;
    divide(divide(at, p.plane, pixel), p.channels, channel);
    return channel;
}

extern "C" __global__ void __launch_bounds__(ELEMENT_THREADS)
batch_norm_normalise_f32(const float* __restrict__ x,         // (B, C, plane)
                         const float* __restrict__ residual,  // (B, C, plane), or null
                         const float* __restrict__ weight,    // (C), as the next three
                         const float* __restrict__ bias,
                         const float* __restrict__ mean,
                         const float* __restrict__ inv_std,
                         float* __restrict__ y,               // (B, C, plane)
                         NormaliseParams p) {
    each_element(p.count, [&](u64 at) {
        u32 c = channel_of(at, p);
        float value = (x[at] - mean[c]) * inv_std[c] * weight[c] + bias[c];
        if (residual) value += residual[at];
        y[at] = p.relu && value < 0.0f ? 0.0f : value;
    });
}

// A channel's mean, inverse deviation, weight and bias, by which g and the normalised value follow from dy and x.
struct Channel {
    float mean;
    float inv_std;
    float weight;
    float bias;

    __device__ float normal(float x) const { return (x - mean) * inv_std; }
    __device__ float g(float dy, float normal, bool relu) const {
        return relu && normal * weight + bias <= 0.0f ? 0.0f : dy;
    }
};

// Of each part of a channel, the sums of g and of g * normal.
extern "C" __global__ void __launch_bounds__(THREADS)
batch_norm_grad_sums_f32(const float* __restrict__ dy,      // (B, C, plane)
                         const float* __restrict__ x,       // (B, C, plane)
                         const float* __restrict__ weight,  // (C), as the next three
                         const float* __restrict__ bias,
                         const float* __restrict__ mean,
                         const float* __restrict__ inv_std,
                         float2* __restrict__ parts,        // (C, parts)
                         PartParams p) {
    __shared__ float of_warp[WARP];
    Part part = part_of_block(p);
    u32 c = part.channel;
    Channel of = {mean[c], inv_std[c], weight[c], bias[c]};
    float sum = 0.0f, product = 0.0f;
    for (u32 at = threadIdx.x; at < part.count; at += THREADS) {
        u64 element = element_of(part, at, p);
        float normal = of.normal(x[element]), g = of.g(dy[element], normal, p.relu);
        sum += g;
        product += g * normal;
    }
    sum = row_sum<THREADS>(sum, of_warp);
    product = row_sum<THREADS>(product, of_warp);
    if (threadIdx.x == 0) parts[c * p.parts + part.number] = make_float2(sum, product);
}

struct GradMergeParams {
    u64 channels;
    u64 parts;
};

// Adds the sums of the parts, a warp per channel. Grid (ceil(channels / 8)).
extern "C" __global__ void __launch_bounds__(THREADS)
batch_norm_grad_merge_f32(const float2* __restrict__ parts,  // (C, parts)
                          float* __restrict__ dweight,       // (C)
                          float* __restrict__ dbias,         // (C)
                          GradMergeParams p) {
    u64 channel = row_of_thread<WARP>();
    float sum = 0.0f, product = 0.0f;
    for (u64 part = threadIdx.x % WARP; channel < p.channels && part < p.parts; part += WARP) {
        float2 own = parts[channel * p.parts + part];
        sum += own.x;
        product += own.y;
    }
    sum = row_sum<WARP>(sum, nullptr);
    product = row_sum<WARP>(product, nullptr);
    if (channel >= p.channels || threadIdx.x % WARP > 0) return;
    dbias[channel] = sum;
    dweight[channel] = product;
}

extern "C" __global__ void __launch_bounds__(ELEMENT_THREADS)
batch_norm_grad_x_f32(const float* __restrict__ dy,       // (B, C, plane)
                      const float* __restrict__ x,        // (B, C, plane)
                      const float* __restrict__ weight,   // (C), as all the next
                      const float* __restrict__ bias,
                      const float* __restrict__ mean,
                      const float* __restrict__ inv_std,
                      const float* __restrict__ dweight,
                      const float* __restrict__ dbias,
                      float* __restrict__ dx,             // (B, C, plane)
                      NormaliseParams p) {
    each_element(p.count, [&](u64 at) {
        u32 c = channel_of(at, p);
        Channel of = {mean[c], inv_std[c], weight[c], bias[c]};
        float normal = of.normal(x[at]), g = of.g(dy[at], normal, p.relu);
        float through = (dbias[c] + normal * dweight[c]) * p.through_statistics;
        dx[at] = of.weight * of.inv_std * (g - through);
    });
}
