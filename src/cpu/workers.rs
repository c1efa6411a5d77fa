//! Independent tasks over the threads of the pool, with working memory that is allocated once per thread.

use super::memory::Scratch;
use crate::error::Result;
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Calls `task(i, scratch)` once for every `i < tasks`. Idle threads take the next task that nobody has taken, so the
/// order is free: tasks must not depend on each other, and write to disjoint places. `scratch` is `floats` long and holds
/// whatever earlier work left in it.
pub(crate) fn each(
    tasks: usize,
    floats: usize,
    op: &'static str,
    task: impl Fn(usize, &mut [f32]) + Sync,
) -> Result<()> {
    each_after(|_| (), tasks, floats, op, task)
}

/// As [`each`], with `prepare(scratch)` called once for each thread's scratch before its first task.
pub(crate) fn each_after(
    prepare: impl Fn(&mut [f32]) + Sync,
    tasks: usize,
    floats: usize,
    op: &'static str,
    task: impl Fn(usize, &mut [f32]) + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        let mut scratch = Scratch::<f32>::new(floats, op)?;
        prepare(&mut scratch);
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= tasks {
                return Ok(());
            }
            task(i, &mut scratch);
        }
    };
    match rayon::current_num_threads().min(tasks) {
        0 => Ok(()),
        1 => work(),
        threads => (0..threads).into_par_iter().with_max_len(1).try_for_each(|_| work()),
    }
}

/// A result that several tasks write to at once, each to places of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shared {
    start: *mut f32,
    len: usize,
}

// SAFETY: the pointer is only dereferenced through `at`, whose callers keep their places apart.
unsafe impl Send for Shared {}
// SAFETY: shared references read no more than `at` lends, whose callers keep their places apart.
unsafe impl Sync for Shared {}

impl Shared {
    /// Takes the slice for as long as tasks run; the caller keeps the borrow alive until they are done.
    pub(crate) fn new(slice: &mut [f32]) -> Self {
        Shared { start: slice.as_mut_ptr(), len: slice.len() }
    }

    /// The address of element `at`.
    ///
    /// # Safety
    /// `at` is inside the slice, the slice is still borrowed, and no two tasks touch the same element.
    #[inline(always)]
    pub(crate) unsafe fn at(self, at: usize) -> *mut f32 {
        debug_assert!(at <= self.len);
        // SAFETY: inside the slice, says the caller.
        unsafe { self.start.add(at) }
    }

    /// Elements `at .. at + len`, to write.
    ///
    /// # Safety
    /// As for [`Shared::at`], for each of them.
    #[inline(always)]
    pub(crate) unsafe fn part<'a>(self, at: usize, len: usize) -> &'a mut [f32] {
        debug_assert!(at + len <= self.len);
        // SAFETY: inside the slice and nobody else's, says the caller.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_and_an_impossible_scratch_is_an_error() {
        let counts: Vec<AtomicUsize> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
        each(counts.len(), 16, "a test", |i, scratch| {
            assert_eq!(scratch.len(), 16);
            counts[i].fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
        assert!(each(3, usize::MAX / 8, "a test", |_, _| ()).is_err());
    }
}
