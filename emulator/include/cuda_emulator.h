// What a .cu file sees when it is compiled as host C++: CUDA's built-in names, each with the meaning it has on a GPU.
// The xtask includes this file before every kernel source; nothing else in the repository does.
//
// Every CUDA thread is a fiber (src/scheduler.cpp). A fiber runs until it reaches a barrier or a warp operation and
// gives way there, so these are the only points where threads of a block meet.
//
// To add a wrapper for an instruction that C++ does not have (mma.sync, ldmatrix, cp.async): give it a second body
// under `#ifdef FOVEATE_EMULATOR` where it is defined (kernels/common), written in terms of `emulator::gather`, which hands
// every lane's operand to every lane.
#pragma once
#define FOVEATE_EMULATOR 1

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __grid_constant__
#define __constant__ static
// One copy for the block that runs, in a section of its own so that all of it can be poisoned before each block.
// A section cannot hold variables of templates beside others: declare these in the body of an entry point.
#define __shared__ static __attribute__((section("emulated_shared")))
#define DYNAMIC_SHARED(T, name) T* name = static_cast<T*>(emulator::dynamic_shared)

// Code that the checking build does not watch.
#ifdef FOVEATE_EMULATOR_CHECKS
#define EMULATOR_UNCHECKED __attribute__((no_sanitize("thread")))
#else
#define EMULATOR_UNCHECKED
#endif

namespace emulator {

struct Index {
    unsigned x, y, z;
};

// Where in the kernel a thread waits.
struct Place {
    const char* file;
    int line;
};

enum class Meeting : int {
    none, barrier, barrier_count, barrier_and, barrier_or, warp, shuffle, shuffle_up, shuffle_down, shuffle_xor, ballot, gather
};

constexpr unsigned WARP_LANES = 32;
constexpr unsigned GATHER_BYTES = 64;

// Operands of a `gather`: what each lane of the warp contributed.
struct Gathered {
    unsigned char lane[WARP_LANES][GATHER_BYTES];
};

extern Index thread_index, block_index, block_size, grid_size;
extern void* dynamic_shared;

// Waits for the threads that `kind` is about (all of the block, or the lanes of `mask`) and returns the combined value.
uint64_t meet(Meeting kind, unsigned mask, uint64_t value, unsigned argument, unsigned width, Place place);
// Waits for the lanes of `mask`; `mine` of every lane, by lane.
const Gathered& gather(unsigned mask, const void* mine, unsigned bytes, Place place);
// As long as it lives, the thread that runs is within one atomic operation on this memory.
struct Atomic {
#ifdef FOVEATE_EMULATOR_CHECKS
    Atomic(const void* at, unsigned bytes);
    ~Atomic();
#else
    Atomic(const void*, unsigned) {}
    ~Atomic() {}
#endif
};
// A copy of 16 bytes that the thread that runs has begun and not waited for; without a source, zeros.
struct Copy {
    void* to;
    const void* from;
};
void begin_copy(void* to, const void* from);
// Ends a group of copies.
void commit_copies();
// Whether there is a next copy of the groups before the `left` newest, which is to be made now.
bool next_copy(unsigned left, Copy* copy);
// Ends the launch with a report.
[[noreturn]] void trap(const char* what, Place place);

// A kernel as the driver finds it.
struct Kernel {
    const char* name;
    unsigned parameters;
    const unsigned* parameter_bytes;
    void (*run)(void** parameters);
};
void add_kernel(const Kernel& kernel);

template <auto function>
struct Registration;

// Unpacks parameters by the function's own type: the sizes are those that a compiler of the .cu file sees.
template <typename... Parameters, void (*function)(Parameters...)>
struct Registration<function> {
    static constexpr unsigned bytes[sizeof...(Parameters) + 1] = {sizeof(Parameters)..., 0};

    explicit Registration(const char* name) { add_kernel({name, sizeof...(Parameters), bytes, run}); }

    // What these read is the caller's memory, not the device's.
    EMULATOR_UNCHECKED static void run(void** parameters) { call(parameters, std::index_sequence_for<Parameters...>{}); }

    template <size_t... at>
    EMULATOR_UNCHECKED static void call(void** parameters, std::index_sequence<at...>) {
        (void)parameters;
        function(*static_cast<std::remove_cv_t<Parameters>*>(parameters[at])...);
    }
};

template <typename T>
uint64_t to_bits(T value) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "warp operations move 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(T));
    return bits;
}

template <typename T>
T from_bits(uint64_t bits) {
    T value;
    memcpy(&value, &bits, sizeof(T));
    return value;
}

}  // namespace emulator

#define threadIdx (emulator::thread_index)
#define blockIdx (emulator::block_index)
#define blockDim (emulator::block_size)
#define gridDim (emulator::grid_size)
constexpr int warpSize = 32;

#define EMULATOR_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

