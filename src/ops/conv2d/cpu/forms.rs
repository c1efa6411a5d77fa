//! Winograd's minimal filtering (Lavin and Gray 2015; Winograd 1980): M outputs of a 3-tap filter from M + 2 products
//! instead of 3 M, as Aᵀ [(G g) ⊙ (Bᵀ d)], nested once for rows and once for columns.
//!
//! | form | tile | products per output | saved | error (RMS) beside the direct sum, 64 channels |
//! | --- | --- | --- | --- | --- |
//! | direct | | 9 | | 1 |
//! | [`F2`] | 2 × 2 | 4 | 2.25 | 0.6 |
//! | [`F4`] | 4 × 4 | 2.25 | 4 | 1.7 to 2 |
//!
//! F(4, 3) interpolates at five finite points and infinity. The textbook's 0, ±1, ±2 lose a factor of 4 to 5 of accuracy
//! here; 0, ±5/8, ±3/2 (exact in f32, their powers near 1) lose 1.7 to 2, so that the form may be a default. A set of
//! pairs ± a costs no more than the textbook's, since even and odd parts are shared.

use crate::cpu::vector::Simd;

/// The transforms of one form along one axis.
///
/// # Safety
/// All functions: the processor has the features of `S`.
#[allow(clippy::missing_safety_doc)]
pub(crate) trait Form<const M: usize, const N: usize> {
    /// Bᵀ d: data of a tile.
    unsafe fn data<S: Simd>(d: [S::V; N]) -> [S::V; N];
    /// G g: a filter.
    unsafe fn filter<S: Simd>(g: [S::V; 3]) -> [S::V; N];
    /// Aᵀ m: outputs from products.
    unsafe fn output<S: Simd>(m: [S::V; N]) -> [S::V; M];
    /// A y: the adjoint of `output`, for the filter's gradient.
    unsafe fn spread<S: Simd>(y: [S::V; M]) -> [S::V; N];
    /// Gᵀ u: the adjoint of `filter`.
    unsafe fn collect<S: Simd>(u: [S::V; N]) -> [S::V; 3];
}

/// F(2, 3), points 0, ±1, ∞.
pub(crate) struct F2;

impl Form<2, 4> for F2 {
    #[inline(always)]
    unsafe fn data<S: Simd>([d0, d1, d2, d3]: [S::V; 4]) -> [S::V; 4] {
        // SAFETY: the trait's.
        unsafe { [S::sub(d0, d2), S::add(d2, d1), S::sub(d2, d1), S::sub(d3, d1)] }
    }
    #[inline(always)]
    unsafe fn filter<S: Simd>([g0, g1, g2]: [S::V; 3]) -> [S::V; 4] {
        // SAFETY: the trait's.
        unsafe {
            let half = S::splat(0.5);
            let (even, odd) = (S::mul(half, S::add(g0, g2)), S::mul(half, g1));
            [g0, S::add(even, odd), S::sub(even, odd), g2]
        }
    }
    #[inline(always)]
    unsafe fn output<S: Simd>([m0, m1, m2, m3]: [S::V; 4]) -> [S::V; 2] {
        // SAFETY: the trait's.
        unsafe { [S::add(m0, S::add(m1, m2)), S::add(S::sub(m1, m2), m3)] }
    }
    #[inline(always)]
    unsafe fn spread<S: Simd>([y0, y1]: [S::V; 2]) -> [S::V; 4] {
        // SAFETY: the trait's.
        unsafe { [y0, S::add(y0, y1), S::sub(y0, y1), y1] }
    }
    #[inline(always)]
    unsafe fn collect<S: Simd>([u0, u1, u2, u3]: [S::V; 4]) -> [S::V; 3] {
        // SAFETY: the trait's.
        unsafe {
            let half = S::splat(0.5);
            let (even, odd) = (S::mul(half, S::add(u1, u2)), S::mul(half, S::sub(u1, u2)));
            [S::add(u0, even), odd, S::add(u3, even)]
        }
    }
}

/// F(4, 3), points 0, ±5/8, ±3/2, ∞.
pub(crate) struct F4;

/// The points' magnitudes and their squares.
const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;
/// 1 / Π over the other points of the difference to them: at 0, ±A and ±B.
const AT_0: f32 = (1.0 / (0.390_625 * 2.25)) as f32;
const AT_A: f32 = (1.0 / (2.0 * 0.390_625 * (0.390_625 - 2.25))) as f32;
const AT_B: f32 = (1.0 / (2.0 * 2.25 * (2.25 - 0.390_625))) as f32;

