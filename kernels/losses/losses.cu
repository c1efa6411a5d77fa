// Losses of a class index, over rows of `classes` scores, loss = factor * (sum of w[t] l(row, t)) / divisor:
//
//   cross_entropy: l = log(sum of exp(row)) - row[t];   nll: l = -log(row[t] + eps).
//
// The divisor is the sum of the weights of the rows' classes, where the loss is a mean and there are weights; else it is
// one, and `factor` has the rest. A row whose class does not exist counts as nothing. A warp has a row.
//
// Losses of pairs, factor * (sum of l(x, t)): a block sums a part, and another launch the parts.
//
// The entropy of each row of p, h = -(sum of p log(p + eps)), in which a probability of zero adds nothing.
#include "../common/elements.cuh"
#include "../common/math.cuh"
#include "../common/rows.cuh"
#include "../common/walk.cuh"

constexpr u32 THREADS = 256;

struct ClassLossParams {
    u64 rows;
    u32 classes;
    u32 divide;  // whether to divide by the sum of the weights
    float factor;
    float eps;
};

struct ClassLoss {
    const float* __restrict__ x;        // (rows, classes)
    const i32* __restrict__ t;          // (rows)
    const float* __restrict__ weights;  // (classes), or null
    const ClassLossParams& p;

    // The class of a row, or `classes` if it does not exist.
    __device__ u32 class_of(u64 row) const { return min((u32)t[row], p.classes); }
    __device__ float weight_of(u32 own) const { return own == p.classes ? 0.0f : weights ? weights[own] : 1.0f; }
};

// The largest score of a row and the sum of exp(score - largest), in every lane of a warp.
__device__ inline float2 normaliser(const float* __restrict__ row, u32 classes) {
    float most = -infinity(), sum = 0.0f;
    for (u32 i = threadIdx.x % WARP; i < classes; i += WARP) most = fmaxf(most, row[i]);
    most = row_max<WARP>(most, nullptr);
    for (u32 i = threadIdx.x % WARP; i < classes; i += WARP) sum += exp_of(row[i] - most);
    return make_float2(most, row_sum<WARP>(sum, nullptr));
}

struct CrossEntropy {
    static __device__ float loss(const float* __restrict__ row, u32 own, const ClassLossParams& p) {
        float2 normal = normaliser(row, p.classes);
        return log_of(normal.y) + (normal.x - row[own]);
    }

    // to = scale * (softmax(row) - onehot(own))
    static __device__ void gradient(const float* __restrict__ row, u32 own, float scale, float* __restrict__ to,
                                    const ClassLossParams& p) {
        float2 normal = normaliser(row, p.classes);
        // p - 1 cancels when p is near 1; minus the sum of the others does not.
        float others = 0.0f;
        for (u32 i = threadIdx.x % WARP; i < p.classes; i += WARP) {
            float e = exp_of(row[i] - normal.x);
            if (i != own) to[i] = scale * (e / normal.y);
            others += i == own ? 0.0f : e;
        }
        others = row_sum<WARP>(others, nullptr);
        if (threadIdx.x % WARP == 0) to[own] = -scale * (others / normal.y);
    }
};

struct Nll {
    static __device__ float loss(const float* __restrict__ row, u32 own, const ClassLossParams& p) {
        return -log_of(row[own] + p.eps);
    }

    static __device__ void gradient(const float* __restrict__ row, u32 own, float scale, float* __restrict__ to,
                                    const ClassLossParams& p) {
        for (u32 i = threadIdx.x % WARP; i < p.classes; i += WARP) {
            to[i] = i == own ? -scale / (row[i] + p.eps) : 0.0f;
        }
    }
};

// One block of 1024 threads, of which warp w takes rows w, w + 32, ...
template <typename Kind>
__device__ inline void class_loss(const ClassLoss& of, float* __restrict__ y, float* of_warp) {
    u32 warps = 1024 / WARP;
    float sum = 0.0f, weights = 0.0f;
    for (u64 row = threadIdx.x / WARP; row < of.p.rows; row += warps) {
        u32 own = of.class_of(row);
        if (own == of.p.classes) continue;  // the whole warp
        float weight = of.weight_of(own), loss = Kind::loss(of.x + row * of.p.classes, own, of.p);
        sum += weight * loss;
        weights += weight;
    }
    // Every lane of a warp has the warp's sums: one of them stands for all.
    bool first = threadIdx.x % WARP == 0;
    sum = row_sum<1024>(first ? sum : 0.0f, of_warp);
    weights = row_sum<1024>(first ? weights : 0.0f, of_warp);
    sum *= of.p.factor;
    if (threadIdx.x == 0) *y = of.p.divide ? sum / weights : sum;
}

