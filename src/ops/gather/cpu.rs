//! Picking and adding rows on the CPU. Every task owns rows of the result; a task of the scatter-add goes through all
//! indices of its table and takes those that fall into its rows, so sums have one order.

use super::{Gather, ScatterAdd, Sizes};
use crate::{
    Dims,
    cpu::{In, Out},
    error::{Error, Result},
    ops::elementwise::in_parallel,
};
use rayon::prelude::*;

/// Elements from which the scatter-add is spread over threads.
const SPREAD: usize = 1 << 15;

impl Sizes {
    fn of(indices: Dims, x: Dims) -> Self {
        let axis = indices.rank() - 1;
        let (batch, picks, _) = indices.around(axis);
        Sizes { batch, picks, inner: x[axis + 1..].iter().product() }
    }
}

/// Refuses indices outside `0..rows`.
pub(super) fn check(op: &'static str, indices: &[i32], rows: usize) -> Result<()> {
    match indices.iter().position(|&index| index < 0 || index as usize >= rows) {
        None => Ok(()),
        Some(at) => {
            Err(Error::argument(op, format!("index {} (number {at}) is not in 0..{rows}", indices[at])))
        }
    }
}

impl Gather {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let sizes = Sizes::of(ins[1].dims, ins[0].dims);
        let rows = ins[0].dims[ins[1].dims.rank() - 1];
        let (x, indices) = (ins[0].bytes, ins[1].i32()?);
        let row = sizes.inner * ins[0].dtype.size();
        if outs[0].bytes.is_empty() {
            return Ok(());
        }
        in_parallel(outs[0].bytes, row, |start, y| {
            for (at, y) in y.chunks_exact_mut(row).enumerate() {
                let at = start / row + at;
                let from = (at / sizes.picks * rows + indices[at] as usize) * row;
                y.copy_from_slice(&x[from..from + row]);
            }
        });
        Ok(())
    }
}

impl ScatterAdd {
    pub(super) fn on_cpu(&self, ins: &[In], outs: &mut [Out]) -> Result<()> {
        let Sizes { batch, picks, inner } = Sizes::of(ins[1].dims, ins[0].dims);
        let (x, indices) = (ins[0].f32()?, ins[1].i32()?);
        let y = outs[0].f32()?;
        if y.is_empty() {
            return Ok(());
        }
        // A table is cut into ranges of rows where there are too few tables for the threads.
        let ranges = if y.len() < SPREAD { 1 } else { 16_usize.div_ceil(batch).min(self.rows) };
        let range = self.rows.div_ceil(ranges);
        let one = |table: usize, first: usize, y: &mut [f32]| {
            y.fill(0.0);
            let mine = first..first + y.len() / inner;
            for (k, &index) in indices[table * picks..][..picks].iter().enumerate() {
                if mine.contains(&(index as usize)) {
                    let x = &x[(table * picks + k) * inner..][..inner];
                    let y = &mut y[(index as usize - first) * inner..][..inner];
                    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
                }
            }
        };
        if y.len() < SPREAD {
            y.chunks_mut(self.rows * inner).enumerate().for_each(|(table, y)| one(table, 0, y));
        } else {
            y.par_chunks_mut(self.rows * inner).enumerate().for_each(|(table, y)| {
                let tasks = y.par_chunks_mut(range * inner).enumerate();
                tasks.for_each(|(task, y)| one(table, task * range, y));
            });
        }
        Ok(())
    }
}
