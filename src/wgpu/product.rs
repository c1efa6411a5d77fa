//! Matrix products as parts of larger operations: `kernels/common/product.wgsl`.

use super::{Blocks, Cx, Slice, TILE_N, View, element, tile_m};
use crate::{
    DType,
    device::{Axis, Matrix, Product, Stride},
    error::Result,
};
use smallvec::{SmallVec, smallvec};
use std::ops::Range;

crate::wgpu_params! {
    struct ProductParams {
        a_first: u32, b_first: u32, c_first: u32, m_first: u32, m_end: u32, n_first: u32, n_end: u32, k: u32,
        m_inner: u32, n_inner: u32, k_inner: u32, z_first: u32, z_count: u32, splits: u32, k_per_piece: u32,
        a_batch: u32, a_m_outer: u32, a_m: u32, a_k_outer: u32, a_k: u32,
        b_batch: u32, b_k_outer: u32, b_k: u32, b_n_outer: u32, b_n: u32,
        c_batch: u32, c_split: u32, c_m_outer: u32, c_m: u32, c_n_outer: u32, c_n: u32, scale: f32, bias_first: u32,
        bias_m: u32, bias_n: u32,
    }
}

mod apart {
    crate::wgpu_kernel! {
        op: "product", texts: ["common/grid", "common/product_tiles", "common/product", "common/product_write", "common/product_apart"],
        params: super::ProductParams, tuning: [TILE_M, TILE_N, TILE_K, ROWS, COLS, ADD, LONG, ElementA, ElementB, ElementC],
        F32 = "product_f32", tried with [
            [8, 64, 16, 8, 1, 1, 0, 1, 0, 0], [16, 64, 16, 8, 2, 0, 1, 0, 0, 0], [32, 64, 16, 8, 4, 0, 1, 0, 0, 0],
            [64, 64, 16, 8, 8, 0, 1, 0, 0, 0], [64, 64, 16, 4, 4, 0, 1, 0, 0, 0], [8, 64, 16, 4, 2, 0, 1, 1, 1, 1],
        ];
    }
}

mod apart_in_registers {
    crate::wgpu_kernel! {
        op: "product", texts: ["common/grid", "common/product_registers", "common/product", "common/product_write", "common/product_apart"],
        params: super::ProductParams, tuning: [ROWS, COLS, THREADS, ADD, LONG, ElementA, ElementB, ElementC],
        F32 = "product_f32", tried with [
            [16, 16, 8, 1, 0, 0, 1, 0], [8, 16, 8, 0, 1, 1, 1, 1],
        ];
    }
}

mod biased {
    crate::wgpu_kernel! {
        op: "product", texts: ["common/grid", "common/product_tiles", "common/product", "common/product_write", "common/product_bias"],
        params: super::ProductParams, tuning: [TILE_M, TILE_N, TILE_K, ROWS, COLS, ADD, LONG, ElementA, ElementB, ElementC],
        F32 = "product_f32", tried with [
            [8, 64, 16, 8, 1, 1, 0, 0, 0, 0], [64, 64, 16, 8, 8, 0, 1, 1, 1, 1],
        ];
    }
}

mod biased_in_registers {
    crate::wgpu_kernel! {
        op: "product", texts: ["common/grid", "common/product_registers", "common/product", "common/product_write", "common/product_bias"],
        params: super::ProductParams, tuning: [ROWS, COLS, THREADS, ADD, LONG, ElementA, ElementB, ElementC],
        F32 = "product_f32", tried with [
            [16, 16, 8, 1, 0, 0, 1, 0], [8, 16, 8, 0, 1, 1, 1, 1],
        ];
    }
}

mod within {
    crate::wgpu_kernel! {
        op: "product", texts: ["common/grid", "common/product_tiles", "common/product", "common/product_write", "common/product_within"],
        params: super::ProductParams, tuning: [TILE_M, TILE_N, TILE_K, ROWS, COLS, ADD, LONG, ElementA, ElementB, ElementC],
        F32 = "product_f32", tried with [
            [8, 64, 16, 8, 1, 1, 0, 0, 0, 0], [64, 64, 16, 8, 8, 0, 1, 1, 1, 1],
        ];
    }
}

mod within_in_registers {
    crate::wgpu_kernel! {
        op: "product", texts: ["common/grid", "common/product_registers", "common/product", "common/product_write", "common/product_within"],
        params: super::ProductParams, tuning: [ROWS, COLS, THREADS, ADD, LONG, ElementA, ElementB, ElementC],
        F32 = "product_f32", tried with [
            [16, 16, 8, 1, 0, 0, 1, 0], [8, 16, 8, 0, 1, 1, 1, 1],
        ];
    }
}

