// y = x, from the float format FROM to TO: f32, an element a word, or f16 or bf16, two elements a word. All on bits, so that
// every adapter, with 16-bit floats of its own or without, rounds alike: to the nearest, ties to even; what is too large
// becomes infinite, NaN stays NaN. A thread writes one word of y, and leaves elements that are not this launch's as they
// are; launches that write different elements of a word follow each other.
const THREADS: u32 = 128u;
const FROM: u32 = 0u;
const TO: u32 = 1u;

const F32: u32 = 0u;
const F16: u32 = 1u;
const BF16: u32 = 2u;

// Elements of a word.
const PER_X: u32 = 1u + min(FROM, 1u);
const PER_Y: u32 = 1u + min(TO, 1u);

const SIGN: u32 = 0x80000000u;
const INFINITY: u32 = 0x7f800000u;

struct ConvertParams {
    x_first: u32,
    y_first: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: ConvertParams;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

// The bits as f32 of a number given by its bits as f16.
fn from_f16(half: u32) -> u32 {
    let sign = (half & 0x8000u) << 16u;
    let magnitude = half & 0x7fffu;
    if magnitude >= 0x7c00u { // infinity or NaN
        return sign | INFINITY | ((magnitude & 0x3ffu) << 13u);
    }
    if magnitude >= 0x400u {
        return sign | ((magnitude << 13u) + 0x38000000u);
    }
    if magnitude == 0u {
        return sign;
    }
    // A multiple of 2^-24, of which f32 has a normal number.
    let leading = firstLeadingBit(magnitude);
    return sign | ((leading + 103u) << 23u) | ((magnitude << (23u - leading)) & 0x7fffffu);
}

// The bits as f16 of the number nearest to one given by its bits as f32.
fn to_f16(bits: u32) -> u32 {
    let sign = (bits & SIGN) >> 16u;
    let magnitude = bits & ~SIGN;
    if magnitude > INFINITY {
        return sign | 0x7e00u | ((magnitude >> 13u) & 0x3ffu);
    }
    if magnitude >= 0x477ff000u { // 65,520, half way to what would follow the largest number
        return sign | 0x7c00u;
    }
    if magnitude >= 0x38800000u {
        return sign | ((magnitude + 0xfffu + ((magnitude >> 13u) & 1u) - 0x38000000u) >> 13u);
    }
    if magnitude <= 0x33000000u { // half of the smallest number, or less
        return sign;
    }
    // To a multiple of 2^-24.
    let digits = (magnitude & 0x7fffffu) | 0x800000u;
    let shift = 126u - (magnitude >> 23u);
    let whole = digits >> shift;
    let rest = digits & ((1u << shift) - 1u);
    let tie = 1u << (shift - 1u);
    return sign | (whole + u32(rest > tie || (rest == tie && (whole & 1u) == 1u)));
}

// The same for bf16.
fn to_bf16(bits: u32) -> u32 {
    if (bits & ~SIGN) > INFINITY {
        return (bits >> 16u) | 0x40u;
    }
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}

// Element `at` of x as the bits of an f32.
fn load(at: u32) -> u32 {
    let word = x[at / PER_X];
    let half = (word >> (16u * (at % PER_X))) & 0xffffu;
    switch FROM {
        case F16: { return from_f16(half); }
        case BF16: { return half << 16u; }
        default: { return word; }
    }
}

@compute @workgroup_size(THREADS)
fn convert(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let word = params.y_first / PER_Y + group_index(group, groups) * THREADS + thread;
    var value = 0u;
    var mask = 0u;
    for (var lane = 0u; lane < PER_Y; lane++) {
        // Before the first element this is a very large number.
        let at = PER_Y * word + lane - params.y_first;
        if at < params.count {
            let bits = load(params.x_first + at);
            switch TO {
                case F16: {
                    value |= to_f16(bits) << (16u * lane);
                    mask |= 0xffffu << (16u * lane);
                }
                case BF16: {
                    value |= to_bf16(bits) << (16u * lane);
                    mask |= 0xffffu << (16u * lane);
                }
                default: {
                    value = bits;
                    mask = 0xffffffffu;
                }
            }
        }
    }
    if mask == 0xffffffffu {
        y[word] = value;
    } else if mask != 0u {
        y[word] = (y[word] & ~mask) | value;
    }
}
