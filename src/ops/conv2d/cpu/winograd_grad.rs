//! Grad-weight of a 3×3 convolution with stride 1 by Winograd's algorithm.
//!
//! The forward algorithm is y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A per tile. It is linear in g, and its adjoint with respect to
//! g is dg = Gᵀ [(A dy Aᵀ) ⊙ (Bᵀ d B)] G: both tiles are transformed to N² places, their products are summed place by
//! place over tiles and images (tiles are what pixels were in the direct algorithm, so the same register tiles do it),
//! and only the sums are transformed back. N² = 36 products a tile replace 144.

use super::{
    correlate::Correlate,
    forms::{Axis, Data, F2, F4, Form, Spread},
    grad_weight::{Plan, add_parts, channels},
    tile::even_part,
    units::Units,
    winograd::Size,
    winograd_tiles::{Grid, place, transform_tiles},
};
use crate::{
    cpu::{
        Scratch,
        simd::Level,
        vector::{self, Kernel, Simd},
        workers::{self, Shared},
    },
    error::Result,
};

/// Tiles that a part of the images should have, to be worth its own sums.
const PART: usize = 96;

/// x (B, channels, H, W), dy (B, out, h, w) to dw (out, channels, 3, 3). `forward` is the gather of the forward
/// convolution: 3×3, stride 1, one group.
pub(crate) fn run(
    level: Level,
    size: Size,
    forward: &super::gather::Gather,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    op: &'static str,
) -> Result<()> {
    if dw.is_empty() {
        return Ok(());
    }
    let lanes = vector::lanes(level);
    // How images are cut must not depend on the number of threads: the order of the sums does.
    let units = Units::new(forward, size.outputs(), lanes, 1);
    let mut plan = Plan::new(level, forward, lanes);
    plan.parts = plan.parts.min(units.grid(units.count).count() / PART).max(1);
    let plan = &plan;
    let mut sums = Scratch::zeroed(plan.parts * plan.sums, op)?;
    let to = Shared::new(&mut sums);
    let sizes = &Sizes::new(plan, &units, size, lanes);
    workers::each(plan.parts, sizes.scratch(), op, |part, scratch| {
        let (first, count) = even_part(units.count, plan.parts, part);
        // SAFETY: every part has sums of its own.
        let sums = unsafe { to.part(part * plan.sums, plan.sums) };
        let part = Part { plan, units: &units, size, sizes, first, count, x, dy, sums, scratch };
        // SAFETY: the level is the processor's or below.
        unsafe { vector::run(level, part) }
    })?;
    add_parts(level, plan, &sums, dw, op)
}

/// Floats of a task's scratch: windows of the source or the gradients, transformed source, transformed gradients, and the
/// sums of all places.
struct Sizes {
    windows: usize,
    data: usize,
    grads: usize,
    /// One place of the sums.
    place: usize,
    places: usize,
}

impl Sizes {
    fn new(plan: &Plan, units: &Units, size: Size, lanes: usize) -> Self {
        let (channels, places) = (plan.gather.channels.next_multiple_of(lanes), size.places());
        let tiles = units.grid(units.at_once).count();
        let area = |[rows, columns]: [usize; 2]| rows * columns;
        Sizes {
            windows: units.at_once * (channels * area(units.window())).max(plan.out * area(units.pixels())),
            data: places * place(tiles * channels, lanes),
            grads: places * place(tiles * plan.out, lanes),
            place: place(plan.out * channels, lanes),
            places,
        }
    }

    fn scratch(&self) -> usize {
        self.windows + self.data + self.grads + self.places * self.place
    }
}

/// The products of units `first .. first + count`.
struct Part<'a> {
    plan: &'a Plan<'a>,
    units: &'a Units,
    size: Size,
    sizes: &'a Sizes,
    first: usize,
    count: usize,
    x: &'a [f32],
    dy: &'a [f32],
    sums: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl Kernel for Part<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller upholds what this function itself asks for.
        unsafe {
            match self.size {
                Size::Two => self.form::<S, F2, 2, 4>(),
                Size::Four => self.form::<S, F4, 4, 6>(),
            }
        }
    }
}

