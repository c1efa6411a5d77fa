//! Forward convolution and grad-input as the one thing that both are: every target pixel gathers, over some taps and
//! all source channels, source pixels times weights.
//!
//! Forward: target = y, source = x, and neighbouring target pixels read source pixels a stride apart. Grad-input:
//! target = dx, source = dy; a stride s leaves s × s phases of target pixels, each of which sees only the taps whose
//! distance is a multiple of the stride, on source pixels one apart. With stride 1 there is one phase with all taps,
//! flipped: the forward kernel serves as grad-input.

use super::{super::Shape, layout::Window};

/// One tap of a phase.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap {
    /// Its place in the kernel, `row * kw + column`.
    pub kernel: usize,
    /// The source pixel that it brings to the phase's first target pixel; may lie outside the source.
    pub source: [isize; 2],
}

/// The target pixels `first + step * i` and the taps that reach them.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    pub first: [usize; 2],
    /// How many target pixels it has, down and across.
    pub count: [usize; 2],
    pub taps: Vec<Tap>,
}

/// A convolution seen from its target. Channels are those of one group.
#[derive(Clone, Debug)]
pub(crate) struct Gather {
    pub batch: usize,
    pub groups: usize,
    /// Source channels of a group.
    pub channels: usize,
    /// Target channels of a group.
    pub out: usize,
    /// Height and width of the source.
    pub source: [usize; 2],
    /// Height and width of the target.
    pub target: [usize; 2],
    /// Taps of the kernel.
    pub kernel: usize,
    /// Between neighbouring target pixels of a phase, in the target.
    pub target_step: [usize; 2],
    /// Between the source pixels that they read.
    pub source_step: [usize; 2],
    pub phases: Vec<Phase>,
    /// The weight of target channel `o`, source channel `c`, tap `k` of group `g` is number
    /// `g * group_stride + o * lane_stride + c * channel_stride + k`.
    pub group_stride: usize,
    pub lane_stride: usize,
    pub channel_stride: usize,
}

impl Gather {
    /// y from x.
    pub(crate) fn forward(s: &Shape) -> Self {
        let (channels, out) = (s.channels / s.groups, s.out / s.groups);
        let kernel = s.kernel[0] * s.kernel[1];
        let tap = |k: usize| Tap {
            kernel: k,
            source: [
                (k / s.kernel[1]) as isize - s.padding[0] as isize,
                (k % s.kernel[1]) as isize - s.padding[2] as isize,
            ],
        };
        Gather {
            batch: s.batch,
            groups: s.groups,
            channels,
            out,
            source: s.image,
            target: s.output,
            kernel,
            target_step: [1, 1],
            source_step: s.stride,
            phases: vec![Phase { first: [0, 0], count: s.output, taps: (0..kernel).map(tap).collect() }],
            group_stride: out * channels * kernel,
            lane_stride: channels * kernel,
            channel_stride: kernel,
        }
    }

    /// dx from dy.
    pub(crate) fn grad_input(s: &Shape) -> Self {
        let (channels, out) = (s.channels / s.groups, s.out / s.groups);
        let kernel = s.kernel[0] * s.kernel[1];
        let mut phases = Vec::new();
        for a in 0..s.stride[0].min(s.image[0]) {
            for b in 0..s.stride[1].min(s.image[1]) {
                let rows = reaching(a, s.padding[0], s.kernel[0], s.stride[0]);
                let columns = reaching(b, s.padding[2], s.kernel[1], s.stride[1]);
                let taps = rows
                    .iter()
                    .flat_map(|&(i, row)| {
                        columns.iter().map(move |&(j, column)| Tap {
                            kernel: i * s.kernel[1] + j,
                            source: [row, column],
                        })
                    })
                    .collect();
                let count = [(s.image[0] - a).div_ceil(s.stride[0]), (s.image[1] - b).div_ceil(s.stride[1])];
                phases.push(Phase { first: [a, b], count, taps });
            }
        }
        Gather {
            batch: s.batch,
            groups: s.groups,
            channels: out,
            out: channels,
            source: s.output,
            target: s.image,
            kernel,
            target_step: s.stride,
            source_step: [1, 1],
            phases,
            group_stride: out * channels * kernel,
            lane_stride: kernel,
            channel_stride: channels * kernel,
        }
    }

    /// The least and the greatest source pixel that the taps of a phase's first pixel bring, along each axis; `None`
    /// when no tap reaches any target pixel.
    pub(crate) fn reach(&self) -> Option<[[isize; 2]; 2]> {
        let taps = || self.phases.iter().flat_map(|p| &p.taps);
        let low = |axis: usize| taps().map(|tap| tap.source[axis]).min();
        let high = |axis: usize| taps().map(|tap| tap.source[axis]).max();
        Some([[low(0)?, low(1)?], [high(0)?, high(1)?]])
    }

    /// The window of the source that target rows `from .. to` read; `from` is a multiple of the target step.
    pub(crate) fn window(&self, from: usize, to: usize) -> Window {
        let Some([low, high]) = self.reach() else {
            return Window { first: [0, 0], size: [1, 1] };
        };
        let count = |axis: usize, pixels: usize| pixels.div_ceil(self.target_step[axis]) as isize;
        let steps = [count(0, to - from) - 1, count(1, self.target[1]) - 1];
        let first_row = (from / self.target_step[0] * self.source_step[0]) as isize;
        let size = [0, 1].map(|a| (high[a] - low[a] + 1 + steps[a] * self.source_step[a] as isize) as usize);
        Window { first: [first_row + low[0], low[1]], size }
    }

    /// For each phase, the offset of each tap in a window whose rows are `row` floats and pixels `pixel` floats apart.
    pub(crate) fn offsets(&self, row: usize, pixel: usize) -> Vec<Vec<usize>> {
        let low = self.reach().map_or([0, 0], |[low, _]| low);
        let offset = |tap: &Tap| {
            let [r, q] = [0, 1].map(|a| (tap.source[a] - low[a]) as usize);
            r * row + q * pixel
        };
        self.phases.iter().map(|phase| phase.taps.iter().map(offset).collect()).collect()
    }
}

/// The taps (kernel row or column, source row or column) that reach target pixel `at`, below `stride`, along one axis.
fn reaching(at: usize, padding: usize, kernel: usize, stride: usize) -> Vec<(usize, isize)> {
    (0..kernel)
        .filter_map(|k| {
            let distance = (at + padding) as isize - k as isize;
            (distance.rem_euclid(stride as isize) == 0).then(|| (k, distance.div_euclid(stride as isize)))
        })
        .collect()
}
