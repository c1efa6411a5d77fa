// Division of each row (size elements) by its Euclidean norm, no less than sqrt(FLOOR), and the gradient:
//
//   y = x / norm, dx = (dy - y (sum of dy y)) / norm; where the floor holds, dx = dy / norm.
//
// LANES threads share a row (common/rows.cuh).
#include "../common/rows.cuh"

constexpr float FLOOR = 1e-12f;

struct L2NormalizeParams {
    u64 rows;
    u64 size;
};

template <u32 LANES>
__device__ inline float squared_norm(const float* __restrict__ x, const Lane& lane, float* of_warp) {
    float sum = 0.0f;
    for (u64 at = lane.first; at < lane.end; at += LANES) sum += x[at] * x[at];
    return row_sum<LANES>(sum, of_warp);
}

template <u32 LANES>
__device__ inline void l2_normalize(const float* __restrict__ x, float* __restrict__ y, const L2NormalizeParams& p,
                                    float* of_warp) {
    Lane lane = lane_of<LANES>(p.rows, p.size);
    float squared = squared_norm<LANES>(x, lane, of_warp);
    float norm = sqrtf(squared < FLOOR ? FLOOR : squared);
    for (u64 at = lane.first; at < lane.end; at += LANES) y[at] = x[at] / norm;
}

template <u32 LANES>
__device__ inline void l2_normalize_grad(const float* __restrict__ dy, const float* __restrict__ x,
                                         float* __restrict__ dx, const L2NormalizeParams& p, float* of_warp) {
    Lane lane = lane_of<LANES>(p.rows, p.size);
    float squared = squared_norm<LANES>(x, lane, of_warp);
    float norm = sqrtf(squared < FLOOR ? FLOOR : squared);
    float along = 0.0f;
    for (u64 at = lane.first; at < lane.end; at += LANES) along += dy[at] * (x[at] / norm);
    along = row_sum<LANES>(along, of_warp);
    if (!(squared > FLOOR)) along = 0.0f;
    for (u64 at = lane.first; at < lane.end; at += LANES) dx[at] = (dy[at] - x[at] / norm * along) / norm;
}

#define L2_NORMALIZE(lanes)                                                                                       \
    extern "C" __global__ void __launch_bounds__(row_threads(lanes))                                              \
    l2_normalize_##lanes##_f32(const float* __restrict__ x, float* __restrict__ y, L2NormalizeParams p) {         \
        __shared__ float of_warp[WARP];                                                                           \
        l2_normalize<lanes>(x, y, p, of_warp);                                                                    \
    }                                                                                                             \
    extern "C" __global__ void __launch_bounds__(row_threads(lanes))                                              \
    l2_normalize_grad_##lanes##_f32(const float* __restrict__ dy, const float* __restrict__ x,                    \
                                    float* __restrict__ dx, L2NormalizeParams p) {                                \
        __shared__ float of_warp[WARP];                                                                           \
        l2_normalize_grad<lanes>(dy, x, dx, p, of_warp);                                                          \
    }
L2_NORMALIZE(1)
L2_NORMALIZE(8)
L2_NORMALIZE(32)
L2_NORMALIZE(1024)
