//! A selection on the device, from pixels to the numbers of the patches that are kept: `kernels/encoder` gives the logits of
//! some patches, `kernels/top_m_merge` keeps the best of them, and so on to the last patch; nothing comes back to the host
//! before the end. What lies between the two kernels is logits and numbers, whatever the size of the image.
//!
//! Images that are on the device whole are gone through by one graph, recorded once. Its nodes hold addresses, so it has
//! memory of its own: pixels and the order of the patches are copied into that before each run, and when the network's
//! weights have changed, they are packed again into the same memory. Recording a new graph would cost as much on the host as
//! launching its kernels one by one, and the copies must be made in any case.
//!
//! Other images come in strips, see [`super::strips`].

use super::{
    Block, Cuda, Cx, PackedEncoder, ScoringHead, Source,
    graph::Graph,
    strips::{Fill, Strips},
    turns::{Lanes, Turns},
};
use crate::{
    data::PatchGrid,
    device::{Meta, Op},
    error::{Error, Result},
    ops::top_m_merge::{TopMMerge, cuda::Candidates},
};
use cudarc::driver::{CudaEvent, result};
use std::{ops::Range, sync::Arc};

const OP: &str = "select";

/// Patches whose logits are there at once where images are on the device: enough to keep every multiprocessor busy for many
/// times as long as the last of them waits for the others.
const PATCHES: usize = 16_384;
/// The most bytes of a strip, if that is less than this part of the memory there is.
const STRIP: usize = 8 << 20;
const STRIP_PART: usize = 16;

/// What a selector is made for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layout {
    /// B.
    pub(crate) images: usize,
    /// (C, H, W) of each.
    pub(crate) image: [usize; 3],
    pub(crate) grid: PatchGrid,
    /// M, and I, how many join at a time.
    pub(crate) merge: TopMMerge,
}

impl Layout {
    /// Bytes of all images.
    pub(crate) fn pixels(&self) -> usize {
        self.image.iter().fold(self.images, |bytes, axis| bytes.saturating_mul(*axis))
    }

    /// Bytes of a patch.
    pub(super) fn patch(&self) -> usize {
        self.image[0] * self.grid.patch()[0] * self.grid.patch()[1]
    }

    /// The patches of each image, in order, in runs of whole iterations, of `most` patches of all images or of one iteration.
    /// The first M belong to the first run.
    pub(super) fn runs(&self, most: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (n, TopMMerge { keep, chunk }) = (self.grid.count(), self.merge);
        let each = (most / self.images / chunk).max(1).saturating_mul(chunk);
        let first = keep.saturating_add(each).min(n);
        std::iter::once(0..first)
            .chain((first..n).step_by(each).map(move |at| at..at.saturating_add(each).min(n)))
    }
}

/// What came of a selection.
pub(crate) struct Chosen {
    /// The numbers of the patches, (B, M).
    pub(crate) numbers: Vec<i32>,
    /// Whether a value was too large for f16: then the numbers mean nothing.
    pub(crate) overflowed: bool,
}

/// The network, and the memory of a selection apart from pixels.
pub(super) struct State {
    pub(super) device: Arc<Cuda>,
    pub(super) layout: Layout,
    pub(super) encoder: PackedEncoder,
    pub(super) head: ScoringHead,
    /// Logits (B, M, R) of those kept, before and after a step in turn.
    kept: [Block; 2],
    /// The numbers of those kept, (B, M), twice in turn, and between them the word that an overflow sets: it is read together
    /// with either, and a selection of one step writes the first alone.
    answer: Block,
}

impl State {
    fn new(layout: Layout, encoder: PackedEncoder, head: ScoringHead, device: &Arc<Cuda>) -> Result<Self> {
        let kept = layout.images * layout.merge.keep;
        let logits = || Block::new(device, 4 * kept * head.rows(), OP);
        let (kept, answer) = ([logits()?, logits()?], Block::new(device, 4 * (1 + 2 * kept), OP)?);
        Ok(State { device: device.clone(), layout, encoder, head, kept, answer })
    }

    /// Candidates that are kept, of all images.
    fn kept_count(&self) -> usize {
        self.layout.images * self.layout.merge.keep
    }

    /// Those kept after step `at`, or before the first, when there are none.
    fn kept(&self, at: Option<usize>) -> Candidates {
        let keep = self.layout.merge.keep;
        let turn = at.map_or(1, |at| at % 2);
        Candidates {
            count: at.map_or(0, |_| keep),
            logits: self.kept[turn].argument(),
            numbers: self.answer.argument().after_words(turn * (self.kept_count() + 1)),
            stride: keep,
        }
    }

