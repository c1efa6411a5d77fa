//! Hot loops, compiled once for each vector width and chosen at run time.
//!
//! The crate is built for the oldest processor of its architecture, so a plain loop gets 128-bit vectors and no fused
//! multiply-add. [`vectorised!`] compiles a function's body three times on x86-64 (baseline, AVX2 with FMA, AVX-512)
//! and calls the best the processor has; on other architectures the baseline is all there is, and has FMA anyway.
//! The bodies are ordinary safe loops that the compiler vectorises: slices of equal length, fixed-size lanes, no early
//! exit, and every helper `#[inline(always)]` so that it is compiled with the loop around it.
//!
//! All three give the same bits: Rust neither reorders nor contracts floating-point arithmetic, and sums go through
//! [`LANES`] interleaved accumulators whatever the width of a register. `FOVEATE_SIMD=baseline`, `avx2` or `avx512`
//! holds the choice down, for tests and measurements.

use std::sync::LazyLock;

/// The vector instructions in use, by what they add to the ones before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(crate) enum Level {
    /// What every processor of the architecture has.
    Baseline,
    /// AVX2 and FMA: 256 bits.
    Avx2,
    /// AVX-512 F, VL, BW and DQ: 512 bits.
    Avx512,
}

static LEVEL: LazyLock<Level> = LazyLock::new(|| {
    let best = detected();
    match std::env::var("FOVEATE_SIMD").as_deref() {
        Ok("baseline") => Level::Baseline,
        Ok("avx2") => best.min(Level::Avx2),
        _ => best,
    }
});

/// The level that [`vectorised!`] functions run at.
#[inline]
pub(crate) fn level() -> Level {
    *LEVEL
}

