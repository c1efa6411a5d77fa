// Steps of optimisers, in place, and the clipping of gradients, element by element (common/elements.cuh).
#include "../common/elements.cuh"

// Tensors of one launch. Their addresses are a parameter of the kernel, of which there may be 4 KB.
constexpr u32 ADAM_TENSORS = 64;

struct AdamStepParams {
    u64 gradient[ADAM_TENSORS];     // where each begins
    u64 parameter[ADAM_TENSORS];
    u64 moment[ADAM_TENSORS];
    u64 square[ADAM_TENSORS];
    u64 count[ADAM_TENSORS];        // elements of each
    u32 first_block[ADAM_TENSORS];  // of each, in ascending order
    u32 tensors;
    float beta_1;
    float beta_2;
    float rest_1;  // 1 - beta_1
    float rest_2;
    float shrink;
    float decay;
    float rate;
    float root;
    float eps;
};

// Adam or AdamW, of all parameters of a network in one launch:
//
//   g' = g + decay * p;  m = beta_1 m + (1 - beta_1) g';  v = beta_2 v + (1 - beta_2) g'^2
//   p = p * shrink - rate * m / (sqrt(v) * root + eps)
//
// Grid: the blocks of each tensor one after another; a block finds its own by halving.
extern "C" __global__ void __launch_bounds__(ELEMENT_THREADS) adam_step_f32(const __grid_constant__ AdamStepParams c) {
    u32 low = 0, high = c.tensors;
    while (high - low > 1) {
        u32 middle = (low + high) / 2;
        if (c.first_block[middle] <= blockIdx.x) low = middle;
        else high = middle;
    }
    const float* __restrict__ gradient = (const float*)c.gradient[low];
    float* __restrict__ parameter = (float*)c.parameter[low];
    float* __restrict__ moment = (float*)c.moment[low];
    float* __restrict__ square = (float*)c.square[low];
    auto load = [&](u64 at) { return make_float4(gradient[at], parameter[at], moment[at], square[at]); };
    each_element_of_block(blockIdx.x - c.first_block[low], c.count[low], load, [&](u64 at, float4 old) {
        float p = old.y;
        float g = old.x + c.decay * p;
        float m = c.beta_1 * old.z + c.rest_1 * g;
        float v = c.beta_2 * old.w + c.rest_2 * g * g;
        moment[at] = m;
        square[at] = v;
        parameter[at] = p * c.shrink - c.rate * m / (sqrtf(v) * c.root + c.eps);
    });
}

struct SgdStepParams {
    u64 count;
    float decay;
    float momentum;
    float rate;
    u32 padding;
};

// g' = g + decay * p;  b = momentum * b + g';  p = p - rate * b
extern "C" __global__ void __launch_bounds__(ELEMENT_THREADS)
sgd_step_f32(const float* __restrict__ gradient, float* __restrict__ parameter, float* __restrict__ buffer,
             SgdStepParams c) {
    auto load = [&](u64 at) { return make_float3(gradient[at], parameter[at], buffer[at]); };
    each_element(c.count, load, [&](u64 at, float3 old) {
        float p = old.y;
        float g = old.x + c.decay * p;
        float b = c.momentum * old.z + g;
        buffer[at] = b;
        parameter[at] = p - c.rate * b;
    });
}

struct ClipValuesParams {
    u64 count;
    float most;
    u32 padding;
};

// y = x, no further from zero than `most`; NaN stays NaN.
extern "C" __global__ void __launch_bounds__(ELEMENT_THREADS)
clip_values_f32(const float* __restrict__ x, float* __restrict__ y, ClipValuesParams p) {
    each_element(p.count, [&](u64 at) {
        float value = x[at];
        y[at] = value > p.most ? p.most : value < -p.most ? -p.most : value;
    });
}
