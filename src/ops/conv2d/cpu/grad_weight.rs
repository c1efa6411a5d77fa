//! Grad-weight, directly: for every weight, the sum over images and pixels of source times gradient.
//!
//! The images (cut into bands of rows that fit the first-level cache) are divided into a number of parts that depends on
//! the shapes alone. A task copies the source window and the gradients of a band, and adds the products of all taps
//! and channels to the sums of its part; the parts are then added in order. So the result does not depend on the
//! number of threads.

use super::{
    correlate::Correlate,
    gather::Gather,
    layout::{Window, copy_planar, pack_blocked},
    tile::even_part,
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

/// Floats of the source block and the two vectors of gradients of a band: most of a first-level cache.
const BAND: usize = 9 << 10;
/// Parts that the images are divided into, and floats of all parts' sums together.
const PARTS: usize = 16;
const SUMS: usize = 5 << 18;

/// x (B, groups · channels, H, W), dy (B, groups · out, h, w) to dw (groups · out, channels, kh, kw). `gather` is that of
/// the forward convolution.
pub(crate) fn run(
    level: Level,
    gather: &Gather,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    op: &'static str,
) -> Result<()> {
    if dw.is_empty() {
        return Ok(());
    }
    let lanes = vector::lanes(level);
    let block = if gather.channels * 2 < lanes { 1 } else { lanes };
    let plan = &Plan::new(level, gather, block);
    let mut sums = Scratch::zeroed(plan.parts * plan.sums, op)?;
    let to = Shared::new(&mut sums);
    workers::each(plan.parts * plan.shares, plan.scratch.iter().sum(), op, |at, scratch| {
        let (part, share) = (at / plan.shares, at % plan.shares);
        // SAFETY: the level is the processor's or below; every task adds to pairs of vectors of a part that are its own.
        unsafe { vector::run(level, Part { plan, part, share, x, dy, to, scratch }) }
    })?;
    add_parts(level, plan, &sums, dw, op)
}

/// What all tasks share. All of it follows from shapes and vector width.
pub(crate) struct Plan<'a> {
    pub gather: &'a Gather,
    /// Channels of the source that stand side by side: LANES, or 1 where there are too few to fill a vector's width.
    block: usize,
    /// Target rows of a band, bands of an image, and images that are taken together: more than one if they are small.
    rows: usize,
    bands: usize,
    images: usize,
    /// Parts of the images, and shares of a part's pairs of vectors.
    pub parts: usize,
    shares: usize,
    /// Pairs of vectors of output channels in a group.
    pub pairs: usize,
    /// Floats of a part's sums, `[group][pair][block of channels][tap][channel in the block][lane]`.
    pub sums: usize,
    /// Lanes of all vectors of a group's output channels.
    pub out: usize,
    /// Floats of a band's source and gradients.
    scratch: [usize; 2],
}

impl<'a> Plan<'a> {
    pub(crate) fn new(level: Level, gather: &'a Gather, block: usize) -> Self {
        let lanes = vector::lanes(level);
        let out = gather.out.next_multiple_of(lanes);
        let [height, width] = gather.target;
        let floats = |rows: usize| gather.window(0, rows).pixels() * block + 2 * lanes * rows * width;
        let mut rows = height;
        while rows > 1 && floats(rows) > BAND {
            rows = rows.div_ceil(2);
        }
        let bands = height.div_ceil(rows);
        let images = if bands == 1 { (BAND / floats(rows)).clamp(1, gather.batch.max(1)) } else { 1 };
        let channels = gather.channels.next_multiple_of(block);
        let sums = gather.groups * out * channels * gather.kernel;
        let units = (gather.batch.div_ceil(images) * bands).max(1);
        let parts = (SUMS / sums).clamp(1, PARTS).min(units);
        let pairs = out.div_ceil(2 * lanes);
        let shares = PARTS.div_ceil(parts).min(gather.groups * pairs);
        let source = channels * gather.window(0, rows).pixels();
        let scratch = [(images * source).next_multiple_of(16), images * 2 * lanes * rows * width];
        Plan { gather, block, rows, bands, images, parts, shares, pairs, sums, out, scratch }
    }
}

/// One share of one part.
struct Part<'a> {
    plan: &'a Plan<'a>,
    part: usize,
    share: usize,
    x: &'a [f32],
    dy: &'a [f32],
    to: Shared,
    scratch: &'a mut [f32],
}

