//! Direct convolution: forward and grad-input of any geometry, as register tiles over a zero-padded window.
//!
//! A task is a band of target rows of one image. It copies the window of the source that the band reads, padded, then
//! for each pair of vectors of target channels runs the tiles of the band and transposes what they leave, pixels of
//! channels, back into planes.

use super::{
    gather::{Gather, Phase},
    layout::{copy_planar, unpack_blocked},
    tile::{Finish, Step, Tile, even_part},
    weights::Packed,
};
use crate::{
    cpu::{
        simd::Level,
        vector::{self, Kernel, Simd},
        workers::{self, Shared},
    },
    error::Result,
};

/// Floats of source that a task may copy: half a second-level cache.
const WINDOW: usize = 1 << 17;

/// source (B, groups · channels, h, w) to target (B, groups · out, H, W).
pub(crate) fn run(
    level: Level,
    gather: &Gather,
    source: &[f32],
    weights: &Packed,
    target: &mut [f32],
    op: &'static str,
) -> Result<()> {
    if target.is_empty() {
        return Ok(());
    }
    let lanes = vector::lanes(level);
    let rows = band(gather, lanes);
    let bands = gather.target[0].div_ceil(rows);
    let in_place = gather.window(0, gather.target[0]).inside(gather.source);
    let window = gather.window(0, rows);
    let (row, channel) = if in_place {
        (gather.source[1], gather.source[0] * gather.source[1])
    } else {
        (window.size[1], window.pixels())
    };
    let plan = Plan { gather, in_place, row, channel, offsets: gather.offsets(row, 1), weights };
    let copy = if in_place { 0 } else { (gather.channels * channel).next_multiple_of(16) };
    let sums = 2 * lanes * rows * gather.target[1];
    let target = Shared::new(target);
    workers::each(gather.batch * gather.groups * bands, copy + sums, op, |at, scratch| {
        let (copy, sums) = scratch.split_at_mut(copy);
        let from = at % bands * rows;
        let to = (from + rows).min(gather.target[0]);
        let band = Band { plan: &plan, at: at / bands, rows: [from, to], source, target, copy, sums };
        // SAFETY: `level` is the processor's or below; tasks write to different images, groups or rows.
        unsafe { vector::run(level, band) }
    })
}

/// Target rows of a task, a multiple of the target step: as many as the window allows, but enough tasks for all threads.
/// A pixel's sum does not depend on it.
fn band(gather: &Gather, lanes: usize) -> usize {
    let step = gather.target_step[0];
    let tasks = (gather.batch * gather.groups).max(1);
    let wanted = (4 * rayon::current_num_threads()).div_ceil(tasks);
    let mut rows = gather.target[0].div_ceil(wanted).next_multiple_of(step);
    let floats =
        |rows: usize| gather.channels * gather.window(0, rows).pixels() + 2 * lanes * rows * gather.target[1];
    while rows > step && floats(rows) > WINDOW {
        rows = (rows / 2).next_multiple_of(step);
    }
    rows
}

/// What all tasks share. Strides count floats.
struct Plan<'a> {
    gather: &'a Gather,
    /// Whether the taps never leave the source, so that it need not be copied.
    in_place: bool,
    /// Between the rows of the window, or of the source if it is read in place.
    row: usize,
    /// Between its channels.
    channel: usize,
    /// Of each phase's taps.
    offsets: Vec<Vec<usize>>,
    weights: &'a Packed,
}

/// One task: target rows `rows[0] .. rows[1]` of one group of one image.
struct Band<'a> {
    plan: &'a Plan<'a>,
    /// image * groups + group
    at: usize,
    rows: [usize; 2],
    source: &'a [f32],
    target: Shared,
    copy: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Kernel for Band<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (plan, g) = (self.plan, self.plan.gather);
        let plane = g.source[0] * g.source[1];
        let source = &self.source[self.at * g.channels * plane..][..g.channels * plane];
        let mut window = g.window(self.rows[0], self.rows[1]);
        let x = if plan.in_place {
            &source[window.first[0] as usize * plan.row + window.first[1] as usize..]
        } else {
            // The last band may be lower; its channels stand as far apart as those of the others.
            window.size[0] = plan.channel / plan.row;
            copy_planar(source, g.source, g.channels, window, self.copy);
            &self.copy[..]
        };
        let pixels = (self.rows[1] - self.rows[0]) * g.target[1];
        let target_plane = g.target[0] * g.target[1];
        let mut channel = 0;
        while channel < g.out {
            let vectors = (g.out - channel).div_ceil(S::LANES).min(2);
            let channels = (g.out - channel).min(vectors * S::LANES);
            for phase in 0..g.phases.len() {
                // SAFETY: the window covers what the phase's taps read.
                unsafe {
                    plan.tiles::<S>(phase, self.rows, x, self.at % g.groups, channel, vectors, self.sums)
                };
            }
            let first = (self.at * g.out + channel) * target_plane + self.rows[0] * g.target[1];
            // SAFETY: the task owns these rows of these channels.
            unsafe {
                unpack_blocked::<S>(self.sums, pixels, pixels, channels, self.target.at(first), target_plane)
            };
            channel += channels;
        }
    }
}

impl Plan<'_> {
    /// All tiles of one phase of a band, for `vectors` vectors of target channels from `channel` on, into `sums`
    /// `[vector][row of the band][column][L]`.
    ///
    /// # Safety
    /// The processor has the features of `S`; `x` covers what the phase's taps read.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    unsafe fn tiles<S: Simd>(
        &self,
        phase: usize,
        band: [usize; 2],
        x: &[f32],
        group: usize,
        channel: usize,
        vectors: usize,
        sums: &mut [f32],
    ) {
        let (g, step, source_step) = (self.gather, self.gather.target_step, self.gather.source_step);
        let Phase { first, count, taps } = &g.phases[phase];
        let rows = (band[1] - band[0]).saturating_sub(first[0]).div_ceil(step[0]);
        let kind = match source_step[1] {
            1 => Step::Planar1,
            2 => Step::Planar2,
            _ => Step::Any,
        };
        let tall = if kind != Step::Any && count[1] * 2 <= S::TILE { 2 } else { 1 };
        let tile = Tile {
            x: x.as_ptr(),
            x_row: source_step[0] * self.row,
            x_pixel: source_step[1],
            taps: self.offsets[phase].as_ptr(),
            tap_count: taps.len(),
            channels: g.channels,
            x_block: self.channel,
            w: self.weights.part(group, channel, phase).as_ptr(),
            y: sums.as_mut_ptr(),
            y_vector: (band[1] - band[0]) * g.target[1] * S::LANES,
            y_row: step[0] * g.target[1] * S::LANES,
            y_pixel: step[1] * S::LANES,
            finish: Finish { bias: self.weights.bias(group, channel), ..Finish::NONE },
        };
        let parts = count[1].div_ceil(S::TILE / tall);
        let mut row = 0;
        while row < rows {
            let height = tall.min(rows - row);
            for part in 0..parts {
                let (column, width) = even_part(count[1], parts, part);
                let pixel = (first[0] + row * step[0]) * g.target[1] + first[1] + column * step[1];
                // SAFETY: the tile's pixels lie inside the phase and the band, its source pixels inside `x`, and
                // `sums` holds `vectors` vectors for every pixel of the band.
                unsafe {
                    Tile {
                        x: tile.x.add(row * tile.x_row + column * source_step[1]),
                        y: tile.y.add(pixel * S::LANES),
                        ..tile
                    }
                    .run::<S>(vectors, height, width, kind);
                }
            }
            row += height;
        }
    }
}