// Barriers.
inline void __syncthreads(EMULATOR_HERE) { emulator::meet(emulator::Meeting::barrier, 0, 0, 0, 0, {file, line}); }
inline int __syncthreads_count(int on, EMULATOR_HERE) {
    return (int)emulator::meet(emulator::Meeting::barrier_count, 0, on != 0, 0, 0, {file, line});
}
inline int __syncthreads_and(int on, EMULATOR_HERE) {
    return (int)emulator::meet(emulator::Meeting::barrier_and, 0, on != 0, 0, 0, {file, line});
}
inline int __syncthreads_or(int on, EMULATOR_HERE) {
    return (int)emulator::meet(emulator::Meeting::barrier_or, 0, on != 0, 0, 0, {file, line});
}
inline void __syncwarp(unsigned mask = 0xffffffffu, EMULATOR_HERE) {
    emulator::meet(emulator::Meeting::warp, mask, 0, 0, 0, {file, line});
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __trap(EMULATOR_HERE) { emulator::trap("__trap", {file, line}); }

// Shuffles and votes.
template <typename T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, EMULATOR_HERE) {
    return emulator::from_bits<T>(emulator::meet(emulator::Meeting::shuffle, mask, emulator::to_bits(value), lane, width, {file, line}));
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, EMULATOR_HERE) {
    return emulator::from_bits<T>(emulator::meet(emulator::Meeting::shuffle_up, mask, emulator::to_bits(value), by, width, {file, line}));
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, EMULATOR_HERE) {
    return emulator::from_bits<T>(emulator::meet(emulator::Meeting::shuffle_down, mask, emulator::to_bits(value), by, width, {file, line}));
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32, EMULATOR_HERE) {
    return emulator::from_bits<T>(emulator::meet(emulator::Meeting::shuffle_xor, mask, emulator::to_bits(value), with, width, {file, line}));
}
inline unsigned __ballot_sync(unsigned mask, int on, EMULATOR_HERE) {
    return (unsigned)emulator::meet(emulator::Meeting::ballot, mask, on != 0, 0, 0, {file, line});
}
inline int __any_sync(unsigned mask, int on, EMULATOR_HERE) {
    return emulator::meet(emulator::Meeting::ballot, mask, on != 0, 0, 0, {file, line}) != 0;
}
inline int __all_sync(unsigned mask, int on, EMULATOR_HERE) {
    return (unsigned)emulator::meet(emulator::Meeting::ballot, mask, on != 0, 0, 0, {file, line}) == mask;
}

// Integer atomics: fibers give way nowhere inside them.
#define EMULATOR_ATOMIC(name, expression)                                              \
    template <typename T, typename = std::enable_if_t<std::is_integral_v<T>>>          \
    __forceinline__ T name(T* at, std::common_type_t<T> value) {                       \
        emulator::Atomic whole(at, sizeof(T));                                         \
        T old = *at;                                                                   \
        *at = (expression);                                                            \
        return old;                                                                    \
    }
EMULATOR_ATOMIC(atomicAdd, old + value)
EMULATOR_ATOMIC(atomicSub, old - value)
EMULATOR_ATOMIC(atomicMin, old < value ? old : value)
EMULATOR_ATOMIC(atomicMax, old < value ? value : old)
EMULATOR_ATOMIC(atomicAnd, old & value)
EMULATOR_ATOMIC(atomicOr, old | value)
EMULATOR_ATOMIC(atomicXor, old ^ value)
EMULATOR_ATOMIC(atomicExch, value)
template <typename T>
__forceinline__ T atomicCAS(T* at, std::common_type_t<T> expected, std::common_type_t<T> value) {
    emulator::Atomic whole(at, sizeof(T));
    T old = *at;
    if (old == expected) *at = value;
    return old;
}

// Vector types.
#define EMULATOR_VECTORS(T, name, size)                                             \
    struct alignas(2 * size) name##2 { T x, y; };                                   \
    struct name##3 { T x, y, z; };                                                  \
    struct alignas(4 * size < 16 ? 4 * size : 16) name##4 { T x, y, z, w; };        \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }                      \
    inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }              \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATOR_VECTORS(float, float, 4)
EMULATOR_VECTORS(int, int, 4)
EMULATOR_VECTORS(unsigned, uint, 4)
EMULATOR_VECTORS(unsigned char, uchar, 1)
EMULATOR_VECTORS(unsigned short, ushort, 2)

// Loads that bypass or prefer a cache are loads.
template <typename T>
__forceinline__ T __ldg(const T* at) { return *at; }
template <typename T>
__forceinline__ T __ldcs(const T* at) { return *at; }
template <typename T>
__forceinline__ void __stcs(T* at, T value) { *at = value; }

// Arithmetic. Rounding is IEEE; `fmaf` is fused; nothing is contracted (-ffp-contract=off).
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float rsqrtf(float a) { return 1.0f / sqrtf(a); }
inline int __float_as_int(float a) { return emulator::from_bits<int>(emulator::to_bits(a)); }
inline unsigned __float_as_uint(float a) { return emulator::from_bits<unsigned>(emulator::to_bits(a)); }
inline float __int_as_float(int a) { return emulator::from_bits<float>(emulator::to_bits(a)); }
inline float __uint_as_float(unsigned a) { return emulator::from_bits<float>(emulator::to_bits(a)); }
inline int __float2int_rn(float a) { return (int)rintf(a); }
inline int __popc(unsigned a) { return __builtin_popcount(a); }
inline int __popcll(unsigned long long a) { return __builtin_popcountll(a); }
inline int __clz(unsigned a) { return a ? __builtin_clz(a) : 32; }
inline int __clzll(unsigned long long a) { return a ? __builtin_clzll(a) : 64; }
inline int __ffs(unsigned a) { return __builtin_ffs((int)a); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}

template <typename A, typename B>
constexpr std::common_type_t<A, B> min(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return (T)fmin((T)a, (T)b);
    return (T)b < (T)a ? (T)b : (T)a;
}
template <typename A, typename B>
constexpr std::common_type_t<A, B> max(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return (T)fmax((T)a, (T)b);
    return (T)a < (T)b ? (T)b : (T)a;
}