mod in_pairs {
    crate::wgpu_kernel! {
        op: "product", texts: ["common/grid", "common/pairs", "common/product_pairs", "common/product"],
        params: super::ProductParams, tuning: [ROWS, COLS, THREADS, LONG],
        F32 = "product_f32", tried with [[16, 24, 8, 0], [4, 10, 8, 1]];
    }
}

mod add_parts {
    crate::wgpu_params! {
        pub(super) struct AddPartsParams {
            parts_first: u32, sum_first: u32, parts: u32, elements: u32, onto: u32, scale: f32,
        }
    }
    crate::wgpu_kernel! {
        op: "product", texts: ["common/grid", "conv2d/add_parts"], params: AddPartsParams, tuning: [Element],
        F32 = "add_parts_f32", tried with [[0], [1]];
    }
    pub(super) const THREADS: usize = 64;
}

/// Workgroups up to which each piece of k has some of its own, for the sake of the scratch that their sums take.
const GROUPS: usize = 512;

impl Axis {
    fn offset(&self, at: usize, stride: Stride) -> usize {
        at / self.inner.max(1) * stride.outer + at % self.inner.max(1) * stride.step
    }

    /// The elements that a range of indices spans.
    fn span(&self, range: &Range<usize>, stride: Stride) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        // Outer and inner distances may be of either order: the ends of a range need not be its extremes.
        let ends = [range.start, range.end - 1].map(|at| self.offset(at, stride));
        let inner = self.inner.max(1);
        if range.start / inner == (range.end - 1) / inner {
            return ends[0]..ends[1] + 1;
        }
        let [first, last] = [range.start, range.end - 1].map(|at| at / inner * stride.outer);
        first..last + (inner - 1) * stride.step + 1
    }
}

impl Matrix {
    /// The elements between the first and the last one of some matrices' rows and columns.
    fn span(
        &self,
        items: &Range<usize>,
        rows: (Axis, &Range<usize>),
        cols: (Axis, &Range<usize>),
    ) -> Range<usize> {
        if items.is_empty() || rows.1.is_empty() || cols.1.is_empty() {
            return 0..0;
        }
        let (rows, cols) = (rows.0.span(rows.1, self.rows), cols.0.span(cols.1, self.cols));
        items.start * self.batch + rows.start + cols.start
            ..(items.end - 1) * self.batch + rows.end + cols.end - 1
    }
}

/// Products, splits of k, rows and columns of one launch.
#[derive(Clone)]
struct Work {
    z: Range<usize>,
    m: Range<usize>,
    n: Range<usize>,
}

impl Product {
    /// How many workgroups share the pieces of k: one, or as many as there are. It changes no bit.
    fn splits(&self) -> usize {
        let tiles = self.m.len.div_ceil(tile_m(self.m.len)) * self.n.len.div_ceil(TILE_N) * self.batch;
        let (pieces, _) = self.pieces();
        if tiles * pieces <= GROUPS { pieces } else { 1 }
    }

    /// Words of scratch for the sums of the pieces of a long k.
    pub(crate) fn parts(&self) -> usize {
        let splits = self.oriented(TILE_N).splits();
        if splits == 1 { 0 } else { splits * self.batch * self.m.len * self.n.len }
    }

    /// Runs it without scratch.
    pub(crate) fn run(&self, cx: &Cx, a: &View, b: &View, c: &View) -> Result<()> {
        self.oriented(TILE_N).launches(cx, 1, [a, b, c], None)
    }

    /// Runs it without scratch and adds `bias`, an element for each column of c.
    pub(crate) fn run_with_bias(&self, cx: &Cx, a: &View, b: &View, bias: &View, c: &View) -> Result<()> {
        self.oriented(TILE_N).launches(cx, 1, [a, b, c], Some(bias))
    }

    /// Runs it with the pieces of a long k side by side, whose sums go to scratch of [`Product::parts`] words. The results must fill `c`.
    pub(crate) fn run_in_parts(&self, cx: &Cx, a: &View, b: &View, c: &View, parts: &View) -> Result<()> {
        let product = self.oriented(TILE_N);
        let splits = product.splits();
        if splits == 1 || c.dims.elements() == 0 {
            return product.launches(cx, 1, [a, b, c], None);
        }
        Product { add: false, scale: 1.0, ..product }.launches(
            cx,
            splits,
            [a, b, &first(parts, self.parts())],
            None,
        )?;
        let onto = if self.add { Onto::Last } else { Onto::Nothing };
        sum_scaled(cx, &first(parts, self.parts()), c, splits, onto, self.scale)
    }

