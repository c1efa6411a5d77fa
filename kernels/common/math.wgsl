// Elementary functions of any argument, by the formulas of the other devices (see exp.wgsl, which this needs): within 3
// units in the last place, where the built-in ones may err by far more. Infinities and NaN come out as arithmetic makes
// them; WGSL lets an adapter assume that there are none.
const NAN_BITS: u32 = 0x7fc00000u;
const INFINITY_BITS: u32 = 0x7f800000u;
const SIGN: u32 = 0x80000000u;

// The number with these bits. A function, because constants may not be infinite or NaN.
fn number(bits: u32) -> f32 {
    return bitcast<f32>(bits);
}

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & ~SIGN) > INFINITY_BITS;
}

fn exp_any(x: f32) -> f32 {
    // Selections that let NaN through. Beyond these bounds the result is 0 or infinity.
    let below = select(x, 89.0, x > 89.0);
    return exp_f32(select(below, -104.0, below < -104.0));
}

// 1 / (1 + exp(-x)), from exp(-|x|), which cannot overflow.
fn sigmoid_f32(x: f32) -> f32 {
    let z = exp_any(-abs(x));
    let y = 1.0 / (1.0 + z);
    return select(y, z * y, x < 0.0);
}

fn tanh_f32(x: f32) -> f32 {
    let twice = 2.0 * abs(x);
    let power = reduced(select(twice, 30.0, twice > 30.0));
    // t = expm1(2|x|); tanh |x| = t / (t + 2).
    let scale = power_of_two(power.n);
    let t = fma(scale, power.e, scale - 1.0);
    let y = t / (t + 2.0);
    return bitcast<f32>((bitcast<u32>(y) & ~SIGN) | (bitcast<u32>(x) & SIGN));
}

// log(1 + f) for |f| up to 1/3.
fn log1p_near(f: f32) -> f32 {
    var p = -0.13311577;
    p = fma(p, f, 0.1400609);
    p = fma(p, f, -0.120781966);
    p = fma(p, f, 0.14000855);
    p = fma(p, f, -0.16689499);
    p = fma(p, f, 0.2001077);
    p = fma(p, f, -0.24999507);
    p = fma(p, f, 0.3333321);
    p = fma(p, f, -0.5);
    return fma(f * f, p, f);
}

// The natural logarithm; minus infinity at zero, NaN below.
fn log_f32(x: f32) -> f32 {
    if x == 0.0 {
        return number(SIGN | INFINITY_BITS);
    }
    if !(x > 0.0) {
        return number(NAN_BITS);
    }
    if bitcast<u32>(x) >= INFINITY_BITS {
        return x;
    }
    // x = 2^k m with m from 2/3 to 4/3; arguments below the normal numbers are scaled up first.
    let tiny = bitcast<u32>(x) < 0x00800000u;
    let scaled = select(x, x * 8388608.0, tiny);
    let exponent = (bitcast<i32>(scaled) - 0x3f2aaaab) & ~0x007fffff;
    let k = f32(exponent >> 23u) - select(0.0, 23.0, tiny);
    let m = bitcast<f32>(bitcast<i32>(scaled) - exponent);
    return fma(k, 0.6931472, log1p_near(m - 1.0));
}

fn log1p_f32(x: f32) -> f32 {
    if abs(x) < 0.333 {
        return log1p_near(x);
    }
    return log_f32(1.0 + x);
}
