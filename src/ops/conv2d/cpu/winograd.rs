//! 3×3 convolution with stride 1 by Winograd's algorithm: forward, and grad-input as forward with flipped weights.
//!
//! Tiles of M × M target pixels, from overlapping (M + 2) × (M + 2) source tiles, N = M + 2:
//! 1. every source tile is transformed, L channels at a time, into N² values;
//! 2. for each of the N² places, the tiles' values (tiles × source channels) are multiplied by the transformed weights
//!    (source × target channels): a 1 × 1 convolution over tiles, done by the same register tiles as the direct one;
//! 3. the products are transformed back into target pixels.
//!
//! A task takes so many images that the transformed weights, which pass through the cache once per task, are used for
//! some dozens of tiles, and so few that the transformed tiles stay in the second-level cache.

use super::{
    forms::{Axis, Data, F2, F4, Form},
    gather::Gather,
    layout::unpack_blocked,
    tile::even_part,
    units::{Unit, Units},
    weights::{kernel_of, lanes_of},
    winograd_tiles::{Grid, Target, multiply, output_tile, place, transform_tiles},
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

/// The tile size: 2 or 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Two,
    Four,
}

impl Size {
    pub(crate) fn outputs(self) -> usize {
        match self {
            Size::Two => 2,
            Size::Four => 4,
        }
    }

    /// Places of a transformed tile.
    pub(crate) fn places(self) -> usize {
        (self.outputs() + 2) * (self.outputs() + 2)
    }
}

/// Transformed weights, `[pair of vectors][place][source channel][lane]`, and the bias in lanes.
pub(crate) struct Filters {
    size: Size,
    data: Scratch<f32>,
    bias: Option<Scratch<f32>>,
    /// Values of one target channel.
    each: usize,
}

impl Filters {
    /// Transforms the weights of a 3×3 gather of one phase.
    pub(crate) fn new(
        level: Level,
        size: Size,
        gather: &Gather,
        weights: &[f32],
        bias: Option<&[f32]>,
        op: &'static str,
    ) -> Result<Self> {
        let lanes = vector::lanes(level);
        let out = gather.out.next_multiple_of(lanes);
        let bias = bias.map(|bias| lanes_of(bias, gather.out, out, op)).transpose()?;
        let each = gather.channels * size.places();
        let mut filters = Filters { size, data: Scratch::new(out * each, op)?, bias, each };
        let mut taps = [0; 9];
        for (&at, tap) in gather.offsets(3, 1)[0].iter().zip(&gather.phases[0].taps) {
            taps[at] = tap.kernel;
        }
        let vectors = out / lanes;
        let to = Shared::new(&mut filters.data);
        workers::each(vectors, 16 * lanes, op, |at, tile| {
            let first = at * lanes;
            let pair = first / (2 * lanes) * 2 * lanes;
            let width = (out - pair).min(2 * lanes);
            let vector = Vector { gather, size, weights, taps, first, width, start: pair * each, to, tile };
            // SAFETY: the level is the processor's or below, and every vector writes lanes of its own.
            unsafe { vector::run(level, vector) }
        })?;
        Ok(filters)
    }

    /// `[place][source channel][lane]` of the pair of vectors that begins at target channel `channel`.
    #[inline(always)]
    pub(crate) fn part(&self, channel: usize) -> &[f32] {
        &self.data[channel * self.each..]
    }

    /// The bias of the same target channels, or null.
    #[inline(always)]
    pub(crate) fn bias(&self, channel: usize) -> *const f32 {
        self.bias.as_ref().map_or(std::ptr::null(), |b| b[channel..].as_ptr())
    }
}

/// Transforms the filters of one vector of target channels.
struct Vector<'a> {
    gather: &'a Gather,
    size: Size,
    weights: &'a [f32],
    /// The tap that multiplies each source pixel of a 3×3 window, row by row: flipped for grad-input.
    taps: [usize; 9],
    /// The vector's first target channel.
    first: usize,
    /// Lanes of its pair.
    width: usize,
    /// Where the pair's filters begin.
    start: usize,
    to: Shared,
    tile: &'a mut [f32],
}