#[cfg(target_arch = "x86_64")]
fn detected() -> Level {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq");
    match (avx2, avx512) {
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        _ => Level::Baseline,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detected() -> Level {
    Level::Baseline
}

/// Defines functions whose bodies are compiled for every [`Level`] and dispatched when called.
///
/// Type parameters, of one bound each, are written in square brackets behind the name, `fn map[F: Fn(f32) -> f32](..)`; constants
/// behind a semicolon, `fn row[; S: usize](..)`. A call costs one predictable branch, so a function should do at least
/// a few hundred operations.
macro_rules! vectorised {
    ($(
        $(#[$meta:meta])*
        $vis:vis fn $name:ident $([$($g:ident: $bound:path),* $(; $($n:ident: $nt:ty),+)?])?
        ($($arg:ident: $t:ty),* $(,)?) $(-> $ret:ty)? $body:block
    )+) => {$(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name $(<$($g: $bound,)* $($(const $n: $nt,)+)?>)? ($($arg: $t),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body $(<$($g: $bound,)* $($(const $n: $nt,)+)?>)? ($($arg: $t),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
                #[allow(clippy::too_many_arguments)]
                fn avx2 $(<$($g: $bound,)* $($(const $n: $nt,)+)?>)? ($($arg: $t),*) $(-> $ret)? {
                    body $(::<$($g,)* $($($n,)+)?>)? ($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
                #[allow(clippy::too_many_arguments)]
                fn avx512 $(<$($g: $bound,)* $($(const $n: $nt,)+)?>)? ($($arg: $t),*) $(-> $ret)? {
                    body $(::<$($g,)* $($($n,)+)?>)? ($($arg),*)
                }
                match $crate::cpu::simd::level() {
                    $crate::cpu::simd::Level::Avx512 => {
                        // SAFETY: the level is only reported on processors that have these features.
                        return unsafe { avx512 $(::<$($g,)* $($($n,)+)?>)? ($($arg),*) };
                    }
                    $crate::cpu::simd::Level::Avx2 => {
                        // SAFETY: the level is only reported on processors that have these features.
                        return unsafe { avx2 $(::<$($g,)* $($($n,)+)?>)? ($($arg),*) };
                    }
                    $crate::cpu::simd::Level::Baseline => {}
                }
            }
            body $(::<$($g,)* $($($n,)+)?>)? ($($arg),*)
        }
    )+};
}
pub(crate) use vectorised;

/// Interleaved accumulators of a sum: enough to keep two 512-bit adders busy.
pub(crate) const LANES: usize = 32;

/// Elements that are summed in `f32` before the sum moves to `f64`: rounding errors stay those of a few additions
/// however long the row.
const RUN: usize = 1024;

/// Slices that are not worth a vector.
const SHORT: usize = 8;

/// The `N` sums over `i` of `term(x[i], y[i])`, for slices of equal length, in an order that depends on the length alone.
#[inline(always)]
pub(crate) fn sums<const N: usize>(x: &[f32], y: &[f32], term: impl Fn(f32, f32) -> [f32; N]) -> [f64; N] {
    let mut totals = [0.0; N];
    if x.len() < SHORT {
        for (&x, &y) in x.iter().zip(y) {
            let terms = term(x, y);
            for n in 0..N {
                totals[n] += f64::from(terms[n]);
            }
        }
        return totals;
    }
    for (x, y) in x.chunks(RUN).zip(y.chunks(RUN)) {
        let mut lanes = [[0.0_f32; LANES]; N];
        let (x_whole, x_rest) = x.as_chunks::<LANES>();
        let (y_whole, y_rest) = y.as_chunks::<LANES>();
        for (x, y) in x_whole.iter().zip(y_whole) {
            add_terms(&mut lanes, x, y, &term);
        }
        let last = match (x.last_chunk::<LANES>(), y.last_chunk::<LANES>()) {
            _ if x_rest.is_empty() => [[0.0; LANES]; N],
            // The last whole vector ends with what is left.
            (Some(x), Some(y)) => last_terms(x, y, x_rest.len(), &term),
            _ => {
                let (mut x, mut y) = ([0.0; LANES], [0.0; LANES]);
                x[LANES - x_rest.len()..].copy_from_slice(x_rest);
                y[LANES - y_rest.len()..].copy_from_slice(y_rest);
                last_terms(&x, &y, x_rest.len(), &term)
            }
        };
        for n in 0..N {
            totals[n] += f64::from(fold(&lanes[n], &last[n]));
        }
    }
    totals
}

/// Adds the terms of a whole vector to the lanes.
#[inline(always)]
fn add_terms<const N: usize>(
    lanes: &mut [[f32; LANES]; N],
    x: &[f32; LANES],
    y: &[f32; LANES],
    term: impl Fn(f32, f32) -> [f32; N],
) {
    for i in 0..LANES {
        let terms = term(x[i], y[i]);
        for n in 0..N {
            lanes[n][i] += terms[n];
        }
    }
}

/// The terms of the last `count` elements of a vector; zero for the others.
#[inline(always)]
fn last_terms<const N: usize>(
    x: &[f32; LANES],
    y: &[f32; LANES],
    count: usize,
    term: impl Fn(f32, f32) -> [f32; N],
) -> [[f32; LANES]; N] {
    /// No bits, then all: from `count` on, whole masks begin `count` elements before the end.
    static MASKS: [u32; 2 * LANES] = {
        let mut masks = [0; 2 * LANES];
        let mut i = LANES;
        while i < 2 * LANES {
            masks[i] = u32::MAX;
            i += 1;
        }
        masks
    };
    let masks = &MASKS[count..count + LANES];
    let mut last = [[0.0; LANES]; N];
    for i in 0..LANES {
        let terms = term(x[i], y[i]);
        for n in 0..N {
            last[n][i] = f32::from_bits(terms[n].to_bits() & masks[i]);
        }
    }
    last
}

/// `Σ term(x[i])`, in an order that depends on the length alone.
#[inline(always)]
pub(crate) fn sum(x: &[f32], term: impl Fn(f32) -> f32) -> f64 {
    let [total] = sums(x, x, |x, _| [term(x)]);
    total
}

/// The sum of two vectors of lanes, joined in halves. A call on purpose: inlined, its shape governs how the compiler
/// vectorises the loop before it, and badly.
#[inline(never)]
fn fold(a: &[f32; LANES], b: &[f32; LANES]) -> f32 {
    let [a, b]: [[Four; LANES / 4]; 2] = [bytemuck::cast(*a), bytemuck::cast(*b)];
    let mut sums: [Four; LANES / 4] = std::array::from_fn(|i| add(a[i], b[i]));
    let mut width = LANES / 8;
    while width > 0 {
        for i in 0..width {
            sums[i] = add(sums[i], sums[i + width]);
        }
        width /= 2;
    }
    let [a, b, c, d]: [f32; 4] = bytemuck::cast(sums[0]);
    (a + c) + (b + d)
}

/// Four floats in a register, where the language has a type for it: the compiler then keeps them together.
#[cfg(target_arch = "x86_64")]
type Four = std::arch::x86_64::__m128;
#[cfg(not(target_arch = "x86_64"))]
type Four = [f32; 4];

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn add(a: Four, b: Four) -> Four {
    // SAFETY: every x86-64 processor has SSE.
    unsafe { std::arch::x86_64::_mm_add_ps(a, b) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn add(a: Four, b: Four) -> Four {
    std::array::from_fn(|i| a[i] + b[i])
}

/// Joins the lanes in halves: `i` with `i + 16`, then with `i + 8`, and so on.
#[inline(always)]
fn halve(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = join(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// The largest element; NaN is smaller than any number, and an empty slice gives NaN.
#[inline(always)]
pub(crate) fn largest(x: &[f32]) -> f32 {
    let Some(end) = x.last_chunk::<LANES>() else {
        return x.iter().fold(f32::NAN, |a, &b| larger(a, b));
    };
    // The last whole vector may overlap the others.
    let mut lanes = *end;
    for x in x.as_chunks::<LANES>().0 {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], x[i]);
        }
    }
    fold_largest(&lanes)
}

/// The largest of the lanes. A call for the same reason as [`fold`].
#[inline(never)]
fn fold_largest(lanes: &[f32; LANES]) -> f32 {
    halve(*lanes, larger)
}

/// The larger of two numbers; NaN is smaller than any number.
#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    // `f32::max` leaves the sign of a zero open; this does not.
    if b > a || a.is_nan() { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    vectorised! {
        fn add_scaled[T: num_traits::AsPrimitive<f32>; N: usize](x: &[T], y: &mut [f32]) {
            for (y, &x) in y.iter_mut().zip(x) {
                *y += x.as_() * N as f32;
            }
        }
        fn total(x: &[f32]) -> f64 {
            sum(x, |v| v)
        }
    }

    #[test]
    fn generic_bodies_run() {
        let mut y = [1.0; 40];
        add_scaled::<u8, 3>(&[2; 40], &mut y);
        assert_eq!(y, [7.0; 40]);
    }

    #[test]
    fn sums_do_not_depend_on_the_level() {
        let mut rng = crate::Rng::new(1);
        for len in [0, 1, 31, 32, 33, 1000, 1024, 5000] {
            let x: Vec<f32> = (0..len).map(|_| rng.normal()).collect();
            let want: f64 = x.iter().map(|&v| f64::from(v)).sum();
            assert!((total(&x) - want).abs() <= 1e-6 * (1.0 + len as f64), "{len}");
            assert_eq!(total(&x).to_bits(), sum(&x, |v| v).to_bits(), "compiled for other vectors");
        }
    }

    #[test]
    fn nan_is_smaller_than_any_number() {
        let mut x = vec![f32::NAN; 70];
        assert!(largest(&x).is_nan() && largest(&[]).is_nan());
        x[37] = f32::NEG_INFINITY;
        assert_eq!(largest(&x), f32::NEG_INFINITY);
        x[69] = -3.0;
        assert_eq!(largest(&x), -3.0);
    }
}
