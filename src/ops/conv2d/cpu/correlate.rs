//! The register tile of grad-weight: R × J sums of NV vectors, each the products of one source value with the output
//! channels' gradients, over all pixels of a band.
//!
//! A step takes one pixel: NV vectors of `dy` (lanes are output channels) are loaded, R · J neighbouring source values are
//! broadcast, and R · J · NV multiply-adds follow. The sums stay in registers for the whole band, so weights pass through
//! memory once per band. With a blocked source the J neighbours are channels of a pixel; with a planar one they are
//! the pixels under J taps of a kernel row, and R such rows.

// An index names the row, pixel or vector of a register; an iterator would hide that.
#![allow(clippy::needless_range_loop)]

use crate::cpu::vector::{Kernel, Simd};

/// Everything a tile reads and writes. Strides and offsets count floats.
#[derive(Clone, Copy)]
pub(crate) struct Correlate {
    /// The source value of the first pixel, first sum.
    pub x: *const f32,
    /// Between the source values of neighbouring pixels, and of those below each other.
    pub x_pixel: usize,
    pub x_row: usize,
    /// Between the R rows of sums.
    pub x_tap_row: usize,
    /// Between images.
    pub x_image: usize,
    /// The gradients of the first pixel, `[vector][row][column][L]`.
    pub dy: *const f32,
    pub dy_vector: usize,
    /// Between images.
    pub dy_image: usize,
    /// Pixels of an image, down and across.
    pub size: [usize; 2],
    pub images: usize,
    /// Added to: `[J][NV][L]`, R times.
    pub sums: *mut f32,
    /// Between those.
    pub sums_row: usize,
}

struct Run<const NV: usize, const R: usize, const J: usize>(Correlate);

impl<const NV: usize, const R: usize, const J: usize> Kernel for Run<NV, R, J> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let t = self.0;
        // SAFETY: the caller of `Correlate::run` vouches for all that `t` points to.
        unsafe {
            let mut sums = [[[S::splat(0.0); NV]; J]; R];
            for image in 0..t.images {
                let mut dy = t.dy.add(image * t.dy_image);
                for row in 0..t.size[0] {
                    let mut x = t.x.add(image * t.x_image + row * t.x_row);
                    for _ in 0..t.size[1] {
                        let mut grads = [S::splat(0.0); NV];
                        for v in 0..NV {
                            grads[v] = S::load(dy.add(v * t.dy_vector));
                        }
                        for r in 0..R {
                            for j in 0..J {
                                let value = S::splat(*x.add(r * t.x_tap_row + j));
                                for v in 0..NV {
                                    sums[r][j][v] = S::mul_add(value, grads[v], sums[r][j][v]);
                                }
                            }
                        }
                        x = x.add(t.x_pixel);
                        dy = dy.add(S::LANES);
                    }
                }
            }
            for r in 0..R {
                for j in 0..J {
                    for v in 0..NV {
                        let to = t.sums.add(r * t.sums_row + (j * NV + v) * S::LANES);
                        S::store(to, S::add(S::load(to), sums[r][j][v]));
                    }
                }
            }
        }
    }
}

impl Correlate {
    /// Adds `rows` (1 to 3) times `width` (1 to 8) sums of `vectors` (1 or 2) vectors; `rows * width` is at most
    /// `S::TILE`, and 8 sums are in one row.
    ///
    /// # Safety
    /// The processor has the features of `S`, and every address that the strides span is valid.
    #[inline(always)]
    pub(crate) unsafe fn run<S: Simd>(self, vectors: usize, rows: usize, width: usize) {
        debug_assert!(rows * width <= S::TILE && (1..=2).contains(&vectors));
        // SAFETY: the caller upholds what this function itself asks for.
        unsafe { if vectors == 2 { self.rows::<S, 2>(rows, width) } else { self.rows::<S, 1>(rows, width) } }
    }

    #[inline(always)]
    unsafe fn rows<S: Simd, const NV: usize>(self, rows: usize, width: usize) {
        // SAFETY: the caller upholds what this function itself asks for.
        unsafe {
            match (rows, width) {
                (1, 1) => S::enter(Run::<NV, 1, 1>(self)),
                (1, 2) => S::enter(Run::<NV, 1, 2>(self)),
                (1, 3) => S::enter(Run::<NV, 1, 3>(self)),
                (1, 4) => S::enter(Run::<NV, 1, 4>(self)),
                (1, 5) => S::enter(Run::<NV, 1, 5>(self)),
                (1, 6) if S::TILE >= 6 => S::enter(Run::<NV, 1, 6>(self)),
                (1, 7) if S::TILE >= 7 => S::enter(Run::<NV, 1, 7>(self)),
                (1, 8) if S::TILE >= 8 => S::enter(Run::<NV, 1, 8>(self)),
                (2, 1) => S::enter(Run::<NV, 2, 1>(self)),
                (2, 2) => S::enter(Run::<NV, 2, 2>(self)),
                (2, 3) if S::TILE >= 6 => S::enter(Run::<NV, 2, 3>(self)),
                (2, 4) if S::TILE >= 8 => S::enter(Run::<NV, 2, 4>(self)),
                (2, 5) if S::TILE >= 10 => S::enter(Run::<NV, 2, 5>(self)),
                (2, 6) if S::TILE >= 12 => S::enter(Run::<NV, 2, 6>(self)),
                (2, 7) if S::TILE >= 14 => S::enter(Run::<NV, 2, 7>(self)),
                (3, 1) => S::enter(Run::<NV, 3, 1>(self)),
                (3, 2) if S::TILE >= 6 => S::enter(Run::<NV, 3, 2>(self)),
                (3, 3) if S::TILE >= 9 => S::enter(Run::<NV, 3, 3>(self)),
                (3, 4) if S::TILE >= 12 => S::enter(Run::<NV, 3, 4>(self)),
                _ => debug_assert!(false, "{rows} rows of {width} sums"),
            }
        }
    }
}
