//! Products of matrices through wgpu, for `matmul` and `linear`. Batches larger than a binding are cut into runs of
//! matrices, and single matrices into runs of rows.

use super::MatMul;
use crate::{
    Dims,
    dims::MAX_AXES,
    error::Result,
    ops::elementwise::source,
    wgpu::{Cx, In, Out, Slice, View, Walk, walk_params},
};
use std::ops::Range;

walk_params! {
    struct MatMulParams {
        a_first, b_first, bias_first, c_first, rows, columns, depth, a_row, a_step, b_step, b_column, c_row, c_column,
        c_matrix, bias_row, bias_column, has_bias, first_matrix,
    }
}

mod kernels {
    crate::wgpu_kernel! {
        op: "matmul", texts: ["common/walk", "conv2d/product", "matmul/matmul"], params: super::MatMulParams,
        tuning: [TILE_M, TILE_N, TILE_K, ROWS, COLS, AXES],
        F32 = "matmul_f32",
        tried with [[64, 64, 16, 8, 8, 1], [32, 64, 16, 8, 4, 2], [16, 64, 16, 8, 2, 4], [8, 64, 16, 8, 1, 1]];
    }
}

const TILE_N: usize = 64;

/// The smallest tile that holds `rows`, or the largest one.
fn tile(rows: usize, axes: u32) -> [u32; 6] {
    match rows {
        0..=8 => [8, 64, 16, 8, 1, axes],
        9..=16 => [16, 64, 16, 8, 2, axes],
        17..=32 => [32, 64, 16, 8, 4, axes],
        _ => [64, 64, 16, 8, 8, axes],
    }
}

/// A product `c = a b`, whose batches are broadcast.
pub(crate) struct Product {
    /// Shapes of the batches of a, b and c.
    pub(crate) batch: [Dims; 3],
    /// Rows of a, terms of a sum, columns of b.
    pub(crate) sizes: [usize; 3],
    /// Whether a and b are stored transposed.
    pub(crate) transposed: [bool; 2],
}

/// One operand as a launch sees it.
struct Side<'a> {
    slice: Slice<'a>,
    /// Its first element, of the first matrix of the whole batch if it has one for each.
    first: u32,
    /// Distances of its matrices along the axes of the walk.
    batch: [u32; MAX_AXES],
    /// Distance of its rows (of a) or columns (of b), and of the terms of a sum.
    line: usize,
    step: usize,
}

impl Product {
    /// Computes the product; `bias` has an element for each column of c.
    pub(crate) fn launch(&self, cx: &Cx, [a, b]: [&In; 2], bias: Option<&In>, c: &Out) -> Result<()> {
        let ([m, k, n], matrices) = (self.sizes, self.batch[2].elements());
        if matrices * m * n == 0 {
            return Ok(());
        }
        // Of operands that are not broadcast, the matrices of the run; all of the others.
        let part = |batch: Dims, size: usize, run: &Range<usize>| {
            let count = batch.elements();
            if count == matrices { run.start * size..run.end * size } else { 0..count * size }
        };
        let needs = |run: &Range<usize>| {
            [
                (*a, part(self.batch[0], m * k, run)),
                (*b, part(self.batch[1], k * n, run)),
                (*c, run.start * m * n..run.end * m * n),
            ]
        };
        if let Ok(runs) = cx.cut(matrices, needs) {
            for run in runs {
                let mut start = run.start;
                while start < run.end {
                    let some = start..run.end.min(start + cx.groups_per_axis());
                    self.run(cx, needs(&some), bias, (self.batch, some.clone(), m))?;
                    start = some.end;
                }
            }
            return Ok(());
        }
        (0..matrices).try_for_each(|at| self.rows(cx, [a, b, c], bias, at))
    }