impl Kernel for Part<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (plan, g) = (self.plan, self.plan.gather);
        let (source, grads) = self.scratch.split_at_mut(plan.scratch[0]);
        let (first, pairs) = even_part(g.groups * plan.pairs, plan.shares, self.share);
        let (unit, units) = even_part(g.batch.div_ceil(plan.images) * plan.bands, plan.parts, self.part);
        for unit in unit..unit + units {
            let band = plan.unit(unit);
            let mut packed = usize::MAX;
            for pair in first..first + pairs {
                let (group, channel) = (pair / plan.pairs, pair % plan.pairs * 2 * S::LANES);
                let start =
                    self.part * plan.sums + (group * plan.out + channel) * plan.sums / (g.groups * plan.out);
                // SAFETY: the features of `S` are there, and this task owns the pair's sums.
                unsafe {
                    if packed != group {
                        packed = group;
                        plan.pack_source::<S>(&band, group, self.x, source);
                    }
                    let vectors = plan.pack_grads::<S>(&band, group, channel, self.dy, grads);
                    plan.add_band::<S>(&band, source, grads, vectors, self.to.at(start));
                }
            }
        }
    }
}

/// Some images, and rows of them.
struct Band {
    first: usize,
    images: usize,
    /// Source pixels, and target pixels.
    source: Window,
    target: Window,
}

impl Plan<'_> {
    #[inline(always)]
    fn unit(&self, at: usize) -> Band {
        let g = self.gather;
        let (first, row) = (at / self.bands * self.images, at % self.bands * self.rows);
        let size = [(g.target[0] - row).min(self.rows), g.target[1]];
        let images = (g.batch - first).min(self.images);
        let target = Window { first: [row as isize, 0], size };
        Band { first, images, source: g.window(row, row + size[0]), target }
    }

    /// Copies the source of a band, `[image][block of channels][window][channel in the block]`.
    ///
    /// # Safety
    /// The processor has the features of `S`.
    #[inline(always)]
    unsafe fn pack_source<S: Simd>(&self, band: &Band, group: usize, x: &[f32], to: &mut [f32]) {
        let g = self.gather;
        let plane = g.source[0] * g.source[1];
        let each = band.source.pixels() * g.channels.next_multiple_of(self.block);
        for (at, to) in to.chunks_exact_mut(each).take(band.images).enumerate() {
            let image = (band.first + at) * g.groups + group;
            let x = &x[image * g.channels * plane..][..g.channels * plane];
            if self.block == 1 {
                copy_planar(x, g.source, g.channels, band.source, to);
            } else {
                // SAFETY: the features of `S` are there.
                unsafe { pack_blocked::<S>(x, g.source, g.channels, band.source, to) };
            }
        }
    }

    /// Copies the gradients of a band, `[image][vector][row][column][L]`, for the pair of vectors from `channel` on; returns
    /// how many vectors it has.
    ///
    /// # Safety
    /// The processor has the features of `S`.
    #[inline(always)]
    unsafe fn pack_grads<S: Simd>(
        &self,
        band: &Band,
        group: usize,
        channel: usize,
        dy: &[f32],
        to: &mut [f32],
    ) -> usize {
        let g = self.gather;
        let plane = g.target[0] * g.target[1];
        let channels = (g.out - channel).min(2 * S::LANES);
        let vectors = channels.div_ceil(S::LANES);
        let each = vectors * band.target.pixels() * S::LANES;
        for (at, to) in to.chunks_exact_mut(each).take(band.images).enumerate() {
            let image = (band.first + at) * g.groups + group;
            let dy = &dy[(image * g.out + channel) * plane..][..channels * plane];
            // SAFETY: the features of `S` are there.
            unsafe { pack_blocked::<S>(dy, g.target, channels, band.target, to) };
        }
        vectors
    }

    /// Adds the products of one band to the sums of one pair of vectors.
    ///
    /// # Safety
    /// The processor has the features of `S`; `source` and `grads` are packed as above, and `sums` belongs to the caller.
    #[inline(always)]
    unsafe fn add_band<S: Simd>(
        &self,
        band: &Band,
        source: &[f32],
        grads: &[f32],
        vectors: usize,
        sums: *mut f32,
    ) {
        let (g, width) = (self.gather, vectors * S::LANES);
        let row = band.source.size[1] * self.block;
        let tile = Correlate {
            x: source.as_ptr(),
            x_pixel: g.source_step[1] * self.block,
            x_row: g.source_step[0] * row,
            x_tap_row: row,
            x_image: band.source.pixels() * g.channels.next_multiple_of(self.block),
            dy: grads.as_ptr(),
            dy_vector: band.target.pixels() * S::LANES,
            dy_image: band.target.pixels() * width,
            size: band.target.size,
            images: band.images,
            sums,
            sums_row: 0,
        };
        // Kernel rows and columns: the offsets of a planar window are what `offsets` counts.
        let taps = &g.phases[0].taps;
        let columns = taps.iter().take_while(|tap| tap.source[0] == taps[0].source[0]).count();
        for block in 0..g.channels.div_ceil(self.block) {
            let plane = block * band.source.pixels() * self.block;
            let to = block * g.kernel * self.block * width;
            // SAFETY: taps and channels stay inside the window and the sums.
            unsafe {
                let tile = Correlate { x: tile.x.add(plane), sums: tile.sums.add(to), ..tile };
                if self.block == 1 {
                    kernel_rows::<S>(tile, [g.kernel / columns, columns], vectors);
                } else {
                    for k in 0..g.kernel {
                        let x = tile.x.add(k / columns * row + k % columns * S::LANES);
                        let sums = tile.sums.add(k * S::LANES * width);
                        channels::<S>(
                            Correlate { x, sums, ..tile },
                            (g.channels - block * S::LANES).min(S::LANES),
                            vectors,
                        );
                    }
                }
            }
        }
    }
}

