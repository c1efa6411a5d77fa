//! Device memory: blocks in size classes, kept for the next tensor. The driver is asked only for what no free block
//! serves, so a warmed-up program allocates nothing.
//!
//! A block that kernels write may be handed out as soon as it is free: its last kernel and the next owner's first are on
//! the same stream, in that order. Uploads are on another stream, and have blocks of their own: each keeps an event, which
//! is recorded when it is let go and waited for by the next upload into it. So an upload waits for no other kernels.
//!
//! `FOVEATE_POOL=off` gives every block its own allocation of exactly its size, filled with a pattern that reads as NaN:
//! what a kernel leaves unwritten or reads beyond its tensor is then found out. `FOVEATE_POOL=bare` does the same without
//! the filling, for tools that notice reads of memory that nothing wrote (compute-sanitizer, the emulator's checking build).

use super::{Argument, Cuda};
use crate::{
    device::Memory,
    error::{Error, Result},
};
use cudarc::driver::{CudaEvent, DriverError, result, sys::CUresult};
use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::{Arc, LazyLock, atomic::Ordering},
};

/// The driver's alignment, and the smallest class.
const ALIGN: usize = 256;

/// Bytes from which on classes are finer.
const LARGE: usize = 1 << 20;

static REUSE: LazyLock<bool> =
    LazyLock::new(|| !matches!(std::env::var("FOVEATE_POOL").as_deref(), Ok("off" | "bare")));
static FILL: LazyLock<bool> = LazyLock::new(|| std::env::var("FOVEATE_POOL").as_deref() == Ok("off"));

/// Free blocks by class, and the counts of all.
#[derive(Default)]
pub(super) struct Pool {
    /// For kernels' results.
    free: BTreeMap<usize, Vec<u64>>,
    /// For uploads.
    left: BTreeMap<usize, Vec<(u64, CudaEvent)>>,
    memory: Memory,
}

impl Pool {
    pub(super) fn memory(&self) -> Memory {
        self.memory
    }

    pub(super) fn reset_peak(&mut self) {
        self.memory.peak = self.memory.in_use;
    }

    /// Counts a block that is handed out, out of the free ones or new.
    fn hand_out(&mut self, class: usize, was_free: bool) {
        if was_free {
            self.memory.pooled -= class;
        }
        self.memory.in_use += class;
        self.memory.peak = self.memory.peak.max(self.memory.in_use);
    }
}

/// The allocation size that serves `bytes`: four classes per power of two, in units of the driver's alignment, and sixteen
/// from [`LARGE`] on, where what is left over counts.
fn class(bytes: usize) -> usize {
    if !*REUSE {
        return bytes;
    }
    let step = if bytes < 4 * ALIGN {
        ALIGN
    } else {
        (1usize << (bytes.ilog2() - if bytes < LARGE { 2 } else { 4 })).max(ALIGN)
    };
    bytes.checked_next_multiple_of(step).unwrap_or(usize::MAX)
}

/// A block of device memory with one owner; it returns to its device's pool when dropped, or, if it is the
/// application's, its owner is dropped.
pub struct Block {
    device: Arc<Cuda>,
    /// Zero for an empty block.
    pointer: u64,
    bytes: usize,
    class: usize,
    /// Of a block for uploads: recorded when its owner lets go of it.
    left: Option<CudaEvent>,
    /// Who frees it, if it is not of the pool.
    owner: Option<Box<dyn Any + Send + Sync>>,
}

impl Block {
    /// A block of `bytes` bytes, contents unspecified; `what` names its use when memory runs out.
    pub fn new(device: &Arc<Cuda>, bytes: usize, what: &str) -> Result<Self> {
        let mut block = Block::empty(device, bytes);
        if bytes == 0 {
            return Ok(block);
        }
        let class = class(bytes);
        let kept = device.pool().free.get_mut(&class).and_then(Vec::pop);
        block.pointer = match kept {
            Some(pointer) => pointer,
            None => allocate(device, class, bytes, what)?,
        };
        block.class = class;
        device.pool().hand_out(class, kept.is_some());
        if *FILL {
            device.bind(what)?;
            // SAFETY: the block owns `bytes` bytes from `pointer`.
            let filled =
                unsafe { result::memset_d8_async(block.pointer, 0xFF, bytes, device.stream.cu_stream()) };
            filled.map_err(|e| device.failure(what, e))?;
        }
        Ok(block)
    }

    /// A block that holds a copy of `data`. Does not wait for the device, unless more is on its way there than fits in
    /// pinned memory.
    pub fn upload(device: &Arc<Cuda>, data: &[u8]) -> Result<Self> {
        const WHAT: &str = "a tensor";
        let mut block = Block::empty(device, data.len());
        if data.is_empty() {
            return Ok(block);
        }
        device.bind("upload")?;
        let class = class(data.len());
        let kept = device.pool().left.get_mut(&class).and_then(Vec::pop);
        let was_free = kept.is_some();
        let (pointer, left) = match kept {
            Some(kept) => kept,
            None => {
                let left = device.context.new_event(None).map_err(|e| device.failure("upload", e))?;
                (allocate(device, class, data.len(), WHAT)?, left)
            }
        };
        (block.pointer, block.class) = (pointer, class);
        device.pool().hand_out(class, was_free);
        // SAFETY: the block owns as many bytes as `data` has, and when it is dropped, its event is recorded on the stream
        // that this makes wait for the copy.
        let copied = unsafe { device.copy_in(pointer, data, &left) };
        block.left = Some(left);
        copied?;
        Ok(block)
    }