    /// One matrix of the batch, cut into runs of rows of a and c.
    fn rows(&self, cx: &Cx, [a, b, c]: [&View; 3], bias: Option<&In>, at: usize) -> Result<()> {
        let [m, k, n] = self.sizes;
        let [of_a, of_b] = [0, 1].map(|side| source(at, self.batch[2], self.batch[side]));
        let (of_a, of_b, of_c) = (of_a * m * k, of_b * k * n, at * m * n);
        let needs = |run: &Range<usize>| {
            // The rows of a transposed matrix are its columns in memory.
            let of_a = if self.transposed[0] {
                of_a + run.start..of_a + (k - 1) * m + run.end
            } else {
                of_a + run.start * k..of_a + run.end * k
            };
            [(*a, of_a), (*b, of_b..of_b + k * n), (*c, of_c + run.start * n..of_c + run.end * n)]
        };
        for run in cx.cut(m, needs)? {
            self.run(cx, needs(&run), bias, ([Dims::SCALAR; 3], 0..1, run.len()))?;
        }
        Ok(())
    }

    /// Some matrices of a batch, each of so many rows, in these ranges of the operands and the result.
    fn run(
        &self,
        cx: &Cx,
        [(a, of_a), (b, of_b), (c, of_c)]: [(View, Range<usize>); 3],
        bias: Option<&In>,
        (batch, matrices, m): ([Dims; 3], Range<usize>, usize),
    ) -> Result<()> {
        let [all_rows, k, n] = self.sizes;
        let mut walk = Walk::broadcast(batch[2], batch[0], batch[1]);
        let side = |slice: Slice<'_>, shape: Dims, size: usize, batch_distances: [u32; MAX_AXES]| {
            let cut = shape.elements() == batch[2].elements();
            let before = if cut { matrices.start * size } else { 0 };
            let first = slice.first.wrapping_sub(before as u32);
            (first, batch_distances.map(|distance| distance * size as u32))
        };
        let (a_slice, b_slice) = (cx.bind_range(&a, of_a)?, cx.bind_range(&b, of_b)?);
        let (first, distances) = side(a_slice, batch[0], all_rows * k, walk.a);
        let [line, step] = if self.transposed[0] { [1, all_rows] } else { [k, 1] };
        let a = Side { slice: a_slice, first, batch: distances, line, step };
        let (first, distances) = side(b_slice, batch[1], k * n, walk.b);
        let [line, step] = if self.transposed[1] { [k, 1] } else { [1, n] };
        let b = Side { slice: b_slice, first, batch: distances, line, step };
        // Few columns and many rows change places, so that the wide side of a tile is full.
        let turned = n < TILE_N && m > n;
        let (a, b, [rows, columns], [c_row, c_column]) =
            if turned { (b, a, [n, m], [1, n]) } else { (a, b, [m, n], [n, 1]) };
        (walk.a, walk.b) = (a.batch, b.batch);
        let c = cx.bind_range(&c, of_c)?;
        let of_bias = bias.map(|bias| cx.bind(bias)).transpose()?;
        let params = MatMulParams {
            a_first: a.first,
            b_first: b.first,
            bias_first: of_bias.map_or(0, |bias| bias.first),
            c_first: c.first,
            rows: rows as u32,
            columns: columns as u32,
            depth: k as u32,
            a_row: a.line as u32,
            a_step: a.step as u32,
            b_step: b.step as u32,
            b_column: b.line as u32,
            c_row: c_row as u32,
            c_column: c_column as u32,
            c_matrix: (m * n) as u32,
            bias_row: turned.into(),
            bias_column: (!turned).into(),
            has_bias: bias.is_some().into(),
            first_matrix: matrices.start as u32,
            ..MatMulParams::along(&walk)
        };
        let tuning = tile(rows, walk.axes());
        let grid = [columns.div_ceil(TILE_N), rows.div_ceil(tuning[0] as usize), matrices.len()];
        let slices = [a.slice, b.slice, of_bias.unwrap_or(a.slice), c];
        cx.launch(&kernels::F32, &tuning, &params, &slices, grid.map(|n| n as u32))
    }
}

impl MatMul {
    pub(super) fn on_wgpu(&self, cx: &Cx, ins: &[In], outs: &[Out]) -> Result<()> {
        let sizes = self.sizes(ins[0].dims, ins[1].dims)?;
        let product = Product {
            batch: sizes.batch,
            sizes: [sizes.m, sizes.k, sizes.n],
            transposed: [self.transpose_a, self.transpose_b],
        };
        product.launch(cx, [&ins[0], &ins[1]], None, &outs[0])
    }
}
