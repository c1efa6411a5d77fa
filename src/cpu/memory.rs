//! Host memory: 64-byte aligned blocks, kept in size classes for the next tensor instead of being returned to the
//! system, and counted. Fresh pages cost more than most operations, so reuse is what makes the CPU path fast.
//!
//! `FOVEATE_POOL=off` gives every block its own allocation, filled with a pattern that reads as NaN: a kernel that
//! leaves part of its output unwritten is then found out.

use crate::{
    device::Memory,
    error::{Error, Result},
};
use bytemuck::Pod;
use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    collections::BTreeMap,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    sync::{LazyLock, Mutex, PoisonError},
};

/// Alignment of every block: a cache line, and an AVX-512 register.
const ALIGN: usize = 64;
/// Blocks below this size go straight to the system's allocator.
const POOLED_FROM: usize = 4096;

/// Free blocks by class, and the counts of all.
#[derive(Default)]
struct Pool {
    free: BTreeMap<usize, Vec<Address>>,
    in_use: usize,
    peak: usize,
    pooled: usize,
}

struct Address(NonNull<u8>);
// SAFETY: an `Address` in the pool is the only reference to its block; the pool hands it to one owner at a time.
unsafe impl Send for Address {}

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);
static REUSE: LazyLock<bool> = LazyLock::new(|| std::env::var("FOVEATE_POOL").map_or(true, |v| v != "off"));

fn pool() -> std::sync::MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Host memory in use by tensors and kernels' scratch, its peak, and what the pool keeps.
pub fn memory() -> Memory {
    let pool = pool();
    Memory { in_use: pool.in_use, peak: pool.peak, pooled: pool.pooled }
}

/// Starts the peak anew from what is in use now.
pub(crate) fn reset_peak() {
    let mut pool = pool();
    pool.peak = pool.in_use;
}

/// Returns what the pool keeps to the system.
pub fn release() {
    let free = {
        let mut pool = pool();
        pool.pooled = 0;
        std::mem::take(&mut pool.free)
    };
    for (class, blocks) in free {
        for block in blocks {
            // SAFETY: `class` is the layout the block was allocated with, and the pool was its only owner.
            unsafe { dealloc(block.0.as_ptr(), layout(class)) };
        }
    }
}

/// The allocation size that serves `bytes`: exact below the pool, then four classes per power of two.
fn class(bytes: usize) -> usize {
    if bytes < POOLED_FROM {
        return bytes.max(1).next_multiple_of(ALIGN);
    }
    let step = 1usize << (bytes.ilog2() - 2);
    bytes.checked_next_multiple_of(step).unwrap_or(usize::MAX)
}

/// The layout of a class. Classes past `isize::MAX` never get here: [`Block::new`] refuses them.
fn layout(class: usize) -> Layout {
    // SAFETY: ALIGN is a power of two and `class` was checked against `isize::MAX - ALIGN` by `Block::new`.
    unsafe { Layout::from_size_align_unchecked(class, ALIGN) }
}

/// A block of host memory with one owner. Its bytes are always initialised: zeros when fresh, otherwise whatever its
/// last owner left, so whoever asks for one must write what it later reads.
pub struct Block {
    start: NonNull<u8>,
    bytes: usize,
    class: usize,
}

// SAFETY: a `Block` owns its bytes; shared access is read-only and exclusive access needs `&mut`.
unsafe impl Send for Block {}
// SAFETY: as for `Send`, by shared access being read-only.
unsafe impl Sync for Block {}

impl Block {
    /// A block of `bytes` bytes; `what` names its use when memory runs out.
    pub fn new(bytes: usize, what: &str) -> Result<Self> {
        let refused = || Error::OutOfMemory { device: super::NAME.into(), bytes, what: what.into() };
        let class = class(bytes);
        if class > isize::MAX as usize - ALIGN {
            return Err(refused());
        }
        let kept = {
            let mut pool = pool();
            let kept = if class >= POOLED_FROM { pool.free.get_mut(&class).and_then(Vec::pop) } else { None };
            if kept.is_some() {
                pool.pooled -= class;
            }
            pool.in_use += class;
            pool.peak = pool.peak.max(pool.in_use);
            kept
        };
        // SAFETY: `class` is not zero and fits a layout (checked above).
        let start =
            kept.map_or_else(|| NonNull::new(unsafe { alloc_zeroed(layout(class)) }), |kept| Some(kept.0));
        let Some(start) = start else {
            pool().in_use -= class;
            return Err(refused());
        };
        let mut block = Block { start, bytes, class };
        if !*REUSE {
            block.bytes_mut().fill(0xFF);
        }
        Ok(block)
    }

    /// The block's bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the block owns `class >= bytes` initialised bytes from `start`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    /// The block's bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut pool = pool();
        pool.in_use -= self.class;
        if *REUSE && self.class >= POOLED_FROM {
            pool.pooled += self.class;
            pool.free.entry(self.class).or_default().push(Address(self.start));
        } else {
            drop(pool);
            // SAFETY: the block was allocated with this layout and nobody else refers to it.
            unsafe { dealloc(self.start.as_ptr(), layout(self.class)) };
        }
    }
}

/// Typed working memory of a kernel, from the same pool. Its contents are unspecified.
pub struct Scratch<T: Pod> {
    block: Block,
    holds: PhantomData<T>,
}

impl<T: Pod> Scratch<T> {
    /// `len` elements of working memory for `op`.
    pub fn new(len: usize, op: &'static str) -> Result<Self> {
        Ok(Scratch { block: Block::new(len.saturating_mul(size_of::<T>()), op)?, holds: PhantomData })
    }

    /// `len` elements, all zero.
    pub fn zeroed(len: usize, op: &'static str) -> Result<Self> {
        let mut scratch = Self::new(len, op)?;
        scratch.block.bytes_mut().fill(0);
        Ok(scratch)
    }
}

impl<T: Pod> Deref for Scratch<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(self.block.bytes())
    }
}

impl<T: Pod> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(self.block.bytes_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_at_most_a_quarter() {
        for bytes in [1, 64, 4095, 4096, 5000, 70_000, 1 << 20, (1 << 20) + 1, 99_999_999] {
            let class = class(bytes);
            assert!(class >= bytes && class.is_multiple_of(ALIGN), "{bytes} -> {class}");
            assert!(class <= (bytes + bytes / 4).max(bytes + ALIGN), "{bytes} -> {class}");
        }
    }

    #[test]
    fn an_impossible_size_is_an_error() {
        let refused = Block::new(usize::MAX / 2 + 1, "a test");
        assert!(matches!(refused, Err(Error::OutOfMemory { .. })));
        assert!(Scratch::<f64>::new(usize::MAX / 4, "a test").is_err());
    }

    #[test]
    fn blocks_are_aligned_and_empty_ones_allowed() {
        let block = Block::new(0, "a test").unwrap();
        assert!(block.bytes().is_empty());
        let block = Block::new(10_000, "a test").unwrap();
        assert_eq!(block.bytes().as_ptr() as usize % ALIGN, 0);
    }
}
