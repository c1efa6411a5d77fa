//! Products of two matrices, with a promise about rounding that the `gemm` crate alone does not give.
//!
//! The bits of an element of `c` depend on its row of `a`, its column of `b` and the length `k` of both: not on how many
//! other rows and columns there are, how any of them are stored, or how many threads work. A patch therefore has the same
//! embedding and the same logits in whatever batch it is computed. An element is
//!
//! `c = ((c₀ + s₁) + s₂) + …`, one sum `s` for every [`DEPTH`] steps of `k`, each a chain of fused multiply-adds in order.
//!
//! The general kernels of `gemm` compute just that when `k` is at most [`DEPTH`]. Its special kernels for very small
//! products and for matrix times vector sum in other orders, so [`small`] takes their place.

use super::simd::vectorised;
use gemm::Parallelism;
use rayon::prelude::*;

/// Steps of `k` summed before they are added to the result.
const DEPTH: usize = 512;
/// Products of at most this many results are `gemm`'s special case.
const SMALL: usize = 16 * 16;
/// Multiplications from which a single product is worth more than one thread.
const THREADED: usize = 1 << 22;
/// Rows of a thread come in multiples of this.
const RUN: usize = 16;
/// Columns that [`small`] computes side by side.
const WIDTH: usize = 16;

/// What to multiply: `c (m, n) = a (m, k) · b (k, n)`. Strides are in elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub(crate) m: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
    /// Distance of neighbouring rows and of neighbouring columns of `a`.
    pub(crate) a: [usize; 2],
    /// The same of `b`.
    pub(crate) b: [usize; 2],
    /// The same of `c`; its elements must not overlap.
    pub(crate) c: [usize; 2],
    /// Add to `c` instead of replacing it.
    pub(crate) add: bool,
    /// Use all threads if the product is large. Callers that already run on all threads leave it unset.
    pub(crate) threads: bool,
}

impl Product {
    /// A product of row-major matrices on the calling thread.
    pub(crate) fn new(m: usize, k: usize, n: usize) -> Self {
        Product { m, k, n, a: [k, 1], b: [n, 1], c: [n, 1], add: false, threads: false }
    }

    /// `a` is stored as `(k, m)`, row-major.
    pub(crate) fn a_transposed(self) -> Self {
        Product { a: [1, self.m], ..self }
    }

    /// `b` is stored as `(n, k)`, row-major.
    pub(crate) fn b_transposed(self) -> Self {
        Product { b: [1, self.k], ..self }
    }

    /// Adds to `c`.
    pub(crate) fn add(self) -> Self {
        Product { add: true, ..self }
    }

    /// Uses all threads if the product is large.
    pub(crate) fn threads(self) -> Self {
        Product { threads: true, ..self }
    }

    /// Multiplications in all.
    pub(crate) fn work(&self) -> usize {
        self.m * self.k * self.n
    }

    /// Computes the product. Each slice starts at its matrix's first element and must reach its last.
    pub(crate) fn run(&self, a: &[f32], b: &[f32], c: &mut [f32]) {
        self.run_after(a, b, c, |_, _| ());
    }

    /// As [`Product::run`], with `prepare(first, c)` called before for parts of `c` that make up the whole: runs of rows,
    /// or of columns where those lie further apart, with the number of the first. What a thread is to add to is best
    /// written by itself, since it comes out of its own cache.
    pub(crate) fn run_after(
        &self,
        a: &[f32],
        b: &[f32],
        c: &mut [f32],
        prepare: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let &Product { m, k, n, .. } = self;
        if m == 0 || n == 0 {
            return;
        }
        let (a, b) = (&a[..extent(m, k, self.a)], &b[..extent(k, n, self.b)]);
        let c = &mut c[..extent(m, n, self.c)];
        if k == 0 && !self.add {
            for row in 0..m {
                (0..n).for_each(|column| c[row * self.c[0] + column * self.c[1]] = 0.0);
            }
        }
        // Each thread takes a run of rows, or, where they lie further apart, of columns.
        let by_row = self.c[0] >= self.c[1];
        let (side, apart) = if by_row { (m, self.c[0]) } else { (n, self.c[1]) };
        let threads = if self.threads && self.work() >= THREADED { rayon::current_num_threads() } else { 1 };
        let share = side.div_ceil(threads).next_multiple_of(RUN);
        if threads == 1 || share >= side {
            prepare(0, c);
            return self.in_depth(a, b, c);
        }
        c.par_chunks_mut(share * apart).enumerate().with_max_len(1).for_each(|(task, c)| {
            let (first, size) = (task * share, share.min(side - task * share));
            prepare(first, c);
            match by_row {
                true => Product { m: size, ..*self }.in_depth(&a[first * self.a[0]..], b, c),
                false => Product { n: size, ..*self }.in_depth(a, &b[first * self.b[1]..], c),
            }
        });
    }

