// Functions of each element, y = f(x), and their gradients, dx = f'(v) dy, where v is x or y as the function has it;
// factor * x + shift; and functions of two elements, y = f(a, b), with broadcasting: an operand has distance 0 along the
// axes that it is repeated along. All on the grid of common/elements.cuh.
#include "../common/elements.cuh"
#include "../common/math.cuh"
#include "../common/walk.cuh"

struct UnaryParams {
    u64 count;
};

struct ScaleParams {
    u64 count;
    float factor;
    float shift;
};

struct Relu {
    static __device__ float f(float x) { return x < 0.0f ? 0.0f : x; }  // NaN stays NaN
    static __device__ float df(float y, float dy) { return y <= 0.0f ? 0.0f : dy; }
};
struct Tanh {
    static __device__ float f(float x) { return tanh_of(x); }
    static __device__ float df(float y, float dy) { return dy * (1.0f - y * y); }
};
struct Sigmoid {
    static __device__ float f(float x) { return sigmoid_of(x); }
    static __device__ float df(float y, float dy) { return dy * y * (1.0f - y); }
};
struct Exp {
    static __device__ float f(float x) { return exp_of(x); }
    static __device__ float df(float y, float dy) { return dy * y; }
};
struct Log {
    static __device__ float f(float x) { return log_of(x); }
    static __device__ float df(float x, float dy) { return dy / x; }
};
struct Swish {
    static __device__ float f(float x) { return x * sigmoid_of(x); }
    static __device__ float df(float x, float dy) {
        float s = sigmoid_of(x);
        return dy * s * (1.0f + x * (1.0f - s));
    }
};
struct Sqrt {
    static __device__ float f(float x) { return sqrtf(x); }
    static __device__ float df(float y, float dy) { return dy * 0.5f / y; }
};
struct Square {
    static __device__ float f(float x) { return x * x; }
    static __device__ float df(float x, float dy) { return 2.0f * x * dy; }
};

#define UNARY(name, Function)                                                                                     \
    extern "C" __global__ void __launch_bounds__(ELEMENT_THREADS)                                                 \
    name##_f32(const float* __restrict__ x, float* __restrict__ y, UnaryParams p) {                               \
        each_element(p.count, [&](u64 at) { return x[at]; },                                                      \
                     [&](u64 at, float value) { y[at] = Function::f(value); });                                   \
    }                                                                                                             \
    extern "C" __global__ void __launch_bounds__(ELEMENT_THREADS)                                                 \
    name##_grad_f32(const float* __restrict__ dy, const float* __restrict__ v, float* __restrict__ dx,            \
                    UnaryParams p) {                                                                              \
        each_element(p.count, [&](u64 at) { return make_float2(v[at], dy[at]); },                                 \
                     [&](u64 at, float2 pair) { dx[at] = Function::df(pair.x, pair.y); });                        \
    }
UNARY(relu, Relu)
UNARY(tanh, Tanh)
UNARY(sigmoid, Sigmoid)
UNARY(exp, Exp)
UNARY(log, Log)
UNARY(swish, Swish)
UNARY(sqrt, Sqrt)
UNARY(square, Square)

extern "C" __global__ void __launch_bounds__(ELEMENT_THREADS)
scale_f32(const float* __restrict__ x, float* __restrict__ y, ScaleParams p) {
    each_element(p.count, [&](u64 at) { y[at] = fmaf(x[at], p.factor, p.shift); });
}

struct Add {
    static __device__ float f(float a, float b) { return a + b; }
};
struct Sub {
    static __device__ float f(float a, float b) { return a - b; }
};
struct Mul {
    static __device__ float f(float a, float b) { return a * b; }
};
struct Div {
    static __device__ float f(float a, float b) { return a / b; }
};
struct AddRelu {
    static __device__ float f(float a, float b) { return Relu::f(a + b); }
};

#define BINARY(name, Function)                                                                                    \
    extern "C" __global__ void __launch_bounds__(ELEMENT_THREADS)                                                 \
    name##_f32(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ y, WalkParams p) {   \
        auto load = [&](u64 at) {                                                                                 \
            Place place = walk(at, p);                                                                            \
            return make_float2(a[place.a], b[place.b]);                                                           \
        };                                                                                                        \
        each_element(p.count, load, [&](u64 at, float2 pair) { y[at] = Function::f(pair.x, pair.y); });           \
    }
BINARY(add, Add)
BINARY(sub, Sub)
BINARY(mul, Mul)
BINARY(div, Div)
BINARY(add_relu, AddRelu)