    /// The logits of so many patches of each image, and the working memory of the step that takes them.
    pub(super) fn fresh(&self, most: usize) -> Result<Fresh> {
        let (images, rows) = (self.layout.images, self.head.rows());
        let all = Meta::f32([images, self.layout.merge.keep + most, rows]);
        let scratch = self.layout.merge.scratch(crate::DeviceKind::Cuda, &[all]);
        let logits = || Block::new(&self.device, 4 * images * most * rows, OP);
        Ok(Fresh { logits: [logits()?, logits()?], scratch: Block::new(&self.device, scratch, OP)? })
    }

    /// The logits of the patches of a source, in one of their two places. With their numbers they are the candidates of the
    /// next step.
    pub(super) fn score(&self, cx: &Cx, source: &Source, fresh: &Fresh, turn: usize) -> Result<Candidates> {
        let overflow = self.answer.argument().after_words(self.kept_count());
        let results = [fresh.logits[turn].argument(), overflow];
        self.encoder.launch(cx, source, Some(&self.head), results)?;
        Ok(Candidates {
            count: source.per_image,
            logits: results[0],
            numbers: source.numbers,
            stride: source.numbers_stride,
        })
    }

    /// Step `at` of a selection.
    pub(super) fn advance(&self, cx: &Cx, at: usize, from: &Candidates, fresh: &Fresh) -> Result<()> {
        let (kept, next) = (self.kept(at.checked_sub(1)), self.kept(Some(at)));
        let sizes = [self.layout.images, self.head.rows()];
        self.layout.merge.advance(cx, sizes, [&kept, from, &next], fresh.scratch.argument())
    }

    /// Forgets that a value was too large.
    pub(super) fn forget(&self, cx: &Cx) -> Result<()> {
        // SAFETY: the answer has that word behind the first numbers.
        unsafe { cx.clear(self.answer.pointer() + 4 * self.kept_count() as u64, 4) }
    }

    /// What is kept after so many steps. Waits for them.
    pub(super) fn read(&self, steps: usize) -> Result<Chosen> {
        let (kept, turn) = (self.kept_count(), (steps - 1) % 2);
        let mut numbers = vec![0_i32; kept + 1];
        self.answer.download(4 * turn * kept, bytemuck::cast_slice_mut(&mut numbers))?;
        let overflow = numbers.remove(if turn == 0 { kept } else { 0 });
        Ok(Chosen { numbers, overflowed: overflow != 0 })
    }
}

/// What a step takes, apart from those kept.
pub(super) struct Fresh {
    /// Those of a run, and of the one before, in turn.
    logits: [Block; 2],
    scratch: Block,
}

/// A network and the memory to select patches of images of one size with it.
pub(crate) struct Selector {
    resident: Option<Resident>,
    strips: Option<Strips>,
    state: State,
}

impl Selector {
    /// For more patches than are kept.
    pub(crate) fn new(
        layout: Layout,
        encoder: PackedEncoder,
        head: ScoringHead,
        device: &Arc<Cuda>,
    ) -> Result<Self> {
        Ok(Selector { resident: None, strips: None, state: State::new(layout, encoder, head, device)? })
    }

    /// The network's weights, to be packed anew into the same memory.
    pub(crate) fn network(&self) -> (&PackedEncoder, &ScoringHead) {
        (&self.state.encoder, &self.state.head)
    }

    /// Whether all images are, or can be, on the device at once; they may take half of what there is.
    pub(crate) fn holds_images(&self) -> Result<bool> {
        Ok(self.resident.is_some() || self.state.layout.pixels() <= self.state.device.room()? / 2)
    }

    /// Selects of images that are copied whole, (C, H, W) each. `order`: the patches of each image, (B, N), in the order in
    /// which they are seen. The first time it records the graph.
    pub(crate) fn select_resident(&mut self, images: &[&[u8]], order: &[i32]) -> Result<Chosen> {
        let resident = match &mut self.resident {
            Some(resident) => resident,
            none => none.insert(Resident::new(&self.state)?),
        };
        resident.run(&self.state, images, order)?;
        self.state.read(resident.steps)
    }

    /// Selects of images that come in strips. `fill` is asked for them in order.
    pub(crate) fn select_in_strips(&mut self, fill: &mut Fill) -> Result<Chosen> {
        let strips = match &mut self.strips {
            Some(strips) => strips,
            none => {
                let bytes = STRIP.min(self.state.device.room()? / STRIP_PART);
                none.insert(Strips::new(&self.state, bytes)?)
            }
        };
        let steps = strips.run(&self.state, fill)?;
        self.state.read(steps)
    }
}

/// Images on the device, and the graph that goes through them.
struct Resident {
    graph: Graph,
    steps: usize,
    /// (B, C, H, W).
    pixels: Input,
    /// (B, N), i32.
    order: Input,
    _fresh: Fresh,
}

