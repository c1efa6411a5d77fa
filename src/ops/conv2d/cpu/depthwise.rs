//! Depthwise convolution, every channel with a kernel of its own: forward, grad-input and grad-weight. The lanes are
//! channels in all three; there is nothing to sum over but taps (or pixels, for grad-weight), so loads are the limit.

use super::{
    gather::Gather,
    layout::{Window, pack_blocked, unpack_blocked},
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

/// Floats of the source and target pixels of a task.
const PIXELS: usize = 1 << 16;
/// Parts that the images are divided into for grad-weight.
const PARTS: usize = 16;

/// Target rows of a task, a multiple of the target step.
fn band(g: &Gather, lanes: usize) -> usize {
    let step = g.target_step[0];
    let mut rows = g.target[0].next_multiple_of(step);
    while rows > step && (g.window(0, rows).pixels() + rows * g.target[1]) * lanes > PIXELS {
        rows = (rows / 2).next_multiple_of(step);
    }
    rows
}

/// Kernels of one block of channels, `[tap][L]`, from `weights` `[channel][tap]`.
#[inline(always)]
fn kernels<S: Simd>(weights: &[f32], taps: usize, channel: usize, channels: usize, to: &mut [f32]) {
    for (at, to) in to[..taps * S::LANES].iter_mut().enumerate() {
        let (tap, lane) = (at / S::LANES, at % S::LANES);
        *to = if lane < channels { weights[(channel + lane) * taps + tap] } else { 0.0 };
    }
}

/// source (B, C, h, w), weights (C, 1, kh, kw), bias (C) to target (B, C, H, W): `gather` has C groups of one channel.
pub(crate) fn run(
    level: Level,
    gather: &Gather,
    source: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    target: &mut [f32],
    op: &'static str,
) -> Result<()> {
    if target.is_empty() {
        return Ok(());
    }
    let lanes = vector::lanes(level);
    let rows = band(gather, lanes);
    let bands = gather.target[0].div_ceil(rows);
    let blocks = gather.groups.div_ceil(lanes);
    let window = gather.window(0, rows);
    let sizes = [window.pixels() * lanes, rows * gather.target[1] * lanes, gather.kernel * lanes];
    let offsets = &gather.offsets(window.size[1] * lanes, lanes);
    let target = Shared::new(target);
    workers::each(gather.batch * blocks * bands, sizes.iter().sum(), op, |at, scratch| {
        let (image, block, band) = (at / bands / blocks, at / bands % blocks, at % bands);
        let rows = [band * rows, (band * rows + rows).min(gather.target[0])];
        let task =
            Forward { gather, offsets, sizes, image, block, rows, source, weights, bias, target, scratch };
        // SAFETY: the level is the processor's or below; every task writes rows and channels of its own.
        unsafe { vector::run(level, task) }
    })
}

struct Forward<'a> {
    gather: &'a Gather,
    offsets: &'a [Vec<usize>],
    sizes: [usize; 3],
    image: usize,
    block: usize,
    /// Target rows.
    rows: [usize; 2],
    source: &'a [f32],
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    target: Shared,
    scratch: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let g = self.gather;
        let (x, rest) = self.scratch.split_at_mut(self.sizes[0]);
        let (y, w) = rest.split_at_mut(self.sizes[1]);
        let channel = self.block * S::LANES;
        let channels = (g.groups - channel).min(S::LANES);
        let at = self.image * g.groups + channel;
        let (plane, target_plane) = (g.source[0] * g.source[1], g.target[0] * g.target[1]);
        let mut window = g.window(self.rows[0], self.rows[1]);
        window.size[0] = self.sizes[0] / S::LANES / window.size[1];
        kernels::<S>(self.weights, g.kernel, channel, channels, w);
        let mut bias = [0.0; 16];
        if let Some(from) = self.bias {
            bias[..channels].copy_from_slice(&from[channel..channel + channels]);
        }
        // SAFETY: the window covers every tap of every pixel; the task owns the rows it writes.
        unsafe {
            pack_blocked::<S>(&self.source[at * plane..][..channels * plane], g.source, channels, window, x);
            let bias = S::load(bias.as_ptr());
            for (phase, offsets) in g.phases.iter().zip(self.offsets) {
                let rows =
                    (self.rows[1] - self.rows[0]).saturating_sub(phase.first[0]).div_ceil(g.target_step[0]);
                for (r, q) in (0..rows).flat_map(|r| (0..phase.count[1]).map(move |q| (r, q))) {
                    let from = (r * g.source_step[0] * window.size[1] + q * g.source_step[1]) * S::LANES;
                    let mut sum = bias;
                    for (tap, offset) in phase.taps.iter().zip(offsets) {
                        let w = S::load(w.as_ptr().add(tap.kernel * S::LANES));
                        sum = S::mul_add(S::load(x.as_ptr().add(from + offset)), w, sum);
                    }
                    let row = phase.first[0] + r * g.target_step[0];
                    let column = phase.first[1] + q * g.target_step[1];
                    S::store(y.as_mut_ptr().add((row * g.target[1] + column) * S::LANES), sum);
                }
            }
            let pixels = (self.rows[1] - self.rows[0]) * g.target[1];
            let to = self.target.at(at * target_plane + self.rows[0] * g.target[1]);
            unpack_blocked::<S>(y, pixels, pixels, channels, to, target_plane);
        }
    }
}

