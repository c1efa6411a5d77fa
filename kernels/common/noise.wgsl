// Random numbers from random words, by the formulas of src/ops/sampling/noise.rs (needs exp.wgsl and math.wgsl).

// (x + 1/2) / 2^32, rounded.
fn fraction(word: u32) -> f32 {
    return (f32(word) + 0.5) * 2.3283064365386963e-10;
}

// A unit exponential number: -log(1 - fraction), without the rounding of 1 - fraction.
fn exponential(word: u32) -> f32 {
    if word >= 0x80000000u {
        return -log_f32(fraction(~word));
    }
    return -log1p_f32(-fraction(word));
}

// A standard Gumbel number; always finite.
fn gumbel(word: u32) -> f32 {
    return -log_f32(exponential(word));
}

// Sine and cosine of turn / 2^32 turns.
fn sin_cos_turn(turn: u32) -> vec2<f32> {
    // The nearest quarter turn, and the angle that is left: at most an eighth of a turn, exact as an integer.
    let quarter = (turn + (1u << 29u)) >> 30u;
    let x = f32(bitcast<i32>(turn - (quarter << 30u))) * 1.4629180792671596e-9;
    let square = x * x;
    var s = 2.7557319e-6;
    s = fma(s, square, -1.984127e-4);
    s = fma(s, square, 8.333333e-3);
    s = fma(s, square, -0.16666667);
    let sine = fma(s * square, x, x);
    var c = -2.755732e-7;
    c = fma(c, square, 2.4801587e-5);
    c = fma(c, square, -1.3888889e-3);
    c = fma(c, square, 4.1666668e-2);
    c = fma(c, square, -0.5);
    let cosine = fma(c, square, 1.0);
    let pair = select(vec2<f32>(sine, cosine), vec2<f32>(cosine, -sine), (quarter & 1u) == 1u);
    return select(pair, -pair, (quarter & 2u) == 2u);
}

// Two independent standard normal numbers.
fn normals(first: u32, second: u32) -> vec2<f32> {
    let radius = sqrt(2.0 * exponential(first));
    let turned = sin_cos_turn(second);
    return vec2<f32>(radius * turned.y, radius * turned.x);
}
