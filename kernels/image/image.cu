// normalize_image: y = x * scale[c] + shift[c], bytes of images (…, C, H, W) to floats, computed in double precision and
// rounded once, as on the CPU. A launch does up to CHANNELS channels; a thread does WIDTH neighbouring pixels of one
// channel, moved at once.
#include "../common/walk.cuh"

constexpr u32 THREADS = 256;
constexpr u32 CHANNELS = 4;

struct NormalizeImageParams {
    u64 count;            // groups of WIDTH pixels of these channels
    DivisorParams plane;  // groups of a channel of an image
    DivisorParams here;   // channels of this launch
    u64 channels;         // of an image
    u64 first;            // channel of this launch
    double scale[4];
    double shift[4];
};

template <typename T, u32 WIDTH>
struct alignas(WIDTH * sizeof(T)) Group {
    T item[WIDTH];
};

template <u32 WIDTH>
__device__ inline void normalize_image(const u8* __restrict__ x, float* __restrict__ y, const NormalizeImageParams& p) {
    u64 at = global_thread();
    if (at >= p.count) return;
    u64 group;
    u32 channel;
    u64 image = divide(divide(at, p.plane, group), p.here, channel);
    double scale = p.scale[0], shift = p.shift[0];
#pragma unroll
    for (u32 other = 1; other < CHANNELS; other++) {
        scale = channel == other ? p.scale[other] : scale;
        shift = channel == other ? p.shift[other] : shift;
    }
    u64 place = (image * p.channels + p.first + channel) * p.plane.size + group;
    Group<u8, WIDTH> from = reinterpret_cast<const Group<u8, WIDTH>*>(x)[place];
    Group<float, WIDTH> to;
#pragma unroll
    for (u32 i = 0; i < WIDTH; i++) to.item[i] = (float)((double)from.item[i] * scale + shift);
    reinterpret_cast<Group<float, WIDTH>*>(y)[place] = to;
}

// Grid (ceil(count / THREADS)). Both tensors are aligned to WIDTH elements.
#define NORMALIZE_IMAGE(width)                                                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                         \
    normalize_image_##width##_f32(const u8* __restrict__ x, float* __restrict__ y, NormalizeImageParams p) {      \
        normalize_image<width>(x, y, p);                                                                          \
    }
NORMALIZE_IMAGE(1)
NORMALIZE_IMAGE(4)
