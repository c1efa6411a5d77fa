//! Launches of the running selection: one workgroup per image, whose line of candidates is in workgroup memory if it is
//! short enough, else in scratch.

use super::TopMMerge;
use crate::{
    device::Meta,
    error::Result,
    wgpu::{Cx, In, Out},
};
use std::ops::Range;

crate::wgpu_params! {
    struct MergeParams {
        logits_first: u32, indices_first: u32, scratch_first: u32, images: u32, candidates: u32, rows: u32,
        keep: u32, chunk: u32, slots: u32, lanes: u32,
    }
}

mod line_workgroup {
    crate::wgpu_kernel! {
        op: "top_m_merge",
        texts: ["common/grid", "common/exp", "top_m_merge/top_m_merge", "top_m_merge/line_workgroup"],
        params: super::MergeParams, tuning: [LINE],
        F32 = "top_m_merge_f32", tried with [[256], [1024]];
    }
}

mod line_storage {
    crate::wgpu_kernel! {
        op: "top_m_merge",
        texts: ["common/grid", "common/exp", "top_m_merge/top_m_merge", "top_m_merge/line_storage"],
        params: super::MergeParams, tuning: [],
        F32 = "top_m_merge_f32", tried with [[]];
    }
}

/// Lines up to these lengths are in workgroup memory; with the longest it takes 14 of the 16 KiB that every adapter has.
const LINES: [usize; 2] = [256, 1024];
/// Rows that are normalised at once.
const LANES: usize = 32;

impl TopMMerge {
    /// The longest line: the kept candidates and the largest chunk that joins them.
    fn line(&self, n: usize) -> usize {
        let keep = self.keep.min(n);
        keep + self.chunk.min(n - keep)
    }

    /// Bytes for the lines of all images, where they are too long for workgroup memory.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        let line = self.line(ins[0].dims[1]);
        if line <= LINES[1] { 0 } else { ins[0].dims[0] * words(line) * 4 }
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (logits, indices) = (&ins[0], &outs[0]);
        let [batch, n, rows] = [0, 1, 2].map(|axis| logits.dims[axis]);
        let (keep, line) = (indices.dims[1], self.line(n));
        if indices.dims.elements() == 0 {
            return Ok(());
        }
        let scratch = if line > LINES[1] { Some(cx.scratch()?) } else { None };
        let of = |run: &Range<usize>, image: usize| run.start * image..run.end * image;
        let needs = |run: &Range<usize>| {
            let (lines, words) =
                (scratch.unwrap_or(*indices), if scratch.is_some() { words(line) } else { 0 });
            [(*logits, of(run, n * rows)), (*indices, of(run, keep)), (lines, of(run, words))]
        };
        for run in cx.cut(batch, needs)? {
            let slices = needs(&run).map(|(view, range)| cx.bind_range(&view, range));
            let [logits, indices, lines] = slices;
            let slices = [logits?, indices?, lines?];
            let params = MergeParams {
                logits_first: slices[0].first,
                indices_first: slices[1].first,
                scratch_first: slices[2].first,
                images: run.len() as u32,
                candidates: n as u32,
                rows: rows as u32,
                keep: keep as u32,
                chunk: (line - keep).max(1) as u32,
                slots: line.next_power_of_two() as u32,
                lanes: rows.min(LANES).next_power_of_two() as u32,
            };
            let groups = cx.groups(run.len())?;
            if scratch.is_some() {
                cx.launch(&line_storage::F32, &[], &params, &slices, groups)?;
            } else {
                let length = if line <= LINES[0] { LINES[0] } else { LINES[1] };
                cx.launch(&line_workgroup::F32, &[length as u32], &params, &slices[..2], groups)?;
            }
        }
        Ok(())
    }
}

/// Words of scratch for one line.
fn words(line: usize) -> usize {
    3 * line.next_power_of_two()
}