    fn launches(&self, cx: &Cx, splits: usize, [a, b, c]: [&View; 3], bias: Option<&View>) -> Result<()> {
        let views = if self.swapped { [b, a, c] } else { [a, b, c] };
        if self.batch * self.m.len * self.n.len == 0 {
            return Ok(());
        }
        let spans = |work: &Work| {
            let spans = self.spans(work, splits);
            [0, 1, 2].map(|at| (*views[at], spans[at].clone()))
        };
        let all = Work { z: 0..self.batch * splits, m: 0..self.m.len, n: 0..self.n.len };
        if let Ok(runs) = cx.cut(all.z.len(), |run| spans(&Work { z: run.clone(), ..all.clone() })) {
            return runs.iter().try_for_each(|run| {
                self.launch(cx, splits, &Work { z: run.clone(), ..all.clone() }, views, bias)
            });
        }
        // A single product is cut along its longer axis.
        let down = self.m.len > self.n.len;
        for z in all.z.clone() {
            let of = |run: &Range<usize>| match (run.clone(), z..z + 1) {
                (m, z) if down => Work { z, m, ..all.clone() },
                (n, z) => Work { z, n, ..all.clone() },
            };
            let runs = cx.cut(self.m.len.max(self.n.len), |run| spans(&of(run)))?;
            runs.iter().try_for_each(|run| self.launch(cx, splits, &of(run), views, bias))?;
        }
        Ok(())
    }

    /// The elements of a, b and c that some work touches.
    fn spans(&self, work: &Work, splits: usize) -> [Range<usize>; 3] {
        let items = work.z.start / splits..work.z.end.div_ceil(splits);
        let (_, piece) = self.pieces();
        let k = if items.len() == 1 && splits > 1 {
            let [start, end] = [work.z.start % splits, (work.z.end - 1) % splits + 1].map(|s| s * piece);
            start.min(self.k.len)..end.min(self.k.len)
        } else {
            0..self.k.len
        };
        let (m, n) = ((self.m, &work.m), (self.n, &work.n));
        let c = if splits == 1 {
            self.c.span(&items, m, n)
        } else {
            0..splits * self.batch * self.m.len * self.n.len
        };
        [self.a.span(&items, m, (self.k, &k)), self.b.span(&items, (self.k, &k), n), c]
    }

    /// Whether a launch can take two neighbours at a time, along k in a and along n in b and c: `product_pairs.wgsl`.
    fn is_in_pairs(&self, p: &ProductParams) -> bool {
        let neighbours = p.a_k == 1 && p.b_n == 1 && p.c_n == 1 && (1..=p.k_inner).contains(&p.k);
        let starts = [p.a_first, p.b_first, p.c_first, p.a_batch, p.b_batch, p.c_batch, p.c_split];
        let ranges = [p.n_first, p.n_end, p.k, p.k_per_piece];
        let steps = [p.a_m, p.b_k, p.c_m];
        // Distances between the runs of an axis that has but one are not looked at.
        let rows = [p.a_m_outer, p.c_m_outer].map(|outer| if self.m.len > self.m.inner { outer } else { 0 });
        let cols =
            [p.b_n_outer, p.c_n_outer, p.n_inner].map(|of| if self.n.len > self.n.inner { of } else { 0 });
        let all = [&starts[..], &ranges, &steps, &rows, &cols];
        neighbours && all.iter().all(|values| values.iter().all(|value| value % 2 == 0))
    }