// Every block adds up all weights for itself. Grid (ceil(rows / (THREADS / WARP))).
template <typename Kind>
__device__ inline void class_loss_grad(const ClassLoss& of, const float* __restrict__ dy, float* __restrict__ dx,
                                       float* of_warp) {
    float scale = *dy * of.p.factor;
    if (of.p.divide) {
        float weights = 0.0f;
        for (u64 row = threadIdx.x; row < of.p.rows; row += THREADS) weights += of.weight_of(of.class_of(row));
        scale /= row_sum<THREADS>(weights, of_warp);
    }
    u64 row = row_of_thread<WARP>();
    if (row >= of.p.rows) return;
    u32 own = of.class_of(row);
    const float* from = of.x + row * of.p.classes;
    float* to = dx + row * of.p.classes;
    if (own < of.p.classes) {
        Kind::gradient(from, own, scale * of.weight_of(own), to, of.p);
    } else {
        for (u32 i = threadIdx.x % WARP; i < of.p.classes; i += WARP) to[i] = 0.0f;
    }
}

#define CLASS_LOSS(name, Kind)                                                                                    \
    extern "C" __global__ void __launch_bounds__(1024)                                                            \
    name##_f32(const float* __restrict__ x,        /* (rows, classes) */                                          \
               const i32* __restrict__ t,          /* (rows) */                                                   \
               const float* __restrict__ weights,  /* (classes), or null */                                       \
               float* __restrict__ y,              /* () */                                                       \
               ClassLossParams p) {                                                                               \
        __shared__ float of_warp[WARP];                                                                           \
        class_loss<Kind>({x, t, weights, p}, y, of_warp);                                                         \
    }                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                         \
    name##_grad_f32(const float* __restrict__ dy,       /* () */                                                  \
                    const float* __restrict__ x,        /* (rows, classes) */                                     \
                    const i32* __restrict__ t,          /* (rows) */                                              \
                    const float* __restrict__ weights,  /* (classes), or null */                                  \
                    float* __restrict__ dx,             /* (rows, classes) */                                     \
                    ClassLossParams p) {                                                                          \
        __shared__ float of_warp[WARP];                                                                           \
        class_loss_grad<Kind>({x, t, weights, p}, dy, dx, of_warp);                                               \
    }
CLASS_LOSS(cross_entropy, CrossEntropy)
CLASS_LOSS(nll, Nll)

struct PairLossParams {
    u64 count;  // of pairs, or of parts
    u64 part;   // pairs of a part
    u32 of_t;   // whether the gradient is that of t
    float factor;
};

struct BceWithLogits {
    static __device__ float loss(float x, float t) {
        return (x < 0.0f ? 0.0f : x) - x * t + log1p_of(exp_of(-fabsf(x)));
    }
    static __device__ float dx(float x, float t) { return sigmoid_of(x) - t; }
    static __device__ float dt(float x, float) { return -x; }
};

__device__ inline float log_clamped(float x) {
    float value = log_of(x);
    return value < -100.0f ? -100.0f : value;
}

struct Bce {
    static __device__ float loss(float x, float t) {
        return -(t * log_clamped(x) + (1.0f - t) * log_clamped(1.0f - x));
    }
    static __device__ float dx(float x, float t) {
        float product = x * (1.0f - x);
        return (x - t) / (product < 1e-12f ? 1e-12f : product);
    }
    static __device__ float dt(float x, float) { return log_clamped(1.0f - x) - log_clamped(x); }
};

struct Mse {
    static __device__ float loss(float x, float t) { return (x - t) * (x - t); }
    static __device__ float dx(float x, float t) { return 2.0f * (x - t); }
    static __device__ float dt(float x, float t) { return 2.0f * (t - x); }
};

