//! Splitting work over threads. Every split depends on sizes alone, so results do not depend on the number of threads.

use crate::error::Result;
use rayon::prelude::*;

/// Calls `f(i, part)` for the `i`-th part of `y`, of `size` elements each but for the last: on all threads, or on this
/// one alone when there is a single part.
pub(crate) fn in_chunks<T: Send>(
    y: &mut [T],
    size: usize,
    f: impl Fn(usize, &mut [T]) -> Result<()> + Sync,
) -> Result<()> {
    if y.is_empty() {
        return Ok(());
    }
    if y.len() <= size {
        return f(0, y);
    }
    y.par_chunks_mut(size).enumerate().try_for_each(|(i, y)| f(i, y))
}

/// How many rows of `row` elements make a task of about `elements`, out of `rows`. At least one.
pub(crate) fn rows_per_task(rows: usize, row: usize, elements: usize) -> usize {
    (elements / row.max(1)).clamp(1, rows.max(1))
}

/// As [`in_chunks`] for two slices, each with its own size of part, that have equally many parts.
pub(crate) fn in_chunks2<T: Send, U: Send>(
    (y, y_size): (&mut [T], usize),
    (z, z_size): (&mut [U], usize),
    f: impl Fn(usize, &mut [T], &mut [U]) -> Result<()> + Sync,
) -> Result<()> {
    if y.is_empty() {
        return Ok(());
    }
    if y.len() <= y_size {
        return f(0, y, z);
    }
    let parts = y.par_chunks_mut(y_size).zip(z.par_chunks_mut(z_size));
    parts.enumerate().try_for_each(|(i, (y, z))| f(i, y, z))
}
