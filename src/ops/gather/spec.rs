//! Picking and adding rows as plain loops. Indices outside the rows are passed over.

use crate::spec::{In, Out, Real};

/// x: (B.., N, ..), indices: (B.., K) -> y: (B.., K, ..)
pub(super) fn gather<T: Real>(x: &In<T>, indices: &In<T>, y: &mut Out<T>) {
    let axis = indices.dims.rank() - 1;
    let (_, rows, inner) = x.dims.around(axis);
    for (at, &index) in indices.int.iter().enumerate() {
        let table = at / indices.dims[axis];
        if (0..rows as i64).contains(&index) {
            let from = (table * rows + index as usize) * inner;
            for i in 0..inner {
                if x.int.is_empty() {
                    y[at * inner + i] = x[from + i];
                } else {
                    y.int[at * inner + i] = x.int[from + i];
                }
            }
        }
    }
}

/// x: (B.., K, ..), indices: (B.., K) -> y: (B.., rows, ..)
pub(super) fn scatter_add<T: Real>(x: &In<T>, indices: &In<T>, y: &mut Out<T>) {
    let axis = indices.dims.rank() - 1;
    let (_, rows, inner) = y.dims.around(axis);
    for (at, &index) in indices.int.iter().enumerate() {
        let table = at / indices.dims[axis];
        if (0..rows as i64).contains(&index) {
            let to = (table * rows + index as usize) * inner;
            for i in 0..inner {
                y[to + i] += x[at * inner + i];
            }
        }
    }
}
