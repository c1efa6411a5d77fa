//! Matrix products as parts of larger operations: what is multiplied and how it lies in memory. Each device has one product
//! kernel that takes any of these.

#[cfg(feature = "cuda")]
use crate::Precision;

/// An axis of a product. Index i of it lies `i / inner * outer + i % inner * step` elements from the first one, with a
/// [`Stride`] for each operand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) len: usize,
    pub(crate) inner: usize,
}

impl From<usize> for Axis {
    fn from(len: usize) -> Self {
        Axis { len, inner: len }
    }
}

/// Elements between the outer and between the inner indices of an axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stride {
    pub(crate) outer: usize,
    pub(crate) step: usize,
}

impl From<usize> for Stride {
    fn from(step: usize) -> Self {
        Stride { outer: 0, step }
    }
}

/// Where the matrices of one operand lie: elements between two of the batch, and the strides of both axes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix {
    pub(crate) batch: usize,
    pub(crate) rows: Stride,
    pub(crate) cols: Stride,
}

impl Matrix {
    /// One for all, or the only one.
    pub(crate) fn new(rows: impl Into<Stride>, cols: impl Into<Stride>) -> Self {
        Matrix { batch: 0, rows: rows.into(), cols: cols.into() }
    }

    /// A matrix for each product, so many elements apart.
    pub(crate) fn every(self, batch: usize) -> Self {
        Matrix { batch, ..self }
    }

    fn transposed(self) -> Self {
        Matrix { rows: self.cols, cols: self.rows, ..self }
    }
}

/// A batch of products `c (m, n) = scale · a (m, k) · b (k, n)`, or `c += …`; sums are f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub(crate) batch: usize,
    pub(crate) m: Axis,
    pub(crate) k: Axis,
    pub(crate) n: Axis,
    pub(crate) a: Matrix,
    pub(crate) b: Matrix,
    pub(crate) c: Matrix,
    pub(crate) scale: f32,
    pub(crate) add: bool,
    /// How operands are rounded.
    #[cfg(feature = "cuda")]
    pub(crate) precision: Precision,
    /// Whether the operands have changed places.
    pub(crate) swapped: bool,
}

/// Steps along k from which it is cut into pieces, and how many of them at most.
const PIECE: usize = 512;
const PIECES: usize = 64;

impl Product {
    /// How many pieces k is cut into, and how long they are. It follows from k alone, and so does the order of a sum: the
    /// pieces' sums are added up one after another, whether one block makes them all or each has its own.
    pub(crate) fn pieces(&self) -> (usize, usize) {
        let k = self.k.len;
        let each = k.div_ceil(k.div_ceil(PIECE).clamp(1, PIECES)).next_multiple_of(16).max(16);
        (k.div_ceil(each).max(1), each)
    }

    /// One product of matrices in the given layouts.
    pub(crate) fn new(
        (m, k, n): (impl Into<Axis>, impl Into<Axis>, impl Into<Axis>),
        a: Matrix,
        b: Matrix,
        c: Matrix,
    ) -> Self {
        let (m, k, n) = (m.into(), k.into(), n.into());
        Product {
            batch: 1,
            m,
            k,
            n,
            a,
            b,
            c,
            scale: 1.0,
            add: false,
            #[cfg(feature = "cuda")]
            precision: Precision::F32,
            swapped: false,
        }
    }

    /// The same product, `cᵀ = bᵀ aᵀ` if that suits tiles of so many columns better, which are narrow along m alone.
    pub(crate) fn oriented(self, tile_n: usize) -> Self {
        if self.m.len <= self.n.len || self.n.len >= tile_n {
            return self;
        }
        let (a, b, c) = (self.b.transposed(), self.a.transposed(), self.c.transposed());
        Product { m: self.n, n: self.m, a, b, c, swapped: !self.swapped, ..self }
    }

    /// As many products.
    pub(crate) fn batch(self, batch: usize) -> Self {
        Product { batch, ..self }
    }

    /// Results are multiplied by this.
    pub(crate) fn scale(self, scale: f32) -> Self {
        Product { scale, ..self }
    }

    /// Operands are rounded so; CUDA only.
    #[cfg(feature = "cuda")]
    pub(crate) fn precision(self, precision: Precision) -> Self {
        Product { precision, ..self }
    }

    /// Results are added to what is there.
    pub(crate) fn add(self) -> Self {
        Product { add: true, ..self }
    }
}