/// All taps of one channel of a planar source, in rectangles that fit the registers.
#[inline(always)]
unsafe fn kernel_rows<S: Simd>(tile: Correlate, kernel: [usize; 2], vectors: usize) {
    let across = kernel[1].div_ceil(S::TILE.min(7));
    let tall = (S::TILE / kernel[1].div_ceil(across)).clamp(1, 3);
    let down = kernel[0].div_ceil(tall);
    let width = vectors * S::LANES;
    for part in 0..down * across {
        let (i, rows) = even_part(kernel[0], down, part / across);
        let (j, columns) = even_part(kernel[1], across, part % across);
        // SAFETY: the rectangle lies inside the kernel.
        unsafe {
            let x = tile.x.add(i * tile.x_tap_row + j);
            let sums = tile.sums.add((i * kernel[1] + j) * width);
            Correlate { x, sums, sums_row: kernel[1] * width, ..tile }.run::<S>(vectors, rows, columns);
        }
    }
}

/// Adds the sums of `channels` channels of a block: one tap, or one place of transformed tiles.
///
/// # Safety
/// As for [`Correlate::run`].
#[inline(always)]
pub(crate) unsafe fn channels<S: Simd>(tile: Correlate, channels: usize, vectors: usize) {
    let parts = channels.div_ceil(S::TILE.min(8).min(S::LANES));
    for part in 0..parts {
        let (c, width) = even_part(channels, parts, part);
        // SAFETY: the channels lie inside the block.
        unsafe {
            let (x, sums) = (tile.x.add(c), tile.sums.add(c * vectors * S::LANES));
            Correlate { x, sums, ..tile }.run::<S>(vectors, 1, width);
        }
    }
}

/// Adds up the parts in order and brings the sums into the weights' order.
pub(crate) fn add_parts(
    level: Level,
    plan: &Plan,
    sums: &[f32],
    dw: &mut [f32],
    op: &'static str,
) -> Result<()> {
    let g = plan.gather;
    let lanes = vector::lanes(level);
    let to = Shared::new(dw);
    let each = plan.sums / (g.groups * plan.out);
    workers::each(g.groups * plan.pairs, 2 * lanes * each, op, |at, total| {
        let (group, channel) = (at / plan.pairs, at % plan.pairs * 2 * lanes);
        let width = (plan.out - channel).min(2 * lanes);
        let total = &mut total[..width * each];
        let start = (group * plan.out + channel) * each;
        total.copy_from_slice(&sums[start..][..width * each]);
        for part in 1..plan.parts {
            for (to, from) in total.iter_mut().zip(&sums[part * plan.sums + start..]) {
                *to += from;
            }
        }
        let pair = Unpack { g, block: plan.block, total, width, first: group * g.out + channel, to };
        // SAFETY: the level is the processor's or below; every task writes the weights of channels of its own.
        unsafe { vector::run(level, pair) }
    })
}

/// Brings `[block of channels][tap][channel in the block][lane]` into `[lane][channel][tap]`.
struct Unpack<'a> {
    g: &'a Gather,
    block: usize,
    total: &'a [f32],
    width: usize,
    /// The first output channel, over all groups.
    first: usize,
    to: Shared,
}

impl Kernel for Unpack<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let g = self.g;
        let outs = (g.out - self.first % g.out).min(self.width);
        for v in 0..outs.div_ceil(S::LANES) {
            let columns = (outs - v * S::LANES).min(S::LANES);
            for c in 0..g.channels {
                let from =
                    (c / self.block * g.kernel * self.block + c % self.block) * self.width + v * S::LANES;
                let to = (self.first + v * S::LANES) * g.lane_stride + c * g.channel_stride;
                let mut k = 0;
                while k < g.kernel {
                    let rows = (g.kernel - k).min(S::LANES);
                    let step = self.block * self.width;
                    // SAFETY: the sums hold all taps of the channel; the weights written are this task's alone.
                    unsafe {
                        let from = self.total[from + k * step..].as_ptr();
                        S::transpose(from, step, rows, columns, self.to.at(to + k), g.lane_stride, false);
                    }
                    k += rows;
                }
            }
        }
    }
}