/// x (B, C, H, W), dy (B, C, h, w) to dw (C, 1, kh, kw): `gather` is that of the forward convolution.
pub(crate) fn grad_weight(
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
    let rows = band(gather, lanes);
    let bands = gather.target[0].div_ceil(rows);
    let blocks = gather.groups.div_ceil(lanes);
    let parts = PARTS.min(gather.batch * bands).max(1);
    let window = gather.window(0, rows);
    let sizes = [window.pixels() * lanes, rows * gather.target[1] * lanes];
    let offsets = &gather.offsets(window.size[1] * lanes, lanes)[0];
    let each = gather.kernel * lanes;
    let mut sums = Scratch::<f32>::zeroed(blocks * parts * each, op)?;
    let to = Shared::new(&mut sums);
    workers::each(blocks * parts, sizes.iter().sum(), op, |at, scratch| {
        // SAFETY: every task has sums of its own.
        let sums = unsafe { to.part(at * each, each) };
        let units = even_part(gather.batch * bands, parts, at % parts);
        let task = GradWeight {
            gather,
            offsets,
            sizes,
            rows,
            bands,
            block: at / parts,
            units,
            x,
            dy,
            sums,
            scratch,
        };
        // SAFETY: the level is the processor's or below.
        unsafe { vector::run(level, task) }
    })?;
    for (c, dw) in dw.chunks_exact_mut(gather.kernel).enumerate() {
        for (tap, dw) in dw.iter_mut().enumerate() {
            let at = c / lanes * parts * each + tap * lanes + c % lanes;
            *dw = (0..parts).map(|part| sums[at + part * each]).sum();
        }
    }
    Ok(())
}

struct GradWeight<'a> {
    gather: &'a Gather,
    offsets: &'a [usize],
    sizes: [usize; 2],
    /// Target rows of a band, and bands of an image.
    rows: usize,
    bands: usize,
    block: usize,
    /// The first band of the part and how many it has.
    units: (usize, usize),
    x: &'a [f32],
    dy: &'a [f32],
    /// `[tap][L]`.
    sums: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl Kernel for GradWeight<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let g = self.gather;
        let (x, grads) = self.scratch.split_at_mut(self.sizes[0]);
        let channel = self.block * S::LANES;
        let channels = (g.groups - channel).min(S::LANES);
        let (plane, target_plane) = (g.source[0] * g.source[1], g.target[0] * g.target[1]);
        for unit in self.units.0..self.units.0 + self.units.1 {
            let row = unit % self.bands * self.rows;
            let size = [self.rows.min(g.target[0] - row), g.target[1]];
            let at = unit / self.bands * g.groups + channel;
            let window = g.window(row, row + size[0]);
            let target = Window { first: [row as isize, 0], size };
            // SAFETY: the window covers every tap of every pixel of the band.
            unsafe {
                pack_blocked::<S>(&self.x[at * plane..][..channels * plane], g.source, channels, window, x);
                let dy = &self.dy[at * target_plane..][..channels * target_plane];
                pack_blocked::<S>(dy, g.target, channels, target, grads);
                for (tap, offset) in self.offsets.iter().enumerate() {
                    // Four sums, so that one multiply-add need not wait for the last.
                    let mut sums = [S::splat(0.0); 4];
                    for r in 0..size[0] {
                        let x = x.as_ptr().add(r * g.source_step[0] * window.size[1] * S::LANES + offset);
                        let dy = grads.as_ptr().add(r * size[1] * S::LANES);
                        for q in 0..size[1] {
                            let value = S::load(x.add(q * g.source_step[1] * S::LANES));
                            sums[q % 4] = S::mul_add(value, S::load(dy.add(q * S::LANES)), sums[q % 4]);
                        }
                    }
                    let sum = S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
                    let to = self.sums[tap * S::LANES..].as_mut_ptr();
                    S::store(to, S::add(S::load(to), sum));
                }
            }
        }
    }
}
