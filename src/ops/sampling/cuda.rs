//! Gumbel sampling on CUDA: `kernels/sampling/sampling.cu`. Short rows are sorted whole; of long ones the candidates for
//! the best are selected first. No launch stores the noise: each computes it from the counters.

use super::{GumbelMax, GumbelTopK, row_words};
use crate::{
    cuda::{
        Argument, Cx, GUMBEL_MAX_F32, GUMBEL_MAX_OF_PARTS, Grid, In, Out, TOP_K_CLEAR, TOP_K_COLLECT_F32,
        TOP_K_COUNT_F32, TOP_K_LINE_F32, TOP_K_SORT,
    },
    device::Meta,
    error::Result,
    rng::Words,
};
use bytemuck::NoUninit;

/// Threads of the kernels that go through positions, four at a time.
const THREADS: usize = 256;
/// Positions that a block goes through, when a row is spread over blocks.
const PART: usize = 16 * THREADS;
/// The longest rows that are sorted whole: their keys fit in the 99 KB of shared memory that a block may have everywhere.
const LINE: usize = 8192;
/// Bytes of a key.
const KEY: usize = 8;
/// Places of the smallest list.
const SLOTS: usize = 1024;
/// Values of a digit.
const BINS: usize = 2048;
/// Bytes of scratch up to which rows are selected from at once.
const SCRATCH: usize = 64 << 20;
/// Rows up to which they are: blocks along y.
const ROWS: usize = 65_535;

#[repr(C)]
#[derive(Clone, Copy, Default, NoUninit)]
struct SamplingParams {
    first: u64,
    key_0: u32,
    key_1: u32,
    positions: u32,
    drawn: u32,
    parts: u32,
    blocks_per_part: u32,
    wanted: u32,
    slots: u32,
    row_words: u32,
    digits: u32,
    digit: u32,
    in_place: u32,
}

impl SamplingParams {
    /// For rows of N positions from number `row` on, cut into so many parts.
    fn new(cx: &Cx, words: &Words, n: usize, row: usize, parts: usize) -> Result<Self> {
        Ok(SamplingParams {
            first: words.first.wrapping_add((row as u64).wrapping_mul(row_words(n) / 4)),
            key_0: words.key[0],
            key_1: words.key[1],
            positions: cx.u32(n)?,
            parts: cx.u32(parts)?,
            blocks_per_part: cx.u32(n.div_ceil(4).div_ceil(parts))?,
            ..Default::default()
        })
    }
}

/// Threads for so many pieces of work in a block: whole warps.
fn threads(cx: &Cx, work: usize, most: u32) -> Result<u32> {
    cx.u32(work.next_power_of_two().clamp(32, most as usize))
}

/// Blocks of a draw from N positions.
fn parts(n: usize) -> usize {
    if n <= 4 * PART { 1 } else { n.div_ceil(PART) }
}

