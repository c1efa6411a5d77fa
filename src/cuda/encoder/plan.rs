//! The encoder's program: which layer reads and writes which plane of a block's shared memory, and where in the tables it
//! says where pixels lie. Made for patches of one size, before any weight is packed.

use super::{EncoderParams, FoldedBlock, FoldedConv, FoldedNetwork, Layer, NONE, WARP};
use crate::ops::GlobalPool;
use bytemuck::Zeroable;
use std::ops::Range;

/// A block's patches are as many as give the last plane so many pixels, or as there is memory for.
const PIXELS: usize = 96;
const MOST_PATCHES: usize = 8;

impl FoldedConv<'_> {
    /// O, C, and the size of a square kernel with the padding that keeps the resolution; none: it is another kind.
    fn sizes(&self) -> Option<[usize; 3]> {
        let &[out, channels, height, width] = &*self.weight.dims() else { return None };
        let g = &self.geometry;
        let square = height == width && height % 2 == 1 && g.stride[0] == g.stride[1];
        let even = g.padding == [height / 2; 4] && g.groups == 1 && out.is_multiple_of(16);
        (square && even).then_some([out, channels, height])
    }
}

/// A plane of one patch in shared memory, in rows of 16 bytes: eight channels of a pixel each.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Plane {
    channels: usize,
    size: [usize; 2],
    /// First row of the first patch.
    start: usize,
    /// Where in the tables it is said where its pixels lie.
    table: usize,
}

impl Plane {
    fn pitch(&self) -> usize {
        self.size[1] + 1
    }

    /// Rows between groups of eight channels.
    fn group(&self) -> usize {
        (self.size[0] + 2) * self.pitch() + 1
    }

    /// Rows between patches.
    fn patch(&self) -> usize {
        self.channels.div_ceil(8) * self.group()
    }

    fn pixels(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Where its rows are for so many patches.
    fn rows(&self, patches: usize) -> Range<usize> {
        self.start..self.start + patches * self.patch()
    }

    /// The rows of every `stride`-th pixel.
    fn places(&self, stride: usize) -> impl Iterator<Item = usize> {
        let ([height, width], pitch) = (self.size, self.pitch());
        (0..height)
            .step_by(stride)
            .flat_map(move |y| (0..width).step_by(stride).map(move |x| (y + 1) * pitch + x + 1))
    }
}

/// The first row from which a plane of so many rows fits beside those that are in use.
fn free(rows: usize, in_use: &[Range<usize>]) -> usize {
    let fits = |start: &usize| in_use.iter().all(|used| start + rows <= used.start || used.end <= *start);
    let mut starts: Vec<usize> = in_use.iter().map(|used| used.end).chain([0]).filter(fits).collect();
    starts.sort_unstable();
    starts.first().copied().unwrap_or(0)
}

/// What is known of a network before its weights are packed.
pub(super) struct Plan {
    group: usize,
    pub(super) layers: Vec<Layer>,
    pub(super) tables: Vec<u16>,
    pub(super) params: EncoderParams,
    /// Rows that all planes take.
    rows: usize,
    /// Quads and biases so far.
    pub(super) quads: usize,
    biases: usize,
}

impl Plan {
    fn table(&mut self, entries: impl IntoIterator<Item = usize>) -> Option<usize> {
        let first = self.tables.len();
        for entry in entries {
            self.tables.push(u16::try_from(entry).ok()?);
        }
        Some(first)
    }

    /// A plane beside others, cleared.
    fn plane(&mut self, channels: usize, size: [usize; 2], beside: &[Plane]) -> Option<Plane> {
        let mut plane = Plane { channels, size, start: 0, table: 0 };
        let in_use: Vec<Range<usize>> = beside.iter().map(|other| other.rows(self.group)).collect();
        plane.start = free(self.group * plane.patch(), &in_use);
        plane.table = self.table(plane.places(1))?;
        let rows = plane.rows(self.group);
        self.rows = self.rows.max(rows.end);
        let (target, rows) = (rows.start as u32, rows.len() as u32);
        self.layers.push(Layer { clears: 1, target, rows, ..Layer::zeroed() });
        Some(plane)
    }