impl Kernel for Vector<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller upholds what this function itself asks for.
        unsafe {
            match self.size {
                Size::Two => self.filters::<S, F2, 2, 4>(),
                Size::Four => self.filters::<S, F4, 4, 6>(),
            }
        }
    }
}

impl Vector<'_> {
    #[inline(always)]
    unsafe fn filters<S: Simd, F: Form<M, N>, const M: usize, const N: usize>(self) {
        let g = self.gather;
        let rows = (g.out - self.first).min(S::LANES);
        let lane = self.first % (2 * S::LANES);
        for c in 0..g.channels {
            // SAFETY: the features of `S` are there; the lanes written are this vector's alone.
            unsafe {
                kernel_of::<S>(g, self.weights, self.first, rows, c, self.tile);
                let mut middle = [[S::splat(0.0); N]; 3];
                for (q, middle) in middle.iter_mut().enumerate() {
                    let g =
                        [0, 1, 2].map(|r| S::load(self.tile.as_ptr().add(self.taps[r * 3 + q] * S::LANES)));
                    *middle = F::filter::<S>(g);
                }
                let [top, centre, bottom] = middle;
                for (i, ((above, at_centre), below)) in top.into_iter().zip(centre).zip(bottom).enumerate() {
                    for (j, value) in F::filter::<S>([above, at_centre, below]).into_iter().enumerate() {
                        let at = ((i * N + j) * g.channels + c) * self.width + lane;
                        S::store(self.to.at(self.start + at), value);
                    }
                }
            }
        }
    }
}

/// source (B, channels, h, w) to target (B, out, H, W); the gather is 3×3 with stride 1 and one group.
pub(crate) fn run(
    level: Level,
    gather: &Gather,
    source: &[f32],
    filters: &Filters,
    target: &mut [f32],
    op: &'static str,
) -> Result<()> {
    if target.is_empty() {
        return Ok(());
    }
    let threads = rayon::current_num_threads();
    let lanes = vector::lanes(level);
    let units = Units::new(gather, filters.size.outputs(), lanes, 2 * threads);
    let plan = &Plan { gather, filters, units, lanes };
    let units = plan.units.count;
    let tasks = units.div_ceil(plan.units.at_once).next_multiple_of(threads).min(units);
    let scratch = plan.parts(units.div_ceil(tasks)).iter().sum();
    let target = Shared::new(target);
    workers::each(tasks, scratch, op, |at, scratch| {
        let (first, count) = even_part(units, tasks, at);
        let task = Task { plan, first, count, source, target, scratch };
        // SAFETY: the level is the processor's or below, and every unit belongs to one task.
        unsafe { vector::run(level, task) }
    })
}

/// What all tasks share.
struct Plan<'a> {
    gather: &'a Gather,
    filters: &'a Filters,
    units: Units,
    lanes: usize,
}

impl Plan<'_> {
    /// Floats of a task's scratch for `units` units: source windows, transformed tiles, products, and the target pixels of
    /// one unit and two vectors of channels.
    fn parts(&self, units: usize) -> [usize; 4] {
        let channels = self.gather.channels.next_multiple_of(self.lanes);
        let tiles = self.units.grid(units).count();
        let places = self.filters.size.places();
        let [[rows, columns], [down, across]] = [self.units.window(), self.units.pixels()];
        [
            units * channels * rows * columns,
            places * place(tiles * channels, self.lanes),
            places * place(tiles * 2 * self.lanes, self.lanes),
            2 * self.lanes * down * across,
        ]
    }
}