impl Form<4, 6> for F4 {
    #[inline(always)]
    unsafe fn data<S: Simd>([d0, d1, d2, d3, d4, d5]: [S::V; 6]) -> [S::V; 6] {
        // SAFETY: the trait's.
        unsafe {
            let (a, b) = (S::splat(A), S::splat(B));
            let (minus_a2, minus_b2) = (S::splat(-A2), S::splat(-B2));
            let (minus_sum, product) = (S::splat(-A2 - B2), S::splat(A2 * B2));
            let (even_a, odd_a) = (S::mul_add(d2, minus_b2, d4), S::mul_add(d1, minus_b2, d3));
            let (even_b, odd_b) = (S::mul_add(d2, minus_a2, d4), S::mul_add(d1, minus_a2, d3));
            [
                S::mul_add(d0, product, S::mul_add(d2, minus_sum, d4)),
                S::mul_add(odd_a, a, even_a),
                S::mul_add(odd_a, S::splat(-A), even_a),
                S::mul_add(odd_b, b, even_b),
                S::mul_add(odd_b, S::splat(-B), even_b),
                S::mul_add(d1, product, S::mul_add(d3, minus_sum, d5)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn filter<S: Simd>([g0, g1, g2]: [S::V; 3]) -> [S::V; 6] {
        // SAFETY: the trait's.
        unsafe {
            let at = |scale: f32, point: f32| {
                let even = S::mul(S::splat(scale), S::mul_add(g2, S::splat(point * point), g0));
                let odd = S::mul(S::splat(scale * point), g1);
                [S::add(even, odd), S::sub(even, odd)]
            };
            let ([u1, u2], [u3, u4]) = (at(AT_A, A), at(AT_B, B));
            [S::mul(S::splat(AT_0), g0), u1, u2, u3, u4, g2]
        }
    }
    #[inline(always)]
    unsafe fn output<S: Simd>([m0, m1, m2, m3, m4, m5]: [S::V; 6]) -> [S::V; 4] {
        // SAFETY: the trait's.
        unsafe {
            let (even_a, odd_a) = (S::add(m1, m2), S::sub(m1, m2));
            let (even_b, odd_b) = (S::add(m3, m4), S::sub(m3, m4));
            [
                S::add(m0, S::add(even_a, even_b)),
                S::mul_add(odd_a, S::splat(A), S::mul(odd_b, S::splat(B))),
                S::mul_add(even_a, S::splat(A2), S::mul(even_b, S::splat(B2))),
                S::mul_add(odd_a, S::splat(A * A2), S::mul_add(odd_b, S::splat(B * B2), m5)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn spread<S: Simd>([y0, y1, y2, y3]: [S::V; 4]) -> [S::V; 6] {
        // SAFETY: the trait's.
        unsafe {
            let at = |point: f32| {
                let square = S::splat(point * point);
                let (even, odd) = (S::mul_add(y2, square, y0), S::mul_add(y3, square, y1));
                [S::mul_add(odd, S::splat(point), even), S::mul_add(odd, S::splat(-point), even)]
            };
            let ([u1, u2], [u3, u4]) = (at(A), at(B));
            [y0, u1, u2, u3, u4, y3]
        }
    }
    #[inline(always)]
    unsafe fn collect<S: Simd>([u0, u1, u2, u3, u4, u5]: [S::V; 6]) -> [S::V; 3] {
        // SAFETY: the trait's.
        unsafe {
            let (even_a, odd_a) = (S::add(u1, u2), S::sub(u1, u2));
            let (even_b, odd_b) = (S::add(u3, u4), S::sub(u3, u4));
            let both = |at_a: f32, a: S::V, at_b: f32, b: S::V| {
                S::mul_add(a, S::splat(at_a), S::mul(b, S::splat(at_b)))
            };
            [
                S::mul_add(u0, S::splat(AT_0), both(AT_A, even_a, AT_B, even_b)),
                both(AT_A * A, odd_a, AT_B * B, odd_b),
                S::add(u5, both(AT_A * A2, even_a, AT_B * B2, even_b)),
            ]
        }
    }
}

/// A transform of tiles: K values along an axis to N.
///
/// # Safety
/// The processor has the features of `S`.
#[allow(clippy::missing_safety_doc)]
pub(crate) trait Axis<const K: usize, const N: usize> {
    unsafe fn apply<S: Simd>(x: [S::V; K]) -> [S::V; N];
}

/// [`Form::data`].
pub(crate) struct Data<F>(F);

/// [`Form::spread`].
pub(crate) struct Spread<F>(F);

/// Both adapters for a form of given sizes; a blanket implementation cannot name M.
macro_rules! axes {
    ($form:ty, $m:literal, $n:literal) => {
        impl Axis<$n, $n> for Data<$form> {
            #[inline(always)]
            unsafe fn apply<S: Simd>(x: [S::V; $n]) -> [S::V; $n] {
                // SAFETY: the trait's.
                unsafe { <$form>::data::<S>(x) }
            }
        }
        impl Axis<$m, $n> for Spread<$form> {
            #[inline(always)]
            unsafe fn apply<S: Simd>(x: [S::V; $m]) -> [S::V; $n] {
                // SAFETY: the trait's.
                unsafe { <$form>::spread::<S>(x) }
            }
        }
    };
}
axes!(F2, 2, 4);
axes!(F4, 4, 6);
