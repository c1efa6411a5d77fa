//! Random numbers from random words: the formulas that every device follows.
//!
//! An exponential number from a word x. The fraction `v = (x + ½) / 2³²` lies in the open unit interval; the exponential is
//! `−log(1 − v)`, computed as `−log1p(−v)` in the lower half and, in the upper one, as `−log` of the fraction of the
//! flipped word `!x`, which is 1 − v without rounding. It lies between 2⁻³³ and 22.9. The textbook's `−log(−log u)` with a
//! 24-bit `u` fails where a race over many positions is decided: near u = 1 neighbouring values are 2⁻²⁴ apart, so the
//! best of a million tie, and u rounds to 1.
//!
//! A pair of normal numbers from two words, by Box and Muller: `√(2E)` times sine and cosine of a random turn.

use crate::{
    cpu::math::{log, log1p, sin_cos_turn},
    spec::Real,
};

/// 2⁻³².
const UNIT: f32 = 1.0 / 4_294_967_296.0;

/// A unit exponential number.
#[inline(always)]
pub(crate) fn exponential(word: u32) -> f32 {
    let upper = word >> 31 == 1;
    let fraction = fraction(if upper { !word } else { word });
    let (high, low) = (log(fraction), log1p(-fraction));
    -if upper { high } else { low }
}

/// `(x + ½) / 2³²`, rounded.
#[inline(always)]
pub(crate) fn fraction(word: u32) -> f32 {
    (word as f32 + 0.5) * UNIT
}

/// A standard Gumbel number.
#[inline(always)]
pub(crate) fn gumbel(word: u32) -> f32 {
    -log(exponential(word))
}

/// Two independent standard normal numbers.
#[inline(always)]
pub(crate) fn normals(words: [u32; 2]) -> [f32; 2] {
    let radius = (2.0 * exponential(words[0])).sqrt();
    let (sin, cos) = sin_cos_turn(words[1]);
    [radius * cos, radius * sin]
}

/// The same formulas for specifications.
pub(crate) mod exact {
    use super::Real;

    /// A unit exponential number.
    pub(crate) fn exponential<T: Real>(word: u32) -> T {
        let fraction = |word: u32| (T::of(f64::from(word)) + T::of(0.5)) * T::of(1.0 / 4_294_967_296.0);
        if word >> 31 == 1 { -fraction(!word).ln() } else { -(-fraction(word)).ln_1p() }
    }

    /// A standard Gumbel number.
    pub(crate) fn gumbel<T: Real>(word: u32) -> T {
        -exponential::<T>(word).ln()
    }

    /// Two independent standard normal numbers.
    pub(crate) fn normals<T: Real>(words: [u32; 2]) -> [T; 2] {
        let radius = (T::of(2.0) * exponential::<T>(words[0])).sqrt();
        let angle = T::of(std::f64::consts::TAU * f64::from(words[1]) / 4_294_967_296.0);
        [radius * angle.cos(), radius * angle.sin()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_finite_and_accurate_over_all_words() {
        for word in
            (0..=u32::MAX).step_by(9_973).chain([0, 1, 2, 1 << 31, (1 << 31) - 1, u32::MAX - 1, u32::MAX])
        {
            let (got, want) = (f64::from(exponential(word)), exact::exponential::<f64>(word));
            assert!((got - want).abs() <= 3e-7 * want, "{word}: {got:e}, not {want:e}");
            // What lets a race rule positions out early.
            assert!(got >= f64::from(fraction(word)) * (1.0 - 1e-6), "{word}");
        }
        assert_eq!(exponential(0), 0.5 * UNIT);
        assert!(exponential(u32::MAX) > 22.8 && exponential(u32::MAX) < 22.9);
        assert!(
            (1..100_000).all(|word| exponential(word) > exponential(word - 1)),
            "no ties among the winners"
        );
    }

    #[test]
    fn normals_are_normal() {
        let (mut sums, n) = ([0.0_f64; 5], 200_000);
        let mut rng = crate::Rng::new(5);
        for _ in 0..n {
            let words = [rng.next_u32(), rng.next_u32()];
            let [a, b] = normals(words).map(f64::from);
            let [c, d] = exact::normals::<f64>(words);
            assert!((a - c).abs() < 2e-6 && (b - d).abs() < 2e-6, "{words:?}");
            for (sum, term) in sums.iter_mut().zip([
                a + b,
                a * b,
                a * a + b * b,
                a.powi(3) + b.powi(3),
                a.powi(4) + b.powi(4),
            ]) {
                *sum += term / f64::from(n);
            }
        }
        let want = [0.0, 0.0, 2.0, 0.0, 6.0];
        assert!(sums.iter().zip(want).all(|(sum, want)| (sum - want).abs() < 0.08), "{sums:?}");
    }
}
