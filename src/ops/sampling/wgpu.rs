//! Launches of Gumbel sampling. Short rows are sorted whole, several to a workgroup; of long ones the candidates for the
//! best are selected first. No launch stores the noise: each computes it from the counters.

use super::{GumbelMax, GumbelTopK, row_words};
use crate::{
    device::Meta,
    error::Result,
    rng::Words,
    wgpu::{Cx, In, Out, Slice, View},
};
use std::ops::Range;

mod max {
    crate::wgpu_params! {
        pub(super) struct GumbelMaxParams {
            logits_first: u32, results_first: u32, key_0: u32, key_1: u32, first_low: u32, first_high: u32,
            first_draw: u32, count: u32, draws: u32, positions: u32, parts: u32, blocks_per_part: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "gumbel_max",
        texts: ["common/grid", "common/exp", "common/math", "common/philox", "common/noise", "common/order",
            "sampling/gumbel_max"],
        params: GumbelMaxParams, tuning: [LANES],
        F32 = "gumbel_max_f32", tried with [[1], [16], [128]];
        OF_PARTS = "gumbel_max_of_parts", tried with [[128]];
    }
    pub(super) const THREADS: usize = 128;
}

mod line {
    crate::wgpu_params! {
        pub(super) struct TopKLineParams {
            logits_first: u32, positions_first: u32, threshold_first: u32, key_0: u32, key_1: u32, first_low: u32,
            first_high: u32, rows: u32, count: u32, keep: u32, line: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "gumbel_top_k",
        texts: ["common/grid", "common/exp", "common/math", "common/philox", "common/noise", "common/order",
            "sampling/line", "sampling/top_k_line"],
        params: TopKLineParams, tuning: [],
        F32 = "top_k_line_f32", tried with [[]];
    }
}

mod select {
    crate::wgpu_params! {
        pub(super) struct TopKSelectParams {
            logits_first: u32, scratch_first: u32, key_0: u32, key_1: u32, first_low: u32, first_high: u32, rows: u32,
            count: u32, wanted: u32, slots: u32, row_words: u32, digits: u32, digit: u32, parts: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "gumbel_top_k",
        texts: ["common/grid", "common/exp", "common/math", "common/philox", "common/noise", "common/order",
            "sampling/top_k_select"],
        params: TopKSelectParams, tuning: [],
        CLEAR = "top_k_clear", tried with [[]];
        COUNT = "top_k_count", tried with [[]];
        COLLECT = "top_k_collect", tried with [[]];
    }
    pub(super) const BINS: usize = 2048;
    /// Positions that a workgroup goes through.
    pub(super) const PART: usize = 256 * 4 * 4;
}

mod sort {
    crate::wgpu_params! {
        pub(super) struct TopKSortParams {
            scratch_first: u32, positions_first: u32, threshold_first: u32, rows: u32, count: u32, keep: u32,
            slots: u32, row_words: u32, run: u32, apart: u32,
        }
    }
    crate::wgpu_kernel! {
        op: "gumbel_top_k", texts: ["common/grid", "common/order", "sampling/line", "sampling/top_k_sort"],
        params: TopKSortParams, tuning: [],
        BLOCKS = "top_k_sort_blocks", tried with [[]];
        FAR = "top_k_merge_far", tried with [[]];
        NEAR = "top_k_merge_near", tried with [[]];
        WRITE = "top_k_write", tried with [[]];
    }
}

/// Threads of the kernels for the k best.
const THREADS: usize = 256;
/// Places of a list that a workgroup sorts in its memory, and the longest rows that are sorted whole.
const SLOTS: usize = 1024;
/// Positions of a part of a row, when one draw is spread over workgroups.
const PART: usize = 16 * 1024;
/// Bytes of scratch up to which rows are selected from at once.
const SCRATCH: usize = 64 << 20;

/// The first row or draw of a launch, and the counter of its first block, in two words. The kernels count blocks in 32
/// bits from there on.
fn first_block(words: &Words, n: usize, row: usize) -> [u32; 2] {
    let first = words.first.wrapping_add((row as u64).wrapping_mul(row_words(n) / 4));
    [first as u32, (first >> 32) as u32]
}

/// The most rows whose blocks can be counted in 32 bits.
fn countable(n: usize) -> usize {
    (u64::from(u32::MAX) / (row_words(n) / 4).max(1)) as usize
}

impl GumbelMax {
    fn parts(n: usize) -> usize {
        if n <= 2 * PART { 1 } else { n.div_ceil(PART) }
    }

