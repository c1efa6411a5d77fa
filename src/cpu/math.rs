//! Elementary functions in `f32` that vectorise: polynomials, bit patterns and selections, without tables, branches or
//! calls.
//!
//! Every rounding is written out (`mul_add` is the fused operation), so any processor or GPU that follows IEEE 754
//! computes the same bits from the same formula. Errors are in units in the last place against the exact result, the worst
//! of every 1,201st argument. The polynomials are minimax fits (Remez) of this crate's own.
//!
//! Everything here is `#[inline(always)]`: call it inside a loop of a [`vectorised!`](super::simd::vectorised) function.

use std::f32::consts::LOG2_E;

/// ln 2 = `LN2_HIGH` + `LN2_LOW`; the high part has enough trailing zeros that small multiples of it are exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// 1.5 · 2²³: adding it rounds to an integer, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;

/// `(expm1(r), n)` such that `exp(x) = 2ⁿ (1 + expm1(r))` and `|r| ≤ ln 2 / 2`, for `|x| < 2²¹`.
#[inline(always)]
fn reduced(x: f32) -> (f32, i32) {
    let shifted = x.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    // (expm1(r) − r) / r², to a relative 1.4e-8 of expm1(r).
    let mut p = 0.001_394_647_3_f32;
    p = p.mul_add(r, 0.008_366_598);
    p = p.mul_add(r, 0.041_666_28);
    p = p.mul_add(r, 0.166_665_43);
    p = p.mul_add(r, 0.5);
    ((r * r).mul_add(p, r), (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32))
}

/// 2ⁿ for n in −126..=127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `eˣ`, within 1.1 ulp where the result is normal; underflows gradually, overflows to infinity; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Selections that let NaN through. Beyond these bounds the result is 0 or infinity.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let (e, n) = reduced(x);
    // In two steps, since 2ⁿ itself may be subnormal or infinite.
    let half = n >> 1;
    (e + 1.0) * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// The logistic function `1 / (1 + e⁻ˣ)`, within 2.8 ulp.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    // From e^−|x| ≤ 1, which cannot overflow.
    let z = exp(-x.abs());
    let y = 1.0 / (1.0 + z);
    if x < 0.0 { z * y } else { y }
}

/// The hyperbolic tangent, within 2.5 ulp.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let a = 2.0 * x.abs();
    let a = if a > 30.0 { 30.0 } else { a };
    let (e, n) = reduced(a);
    // t = expm1(2|x|) = 2ⁿ e + (2ⁿ − 1); tanh |x| = t / (t + 2).
    let scale = power_of_two(n);
    let t = scale.mul_add(e, scale - 1.0);
    (t / (t + 2.0)).copysign(x)
}

/// log(1 + f) for |f| ≤ 1/3.
#[inline(always)]
fn log1p_near(f: f32) -> f32 {
    // (log(1 + f) − f) / f², to a relative 4.7e-9 of log(1 + f).
    let mut p = -0.133_115_77_f32;
    p = p.mul_add(f, 0.140_060_9);
    p = p.mul_add(f, -0.120_781_966);
    p = p.mul_add(f, 0.140_008_55);
    p = p.mul_add(f, -0.166_894_99);
    p = p.mul_add(f, 0.200_107_7);
    p = p.mul_add(f, -0.249_995_07);
    p = p.mul_add(f, 0.333_332_1);
    p = p.mul_add(f, -0.5);
    (f * f).mul_add(p, f)
}

/// The natural logarithm, within 1.0 ulp; −∞ at zero, NaN below, +∞ at +∞.
#[inline(always)]
pub(crate) fn log(x: f32) -> f32 {
    // x = 2ᵏ m with m in [2/3, 4/3); subnormal arguments are scaled up first.
    let tiny = x < f32::MIN_POSITIVE;
    let (scaled, shift) = if tiny { (x * 8_388_608.0, -23.0) } else { (x, 0.0) };
    let exponent = (scaled.to_bits() as i32).wrapping_sub(0x3F2A_AAAB) & !0x007F_FFFF;
    let k = (exponent >> 23) as f32 + shift;
    let f = f32::from_bits((scaled.to_bits() as i32).wrapping_sub(exponent) as u32) - 1.0;
    let near = log1p_near(f);
    let y = k.mul_add(std::f32::consts::LN_2, near);
    let y = if x < f32::INFINITY { y } else { x };
    let y = if x > 0.0 { y } else { f32::NAN };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    // NaN failed both comparisons above and is NaN by now.
    y
}

/// `log(1 + x)`, within 2.5 ulp; −∞ at −1, NaN below, +∞ at +∞.
#[inline(always)]
pub(crate) fn log1p(x: f32) -> f32 {
    let (near, far) = (log1p_near(x), log(1.0 + x));
    if x.abs() < 0.333 { near } else { far }
}

