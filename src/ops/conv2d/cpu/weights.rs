//! Weights in the order in which the tiles read them: `[group][pair of vectors][phase][block of source channels][tap][source
//! channel in the block][lane]`, the lanes of up to two vectors being target channels; planar sources have blocks of one
//! channel. A tile streams through its weights once, front to back.

use super::gather::Gather;
use crate::{
    cpu::{
        Scratch,
        simd::Level,
        vector::{self, Kernel, Simd},
        workers::{self, Shared},
    },
    error::Result,
};

/// Packed weights, and the bias in lanes. Lanes beyond the last target channel are zero.
pub(crate) struct Packed {
    order: Order,
    data: Scratch<f32>,
    /// `[group][lanes of all target channels]`.
    bias: Option<Scratch<f32>>,
}

/// Where a part stands in the packed weights.
struct Order {
    /// Target channels of a group, rounded up to whole vectors.
    out: usize,
    /// Target channels of a pair of vectors.
    pair: usize,
    /// Source channels of a group.
    channels: usize,
    /// Taps of the phases before each phase, and of all.
    before: Vec<usize>,
}

impl Order {
    fn new(gather: &Gather, lanes: usize) -> Self {
        let mut before = vec![0];
        for phase in &gather.phases {
            before.push(before[before.len() - 1] + phase.taps.len());
        }
        Order { out: gather.out.next_multiple_of(lanes), pair: 2 * lanes, channels: gather.channels, before }
    }

    /// Weights of one target channel.
    fn each(&self) -> usize {
        self.channels * self.before[self.before.len() - 1]
    }

    /// The lanes of the pair that begins at target channel `channel`.
    fn width(&self, channel: usize) -> usize {
        (self.out - channel).min(self.pair)
    }

    /// Where `phase` of the pair that begins at target channel `channel` of `group` begins.
    fn start(&self, group: usize, channel: usize, phase: usize) -> usize {
        (group * self.out + channel) * self.each() + self.before[phase] * self.channels * self.width(channel)
    }
}

impl Packed {
    /// `weights` in the order that `gather` describes, `bias` (groups · out); `block` source channels stand side by side.
    pub(crate) fn new(
        level: Level,
        gather: &Gather,
        block: usize,
        weights: &[f32],
        bias: Option<&[f32]>,
        op: &'static str,
    ) -> Result<Self> {
        let lanes = vector::lanes(level);
        let order = Order::new(gather, lanes);
        let bias = bias.map(|bias| lanes_of(bias, gather.out, order.out, op)).transpose()?;
        let mut data = Scratch::new(gather.groups * order.out * order.each(), op)?;
        let pairs = order.out.div_ceil(order.pair);
        let tile = gather.kernel.next_multiple_of(lanes) * lanes;
        let to = Shared::new(&mut data);
        workers::each(gather.groups * pairs, tile, op, |at, tile| {
            let (group, first) = (at / pairs, at % pairs * order.pair);
            let width = order.width(first);
            // SAFETY: every pair has a part of its own.
            let to = unsafe { to.part(order.start(group, first, 0), width * order.each()) };
            let weights = &weights[group * gather.group_stride..];
            let pair = Pair { gather, block, weights, first, width, to, tile };
            // SAFETY: the level is the processor's or below.
            unsafe { vector::run(level, pair) }
        })?;
        Ok(Packed { order, data, bias })
    }

    /// The weights of one phase for the pair of vectors that begins at target channel `channel` of `group`:
    /// `[block][tap][source channel in the block][lane]`.
    #[inline(always)]
    pub(crate) fn part(&self, group: usize, channel: usize, phase: usize) -> &[f32] {
        &self.data[self.order.start(group, channel, phase)..]
    }

    /// The bias of the same target channels, or null.
    #[inline(always)]
    pub(crate) fn bias(&self, group: usize, channel: usize) -> *const f32 {
        self.bias.as_ref().map_or(std::ptr::null(), |b| b[group * self.order.out + channel..].as_ptr())
    }
}

/// Groups of `out` values, each padded with zeros to `padded`.
pub(crate) fn lanes_of(values: &[f32], out: usize, padded: usize, op: &'static str) -> Result<Scratch<f32>> {
    let mut to = Scratch::zeroed(values.len().div_ceil(out.max(1)) * padded, op)?;
    for (to, from) in to.chunks_exact_mut(padded.max(1)).zip(values.chunks_exact(out.max(1))) {
        to[..out].copy_from_slice(from);
    }
    Ok(to)
}

/// Packs one pair of vectors.
struct Pair<'a> {
    gather: &'a Gather,
    block: usize,
    /// From the group's first weight on.
    weights: &'a [f32],
    /// Its first target channel and its lanes.
    first: usize,
    width: usize,
    to: &'a mut [f32],
    /// The kernel of L target channels and one source channel, `[tap][lane]`.
    tile: &'a mut [f32],
}

impl Kernel for Pair<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let g = self.gather;
        for v in 0..self.width / S::LANES {
            let lane = self.first + v * S::LANES;
            let rows = (g.out - lane).min(S::LANES);
            for c in 0..g.channels {
                // SAFETY: the level's features are there, says the caller.
                unsafe { kernel_of::<S>(g, self.weights, lane, rows, c, self.tile) };
                let (first, inside) = (c / self.block * self.block, c % self.block);
                let block = (g.channels - first).min(self.block);
                let mut before = 0;
                for phase in &g.phases {
                    let taps = phase.taps.len();
                    for (k, tap) in phase.taps.iter().enumerate() {
                        let row = (before * g.channels) + first * taps + k * block + inside;
                        let at = row * self.width + v * S::LANES;
                        let from = &self.tile[tap.kernel * S::LANES..][..S::LANES];
                        self.to[at..at + S::LANES].copy_from_slice(from);
                    }
                    before += taps;
                }
            }
        }
    }
}

/// The whole kernel of source channel `channel` for `rows` target channels from `lane` on, as `[tap][lane]`.
///
/// # Safety
/// The processor has the features of `S`.
#[inline(always)]
pub(crate) unsafe fn kernel_of<S: Simd>(
    g: &Gather,
    weights: &[f32],
    lane: usize,
    rows: usize,
    channel: usize,
    tile: &mut [f32],
) {
    let start = lane * g.lane_stride + channel * g.channel_stride;
    assert!(start + (rows - 1) * g.lane_stride + g.kernel <= weights.len());
    assert!(g.kernel * S::LANES <= tile.len());
    let mut k = 0;
    while k < g.kernel {
        let taps = (g.kernel - k).min(S::LANES);
        // SAFETY: the block read lies inside `weights` and the one written inside `tile` (asserted).
        unsafe {
            let from = weights.as_ptr().add(start + k);
            S::transpose(
                from,
                g.lane_stride,
                rows,
                taps,
                tile.as_mut_ptr().add(k * S::LANES),
                S::LANES,
                true,
            );
        }
        k += taps;
    }
}