    /// Accounts for a layer's weights, of so many steps.
    fn weights(&mut self, layer: Layer, out: usize, steps: usize) -> Layer {
        let layer =
            Layer { weights: self.quads as u32, bias: self.biases as u32, out_channels: out as u32, ..layer };
        self.quads += out.div_ceil(32) * 2 * steps * WARP;
        self.biases += out;
        layer
    }

    /// A convolution from one plane to another.
    fn conv(
        &mut self,
        conv: &FoldedConv,
        from: &Plane,
        to: &Plane,
        then: Option<&Plane>,
        relu: bool,
    ) -> Option<()> {
        let [out, channels, kernel] = conv.sizes()?;
        let stride = conv.geometry.stride[0];
        if out != to.channels || channels != from.channels || !channels.is_multiple_of(16) || kernel > 3 {
            return None;
        }
        let reads = if stride == 1 { from.table } else { self.table(from.places(stride))? };
        let layer = Layer {
            source: from.start as u32,
            source_group: from.group() as u32,
            source_patch: from.patch() as u32,
            source_pitch: from.pitch() as u32,
            target: to.start as u32,
            target_group: to.group() as u32,
            target_patch: to.patch() as u32,
            residual: then.map_or(NONE, |plane| plane.start as u32),
            kernel: kernel as u32,
            in_steps: (channels / 16) as u32,
            pixels: to.pixels() as u32,
            reads: reads as u32,
            writes: to.table as u32,
            relu: relu.into(),
            ..Layer::zeroed()
        };
        let layer = self.weights(layer, out, kernel * kernel * channels / 16);
        self.layers.push(layer);
        Some(())
    }

    /// The stem, from pixels to the first plane.
    fn stem(&mut self, stem: &FoldedConv, patch: [usize; 2]) -> Option<Plane> {
        let [out, channels, kernel] = stem.sizes()?;
        let stride = stem.geometry.stride[0];
        let pad = kernel / 2;
        if kernel > 8 || !stride.is_multiple_of(2) || patch.iter().any(|side| side + 2 * pad < kernel) {
            return None;
        }
        let result = patch.map(|side| (side + 2 * pad - kernel) / stride + 1);
        let size = result.map(|side| (side - 1) / 2 + 1);
        let steps = (channels * kernel).div_ceil(2);
        // Windows of eight columns end within a row, and rows begin at whole words.
        let pitch = (stride * (result[1] - 1) + 8).max(patch[1] + 2 * pad).next_multiple_of(2);
        let rows = (stride * (result[0] - 1) + kernel).max(patch[0] + 2 * pad);
        let begins = (0..2 * steps).map(|line| match line / kernel {
            channel if channel < channels => (channel * rows + line % kernel) * pitch,
            _ => 0,
        });
        let begins = self.table(begins)?;
        if size.iter().any(|&side| side > 255) {
            return None;
        }
        let pixels = self.table((0..size[0]).flat_map(|y| (0..size[1]).map(move |x| y << 8 | x)))?;
        let plane = self.plane(out, size, &[])?;
        let layer = Layer {
            source: NONE,
            target: plane.start as u32,
            target_group: plane.group() as u32,
            target_patch: plane.patch() as u32,
            residual: NONE,
            pixels: plane.pixels() as u32,
            writes: plane.table as u32,
            relu: 1,
            ..Layer::zeroed()
        };
        let layer = self.weights(layer, out, steps);
        self.layers.push(layer);
        self.params = EncoderParams {
            channels: channels as u32,
            height: patch[0] as u32,
            width: patch[1] as u32,
            image_pitch: pitch as u32,
            image_rows: rows as u32,
            pad: pad as u32,
            stem_stride: stride as u32,
            stem_height: result[0] as u32,
            stem_width: result[1] as u32,
            stem_steps: steps as u32,
            stem_rows: begins as u32,
            stem_pixels: pixels as u32,
            ..self.params
        };
        Some(plane)
    }