    /// Bytes for the winners of the parts.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        let (b, parts) = (ins[0].dims[0], Self::parts(ins[0].dims[1]));
        if parts == 1 { 0 } else { b.saturating_mul(self.draws).saturating_mul(parts * 8) }
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (logits, positions) = (&ins[0], &outs[0]);
        let (n, draws) = (logits.dims[1], positions.dims.elements());
        if draws == 0 {
            return Ok(());
        }
        let parts = Self::parts(n);
        let winners =
            if parts == 1 { *positions } else { View { dims: [draws, parts, 2].into(), ..cx.scratch()? } };
        let each = if parts == 1 { 1 } else { parts * 2 };
        let rows = |run: &Range<usize>| run.start / self.draws * n..run.end.div_ceil(self.draws) * n;
        for first in (0..draws).step_by(countable(n)) {
            let needs = |run: &Range<usize>| {
                let run = first + run.start..first + run.end;
                [(*logits, rows(&run)), (winners, run.start * each..run.end * each), (*positions, run)]
            };
            for run in cx.cut((draws - first).min(countable(n)), needs)? {
                let slices = needs(&run).map(|(view, range)| cx.bind_range(&view, range));
                let [logits, winners, positions] = slices;
                self.launch(cx, n, first + run.start..first + run.end, [logits?, winners?, positions?])?;
            }
        }
        Ok(())
    }

    /// The draws `run`. slices: their logits, winners of parts and positions; the latter two are the same for one part.
    fn launch(
        &self,
        cx: &Cx,
        n: usize,
        run: Range<usize>,
        [logits, winners, positions]: [Slice; 3],
    ) -> Result<()> {
        let (parts, blocks) = (Self::parts(n), n.div_ceil(4));
        let [first_low, first_high] = first_block(&self.words, n, run.start);
        let params = max::GumbelMaxParams {
            logits_first: logits.first,
            results_first: winners.first,
            key_0: self.words.key[0],
            key_1: self.words.key[1],
            first_low,
            first_high,
            first_draw: (run.start % self.draws) as u32,
            count: run.len() as u32,
            draws: self.draws as u32,
            positions: n as u32,
            parts: parts as u32,
            blocks_per_part: blocks.div_ceil(parts) as u32,
        };
        let lanes = blocks.next_power_of_two().min(max::THREADS);
        let groups = cx.groups((run.len() * parts).div_ceil(max::THREADS / lanes))?;
        cx.launch(&max::F32, &[lanes as u32], &params, &[logits, winners], groups)?;
        if parts == 1 {
            return Ok(());
        }
        let params =
            max::GumbelMaxParams { logits_first: winners.first, results_first: positions.first, ..params };
        cx.launch(
            &max::OF_PARTS,
            &[max::THREADS as u32],
            &params,
            &[positions, winners],
            cx.groups(run.len())?,
        )
    }
}

/// How the best of long rows are selected.
struct Plan {
    /// Positions of a row, N.
    n: usize,
    /// How many of a row are to be found: k and the next one.
    wanted: usize,
    /// Places of the list of candidates: a power of two.
    slots: usize,
    /// Digits of a key and its position that the selection may have to look at.
    digits: usize,
    /// Words of scratch of a row.
    row_words: usize,
    /// Rows selected from at once.
    rows: usize,
}

impl Plan {
    fn new([b, n]: [usize; 2], k: usize) -> Self {
        let wanted = (k + 1).min(n);
        // Some places to spare, so that the search may stop before the last digit.
        let slots = (wanted + wanted / 4).next_power_of_two().max(SLOTS);
        let position_digits = (usize::BITS - n.leading_zeros()).div_ceil(11) as usize;
        let digits = if slots >= n { 0 } else { 3 + position_digits.clamp(1, 3) };
        let row_words = 2 * slots + digits * select::BINS + 4 * (digits + 1) + 4;
        Plan { n, wanted, slots, digits, row_words, rows: (SCRATCH / (4 * row_words)).clamp(1, b.max(1)) }
    }
}

impl GumbelTopK {
    /// Bytes for lists and histograms of the rows selected from at once.
    pub(super) fn wgpu_scratch(&self, ins: &[Meta]) -> usize {
        let [b, n] = [ins[0].dims[0], ins[0].dims[1]];
        if n <= SLOTS {
            return 0;
        }
        let plan = Plan::new([b, n], self.k);
        plan.rows * plan.row_words * 4
    }

    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (logits, positions, threshold) = (&ins[0], &outs[0], &outs[1]);
        let [b, n] = [logits.dims[0], logits.dims[1]];
        if b == 0 {
            return Ok(());
        }
        let plan = Plan::new([b, n], self.k);
        let (most, scratch) = if n <= SLOTS { (b, None) } else { (plan.rows, Some(cx.scratch()?)) };
        let most = most.min(countable(n)).max(1);
        for first in (0..b).step_by(most) {
            let of = |run: &Range<usize>, row: usize| (first + run.start) * row..(first + run.end) * row;
            let needs = |run: &Range<usize>| {
                let lists = scratch.map_or((*positions, 0..0), |view| (view, 0..run.len() * plan.row_words));
                [(*logits, of(run, n)), (*positions, of(run, self.k)), (*threshold, of(run, 1)), lists]
            };
            for run in cx.cut((b - first).min(most), needs)? {
                let slices = needs(&run).map(|(view, range)| cx.bind_range(&view, range));
                let [logits, positions, threshold, lists] = slices;
                let slices = [logits?, positions?, threshold?, lists?];
                let rows = first + run.start..first + run.end;
                if n <= SLOTS {
                    self.lines(cx, n, rows, &slices[..3])?
                } else {
                    self.select(cx, &plan, rows, slices)?
                }
            }
        }
        Ok(())
    }

