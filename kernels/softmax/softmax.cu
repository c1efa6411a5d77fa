// Softmax along an axis and its logarithm, and their gradients. A row is `size` elements, `inner` apart; row r begins at
// (r / inner) * size * inner + r % inner. LANES threads share a row (common/rows.cuh).
//
// A row that holds a NaN or plus infinity, or minus infinity alone, becomes NaN.
#include "../common/math.cuh"
#include "../common/rows.cuh"
#include "../common/walk.cuh"

struct SoftmaxParams {
    u64 rows;
    u64 size;
    DivisorParams inner;
};

// This thread's elements of its row: `first`, `first + step`, ... below `end`; none if the row does not exist.
struct StridedLane {
    u64 first;
    u64 step;
    u64 end;
};

template <u32 LANES>
__device__ inline StridedLane lane_of(const SoftmaxParams& p) {
    u64 row = row_of_thread<LANES>();
    u64 column, inner = p.inner.size;
    u64 start = divide(row, p.inner, column) * p.size * inner + column;
    u64 end = row < p.rows ? start + p.size * inner : 0;
    return {start + threadIdx.x % LANES * inner, LANES * inner, end};
}

// The largest element of a row and the sum of exp(x - largest).
struct Normaliser {
    float most;
    float sum;
};

template <u32 LANES>
__device__ inline Normaliser normaliser(const float* __restrict__ x, const StridedLane& lane, float* of_warp) {
    float most = -infinity();
    for (u64 at = lane.first; at < lane.end; at += lane.step) most = fmaxf(most, x[at]);
    most = row_max<LANES>(most, of_warp);
    float sum = 0.0f;
    for (u64 at = lane.first; at < lane.end; at += lane.step) sum += exp_of(x[at] - most);
    return {most, row_sum<LANES>(sum, of_warp)};
}

template <u32 LANES>
__device__ inline void softmax(const float* __restrict__ x, float* __restrict__ y, const SoftmaxParams& p,
                               float* of_warp) {
    StridedLane lane = lane_of<LANES>(p);
    Normaliser normal = normaliser<LANES>(x, lane, of_warp);
    for (u64 at = lane.first; at < lane.end; at += lane.step) y[at] = exp_of(x[at] - normal.most) / normal.sum;
}

template <u32 LANES>
__device__ inline void log_softmax(const float* __restrict__ x, float* __restrict__ y, const SoftmaxParams& p,
                                   float* of_warp) {
    StridedLane lane = lane_of<LANES>(p);
    Normaliser normal = normaliser<LANES>(x, lane, of_warp);
    float log_sum = log_of(normal.sum);
    for (u64 at = lane.first; at < lane.end; at += lane.step) y[at] = x[at] - normal.most - log_sum;
}

// dx = y (dy - sum of dy y)
template <u32 LANES>
__device__ inline void softmax_grad(const float* __restrict__ dy, const float* __restrict__ y, float* __restrict__ dx,
                                    const SoftmaxParams& p, float* of_warp) {
    StridedLane lane = lane_of<LANES>(p);
    float sum = 0.0f;
    for (u64 at = lane.first; at < lane.end; at += lane.step) sum += dy[at] * y[at];
    sum = row_sum<LANES>(sum, of_warp);
    for (u64 at = lane.first; at < lane.end; at += lane.step) dx[at] = y[at] * (dy[at] - sum);
}

// dx = dy - exp(y) (sum of dy)
template <u32 LANES>
__device__ inline void log_softmax_grad(const float* __restrict__ dy, const float* __restrict__ y,
                                        float* __restrict__ dx, const SoftmaxParams& p, float* of_warp) {
    StridedLane lane = lane_of<LANES>(p);
    float sum = 0.0f;
    for (u64 at = lane.first; at < lane.end; at += lane.step) sum += dy[at];
    sum = row_sum<LANES>(sum, of_warp);
    for (u64 at = lane.first; at < lane.end; at += lane.step) dx[at] = dy[at] - exp_of(y[at]) * sum;
}

#define SOFTMAX(name, lanes)                                                                                      \
    extern "C" __global__ void __launch_bounds__(row_threads(lanes))                                              \
    name##_##lanes##_f32(const float* __restrict__ x, float* __restrict__ y, SoftmaxParams p) {                   \
        __shared__ float of_warp[WARP];                                                                           \
        name<lanes>(x, y, p, of_warp);                                                                            \
    }                                                                                                             \
    extern "C" __global__ void __launch_bounds__(row_threads(lanes))                                              \
    name##_grad_##lanes##_f32(const float* __restrict__ dy, const float* __restrict__ y, float* __restrict__ dx,  \
                              SoftmaxParams p) {                                                                  \
        __shared__ float of_warp[WARP];                                                                           \
        name##_grad<lanes>(dy, y, dx, p, of_warp);                                                                \
    }
SOFTMAX(softmax, 1)
SOFTMAX(softmax, 8)
SOFTMAX(softmax, 32)
SOFTMAX(softmax, 1024)
SOFTMAX(log_softmax, 1)
SOFTMAX(log_softmax, 8)
SOFTMAX(log_softmax, 32)
SOFTMAX(log_softmax, 1024)