    /// A block: `x` is the plane that it reads and, without a shortcut, writes; `t` lies between its convolutions.
    fn block(&mut self, block: &FoldedBlock, x: Plane, t: Option<Plane>) -> Option<(Plane, Plane)> {
        let [out, _, _] = block.conv1.sizes()?;
        let stride = block.conv1.geometry.stride[0];
        let size = x.size.map(|side| (side - 1) / stride + 1);
        let (y, t) = match (&block.shortcut, t) {
            (None, Some(t)) => (x, t),
            (None, None) => (x, self.plane(out, size, &[x])?),
            (Some(_), _) => {
                let y = self.plane(out, size, &[x])?;
                (y, self.plane(out, size, &[x, y])?)
            }
        };
        self.conv(&block.conv1, &x, &t, None, true)?;
        if let Some(shortcut) = &block.shortcut {
            self.conv(shortcut, &x, &y, None, false)?;
        }
        self.conv(&block.conv2, &t, &y, Some(&y), true)?;
        Some((y, t))
    }

    /// The plan for so many patches at a time; none: the kernel does not have what the network needs.
    fn new(network: &FoldedNetwork, patch: [usize; 2], group: usize) -> Option<Plan> {
        let mut plan = Plan {
            group,
            layers: Vec::new(),
            tables: Vec::new(),
            params: EncoderParams::zeroed(),
            rows: 0,
            quads: 0,
            biases: 0,
        };
        let (mut x, mut t) = (plan.stem(&network.stem, patch)?, None);
        for block in &network.blocks {
            let (y, between) = plan.block(block, x, t)?;
            (x, t) = (y, Some(between));
        }
        let image = group
            * plan.params.channels as usize
            * (plan.params.image_rows * plan.params.image_pitch) as usize;
        // Where the pixels were, there are features in the end.
        let image = (2 * image).max(4 * group * x.channels).next_multiple_of(16);
        let tables = (2 * plan.tables.len()).next_multiple_of(16);
        plan.params = EncoderParams {
            group: group as u32,
            layers: plan.layers.len() as u32,
            tables: plan.tables.len() as u32,
            planes: (8 * MOST_PATCHES + tables + image) as u32,
            pool_mean: matches!(network.pool, GlobalPool::Mean).into(),
            features: x.channels as u32,
            features_first: x.start as u32,
            features_group: x.group() as u32,
            features_patch: x.patch() as u32,
            features_pixels: x.pixels() as u32,
            features_table: x.table as u32,
            ..plan.params
        };
        Some(plan)
    }

    /// Bytes of shared memory.
    pub(super) fn bytes(&self) -> usize {
        self.params.planes as usize + 16 * self.rows
    }

    /// The plan with as many patches at a time as pay, or as fit.
    pub(super) fn largest(network: &FoldedNetwork, patch: [usize; 2], most: usize) -> Option<Plan> {
        let one = Plan::new(network, patch, 1).filter(|plan| plan.bytes() <= most)?;
        let want = PIXELS.div_ceil(one.params.features_pixels.max(1) as usize).min(MOST_PATCHES);
        (2..=want)
            .rev()
            .filter_map(|group| Plan::new(network, patch, group))
            .find(|plan| plan.bytes() <= most)
            .or(Some(one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_takes_the_first_gap_that_holds_it() {
        assert_eq!(free(10, &[]), 0);
        assert_eq!(free(10, &[0..5, 20..30]), 5);
        assert_eq!(free(16, &[0..5, 20..30]), 30);
        assert_eq!(free(4, &[5..20, 30..31]), 0);
    }
}