impl Resident {
    fn new(state: &State) -> Result<Self> {
        let (layout, device) = (&state.layout, &state.device);
        let count = layout.grid.count();
        let (pixels, order) =
            (Input::new(device, layout.pixels())?, Input::new(device, 4 * layout.images * count)?);
        let runs: Vec<Range<usize>> = layout.runs(PATCHES).collect();
        let fresh = state.fresh(runs.iter().map(Range::len).max().unwrap_or(0))?;
        let turns = Turns::new(device)?;
        let graph = Graph::record(device, |recording| {
            let mut lanes = Lanes::new(device, recording.streams(), &turns, true);
            state.forget(&lanes.score)?;
            for run in &runs {
                let source = Source {
                    pixels: pixels.block.argument(),
                    numbers: order.block.argument().after_words(run.start),
                    numbers_stride: count,
                    images: layout.images,
                    per_image: run.len(),
                    whole: Some(([layout.image[1], layout.image[2]], layout.grid)),
                };
                lanes.step(state, &source, &fresh)?;
            }
            lanes.join().map(drop)
        })?;
        Ok(Resident { graph, steps: runs.len(), pixels, order, _fresh: fresh })
    }

    fn run(&mut self, state: &State, images: &[&[u8]], order: &[i32]) -> Result<()> {
        let bytes: usize = state.layout.image.iter().product();
        if let Some(image) = images.iter().find(|image| image.len() != bytes) {
            let what = format!("{} bytes in memory for an image of {:?}", image.len(), state.layout.image);
            return Err(Error::shape(OP, what));
        }
        for (at, image) in images.iter().enumerate() {
            self.pixels.write(&state.device, at * bytes, image)?;
        }
        self.order.write(&state.device, 0, bytemuck::cast_slice(order))?;
        self.graph.launch()?;
        self.pixels.used(&state.device)?;
        self.order.used(&state.device)
    }
}

/// Memory that is written from the host again and again, when the kernels are done that read what was there.
struct Input {
    block: Block,
    /// Recorded behind the last of them.
    read: CudaEvent,
}

impl Input {
    fn new(device: &Arc<Cuda>, bytes: usize) -> Result<Self> {
        let read = device.context.new_event(None).map_err(|e| device.failure(OP, e))?;
        let input = Input { block: Block::new(device, bytes, OP)?, read };
        // The block may have had another owner, whose kernels are not done yet.
        input.used(device)?;
        Ok(input)
    }

    /// Kernels asked for from now on find `data` from byte `start` on.
    fn write(&self, device: &Cuda, start: usize, data: &[u8]) -> Result<()> {
        self.block.check(start, data.len())?;
        device.bind(OP)?;
        // SAFETY: the range lies in the block, by the check above, whose owner outlives what it asks of the device: the
        // graph, which waits for it, is dropped first.
        unsafe { device.copy_in(self.block.pointer() + start as u64, data, &self.read) }
    }

    /// What was asked for so far is what reads it.
    fn used(&self, device: &Cuda) -> Result<()> {
        self.read.record(&device.stream).map_err(|e| device.failure(OP, e))
    }
}

impl Cx<'_> {
    /// Fills memory with zeros.
    ///
    /// # Safety
    /// From `at` on lie that many bytes, and stay there until it is done; if it is recorded, as long as the graph.
    unsafe fn clear(&self, at: u64, bytes: usize) -> Result<()> {
        self.device.bind(self.op)?;
        // SAFETY: as the caller promises.
        let cleared = unsafe { result::memset_d8_async(at, 0, bytes, self.stream().cu_stream()) };
        cleared.map_err(|e| self.device.failure(self.op, e))
    }
}

#[cfg(test)]
impl Selector {
    /// Bits of the logits (B, M, R) of those that a selection of so many steps kept.
    pub(crate) fn kept_logits(&self, steps: usize) -> Vec<u8> {
        let block = &self.state.kept[(steps - 1) % 2];
        let mut bits = vec![0; block.bytes()];
        block.download(0, &mut bits).unwrap();
        bits
    }

    /// Steps of a selection of images on the device, and in strips.
    pub(crate) fn steps(&self) -> [usize; 2] {
        [self.resident.as_ref().map_or(0, |r| r.steps), self.strips.as_ref().map_or(0, Strips::count)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_whole_iterations_and_the_first_has_those_kept_first() {
        let layout = |images: usize, side: usize| Layout {
            images,
            image: [1, side, side],
            grid: PatchGrid::new([side; 2], [10; 2], [10; 2]).unwrap(),
            merge: TopMMerge { keep: 7, chunk: 5 },
        };
        let runs = |images, side, most| layout(images, side).runs(most).collect::<Vec<_>>();
        assert_eq!(runs(1, 50, 12), [0..17, 17..25]);
        assert_eq!(runs(2, 50, 12), [0..12, 12..17, 17..22, 22..25]);
        assert_eq!(runs(2, 50, 1000), *std::slice::from_ref(&(0..25)), "all at once");
    }
}
