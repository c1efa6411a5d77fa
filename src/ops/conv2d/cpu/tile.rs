//! The register tile: the one inner loop that forward convolution, grad-input and the products of Winograd's
//! algorithm share.
//!
//! A tile computes R rows of Q pixels for NV vectors of output channels and keeps all the sums in registers. Its
//! innermost step takes one input channel at one tap: NV vectors of weights are loaded, each of the R·Q input
//! values is broadcast, and R·Q·NV multiply-adds follow. The lanes are output channels, so there is no tail at
//! any image width, and nothing is ever gathered: with a fixed distance between pixels every operand is a base
//! register plus a constant.
//!
//! The ladder, 64 to 64 channels, 3×3, 13×13 pixels, one thread of a 3.3 GHz Xeon whose FMA units peak at
//! 212 GFLOP/s, is in `direct.rs`.

// An index names the row, pixel or vector of a register; an iterator would hide that.
#![allow(clippy::needless_range_loop)]

use crate::cpu::vector::{Kernel, Simd};

/// Everything a tile reads and writes. Strides and offsets count floats.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// The first tap of the first pixel, first input channel.
    pub x: *const f32,
    /// From a pixel to the one below it in the tile.
    pub x_row: usize,
    /// From a pixel to the next one in its row, where it is not a constant of the kernel (see [`Step`]).
    pub x_pixel: usize,
    /// Offset of each tap from `x`.
    pub taps: *const usize,
    /// Number of taps.
    pub tap_count: usize,
    /// Input channels.
    pub channels: usize,
    /// From a block of channels to the next one; the blocked steps have LANES channels in a block, the others one.
    pub x_block: usize,
    /// Weights, `[block][tap][channel in the block][NV * LANES]`.
    pub w: *const f32,
    /// The first output pixel, first vector.
    pub y: *mut f32,
    /// From an output vector of a pixel to the next one.
    pub y_vector: usize,
    /// From an output pixel to the one below it in the tile.
    pub y_row: usize,
    /// From an output pixel to the next one in its row.
    pub y_pixel: usize,
    /// What happens to the sums before they are stored.
    pub finish: Finish,
}

/// What happens to the sums before they are stored: + bias, + residual, max(·, 0), in this order.
#[derive(Clone, Copy)]
pub(crate) struct Finish {
    /// `NV * LANES` values that the sums start from, or null.
    pub bias: *const f32,
    /// Laid out like `y`, or null.
    pub residual: *const f32,
    pub relu: bool,
}

impl Finish {
    pub(crate) const NONE: Finish =
        Finish { bias: std::ptr::null(), residual: std::ptr::null(), relu: false };
}

/// The distance between horizontally neighbouring pixels of a tile in the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// One pixel of the blocked layout: LANES floats.
    Blocked1,
    /// Two pixels of the blocked layout.
    Blocked2,
    /// One float.
    Planar1,
    /// Two floats.
    Planar2,
    /// `Tile::x_pixel` floats, planar.
    Any,
}

const BLOCKED_1: usize = 0;
const BLOCKED_2: usize = 1;
const PLANAR_1: usize = 2;
const PLANAR_2: usize = 3;
const ANY: usize = 4;

/// One input channel at one tap: broadcasts each pixel and adds its products with the weights to the sums.
#[inline(always)]
unsafe fn channel<S: Simd, const NV: usize, const R: usize, const Q: usize>(
    sums: &mut [[[S::V; NV]; Q]; R],
    x: *const f32,
    row: usize,
    pixel: usize,
    w: *const f32,
) {
    // SAFETY: `Tile::run` is given valid pointers for every pixel of the tile.
    unsafe {
        let mut weights = [S::splat(0.0); NV];
        for v in 0..NV {
            weights[v] = S::load(w.add(v * S::LANES));
        }
        for r in 0..R {
            for q in 0..Q {
                let x = S::splat(*x.add(r * row + q * pixel));
                for v in 0..NV {
                    sums[r][q][v] = S::mul_add(x, weights[v], sums[r][q][v]);
                }
            }
        }
    }
}

