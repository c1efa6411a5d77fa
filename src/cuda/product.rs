//! Launches of matrix products: `kernels/product/product.cu`.

use super::{Argument, Cx, Grid, PRODUCT_F32, PRODUCT_NARROW_F32, PRODUCT_SUM_F32};
use crate::{
    device::{Matrix, Product},
    error::Result,
};
use bytemuck::NoUninit;

/// Columns of the tile that a block makes: `TILE_N` of `common/product.cuh`.
const TILE_N: usize = 128;
/// Steps along k that are worth a part of their own.
const PART: usize = 512;
/// Blocks up to which k is cut into parts.
const BLOCKS: usize = 512;

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
    splits: u32,
    k_per_split: u32,
    add: u32,
    bias_along_m: u32,
    scale: f32,
}

/// Tiles that cover all results, of how many rows.
fn tiles(product: &Product) -> (usize, usize) {
    let tile_m = if product.m.len <= 16 { 16 } else { 64 };
    (product.m.len.div_ceil(tile_m) * product.n.len.div_ceil(TILE_N) * product.batch, tile_m)
}

/// How many parts k is cut into: enough blocks for a large GPU, parts long enough to be worth their memory. It depends on
/// the shapes alone, so that results do.
fn splits(product: &Product) -> usize {
    let (tiles, _) = tiles(product);
    (BLOCKS / tiles.max(1)).clamp(1, product.k.len.div_ceil(PART).max(1))
}

/// Words of scratch for the sums of the parts of a long k.
pub(crate) fn parts(product: &Product) -> usize {
    let splits = splits(&product.oriented(TILE_N));
    if splits == 1 { 0 } else { splits * product.batch * product.m.len * product.n.len }
}

impl Cx<'_> {
    /// Multiplies a and b to c, with k in one piece.
    pub(crate) fn product(&self, product: &Product, operands: [Argument; 3]) -> Result<()> {
        self.launch_product(&product.oriented(TILE_N), 1, operands, [Argument::NONE; 2])
    }

    /// As [`Cx::product`], with a long k in parts, whose sums go to scratch of [`parts`] words, and with a bias for each column
    /// of c if there is one.
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
        let (tiles, tile_m) = tiles(product);
        let params = self.product_params(product, splits)?;
        let kernel = if tile_m == 64 { PRODUCT_F32 } else { PRODUCT_NARROW_F32 };
        self.launch(kernel, Grid::blocks([tiles * splits, 1, 1]), &[a, b, bias, c, parts], &params)?;
        if splits == 1 {
            return Ok(());
        }
        let results = product.batch * product.m.len * product.n.len;
        let grid = Grid::over(results, PRODUCT_SUM_F32.threads as usize);
        self.launch(PRODUCT_SUM_F32, grid, &[parts, bias, c], &params)
    }

    fn product_params(&self, product: &Product, splits: usize) -> Result<ProductParams> {
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
            splits: self.u32(splits)?,
            k_per_split: self.u32(product.k.len.div_ceil(splits.max(1)).next_multiple_of(16).max(16))?,
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
        let grid = Grid::over(elements, PRODUCT_SUM_F32.threads as usize);
        self.launch(PRODUCT_SUM_F32, grid, &[parts, Argument::NONE, sum], &params)
    }
}