    /// The product on this thread, [`DEPTH`] steps at a time.
    fn in_depth(&self, a: &[f32], b: &[f32], c: &mut [f32]) {
        let &Product { m, k, n, .. } = self;
        for start in (0..k).step_by(DEPTH) {
            let part = Product { k: DEPTH.min(k - start), add: self.add || start > 0, ..*self };
            let (a, b) = (&a[start * self.a[1]..], &b[start * self.b[0]..]);
            if m == 1 || n == 1 || m * n <= SMALL { part.small(a, b, c) } else { part.general(a, b, c) }
        }
    }

    /// At most [`DEPTH`] steps by the general kernels of `gemm`.
    fn general(&self, a: &[f32], b: &[f32], c: &mut [f32]) {
        let &Product { m, k, n, .. } = self;
        debug_assert!(m > 1 && n > 1 && m * n > SMALL && k <= DEPTH);
        let [a_strides, b_strides, c_strides] = [self.a, self.b, self.c].map(|s| s.map(|v| v as isize));
        let [c_row, c_column] = c_strides;
        let ([a_row, a_column], [b_row, b_column]) = (a_strides, b_strides);
        debug_assert!(a.len() >= extent(m, k, self.a) && b.len() >= extent(k, n, self.b));
        debug_assert!(c.len() >= extent(m, n, self.c));
        // SAFETY: `run` cut the slices so that they hold every element these sizes and strides name, `c` is borrowed
        // exclusively, and its elements do not overlap (stated at `Product::c`).
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                c.as_mut_ptr(),
                c_column,
                c_row,
                self.add,
                a.as_ptr(),
                a_column,
                a_row,
                b.as_ptr(),
                b_column,
                b_row,
                1.0_f32,
                1.0_f32,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }

    /// At most [`DEPTH`] steps of a product with few rows or few columns.
    fn small(&self, a: &[f32], b: &[f32], c: &mut [f32]) {
        // The vectors lie along the longer side of `c`.
        if self.n < self.m {
            let [a_strides, b_strides, c_strides] =
                [self.b, self.a, self.c].map(|[row, column]| [column, row]);
            let turned = Product { m: self.n, n: self.m, a: a_strides, b: b_strides, c: c_strides, ..*self };
            return columns(&turned, b, a, c, chained(self.k));
        }
        columns(self, a, b, c, chained(self.k));
    }
}

/// Elements from the first to the last of a matrix.
fn extent(rows: usize, columns: usize, strides: [usize; 2]) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * strides[0] + (columns - 1) * strides[1] + 1 }
}

/// How `gemm` sums `k` products on this processor: by fused multiply-adds, or, where there are none and for one or two
/// products, by multiplying and adding.
fn chained(k: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    let fused = std::is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    let fused = cfg!(target_arch = "aarch64");
    fused && k > 2
}

vectorised! {
    /// A product in strips of [`WIDTH`] columns, each of them packed first.
    fn columns(p: &Product, a: &[f32], b: &[f32], c: &mut [f32], fused: bool) {
        let mut panel = [[0.0_f32; WIDTH]; DEPTH];
        for left in (0..p.n).step_by(WIDTH) {
            let width = WIDTH.min(p.n - left);
            let b = &b[left * p.b[1]..];
            for j in 0..width {
                for (step, packed) in panel[..p.k].iter_mut().enumerate() {
                    packed[j] = b[step * p.b[0] + j * p.b[1]];
                }
            }
            let c = &mut c[left * p.c[1]..];
            let mut row = 0;
            while row + 4 <= p.m {
                strip::<4>(p, a, &panel[..p.k], c, row, width, fused);
                row += 4;
            }
            while row < p.m {
                strip::<1>(p, a, &panel[..p.k], c, row, width, fused);
                row += 1;
            }
        }
    }
}