struct Run<const NV: usize, const R: usize, const Q: usize, const STEP: usize>(Tile);

impl<const NV: usize, const R: usize, const Q: usize, const STEP: usize> Kernel for Run<NV, R, Q, STEP> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let t = self.0;
        let pixel = match STEP {
            BLOCKED_1 => S::LANES,
            BLOCKED_2 => 2 * S::LANES,
            PLANAR_1 => 1,
            PLANAR_2 => 2,
            _ => t.x_pixel,
        };
        let planar = STEP >= PLANAR_1;
        // SAFETY: the caller of `Tile::run` vouches for all that `t` points to.
        unsafe {
            let mut sums = [[[S::splat(0.0); NV]; Q]; R];
            if !t.finish.bias.is_null() {
                for v in 0..NV {
                    let bias = S::load(t.finish.bias.add(v * S::LANES));
                    for r in 0..R {
                        for q in 0..Q {
                            sums[r][q][v] = bias;
                        }
                    }
                }
            }
            let mut w = t.w;
            let mut block = t.x;
            let mut left = t.channels;
            while left > 0 {
                let inner = if planar { 1 } else { left.min(S::LANES) };
                for k in 0..t.tap_count {
                    let tap = block.add(*t.taps.add(k));
                    let mut c = 0;
                    if !planar {
                        // Two channels a round: fewer loop instructions compete for the ports of the multiply-adds.
                        while c + 2 <= inner {
                            channel::<S, NV, R, Q>(&mut sums, tap.add(c), t.x_row, pixel, w);
                            let (x, w2) = (tap.add(c + 1), w.add(NV * S::LANES));
                            channel::<S, NV, R, Q>(&mut sums, x, t.x_row, pixel, w2);
                            w = w.add(2 * NV * S::LANES);
                            c += 2;
                        }
                    }
                    if c < inner {
                        channel::<S, NV, R, Q>(&mut sums, tap.add(c), t.x_row, pixel, w);
                        w = w.add(NV * S::LANES);
                    }
                }
                left -= inner;
                block = block.add(t.x_block);
            }
            for r in 0..R {
                for q in 0..Q {
                    for v in 0..NV {
                        let at = r * t.y_row + q * t.y_pixel + v * t.y_vector;
                        let mut sum = sums[r][q][v];
                        if !t.finish.residual.is_null() {
                            sum = S::add(sum, S::load(t.finish.residual.add(at)));
                        }
                        if t.finish.relu {
                            sum = S::max(S::splat(0.0), sum);
                        }
                        S::store(t.y.add(at), sum);
                    }
                }
            }
        }
    }
}

impl Tile {
    /// Computes `rows` (1 or 2) rows of `width` pixels for `vectors` (1 or 2) vectors of output channels.
    ///
    /// # Safety
    /// The processor has the features of `S`. Every address that the tile's strides span is valid, for reading
    /// in `x`, `w`, `taps`, `bias` and `residual`, for writing in `y`. `rows * width` is at most `S::TILE`, and
    /// `rows` is 1 for [`Step::Any`].
    #[inline(always)]
    pub(crate) unsafe fn run<S: Simd>(self, vectors: usize, rows: usize, width: usize, step: Step) {
        debug_assert!(rows * width <= S::TILE && (1..=2).contains(&vectors));
        // SAFETY: the caller upholds what this function itself asks for.
        unsafe {
            if vectors == 2 {
                self.step::<S, 2>(rows, width, step)
            } else {
                self.step::<S, 1>(rows, width, step)
            }
        }
    }