    fn launch(
        &self,
        cx: &Cx,
        splits: usize,
        work: &Work,
        views: [&View; 3],
        bias: Option<&View>,
    ) -> Result<()> {
        let bias = bias.map(|bias| cx.bind(bias)).transpose()?;
        let spans = self.spans(work, splits);
        let slices = [
            cx.bind_range(views[0], spans[0].clone())?,
            cx.bind_range(views[1], spans[1].clone())?,
            cx.bind_range(views[2], spans[2].clone())?,
        ];
        let [a_first, b_first, c_first] =
            [0, 1, 2].map(|at| slices[at].first.wrapping_sub(spans[at].start as u32));
        let params = ProductParams {
            a_first,
            b_first,
            c_first,
            m_first: work.m.start as u32,
            m_end: work.m.end as u32,
            n_first: work.n.start as u32,
            n_end: work.n.end as u32,
            k: self.k.len as u32,
            m_inner: self.m.inner.max(1) as u32,
            n_inner: self.n.inner.max(1) as u32,
            k_inner: self.k.inner.max(1) as u32,
            z_first: work.z.start as u32,
            z_count: work.z.len() as u32,
            splits: splits as u32,
            k_per_piece: self.pieces().1 as u32,
            a_batch: self.a.batch as u32,
            a_m_outer: self.a.rows.outer as u32,
            a_m: self.a.rows.step as u32,
            a_k_outer: self.a.cols.outer as u32,
            a_k: self.a.cols.step as u32,
            b_batch: self.b.batch as u32,
            b_k_outer: self.b.rows.outer as u32,
            b_k: self.b.rows.step as u32,
            b_n_outer: self.b.cols.outer as u32,
            b_n: self.b.cols.step as u32,
            c_batch: self.c.batch as u32,
            c_split: (self.batch * self.m.len * self.n.len) as u32,
            c_m_outer: self.c.rows.outer as u32,
            c_m: self.c.rows.step as u32,
            c_n_outer: self.c.cols.outer as u32,
            c_n: self.c.cols.step as u32,
            scale: self.scale,
            bias_first: bias.map_or(0, |bias| bias.first),
            bias_m: self.swapped.into(),
            bias_n: (!self.swapped).into(),
        };
        let blocks =
            Blocks::new(cx, self.m.len, self.n.len, self.m.len * self.n.len * self.k.len * self.batch);
        let [tile_m, tile_n] = blocks.tile();
        let tiles = work.m.len().div_ceil(tile_m) * work.n.len().div_ceil(tile_n);
        let groups = cx.groups(tiles * work.z.len())?;
        let long = splits == 1 && self.pieces().0 > 1;
        let plain = bias.is_none() && !self.add && views.iter().all(|view| view.dtype == DType::F32);
        if let Blocks::Registers(_) = blocks
            && plain
            && cx.device().has_int64()
            && self.is_in_pairs(&params)
        {
            return cx.launch(&in_pairs::F32, &blocks.tuning(&[long.into()]), &params, &slices, groups);
        }
        // A buffer has one kind of access in a launch.
        let shared = views[..2].iter().any(|view| std::ptr::eq(view.buffer, views[2].buffer));
        let [a, b, c] = slices;
        let (slices, [tiled, in_registers]): (SmallVec<[Slice; 4]>, _) = match bias {
            Some(bias) => (smallvec![a, b, bias, c], [&biased::F32, &biased_in_registers::F32]),
            None if shared => (smallvec![a, b, c], [&within::F32, &within_in_registers::F32]),
            None => (smallvec![a, b, c], [&apart::F32, &apart_in_registers::F32]),
        };
        let kernel = match blocks {
            Blocks::Tiles(_) => tiled,
            Blocks::Registers(_) => in_registers,
        };
        let [a, b, c] = views.map(|view| element(view.dtype));
        cx.launch(kernel, &blocks.tuning(&[self.add.into(), long.into(), a, b, c]), &params, &slices, groups)
    }
}

/// The first elements of a view of scratch.
fn first<'a>(view: &View<'a>, elements: usize) -> View<'a> {
    View { dims: [elements].into(), ..*view }
}

/// What is done with the elements that a sum of parts meets.
#[derive(Clone, Copy)]
pub(crate) enum Onto {
    /// They are written over.
    Nothing = 0,
    /// The parts are added to them one after another.
    First = 1,
    /// They are added to the sum of the parts.
    Last = 2,
}

/// sum = the `count` parts one after another, which follow each other in `parts`, and what is there as `onto` says.
pub(crate) fn sum_parts(cx: &Cx, parts: &View, sum: &View, count: usize, onto: Onto) -> Result<()> {
    sum_scaled(cx, parts, sum, count, onto, 1.0)
}

/// As [`sum_parts`], with a factor of all that it sums.
fn sum_scaled(cx: &Cx, parts: &View, sum: &View, count: usize, onto: Onto, scale: f32) -> Result<()> {
    let elements = sum.dims.elements();
    let slices = [cx.bind(parts)?, cx.bind(sum)?];
    let params = add_parts::AddPartsParams {
        parts_first: slices[0].first,
        sum_first: slices[1].first,
        parts: count as u32,
        elements: elements as u32,
        onto: onto as u32,
        scale,
    };
    let groups = cx.groups(elements.div_ceil(add_parts::THREADS))?;
    cx.launch(&add_parts::F32, &[element(sum.dtype)], &params, &slices, groups)
}
