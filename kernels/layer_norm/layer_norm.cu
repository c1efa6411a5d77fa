// Layer normalisation of rows (size elements each), and its gradients:
//
//   y = (x - mean) * inv_std * weight + bias
//   dx = inv_std * (g - mean of g - normal * mean of g normal), g = dy * weight, normal = (x - mean) * inv_std
//   dweight = sum over rows of dy * normal, dbias = sum over rows of dy
//
// LANES threads share a row (common/rows.cuh). The sums over rows: a block has COLUMNS neighbouring columns, so that rows
// are read in lines, and a part of the rows; COLUMN_LANES threads share a column. Another launch adds the parts.
#include "../common/rows.cuh"

struct LayerNormParams {
    u64 rows;
    u32 size;
    float eps;
};

// This thread's elements of its row are at `start` + lane, + LANES, ... below `size`, which is 0 if there is no such row.
struct Row {
    u64 start;
    u32 size;
};

template <u32 LANES>
__device__ inline Row row_of(const LayerNormParams& p) {
    u64 row = row_of_thread<LANES>();
    return {row * p.size, row < p.rows ? p.size : 0};
}

struct Statistics {
    float mean;
    float inv_std;  // 1 / sqrt(biased variance + eps)
};

template <u32 LANES>
__device__ inline Statistics statistics_of(const float* __restrict__ x, u32 end, const LayerNormParams& p,
                                           float* of_warp) {
    float sum = 0.0f;
    for (u32 i = threadIdx.x % LANES; i < end; i += LANES) sum += x[i];
    float mean = row_sum<LANES>(sum, of_warp) / (float)p.size;
    float squares = 0.0f;
    for (u32 i = threadIdx.x % LANES; i < end; i += LANES) {
        float apart = x[i] - mean;
        squares += apart * apart;
    }
    float variance = row_sum<LANES>(squares, of_warp) / (float)p.size;
    return {mean, 1.0f / sqrtf(variance + p.eps)};
}

template <u32 LANES>
__device__ inline void layer_norm(const float* __restrict__ x, const float* __restrict__ weight,
                                  const float* __restrict__ bias, float* __restrict__ y, const LayerNormParams& p,
                                  float* of_warp) {
    Row row = row_of<LANES>(p);
    Statistics s = statistics_of<LANES>(x + row.start, row.size, p, of_warp);
    for (u32 i = threadIdx.x % LANES; i < row.size; i += LANES) {
        float value = (x[row.start + i] - s.mean) * s.inv_std;
        y[row.start + i] = weight ? value * weight[i] + bias[i] : value;
    }
}

template <u32 LANES>
__device__ inline void layer_norm_grad(const float* __restrict__ dy, const float* __restrict__ x,
                                       const float* __restrict__ weight, float* __restrict__ dx,
                                       float2* __restrict__ statistics, const LayerNormParams& p, float* of_warp) {
    Row row = row_of<LANES>(p);
    Statistics s = statistics_of<LANES>(x + row.start, row.size, p, of_warp);
    float sum = 0.0f, product = 0.0f;
    for (u32 i = threadIdx.x % LANES; i < row.size; i += LANES) {
        float g = dy[row.start + i] * (weight ? weight[i] : 1.0f);
        sum += g;
        product += g * ((x[row.start + i] - s.mean) * s.inv_std);
    }
    sum = row_sum<LANES>(sum, of_warp) / (float)p.size;
    product = row_sum<LANES>(product, of_warp) / (float)p.size;
    for (u32 i = threadIdx.x % LANES; i < row.size; i += LANES) {
        float g = dy[row.start + i] * (weight ? weight[i] : 1.0f);
        float normal = (x[row.start + i] - s.mean) * s.inv_std;
        dx[row.start + i] = s.inv_std * (g - sum - normal * product);
    }
    bool first = threadIdx.x % LANES == 0 && row.size > 0;
    if (statistics && first) statistics[row_of_thread<LANES>()] = make_float2(s.mean, s.inv_std);
}