    #[inline(always)]
    unsafe fn step<S: Simd, const NV: usize>(self, rows: usize, width: usize, step: Step) {
        // SAFETY: the caller upholds what this function itself asks for.
        unsafe {
            match (step, rows) {
                (Step::Blocked1, 1) => self.row::<S, NV, BLOCKED_1>(width),
                (Step::Blocked2, 1) => self.row::<S, NV, BLOCKED_2>(width),
                (Step::Blocked1, _) => self.two_rows::<S, NV, BLOCKED_1>(width),
                (Step::Blocked2, _) => self.two_rows::<S, NV, BLOCKED_2>(width),
                (Step::Planar1, 1) => self.row::<S, NV, PLANAR_1>(width),
                (Step::Planar2, 1) => self.row::<S, NV, PLANAR_2>(width),
                (Step::Planar1, _) => self.two_rows::<S, NV, PLANAR_1>(width),
                (Step::Planar2, _) => self.two_rows::<S, NV, PLANAR_2>(width),
                (Step::Any, _) => self.row::<S, NV, ANY>(width),
            }
        }
    }

    #[inline(always)]
    unsafe fn row<S: Simd, const NV: usize, const STEP: usize>(self, width: usize) {
        // SAFETY: the caller upholds what this function itself asks for.
        unsafe {
            match width {
                1 => S::enter(Run::<NV, 1, 1, STEP>(self)),
                2 => S::enter(Run::<NV, 1, 2, STEP>(self)),
                3 => S::enter(Run::<NV, 1, 3, STEP>(self)),
                4 => S::enter(Run::<NV, 1, 4, STEP>(self)),
                5 => S::enter(Run::<NV, 1, 5, STEP>(self)),
                6 if S::TILE >= 6 => S::enter(Run::<NV, 1, 6, STEP>(self)),
                7 if S::TILE >= 7 => S::enter(Run::<NV, 1, 7, STEP>(self)),
                8 if S::TILE >= 8 => S::enter(Run::<NV, 1, 8, STEP>(self)),
                9 if S::TILE >= 9 => S::enter(Run::<NV, 1, 9, STEP>(self)),
                10 if S::TILE >= 10 => S::enter(Run::<NV, 1, 10, STEP>(self)),
                11 if S::TILE >= 11 => S::enter(Run::<NV, 1, 11, STEP>(self)),
                12 if S::TILE >= 12 => S::enter(Run::<NV, 1, 12, STEP>(self)),
                13 if S::TILE >= 13 => S::enter(Run::<NV, 1, 13, STEP>(self)),
                14 if S::TILE >= 14 => S::enter(Run::<NV, 1, 14, STEP>(self)),
                _ => debug_assert!(false, "a tile of {width} pixels"),
            }
        }
    }

    #[inline(always)]
    unsafe fn two_rows<S: Simd, const NV: usize, const STEP: usize>(self, width: usize) {
        // SAFETY: the caller upholds what this function itself asks for.
        unsafe {
            match width {
                1 => S::enter(Run::<NV, 2, 1, STEP>(self)),
                2 => S::enter(Run::<NV, 2, 2, STEP>(self)),
                3 if S::TILE >= 6 => S::enter(Run::<NV, 2, 3, STEP>(self)),
                4 if S::TILE >= 8 => S::enter(Run::<NV, 2, 4, STEP>(self)),
                5 if S::TILE >= 10 => S::enter(Run::<NV, 2, 5, STEP>(self)),
                6 if S::TILE >= 12 => S::enter(Run::<NV, 2, 6, STEP>(self)),
                7 if S::TILE >= 14 => S::enter(Run::<NV, 2, 7, STEP>(self)),
                _ => debug_assert!(false, "two rows of {width} pixels"),
            }
        }
    }
}

/// The start and length of part `part` when `length` is cut into `parts` whose lengths differ by one at most.
#[inline(always)]
pub(crate) fn even_part(length: usize, parts: usize, part: usize) -> (usize, usize) {
    let (size, longer) = (length / parts, length % parts);
    (part * size + part.min(longer), size + usize::from(part < longer))
}
