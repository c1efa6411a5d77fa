// The exponential function for arguments of 104 in size at most, within 2 units in the last place: the same formula as
// on the other devices. The built-in one may err by far more, and differently on every adapter.
const LOG2_E: f32 = 1.44269504;
// ln 2 in two parts; small multiples of the first are exact.
const LN2_HIGH: f32 = 0.693359375;
const LN2_LOW: f32 = -2.12194440e-4;

// exp(x) = 2^n (1 + e), where e is expm1 of what is left of x.
struct Reduced {
    e: f32,
    n: i32,
}

fn reduced(x: f32) -> Reduced {
    let n = round(x * LOG2_E);
    let r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x));
    var p = 0.0013946473;
    p = fma(p, r, 0.008366598);
    p = fma(p, r, 0.04166628);
    p = fma(p, r, 0.16666543);
    p = fma(p, r, 0.5);
    return Reduced(fma(r * r, p, r), i32(n));
}

fn exp_f32(x: f32) -> f32 {
    let power = reduced(x);
    // In two steps, since the power of two may be too small for a normal number.
    let half = power.n >> 1u;
    return (power.e + 1.0) * power_of_two(half) * power_of_two(power.n - half);
}

// 2 to the n, for n in -126..=127.
fn power_of_two(n: i32) -> f32 {
    return bitcast<f32>(u32(n + 127) << 23u);
}
