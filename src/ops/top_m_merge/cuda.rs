//! The running selection on CUDA: `kernels/top_m_merge/top_m_merge.cu`, one block per image.

use super::TopMMerge;
use crate::{
    cuda::{Argument, Cx, Grid, In, Out, TOP_M_MERGE_F32},
    device::Meta,
    error::Result,
};
use bytemuck::NoUninit;

/// Shared memory that a block may have on every GPU; most have more.
const SHARED_BYTES: usize = 99 * 1024;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct TopMMergeParams {
    candidates: u32,
    rows: u32,
    keep: u32,
    chunk: u32,
    slots: u32,
    scratch_words: u32,
}

/// The working memory of one image.
struct Plan {
    keep: usize,
    chunk: usize,
    /// Keys to sort: a power of two.
    slots: usize,
    /// Its size in words of 4 bytes.
    words: usize,
}

impl Plan {
    /// Whether it fits in so many bytes of shared memory.
    fn fits(&self, bytes: usize) -> bool {
        self.words * 4 <= bytes
    }
}

impl TopMMerge {
    /// For logits (B, N, R).
    fn plan(&self, dims: &[usize]) -> Plan {
        let (n, rows) = (dims[1], dims[2]);
        let keep = self.keep.min(n);
        let chunk = self.chunk.min(n - keep);
        let slots = (keep + chunk).next_power_of_two().max(2);
        // Keys, two lists of candidates, two numbers per row.
        let words = (2 * slots + 2 * (keep + chunk) + 2 * rows).next_multiple_of(2);
        Plan { keep, chunk, slots, words }
    }

    /// Bytes for the working memory of all images, where there may be a GPU on which it does not fit in shared memory.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        let plan = self.plan(&ins[0].dims);
        if plan.fits(SHARED_BYTES) { 0 } else { ins[0].dims[0] * plan.words * 4 }
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (logits, indices) = (&ins[0], &outs[0]);
        if indices.dims.elements() == 0 {
            return Ok(());
        }
        let plan = self.plan(&logits.dims);
        let params = TopMMergeParams {
            candidates: cx.u32(logits.dims[1])?,
            rows: cx.u32(logits.dims[2])?,
            keep: cx.u32(plan.keep)?,
            chunk: cx.u32(plan.chunk)?,
            slots: cx.u32(plan.slots)?,
            scratch_words: cx.u32(plan.words)?,
        };
        let threads = cx.u32(plan.slots.clamp(64, TOP_M_MERGE_F32.threads as usize))?;
        let grid = Grid::blocks([logits.dims[0], 1, 1]).threads(threads);
        let (grid, scratch) = match plan.fits(cx.shared_bytes() as usize) {
            true => (grid.shared(cx.u32(plan.words * 4)?), Argument::NONE),
            false => (grid, cx.scratch()),
        };
        cx.launch(TOP_M_MERGE_F32, grid, &[logits.into(), indices.into(), scratch], &params)
    }
}
