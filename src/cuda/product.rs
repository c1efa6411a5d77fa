//! Launches of matrix products: `kernels/product/product.cu`.

use super::{
    Argument, Cx, Grid, Kernel, PRODUCT_16_F32, PRODUCT_32_F32, PRODUCT_64_F32, PRODUCT_BF16, PRODUCT_F16,
    PRODUCT_SUM_F32, PRODUCT_TF32, PRODUCT_WGMMA_BF16, PRODUCT_WGMMA_F16, PRODUCT_WGMMA_TF32,
};
use crate::{
    Precision,
    device::{Matrix, Product},
    error::Result,
};
use bytemuck::NoUninit;

/// Columns of the tile that a block makes: `TILE_N` of `common/product.cuh`.
const TILE_N: usize = 128;
/// Tiles that keep a large GPU busy: with fewer, each piece of k has a block of its own.
const TILES: usize = 128;
/// Blocks up to which they do, for the sake of the scratch that their sums take.
const BLOCKS: usize = 4096;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct MatrixParams {
    batch: u64,
    row_outer: u64,
    row: u64,
    col_outer: u64,
    col: u64,
}

impl From<Matrix> for MatrixParams {
    fn from(matrix: Matrix) -> Self {
        MatrixParams {
            batch: matrix.batch as u64,
            row_outer: matrix.rows.outer as u64,
            row: matrix.rows.step as u64,
            col_outer: matrix.cols.outer as u64,
            col: matrix.cols.step as u64,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct ProductParams {
    a: MatrixParams,
    b: MatrixParams,
    c: MatrixParams,
    batch: u32,
    m: u32,
    k: u32,
    n: u32,
    m_inner: u32,
    k_inner: u32,
    n_inner: u32,
    k_per_piece: u32,
    splits: u32,
    add: u32,
    bias_along_m: u32,
    scale: f32,
}

/// Tiles of so many rows that cover all results.
fn tiles(product: &Product, rows: usize) -> usize {
    product.m.len.div_ceil(rows) * product.n.len.div_ceil(TILE_N) * product.batch
}

/// Rows of the smallest tile that holds all, or of the largest; tensor cores have one alone.
fn rows(product: &Product) -> usize {
    match product.m.len {
        _ if product.precision != Precision::F32 => 64,
        ..=16 => 16,
        17..=32 => 32,
        _ => 64,
    }
}

/// How many blocks share the pieces of k: one, or as many as there are. It changes no bit.
fn splits(product: &Product) -> usize {
    let (tiles, (pieces, _)) = (tiles(product, rows(product)), product.pieces());
    if tiles < TILES && tiles * pieces <= BLOCKS { pieces } else { 1 }
}

/// The kernel, and the rows of its tiles; `warpgroups`: the one that multiplies by them.
fn kernel(product: &Product, splits: usize, warpgroups: bool) -> (Kernel, usize) {
    match (product.precision, rows(product)) {
        (Precision::Tf32, rows) if warpgroups => (PRODUCT_WGMMA_TF32, rows),
        (Precision::F16, rows) if warpgroups => (PRODUCT_WGMMA_F16, rows),
        (Precision::Bf16, rows) if warpgroups => (PRODUCT_WGMMA_BF16, rows),
        (Precision::Tf32, rows) => (PRODUCT_TF32, rows),
        (Precision::F16, rows) => (PRODUCT_F16, rows),
        (Precision::Bf16, rows) => (PRODUCT_BF16, rows),
        (Precision::F32, 16) => (PRODUCT_16_F32, 16),
        (Precision::F32, 64) if splits == product.pieces().0 => (PRODUCT_64_F32, 64),
        (Precision::F32, _) => (PRODUCT_32_F32, 32),
    }
}

/// Words of scratch for the sums of the pieces of a long k.
pub(crate) fn parts(product: &Product) -> usize {
    let splits = splits(&product.oriented(TILE_N));
    if splits == 1 { 0 } else { splits * product.batch * product.m.len * product.n.len }
}

impl Cx<'_> {
    /// Multiplies a and b to c, without scratch.
    pub(crate) fn product(&self, product: &Product, operands: [Argument; 3]) -> Result<()> {
        self.launch_product(&product.oriented(TILE_N), 1, operands, [Argument::NONE; 2])
    }

    /// As [`Cx::product`], with the pieces of a long k side by side, whose sums go to scratch of [`parts`] words, and with a
    /// bias for each column of c if there is one.
    pub(crate) fn product_in_parts(
        &self,
        product: &Product,
        operands: [Argument; 3],
        bias: Argument,
        parts: Argument,
    ) -> Result<()> {
        let product = product.oriented(TILE_N);
        self.launch_product(&product, splits(&product), operands, [bias, parts])
    }

    fn launch_product(
        &self,
        product: &Product,
        splits: usize,
        [a, b, c]: [Argument; 3],
        [bias, parts]: [Argument; 2],
    ) -> Result<()> {
        let (a, b) = if product.swapped { (b, a) } else { (a, b) };
        let params = self.product_params(product, splits)?;
        let (kernel, rows) = kernel(product, splits, self.device.warpgroups());
        let tiles = tiles(product, rows);
        self.launch(kernel, Grid::blocks([tiles * splits, 1, 1]), &[a, b, bias, c, parts], &params)?;
        if splits == 1 { Ok(()) } else { self.add_splits(&params, [parts, bias, c]) }
    }

    fn add_splits(&self, params: &ProductParams, pointers: [Argument; 3]) -> Result<()> {
        let results = params.batch as usize * params.m as usize * params.n as usize;
        let grid = Grid::over(results, PRODUCT_SUM_F32.threads as usize);
        self.launch(PRODUCT_SUM_F32, grid, &pointers, params)
    }

    fn product_params(&self, product: &Product, splits: usize) -> Result<ProductParams> {
        let (_, each) = product.pieces();
        Ok(ProductParams {
            a: product.a.into(),
            b: product.b.into(),
            c: product.c.into(),
            batch: self.u32(product.batch)?,
            m: self.u32(product.m.len)?,
            k: self.u32(product.k.len)?,
            n: self.u32(product.n.len)?,
            m_inner: self.u32(product.m.inner.max(1))?,
            k_inner: self.u32(product.k.inner.max(1))?,
            n_inner: self.u32(product.n.inner.max(1))?,
            k_per_piece: self.u32(each)?,
            splits: self.u32(splits)?,
            add: product.add.into(),
            bias_along_m: product.swapped.into(),
            scale: product.scale,
        })
    }

    /// sum = the `count` parts one after another, which follow each other in `parts`, `elements` each.
    pub(crate) fn sum_parts(
        &self,
        parts: Argument,
        sum: Argument,
        count: usize,
        elements: usize,
    ) -> Result<()> {
        let row = Matrix::new(0, 1);
        let params = self.product_params(&Product::new((1, 0, elements), row, row, row), count)?;
        self.add_splits(&params, [parts, Argument::NONE, sum])
    }
}