#define LAYER_NORM(lanes)                                                                                         \
    extern "C" __global__ void __launch_bounds__(row_threads(lanes))                                              \
    layer_norm_##lanes##_f32(const float* __restrict__ x,       /* (rows, size) */                                \
                             const float* __restrict__ weight,  /* (size), or null */                             \
                             const float* __restrict__ bias,    /* (size), or null */                             \
                             float* __restrict__ y,             /* (rows, size) */                                \
                             LayerNormParams p) {                                                                 \
        __shared__ float of_warp[WARP];                                                                           \
        layer_norm<lanes>(x, weight, bias, y, p, of_warp);                                                        \
    }                                                                                                             \
    extern "C" __global__ void __launch_bounds__(row_threads(lanes))                                              \
    layer_norm_grad_##lanes##_f32(const float* __restrict__ dy,        /* (rows, size) */                         \
                                  const float* __restrict__ x,         /* (rows, size) */                         \
                                  const float* __restrict__ weight,    /* (size), or null */                      \
                                  float* __restrict__ dx,              /* (rows, size) */                         \
                                  float2* __restrict__ statistics,     /* (rows) mean and inv_std, or null */     \
                                  LayerNormParams p) {                                                            \
        __shared__ float of_warp[WARP];                                                                           \
        layer_norm_grad<lanes>(dy, x, weight, dx, statistics, p, of_warp);                                        \
    }
LAYER_NORM(1)
LAYER_NORM(8)
LAYER_NORM(32)
LAYER_NORM(1024)

constexpr u32 COLUMNS = WARP;
constexpr u32 COLUMN_LANES = 8;

struct AffineParams {
    u64 rows;
    u64 rows_per_part;
    u64 size;
};

// Grid (ceil(size / COLUMNS), parts).
extern "C" __global__ void __launch_bounds__(COLUMNS * COLUMN_LANES)
layer_norm_grad_affine_f32(const float* __restrict__ dy,           // (rows, size)
                           const float* __restrict__ x,            // (rows, size)
                           const float2* __restrict__ statistics,  // (rows) mean and inv_std
                           float* __restrict__ dweight,            // (parts, size)
                           float* __restrict__ dbias,              // (parts, size)
                           AffineParams p) {
    __shared__ float2 sums[COLUMN_LANES][COLUMNS];
    u32 lane = threadIdx.x / COLUMNS, own = threadIdx.x % COLUMNS;
    u64 column = (u64)blockIdx.x * COLUMNS + own;
    u64 first = blockIdx.y * p.rows_per_part, end = min(first + p.rows_per_part, p.rows);
    float weight = 0.0f, bias = 0.0f;
    for (u64 row = first + lane; column < p.size && row < end; row += COLUMN_LANES) {
        float2 s = statistics[row];
        float g = dy[row * p.size + column];
        weight += g * ((x[row * p.size + column] - s.x) * s.y);
        bias += g;
    }
    sums[lane][own] = make_float2(weight, bias);
    __syncthreads();  // the sums of all lanes are there
    if (lane > 0 || column >= p.size) return;
    for (u32 other = 1; other < COLUMN_LANES; other++) {
        weight += sums[other][own].x;
        bias += sums[other][own].y;
    }
    dweight[blockIdx.y * p.size + column] = weight;
    dbias[blockIdx.y * p.size + column] = bias;
}

struct PartsParams {
    u64 parts;
    u64 size;
};

// Adds the parts in ascending order. Grid (ceil(size / 128)).
extern "C" __global__ void __launch_bounds__(128)
layer_norm_grad_parts_f32(const float* __restrict__ dweights,  // (parts, size)
                          const float* __restrict__ dbiases,   // (parts, size)
                          float* __restrict__ dweight,         // (size)
                          float* __restrict__ dbias,           // (size)
                          PartsParams p) {
    u64 column = global_thread();
    if (column >= p.size) return;
    float weight = 0.0f, bias = 0.0f;
    for (u64 part = 0; part < p.parts; part++) {
        weight += dweights[part * p.size + column];
        bias += dbiases[part * p.size + column];
    }
    dweight[column] = weight;
    dbias[column] = bias;
}