    fn empty(device: &Arc<Cuda>, bytes: usize) -> Self {
        Block { device: device.clone(), pointer: 0, bytes, class: 0, left: None, owner: None }
    }

    /// Memory of the application, which `owner` frees.
    pub(super) fn foreign(
        device: &Arc<Cuda>,
        pointer: u64,
        bytes: usize,
        owner: Box<dyn Any + Send + Sync>,
    ) -> Self {
        let mut block = Block::empty(device, bytes);
        (block.pointer, block.owner) = (pointer, Some(owner));
        block
    }

    /// Whether it is the application's, and not to be written to.
    pub(super) fn is_foreign(&self) -> bool {
        self.owner.is_some()
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The device it is on.
    pub fn device(&self) -> &Arc<Cuda> {
        &self.device
    }

    /// Address of its first byte on the device, 256-byte aligned.
    pub(crate) fn pointer(&self) -> u64 {
        self.pointer
    }

    /// Its first byte, for a kernel.
    pub(super) fn argument(&self) -> Argument {
        Argument::at(self.pointer)
    }

    /// Copies `to.len()` bytes from byte `start` on to the host; waits for what was asked of the device before.
    pub fn download(&self, start: usize, to: &mut [u8]) -> Result<()> {
        self.check(start, to.len())?;
        if to.is_empty() {
            return Ok(());
        }
        self.device.read_backs.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the range lies in the block (checked above).
        unsafe { self.device.copy_out(self.pointer + start as u64, to) }
    }

    /// A block of its own with the same contents.
    pub fn duplicate(&self, what: &str) -> Result<Self> {
        let copy = Block::new(&self.device, self.bytes, what)?;
        copy.overwrite(self.pointer, self.bytes, what)?;
        Ok(copy)
    }

    /// Copies the bytes of `from`, which has as many, over this.
    pub(super) fn overwrite(&self, from: u64, bytes: usize, what: &str) -> Result<()> {
        self.check(0, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        self.device.bind(what)?;
        let stream = self.device.stream.cu_stream();
        // SAFETY: the callers' blocks own that many bytes, this one by the check above; both are used on this stream alone.
        let copied = unsafe { result::memcpy_dtod_async(self.pointer, from, bytes, stream) };
        copied.map_err(|e| self.device.failure(what, e))
    }

    /// An error unless that range lies in it.
    pub(super) fn check(&self, start: usize, bytes: usize) -> Result<()> {
        if start.checked_add(bytes).is_some_and(|end| end <= self.bytes) {
            return Ok(());
        }
        let what = format!("bytes {start}.. + {bytes} of a block of {}", self.bytes);
        Err(Error::Device { device: self.device.to_string(), what })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.pointer == 0 || self.is_foreign() {
            return;
        }
        let left = self.left.take();
        // Where this fails, the device has, and its memory is not used again.
        let recorded = left.as_ref().is_none_or(|left| left.record(&self.device.stream).is_ok());
        let mut pool = self.device.pool();
        pool.memory.in_use -= self.class;
        if *REUSE && recorded {
            pool.memory.pooled += self.class;
            match left {
                None => pool.free.entry(self.class).or_default().push(self.pointer),
                Some(left) => pool.left.entry(self.class).or_default().push((self.pointer, left)),
            }
            return;
        }
        drop(pool);
        if self.device.bind("free").is_ok() {
            // SAFETY: the block was this allocation's only owner; the driver waits for the work that still uses it.
            // A failure here is one that the next call reports again.
            let _ = unsafe { result::free_sync(self.pointer) };
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} bytes on {}", self.bytes, self.device)
    }
}

/// Memory from the driver; when it has none, the pool's free blocks are given back first.
fn allocate(device: &Cuda, class: usize, bytes: usize, what: &str) -> Result<u64> {
    device.bind(what)?;
    let ask = || {
        let (held, limit) = (device.memory(), device.limit.load(Ordering::Relaxed));
        if (held.in_use + held.pooled).checked_add(class).is_none_or(|bytes| bytes > limit) {
            return Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY));
        }
        // SAFETY: the context is current; `class` is not zero.
        unsafe { result::malloc_sync(class) }
    };
    let pointer = match ask() {
        Err(e) if e.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            device.release()?;
            ask()
        }
        asked => asked,
    };
    pointer.map_err(|e| match e.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            Error::OutOfMemory { device: device.to_string(), bytes, what: what.to_owned() }
        }
        _ => device.failure(what, e),
    })
}

/// Returns the pool's free blocks to the driver. The stream must be done with them.
pub(super) fn release(device: &Cuda) -> Result<()> {
    let (free, left) = {
        let mut pool = device.pool();
        pool.memory.pooled = 0;
        (std::mem::take(&mut pool.free), std::mem::take(&mut pool.left))
    };
    device.bind("release")?;
    let left = left.into_values().flatten().map(|(pointer, _)| pointer);
    for pointer in free.into_values().flatten().chain(left) {
        // SAFETY: the pool was this allocation's only owner.
        unsafe { result::free_sync(pointer) }.map_err(|e| device.failure("release", e))?;
    }
    Ok(())
}