    /// Short rows.
    fn lines(&self, cx: &Cx, n: usize, rows: Range<usize>, slices: &[Slice]) -> Result<()> {
        let [first_low, first_high] = first_block(&self.words, n, rows.start);
        let line = n.next_power_of_two().max(4);
        let params = line::TopKLineParams {
            logits_first: slices[0].first,
            positions_first: slices[1].first,
            threshold_first: slices[2].first,
            key_0: self.words.key[0],
            key_1: self.words.key[1],
            first_low,
            first_high,
            rows: rows.len() as u32,
            count: n as u32,
            keep: self.k as u32,
            line: line as u32,
        };
        cx.launch(&line::F32, &[], &params, slices, cx.groups(rows.len().div_ceil(SLOTS / line))?)
    }

    /// Long rows, as many as there is scratch for. slices: logits, results, scratch.
    fn select(&self, cx: &Cx, plan: &Plan, rows: Range<usize>, slices: [Slice; 4]) -> Result<()> {
        let [logits, positions, threshold, scratch] = slices;
        let words = rows.len() * plan.row_words;
        let [first_low, first_high] = first_block(&self.words, plan.n, rows.start);
        let parts = plan.n.div_ceil(select::PART);
        let mut params = select::TopKSelectParams {
            logits_first: logits.first,
            scratch_first: scratch.first,
            key_0: self.words.key[0],
            key_1: self.words.key[1],
            first_low,
            first_high,
            rows: rows.len() as u32,
            count: plan.n as u32,
            wanted: plan.wanted as u32,
            slots: plan.slots as u32,
            row_words: plan.row_words as u32,
            digits: plan.digits as u32,
            digit: 0,
            parts: parts as u32,
        };
        cx.launch(&select::CLEAR, &[], &params, &[scratch], cx.groups(words.div_ceil(4 * THREADS))?)?;
        let groups = cx.groups(rows.len() * parts)?;
        for digit in 0..plan.digits {
            params.digit = digit as u32;
            cx.launch(&select::COUNT, &[], &params, &[logits, scratch], groups)?;
        }
        cx.launch(&select::COLLECT, &[], &params, &[logits, scratch], groups)?;
        self.sort(cx, plan, rows.len(), [scratch, positions, threshold])
    }

    /// Sorts the candidates of `rows` rows and writes the results.
    fn sort(&self, cx: &Cx, plan: &Plan, rows: usize, slices: [Slice; 3]) -> Result<()> {
        let scratch = &slices[..1];
        let mut params = sort::TopKSortParams {
            scratch_first: slices[0].first,
            positions_first: slices[1].first,
            threshold_first: slices[2].first,
            rows: rows as u32,
            count: plan.n as u32,
            keep: self.k as u32,
            slots: plan.slots as u32,
            row_words: plan.row_words as u32,
            run: 0,
            apart: 0,
        };
        let places = rows * plan.slots;
        let blocks = cx.groups(places / SLOTS)?;
        cx.launch(&sort::BLOCKS, &[], &params, scratch, blocks)?;
        let mut run = 2 * SLOTS;
        while run <= plan.slots {
            params.run = run as u32;
            let mut apart = run / 2;
            while apart >= SLOTS {
                params.apart = apart as u32;
                cx.launch(&sort::FAR, &[], &params, scratch, cx.groups((places / 2).div_ceil(THREADS))?)?;
                apart /= 2;
            }
            cx.launch(&sort::NEAR, &[], &params, scratch, blocks)?;
            run *= 2;
        }
        cx.launch(&sort::WRITE, &[], &params, &slices, cx.groups((rows * (self.k + 1)).div_ceil(THREADS))?)
    }
}