impl Part<'_> {
    #[inline(always)]
    unsafe fn form<S: Simd, F: Form<M, N>, const M: usize, const N: usize>(self)
    where
        Data<F>: Axis<N, N>,
        Spread<F>: Axis<M, N>,
    {
        let (g, units) = (self.plan.gather, self.units);
        let (windows, rest) = self.scratch.split_at_mut(self.sizes.windows);
        let (data, rest) = rest.split_at_mut(self.sizes.data);
        let (grads, products) = rest.split_at_mut(self.sizes.grads);
        products.fill(0.0);
        let mut done = 0;
        while done < self.count {
            let (first, count) = (self.first + done, units.at_once.min(self.count - done));
            let grid = units.grid(count);
            // SAFETY: the buffers hold what `Sizes` says of at most `at_once` units.
            unsafe {
                let from = units.pack_source::<S>(self.x, g.channels, first, count, windows);
                let (x, to) = (windows.as_ptr(), data.as_mut_ptr());
                transform_tiles::<S, Data<F>, M, N, N>(grid, g.channels, x, from, to);
                let from = units.pack_target::<S>(self.dy, g.out, first, count, windows);
                let (dy, to) = (windows.as_ptr(), grads.as_mut_ptr());
                transform_tiles::<S, Spread<F>, M, M, N>(grid, g.out, dy, from, to);
                multiply::<S>(self.plan, self.sizes, grid, data, grads, products);
            }
            done += count;
        }
        // SAFETY: the products have N² places of the weights' shape.
        unsafe { collect::<S, F, M, N>(self.plan, products, self.sizes.place, self.sums) };
    }
}

/// Adds the products of all tiles to the sums of each place, `[pair][block][channel in the block][lane]`.
#[inline(always)]
unsafe fn multiply<S: Simd>(
    plan: &Plan,
    sizes: &Sizes,
    grid: Grid,
    data: &[f32],
    grads: &[f32],
    products: &mut [f32],
) {
    let g = plan.gather;
    let tiles = grid.count();
    let blocks = g.channels.div_ceil(S::LANES);
    let from = [blocks * S::LANES, plan.out].map(|lanes| place(tiles * lanes, S::LANES));
    for at in 0..sizes.places {
        for pair in 0..plan.pairs {
            let channel = pair * 2 * S::LANES;
            let vectors = (plan.out - channel).div_ceil(S::LANES).min(2);
            for block in 0..blocks {
                let inside = (g.channels - block * S::LANES).min(S::LANES);
                let to = at * sizes.place + (channel * blocks + block * vectors * S::LANES) * S::LANES;
                let tile = Correlate {
                    x: data[at * from[0] + block * tiles * S::LANES..].as_ptr(),
                    x_pixel: S::LANES,
                    x_row: 0,
                    x_tap_row: 0,
                    x_image: 0,
                    dy: grads[at * from[1] + channel * tiles..].as_ptr(),
                    dy_vector: tiles * S::LANES,
                    dy_image: 0,
                    size: [1, tiles],
                    images: 1,
                    sums: products[to..].as_mut_ptr(),
                    sums_row: 0,
                };
                // SAFETY: all tiles of the block of channels, the pair of vectors and their sums are in the buffers.
                unsafe { channels::<S>(tile, inside, vectors) };
            }
        }
    }
}

/// Gᵀ m G of the sums of all places, added to `sums` in the order of [`Plan::sums`].
#[inline(always)]
unsafe fn collect<S: Simd, F: Form<M, N>, const M: usize, const N: usize>(
    plan: &Plan,
    products: &[f32],
    place: usize,
    sums: &mut [f32],
) {
    let channels = plan.gather.channels.next_multiple_of(S::LANES);
    for pair in 0..plan.pairs {
        let first = pair * 2 * S::LANES;
        let width = (plan.out - first).min(2 * S::LANES);
        for c in 0..channels {
            for v in 0..width / S::LANES {
                let at = first * channels + c * width + v * S::LANES;
                // SAFETY: inside the products and the sums, whose shapes the plan gives.
                unsafe {
                    let mut middle = [[S::splat(0.0); N]; 3];
                    for j in 0..N {
                        let mut column = [S::splat(0.0); N];
                        for (i, v) in column.iter_mut().enumerate() {
                            *v = S::load(products[(i * N + j) * place + at..].as_ptr());
                        }
                        for (i, v) in F::collect::<S>(column).into_iter().enumerate() {
                            middle[i][j] = v;
                        }
                    }
                    let (block, inside) = (c / S::LANES, c % S::LANES);
                    for (i, middle) in middle.into_iter().enumerate() {
                        for (j, w) in F::collect::<S>(middle).into_iter().enumerate() {
                            let tap = (block * 9 + i * 3 + j) * S::LANES + inside;
                            let to = first * channels * 9 + tap * width + v * S::LANES;
                            S::store(sums[to..].as_mut_ptr(), w);
                        }
                    }
                }
            }
        }
    }
}
