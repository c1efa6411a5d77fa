//! Patches of images that are not on the device whole: the host cuts them out, in the order in which the selection sees them,
//! into strips of pinned memory, which take turns. While the patches of one strip are scored, the next one is copied, and the
//! host fills the one after that. The device's memory is that of the strips, whatever the size of the image.
//!
//! A strip is patches and not rows of the image, because the published order is a random one: the first iteration already
//! wants patches from everywhere. Cut out by the host, what is copied is what is scored, and nothing is copied twice unless
//! patches overlap.
//!
//! Events keep the order: the copy of a strip waits for the scoring of the strip that had its memory before, [`RING`] strips
//! earlier, and the scoring waits for the copy. The host waits for nothing but pinned memory, until the copy out of it that is
//! [`RING`] strips old is done. A graph for each strip would not pay: a strip is two launches, as many as a graph and the
//! copy of its parameters.

use super::{
    Block, Cuda, Source,
    copies::Pinned,
    selector::{Fresh, State},
    timeline::{Place, Stopwatch},
    turns::{Lanes, Turns},
};
use crate::error::{Error, Result};
use cudarc::driver::{CudaEvent, CudaStream, result};
use std::{ops::Range, sync::Arc};

const OP: &str = "select";

/// Strips that take turns: one is scored, one is copied, one is filled.
pub(super) const RING: usize = 3;
/// What begins on a multiple of this is copied at full speed.
const ALIGN: usize = 256;

/// Writes the numbers (B, P), and the pixels (B · P, C, h, w), of the patches that stand at P places of each image's order.
pub(crate) type Fill<'a> = dyn FnMut(Range<usize>, &mut [i32], &mut [u8]) -> Result<()> + 'a;

/// The strips, and what is made of their patches.
pub(super) struct Strips {
    slots: [Slot; RING],
    runs: Vec<Range<usize>>,
    fresh: Fresh,
    turns: Turns,
    merges: Arc<CudaStream>,
}

/// Memory of one strip.
struct Slot {
    pinned: Pinned,
    block: Block,
    /// Recorded behind the last copy from one to the other.
    copied: CudaEvent,
    /// Recorded behind the last kernel that reads it.
    scored: CudaEvent,
}

/// Where a strip's numbers end and its pixels begin, and where these end, in bytes.
fn places(patches: usize, patch: usize) -> [usize; 2] {
    let pixels = (4 * patches).next_multiple_of(ALIGN);
    [pixels, pixels + patches * patch]
}

impl Slot {
    fn new(device: &Arc<Cuda>, bytes: usize) -> Result<Self> {
        let failed = |e| device.failure(OP, e);
        let event = || device.context.new_event(None).map_err(failed);
        let slot = Slot {
            pinned: Pinned::new(&device.context, bytes).map_err(failed)?,
            block: Block::new(device, bytes, OP)?,
            copied: event()?,
            scored: event()?,
        };
        // The block may have had another owner, whose kernels are not done yet.
        slot.scored.record(&device.stream).map_err(failed)?;
        Ok(slot)
    }

    /// The numbers and the pixels of `patches` patches, to be written, when the copy out of it is done.
    fn parts(&mut self, device: &Cuda, patches: usize, patch: usize) -> Result<(&mut [i32], &mut [u8])> {
        self.copied.synchronize().map_err(|e| device.failure(OP, e))?;
        let [pixels, end] = places(patches, patch);
        let (numbers, cut) = self.pinned.bytes_mut()[..end].split_at_mut(pixels);
        let numbers = bytemuck::try_cast_slice_mut(&mut numbers[..4 * patches]);
        let numbers = numbers.map_err(|e| Error::argument(OP, format!("pinned memory: {e}")))?;
        Ok((numbers, cut))
    }

    /// Asks for the copy to the device, where kernels asked for from now on find it.
    fn copy(&mut self, device: &Cuda, bytes: usize, watch: &Stopwatch) -> Result<()> {
        let failed = |e| device.failure(OP, e);
        let copies = &device.copies.stream;
        device.bind(OP)?;
        copies.wait(&self.scored).map_err(failed)?;
        watch.mark(copies, Place::Copy(0))?;
        let from = &self.pinned.bytes_mut()[..bytes];
        // SAFETY: the block has room for all of the pinned memory, which stays as it is until `copied` has passed; both are
        // dropped after the device was waited for.
        unsafe { result::memcpy_htod_async(self.block.pointer(), from, copies.cu_stream()) }
            .map_err(failed)?;
        watch.mark(copies, Place::Copy(1))?;
        self.copied.record(copies).map_err(failed)?;
        device.stream.wait(&self.copied).map_err(failed)
    }

    /// Where kernels find the strip.
    fn source(&self, state: &State, per_image: usize, pixels: usize) -> Source {
        Source {
            pixels: self.block.argument().after(pixels),
            numbers: self.block.argument(),
            numbers_stride: per_image,
            images: state.layout.images,
            per_image,
            whole: None,
        }
    }
}

impl Strips {
    /// Strips of at most so many bytes of pixels, or of one iteration.
    pub(super) fn new(state: &State, bytes: usize) -> Result<Self> {
        let (layout, device) = (&state.layout, &state.device);
        let runs: Vec<Range<usize>> = layout.runs(bytes / layout.patch()).collect();
        let most = runs.iter().map(Range::len).max().unwrap_or(0);
        let [_, bytes] = places(layout.images * most, layout.patch());
        let slot = || Slot::new(device, bytes);
        let merges = device.context.new_stream().map_err(|e| device.failure(OP, e))?;
        Ok(Strips {
            slots: [slot()?, slot()?, slot()?],
            fresh: state.fresh(most)?,
            runs,
            turns: Turns::new(device)?,
            merges,
        })
    }

    /// How many there are to a selection.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.runs.len()
    }

    /// Asks for a whole selection; the number of its steps.
    pub(super) fn run(&mut self, state: &State, fill: &mut Fill) -> Result<usize> {
        let device: &Cuda = &state.device;
        let mut lanes = Lanes::new(device, [&device.stream, &self.merges], &self.turns, false);
        let mut watch = Stopwatch::new(device);
        let asked = state.forget(&lanes.score).and_then(|()| {
            self.runs.iter().enumerate().try_for_each(|(at, run)| {
                let slot = &mut self.slots[at % RING];
                let patches = state.layout.images * run.len();
                let [pixels, end] = places(patches, state.layout.patch());
                let (numbers, cut) = slot.parts(device, patches, state.layout.patch())?;
                fill(run.clone(), numbers, cut)?;
                watch.strip()?;
                slot.copy(device, end, &watch)?;
                watch.mark(&device.stream, Place::Score(0))?;
                lanes.step(state, &slot.source(state, run.len(), pixels), &self.fresh)?;
                watch.mark(&device.stream, Place::Score(1))?;
                // The merge reads the numbers of the strip.
                lanes.mark(&slot.scored)
            })
        });
        // Also where a strip could not be had: what the steps before it use may then have another owner.
        let steps = lanes.join();
        watch.keep();
        asked.and(steps)
    }
}

impl Drop for Strips {
    fn drop(&mut self) {
        // Pinned memory must outlive the copies out of it. Nobody is left to tell of a failure.
        for slot in &self.slots {
            let _ = slot.copied.synchronize();
        }
    }
}