// y[part] = factor * the sum over a part. Grid (parts).
template <typename Kind>
__device__ inline void pair_loss_parts(const float* __restrict__ x, const float* __restrict__ t, float* __restrict__ y,
                                       const PairLossParams& p, float* of_warp) {
    u64 first = blockIdx.x * p.part, end = min(first + p.part, p.count);
    float sum = 0.0f;
    for (u64 at = first + threadIdx.x; at < end; at += THREADS) sum += Kind::loss(x[at], t[at]);
    sum = row_sum<THREADS>(sum, of_warp);
    if (threadIdx.x == 0) y[blockIdx.x] = p.factor * sum;
}

#define PAIR_LOSS(name, Kind)                                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                         \
    name##_parts_f32(const float* __restrict__ x, const float* __restrict__ t, float* __restrict__ y,             \
                     PairLossParams p) {                                                                          \
        __shared__ float of_warp[WARP];                                                                           \
        pair_loss_parts<Kind>(x, t, y, p, of_warp);                                                               \
    }                                                                                                             \
    extern "C" __global__ void __launch_bounds__(ELEMENT_THREADS)                                                 \
    name##_grad_f32(const float* __restrict__ dy /* () */, const float* __restrict__ x,                           \
                    const float* __restrict__ t, float* __restrict__ to, PairLossParams p) {                      \
        float scale = *dy * p.factor;                                                                             \
        each_element(p.count, [&](u64 at) { return make_float2(x[at], t[at]); }, [&](u64 at, float2 pair) {       \
            to[at] = scale * (p.of_t ? Kind::dt(pair.x, pair.y) : Kind::dx(pair.x, pair.y));                      \
        });                                                                                                       \
    }
PAIR_LOSS(bce_with_logits, BceWithLogits)
PAIR_LOSS(bce, Bce)
PAIR_LOSS(mse, Mse)

// y = factor * the sum of the parts. One block.
extern "C" __global__ void __launch_bounds__(THREADS)
pair_loss_sum_f32(const float* __restrict__ parts, float* __restrict__ y, PairLossParams p) {
    __shared__ float of_warp[WARP];
    float sum = 0.0f;
    for (u64 at = threadIdx.x; at < p.count; at += THREADS) sum += parts[at];
    sum = row_sum<THREADS>(sum, of_warp);
    if (threadIdx.x == 0) *y = p.factor * sum;
}

struct EntropyParams {
    u64 rows;
    DivisorParams size;
    float eps;
    u32 padding;
};

template <u32 LANES>
__device__ inline void entropy(const float* __restrict__ p, float* __restrict__ h, const EntropyParams& c,
                               float* of_warp) {
    Lane lane = lane_of<LANES>(c.rows, c.size.size);
    float sum = 0.0f;
    for (u64 at = lane.first; at < lane.end; at += LANES) {
        float value = p[at];
        sum += value == 0.0f ? 0.0f : value * log_of(value + c.eps);
    }
    sum = row_sum<LANES>(sum, of_warp);
    u64 row = row_of_thread<LANES>();
    if (row < c.rows && threadIdx.x % LANES == 0) h[row] = -sum;
}

#define ENTROPY(lanes)                                                                                            \
    extern "C" __global__ void __launch_bounds__(row_threads(lanes))                                              \
    entropy_##lanes##_f32(const float* __restrict__ p, float* __restrict__ h, EntropyParams c) {                  \
        __shared__ float of_warp[WARP];                                                                           \
        entropy<lanes>(p, h, c, of_warp);                                                                         \
    }
ENTROPY(1)
ENTROPY(8)
ENTROPY(32)
ENTROPY(1024)

// dp = -dh (log(p + eps) + p / (p + eps))
extern "C" __global__ void __launch_bounds__(ELEMENT_THREADS)
entropy_grad_f32(const float* __restrict__ dh,  // (rows)
                 const float* __restrict__ p,   // (rows, size)
                 float* __restrict__ dp,        // (rows, size)
                 EntropyParams c) {
    auto load = [&](u64 at) {
        u64 column, row = divide(at, c.size, column);
        return make_float2(p[at], dh[row]);
    };
    each_element(c.rows * c.size.size, load, [&](u64 at, float2 pair) {
        dp[at] = -pair.y * (log_of(pair.x + c.eps) + pair.x / (pair.x + c.eps));
    });
}