/// Units `first .. first + count`.
struct Task<'a> {
    plan: &'a Plan<'a>,
    first: usize,
    count: usize,
    source: &'a [f32],
    target: Shared,
    scratch: &'a mut [f32],
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller upholds what this function itself asks for.
        unsafe {
            match self.plan.filters.size {
                Size::Two => self.form::<S, F2, 2, 4>(),
                Size::Four => self.form::<S, F4, 4, 6>(),
            }
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    unsafe fn form<S: Simd, F: Form<M, N>, const M: usize, const N: usize>(self)
    where
        Data<F>: Axis<N, N>,
    {
        let (plan, g) = (self.plan, self.plan.gather);
        let [windows, data, products, _] = plan.parts(self.count);
        let (windows, rest) = self.scratch.split_at_mut(windows);
        let (data, rest) = rest.split_at_mut(data);
        let (products, pixels) = rest.split_at_mut(products);
        let grid = plan.units.grid(self.count);
        // SAFETY: the windows hold all tiles of the grid, `data` and `products` their transforms, as `parts` says.
        unsafe {
            let from = plan.units.pack_source::<S>(self.source, g.channels, self.first, self.count, windows);
            transform_tiles::<S, Data<F>, M, N, N>(
                grid,
                g.channels,
                windows.as_ptr(),
                from,
                data.as_mut_ptr(),
            );
            let mut channel = 0;
            while channel < g.out {
                let vectors = (g.out - channel).div_ceil(S::LANES).min(2);
                let filters = plan.filters.part(channel);
                multiply::<S>(
                    N * N,
                    grid.count(),
                    g.channels,
                    vectors,
                    data.as_ptr(),
                    filters.as_ptr(),
                    products.as_mut_ptr(),
                );
                for u in 0..self.count {
                    let products =
                        products.as_ptr().add(u * grid.tiles[0] * grid.tiles[1] * vectors * S::LANES);
                    let unit = plan.units.unit(self.first + u);
                    store_unit::<S, F, M, N>(
                        plan,
                        &unit,
                        channel,
                        vectors,
                        grid,
                        products,
                        pixels,
                        self.target,
                    );
                }
                channel += vectors * S::LANES;
            }
        }
    }
}

/// Transforms the products of one unit back and writes its targets: `vectors` vectors of channels from `channel` on.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn store_unit<S: Simd, F: Form<M, N>, const M: usize, const N: usize>(
    plan: &Plan,
    unit: &Unit,
    channel: usize,
    vectors: usize,
    grid: Grid,
    products: *const f32,
    pixels: &mut [f32],
    target: Shared,
) {
    let g = plan.gather;
    let [rows, columns] = unit.size;
    let bias = plan.filters.bias(channel);
    let step = place(grid.count() * vectors * S::LANES, S::LANES);
    for v in 0..vectors {
        // SAFETY: the bias has as many lanes as there are vectors.
        let bias = unsafe { if bias.is_null() { S::splat(0.0) } else { S::load(bias.add(v * S::LANES)) } };
        for tile in 0..grid.tiles[0] * grid.tiles[1] {
            let (r, q) = (tile / grid.tiles[1] * M, tile % grid.tiles[1] * M);
            let to = Target {
                y: pixels[(v * rows * columns + r * columns + q) * S::LANES..].as_mut_ptr(),
                row: columns * S::LANES,
                size: [rows.saturating_sub(r), columns.saturating_sub(q)],
                residual: std::ptr::null(),
                relu: false,
            };
            // SAFETY: the tile's places are there, and the pixels stored are those of the unit.
            unsafe {
                output_tile::<S, F, M, N>(products.add((tile * vectors + v) * S::LANES), step, bias, to);
            }
        }
    }
    let channels = (g.out - channel).min(vectors * S::LANES);
    let plane = g.target[0] * g.target[1];
    let first = (unit.image * g.out + channel) * plane + unit.first[0] * g.target[1] + unit.first[1];
    // SAFETY: the unit's pixels are this task's alone.
    unsafe {
        if columns == g.target[1] {
            unpack_blocked::<S>(pixels, rows * columns, rows * columns, channels, target.at(first), plane);
        } else {
            for r in 0..rows {
                let line = &pixels[r * columns * S::LANES..];
                unpack_blocked::<S>(
                    line,
                    columns,
                    rows * columns,
                    channels,
                    target.at(first + r * g.target[1]),
                    plane,
                );
            }
        }
    }
}