/// `ROWS` rows of a strip: `panel` holds its columns of `b` as `(k, WIDTH)`.
#[inline(always)]
fn strip<const ROWS: usize>(
    p: &Product,
    a: &[f32],
    panel: &[[f32; WIDTH]],
    c: &mut [f32],
    row: usize,
    width: usize,
    fused: bool,
) {
    let mut sums = [[0.0_f32; WIDTH]; ROWS];
    if fused {
        for (step, b) in panel.iter().enumerate() {
            for (r, sums) in sums.iter_mut().enumerate() {
                let a = a[(row + r) * p.a[0] + step * p.a[1]];
                for j in 0..WIDTH {
                    sums[j] = a.mul_add(b[j], sums[j]);
                }
            }
        }
    } else {
        if p.add && p.k <= 2 {
            // One or two products are added to `c` one by one.
            for (r, sums) in sums.iter_mut().enumerate() {
                (0..width).for_each(|j| sums[j] = c[(row + r) * p.c[0] + j * p.c[1]]);
            }
        }
        for (step, b) in panel.iter().enumerate() {
            for (r, sums) in sums.iter_mut().enumerate() {
                let a = a[(row + r) * p.a[0] + step * p.a[1]];
                for j in 0..WIDTH {
                    sums[j] += a * b[j];
                }
            }
        }
    }
    let add = p.add && p.k > 2;
    for (r, sums) in sums.iter().enumerate() {
        for (j, &sum) in sums[..width].iter().enumerate() {
            let c = &mut c[(row + r) * p.c[0] + j * p.c[1]];
            *c = if add { *c + sum } else { sum };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    fn normal(len: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed);
        (0..len).map(|_| rng.normal()).collect()
    }

    /// Stores a row-major matrix with other strides.
    fn stored(x: &[f32], rows: usize, columns: usize, strides: [usize; 2]) -> Vec<f32> {
        let mut y = vec![f32::NAN; extent(rows, columns, strides)];
        for r in 0..rows {
            (0..columns).for_each(|c| y[r * strides[0] + c * strides[1]] = x[r * columns + c]);
        }
        y
    }

    /// Every element of products of all sizes and storage orders has the bits it has in a product of 300 by 70.
    #[test]
    fn an_element_has_the_same_bits_in_every_product() {
        let (rows, columns) = (300, 70);
        for k in [1, 2, 3, 7, 16, 33, 128, 500, 512, 513, 514, 600, 1100] {
            let (a, b) = (normal(rows * k, 1), normal(k * columns, 2));
            let before = normal(rows * columns, 3);
            for add in [false, true] {
                let mut whole = before.clone();
                Product { add, ..Product::new(rows, k, columns) }.run(&a, &b, &mut whole);
                for (m, n) in [
                    (1, 1),
                    (1, 70),
                    (2, 5),
                    (3, 64),
                    (4, 4),
                    (5, 51),
                    (6, 51),
                    (16, 16),
                    (33, 9),
                    (300, 1),
                    (130, 2),
                ] {
                    let (row, column) = (rows - m, columns - n);
                    for order in 0..8 {
                        let turned = |turn: usize, r: usize, c: usize| {
                            if order >> turn & 1 == 1 { [1, r + 1] } else { [c + 2, 1] }
                        };
                        let strides = [turned(0, m, k), turned(1, k, n), turned(2, m, n)];
                        let part: Vec<f32> =
                            (0..k * n).map(|i| b[i / n * columns + column + i % n]).collect();
                        let mut c: Vec<f32> =
                            (0..m * n).map(|i| before[(row + i / n) * columns + column + i % n]).collect();
                        c = stored(&c, m, n, strides[2]);
                        let p = Product {
                            m,
                            k,
                            n,
                            a: strides[0],
                            b: strides[1],
                            c: strides[2],
                            add,
                            threads: false,
                        };
                        p.run(
                            &stored(&a[row * k..], m, k, strides[0]),
                            &stored(&part, k, n, strides[1]),
                            &mut c,
                        );
                        for i in 0..m * n {
                            let (r, j) = (i / n, i % n);
                            let (got, want) =
                                (c[r * p.c[0] + j * p.c[1]], whole[(row + r) * columns + column + j]);
                            assert_eq!(
                                got.to_bits(),
                                want.to_bits(),
                                "{p:?} at ({r}, {j}): {got} and {want}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn threads_do_not_change_bits() {
        let (m, k, n) = (333, 700, 257);
        let (a, b) = (normal(m * k, 1), normal(k * n, 2));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut c = vec![0.0; m * n];
            pool.install(|| Product::new(m, k, n).threads().run(&a, &b, &mut c));
            c
        };
        let one = run(1);
        assert!([2, 3, 5].iter().all(|&t| run(t) == one));
    }

    #[test]
    fn an_empty_sum_is_zero_or_leaves_what_was_there() {
        let mut c = [3.0; 6];
        Product::new(2, 0, 3).add().run(&[], &[], &mut c);
        assert_eq!(c, [3.0; 6]);
        Product::new(2, 0, 3).run(&[], &[], &mut c);
        assert_eq!(c, [0.0; 6]);
    }
}