/// `(sin, cos)` of `turn / 2³²` full turns, within 1.5e-7.
#[inline(always)]
pub(crate) fn sin_cos_turn(turn: u32) -> (f32, f32) {
    // The nearest quarter turn, and the angle that is left: at most an eighth of a turn, exact as an integer.
    let quarter = turn.wrapping_add(1 << 29) >> 30;
    let x = turn.wrapping_sub(quarter << 30) as i32 as f32 * (std::f32::consts::TAU / 4_294_967_296.0);
    let square = x * x;
    // Taylor polynomials; the next terms are below 2e-9.
    let mut s = 2.755_731_9e-6_f32;
    s = s.mul_add(square, -1.984_127e-4);
    s = s.mul_add(square, 8.333_333e-3);
    s = s.mul_add(square, -0.166_666_67);
    let sin = (s * square).mul_add(x, x);
    let mut c = -2.755_732e-7_f32;
    c = c.mul_add(square, 2.480_158_7e-5);
    c = c.mul_add(square, -1.388_888_9e-3);
    c = c.mul_add(square, 4.166_666_8e-2);
    c = c.mul_add(square, -0.5);
    let cos = c.mul_add(square, 1.0);
    let (a, b) = if quarter & 1 == 0 { (sin, cos) } else { (cos, -sin) };
    if quarter & 2 == 0 { (a, b) } else { (-a, -b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worst error over every `STEP`-th bit pattern, in units in the last place of the result.
    fn worst(ours: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64) -> (f64, f32) {
        const STEP: usize = 1201;
        let mut worst = (0.0, 0.0);
        for bits in (0..=u32::MAX).step_by(STEP) {
            let x = f32::from_bits(bits);
            let (got, want) = (ours(x), truth(f64::from(x)));
            let rounded = want as f32;
            assert_eq!(got.is_nan(), want.is_nan(), "at {x:e}: {got:e}, not {want:e}");
            if got == rounded || want.is_nan() {
                continue;
            }
            let unit = f64::from(rounded.abs().max(f32::MIN_POSITIVE).to_bits());
            let unit = f64::from(f32::from_bits(unit as u32 & 0x7F80_0000)) / 8_388_608.0;
            let error = (f64::from(got) - want).abs() / unit;
            if error > worst.0 || error.is_nan() {
                worst = (error, x);
            }
        }
        worst
    }

    #[test]
    fn functions_are_within_their_bounds() {
        let checks: [(&str, f64, (f64, f32)); 5] = [
            ("exp", 1.1, worst(exp, f64::exp)),
            ("log", 1.0, worst(log, f64::ln)),
            ("log1p", 2.5, worst(log1p, f64::ln_1p)),
            ("sigmoid", 2.8, worst(sigmoid, |x| 1.0 / (1.0 + (-x).exp()))),
            ("tanh", 2.5, worst(tanh, f64::tanh)),
        ];
        for (name, bound, (error, at)) in checks {
            println!("{name}: {error:.3} ulp at {at:e}");
            assert!(error <= bound, "{name}({at:e}) is off by {error} ulp");
        }
    }

    #[test]
    fn special_arguments() {
        assert_eq!([exp(0.0), exp(-0.0), exp(f32::NEG_INFINITY)], [1.0, 1.0, 0.0]);
        assert_eq!([exp(f32::INFINITY), exp(89.0), exp(-104.0)], [f32::INFINITY, f32::INFINITY, 0.0]);
        assert_eq!([log(1.0), log(0.0), log(f32::INFINITY)], [0.0, f32::NEG_INFINITY, f32::INFINITY]);
        assert!(log(-1.0).is_nan() && log(f32::NEG_INFINITY).is_nan());
        assert_eq!([sigmoid(0.0), sigmoid(f32::INFINITY), sigmoid(f32::NEG_INFINITY)], [0.5, 1.0, 0.0]);
        assert_eq!([tanh(f32::INFINITY), tanh(f32::NEG_INFINITY), tanh(1e-30)], [1.0, -1.0, 1e-30]);
        assert!(tanh(-0.0).is_sign_negative());
    }

    #[test]
    fn sine_and_cosine_of_a_turn() {
        let mut worst = 0.0_f64;
        for turn in (0..=u32::MAX).step_by(65_521).chain([0, 1 << 29, 1 << 30, 3 << 29, 1 << 31, u32::MAX]) {
            let (sin, cos) = sin_cos_turn(turn);
            let angle = std::f64::consts::TAU * f64::from(turn) / 4_294_967_296.0;
            worst = worst.max((f64::from(sin) - angle.sin()).abs()).max((f64::from(cos) - angle.cos()).abs());
        }
        println!("off by at most {worst:e}");
        assert!(worst < 1.5e-7);
    }
}
