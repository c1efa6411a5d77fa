//! The running selection on CUDA: `kernels/top_m_merge/top_m_merge.cu`, one block per image.

use super::TopMMerge;
use crate::{
    cuda::{Argument, Cx, Grid, In, Kernel, Out, TOP_M_ADVANCE_F32, TOP_M_MERGE_F32},
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

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct TopMAdvanceParams {
    merge: TopMMergeParams,
    split: u32,
    numbers_stride: u32,
}

/// Some candidates of B images: their logits (B, P, R), and their names, i32, of which those of an image follow those of the
/// one before after `stride`.
#[derive(Clone, Copy)]
pub(crate) struct Candidates {
    pub(crate) count: usize,
    pub(crate) logits: Argument,
    pub(crate) numbers: Argument,
    pub(crate) stride: usize,
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
        let (params, grid, scratch) = self.prepared(cx, &logits.dims, cx.scratch(), TOP_M_MERGE_F32)?;
        cx.launch(TOP_M_MERGE_F32, grid, &[logits.into(), indices.into(), scratch], &params)
    }

    /// One step of a selection of `images` images: to the `kept` candidates, M or none, come fresh ones; the M best of them
    /// become `next`, whose memory is other than that of `kept`. Logits have `rows` rows. Scratch is that of the operation
    /// over all candidates.
    pub(crate) fn advance(
        &self,
        cx: &Cx,
        [images, rows]: [usize; 2],
        [kept, fresh, next]: [&Candidates; 3],
        scratch: Argument,
    ) -> Result<()> {
        let dims = [images, kept.count + fresh.count, rows];
        let (merge, grid, scratch) = self.prepared(cx, &dims, scratch, TOP_M_ADVANCE_F32)?;
        let params =
            TopMAdvanceParams { merge, split: cx.u32(kept.count)?, numbers_stride: cx.u32(fresh.stride)? };
        let pointers =
            [kept.logits, kept.numbers, fresh.logits, fresh.numbers, next.logits, next.numbers, scratch];
        cx.launch(TOP_M_ADVANCE_F32, grid, &pointers, &params)
    }

    /// What both kernels are launched with, for logits (B, N, R).
    fn prepared(
        &self,
        cx: &Cx,
        dims: &[usize],
        scratch: Argument,
        kernel: Kernel,
    ) -> Result<(TopMMergeParams, Grid, Argument)> {
        let plan = self.plan(dims);
        let params = TopMMergeParams {
            candidates: cx.u32(dims[1])?,
            rows: cx.u32(dims[2])?,
            keep: cx.u32(plan.keep)?,
            chunk: cx.u32(plan.chunk)?,
            slots: cx.u32(plan.slots)?,
            scratch_words: cx.u32(plan.words)?,
        };
        let threads = cx.u32(plan.slots.clamp(64, kernel.threads as usize))?;
        let grid = Grid::blocks([dims[0], 1, 1]).threads(threads);
        Ok(match plan.fits(cx.shared_bytes() as usize) {
            true => (params, grid.shared(cx.u32(plan.words * 4)?), Argument::NONE),
            false => (params, grid, scratch),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, DeviceKind, Tensor, device::Op, ops, tensor::Buffer, testing::*};

    fn argument(t: &Tensor) -> Argument {
        let Buffer::Cuda(block) = &t.buffer else { panic!("{t:?} is not on CUDA") };
        Argument::from(&In { dims: t.dims(), dtype: t.dtype(), pointer: block.pointer() })
    }

    /// Numbers and logits of those kept when candidates come in steps of `lengths`, the first M among the first.
    fn in_steps(op: &TopMMerge, logits: &Tensor, lengths: &[usize]) -> (Vec<i32>, Vec<u8>) {
        let device = logits.device();
        let Device::Cuda(cuda) = &device else { panic!("{device} is not CUDA") };
        let &[images, n, rows] = &*logits.dims() else { panic!("{logits:?}") };
        let kept = || Tensor::zeros([images, op.keep, rows], &device).unwrap();
        let numbers =
            || Tensor::from_slice(&vec![0_i32; images * op.keep], [images, op.keep], &device).unwrap();
        let state = [(kept(), numbers()), (kept(), numbers())];
        let scratch = op.scratch(DeviceKind::Cuda, &[Meta::f32([images, n, rows])]);
        let scratch = Tensor::from_slice(&vec![0_u8; scratch.max(1)], [scratch.max(1)], &device).unwrap();
        let mut start = 0;
        for (at, &count) in lengths.iter().enumerate() {
            let fresh = ops::narrow(logits, 1, start..start + count).unwrap();
            let named: Vec<i32> = (0..images)
                .flat_map(|b| (start..start + count).map(move |c| (1000 * b + c) as i32))
                .collect();
            let named = Tensor::from_slice(&named, [images, count], &device).unwrap();
            let candidates = |count: usize, (logits, numbers): (&Tensor, &Tensor), stride: usize| {
                Candidates { count, logits: argument(logits), numbers: argument(numbers), stride }
            };
            let of = |turn: usize| (&state[turn].0, &state[turn].1);
            let before = candidates(if at == 0 { 0 } else { op.keep }, of((at + 1) % 2), op.keep);
            let next = candidates(op.keep, of(at % 2), op.keep);
            let fresh_ones = candidates(count, (&fresh, &named), count);
            let cx = Cx::new(cuda, "a test");
            op.advance(&cx, [images, rows], [&before, &fresh_ones, &next], argument(&scratch)).unwrap();
            start += count;
        }
        let (kept, numbers) = &state[(lengths.len() - 1) % 2];
        (numbers.to_vec().unwrap(), bits(kept))
    }

    /// Any steps of whole chunks keep what one call keeps, and carry its logits; also where the working memory is not shared.
    #[test]
    fn steps_keep_what_one_call_keeps() {
        let Some(cuda) = cuda_of_its_own() else { return };
        let device = Device::Cuda(cuda);
        let cases: [([usize; 3], usize, usize, &[usize]); 4] = [
            ([2, 40, 3], 7, 5, &[40]),
            ([2, 40, 3], 7, 5, &[12, 5, 15, 8]),
            ([1, 33, 9], 4, 1, &[5, 10, 18]),
            ([1, 10_500, 1], 5_000, 5_000, &[10_000, 500]),
        ];
        for (dims, keep, chunk, lengths) in cases {
            let op = TopMMerge { keep, chunk };
            let logits = random(dims, 1).to_device(&device).unwrap();
            if !wanted(logits.elements()) {
                continue;
            }
            let best = ops::top_m_merge(&logits, keep, chunk).unwrap();
            let want: Vec<i32> = best
                .to_vec::<i32>()
                .unwrap()
                .chunks(keep)
                .enumerate()
                .flat_map(|(b, row)| row.iter().map(move |c| 1000 * b as i32 + c))
                .collect();
            let (numbers, kept) = in_steps(&op, &logits, lengths);
            assert_eq!(numbers, want, "{op:?} of {dims:?} in {lengths:?}");
            assert_eq!(kept, bits(&ops::gather(&logits, &best).unwrap()));
        }
    }
}