impl GumbelMax {
    /// Bytes for the winners of the parts.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        let (b, parts) = (ins[0].dims[0], parts(ins[0].dims[1]));
        if parts == 1 { 0 } else { b.saturating_mul(self.draws).saturating_mul(parts * 8) }
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let (n, draws) = (ins[0].dims[1], outs[0].dims.elements());
        let (parts, positions) = (parts(n), Argument::from(&outs[0]));
        let winners = if parts == 1 { Argument::NONE } else { cx.scratch() };
        let params = SamplingParams {
            drawn: cx.u32(self.draws)?,
            ..SamplingParams::new(cx, &self.words, n, 0, parts)?
        };
        let threads = threads(cx, n.div_ceil(4), GUMBEL_MAX_F32.threads)?;
        let grid = Grid::blocks([draws * parts, 1, 1]).threads(threads);
        cx.launch(GUMBEL_MAX_F32, grid, &[(&ins[0]).into(), positions, winners], &params)?;
        if parts == 1 {
            return Ok(());
        }
        cx.launch(GUMBEL_MAX_OF_PARTS, Grid::blocks([draws, 1, 1]), &[winners, positions], &params)
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
        // The list, the states, the histograms, the number of candidates and a word that keeps rows aligned.
        let row_words = 2 * slots + 4 * (digits + 1) + digits * BINS + 2;
        let rows = (SCRATCH / (4 * row_words)).clamp(1, b.clamp(1, ROWS));
        Plan { n, wanted, slots, digits, row_words, rows }
    }

    /// Lists the candidates of some rows: the number of the first, how many, and where their logits begin.
    fn select(
        &self,
        op: &GumbelTopK,
        cx: &Cx,
        [row, rows]: [usize; 2],
        logits: Argument,
    ) -> Result<SamplingParams> {
        let (parts, scratch) = (self.n.div_ceil(PART), cx.scratch());
        let mut params = SamplingParams {
            drawn: cx.u32(op.k)?,
            wanted: cx.u32(self.wanted)?,
            slots: cx.u32(self.slots)?,
            row_words: cx.u32(self.row_words)?,
            digits: cx.u32(self.digits)?,
            in_place: (KEY * self.slots > cx.shared_bytes() as usize).into(),
            ..SamplingParams::new(cx, &op.words, self.n, row, parts)?
        };
        let words = self.row_words - 2 * self.slots;
        cx.launch(TOP_K_CLEAR, Grid::blocks([words.div_ceil(THREADS), rows, 1]), &[scratch], &params)?;
        let grid = Grid::blocks([parts, rows, 1]);
        for digit in 0..self.digits {
            params.digit = cx.u32(digit)?;
            cx.launch(TOP_K_COUNT_F32, grid, &[logits, scratch], &params)?;
        }
        cx.launch(TOP_K_COLLECT_F32, grid, &[logits, scratch], &params)?;
        Ok(params)
    }

    /// Sorts the candidates and writes the results.
    fn sort(
        &self,
        cx: &Cx,
        rows: usize,
        params: &SamplingParams,
        [positions, threshold]: [Argument; 2],
    ) -> Result<()> {
        let shared = if params.in_place == 0 { KEY * self.slots } else { 0 };
        let threads = threads(cx, self.slots / 2, TOP_K_SORT.threads)?;
        let grid = Grid::blocks([rows, 1, 1]).threads(threads).shared(cx.u32(shared)?);
        cx.launch(TOP_K_SORT, grid, &[cx.scratch(), positions, threshold], params)
    }
}

impl GumbelTopK {
    /// Bytes for lists and histograms of the rows selected from at once.
    pub(super) fn cuda_scratch(&self, ins: &[Meta]) -> usize {
        let [b, n] = [ins[0].dims[0], ins[0].dims[1]];
        if n <= LINE {
            return 0;
        }
        let plan = Plan::new([b, n], self.k);
        plan.rows * plan.row_words * 4
    }

    pub(super) fn on_cuda(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let [b, n] = [ins[0].dims[0], ins[0].dims[1]];
        if n <= LINE {
            return lines(self, cx, &ins[0], outs);
        }
        let plan = Plan::new([b, n], self.k);
        for row in (0..b).step_by(plan.rows) {
            let rows = plan.rows.min(b - row);
            let from = |start: Argument, width: usize| start.after_words(row * width);
            let params = plan.select(self, cx, [row, rows], from((&ins[0]).into(), n))?;
            let outs = [from((&outs[0]).into(), self.k), from((&outs[1]).into(), 1)];
            plan.sort(cx, rows, &params, outs)?;
        }
        Ok(())
    }
}

/// Short rows.
fn lines(op: &GumbelTopK, cx: &Cx, logits: &In, outs: &[Out]) -> Result<()> {
    let [b, n] = [logits.dims[0], logits.dims[1]];
    let slots = n.next_power_of_two().max(2);
    let params = SamplingParams {
        drawn: cx.u32(op.k)?,
        slots: cx.u32(slots)?,
        ..SamplingParams::new(cx, &op.words, n, 0, 1)?
    };
    let threads = threads(cx, slots / 2, TOP_K_LINE_F32.threads)?;
    let grid = Grid::blocks([b, 1, 1]).threads(threads).shared(cx.u32(KEY * slots)?);
    let pointers = [logits.into(), (&outs[0]).into(), (&outs[1]).into()];
    cx.launch(TOP_K_LINE_F32, grid, &pointers, &params)
}
