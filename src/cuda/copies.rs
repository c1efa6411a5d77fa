//! Copies between the host and the device, on a stream of their own, so that they and the kernels need not wait for each
//! other. Events keep the order that matters:
//!
//! * kernels asked for after an upload begin when it is done;
//! * an upload begins when the kernels are done that its memory's last owner was given to (see [`super::memory`]);
//! * reading back begins when all kernels asked for before are done.
//!
//! What is uploaded goes through pinned memory, so that the host waits for no copy: a pageable source would have to stay as
//! it is until the device has read it.

use super::Cuda;
use crate::error::Result;
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, result};
use std::{
    slice,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Pinned memory: so many areas of so many bytes, the next one allocated when those before are full.
const AREAS: usize = 4;
const AREA: usize = 4 << 20;
/// What begins on a multiple of this is copied at full speed.
const ALIGN: usize = 256;

/// The copy stream of a device.
pub(super) struct Copies {
    /// The events, and what is pinned, are used by one thread at a time.
    lane: Mutex<Lane>,
    pub(super) stream: Arc<CudaStream>,
}

struct Lane {
    areas: Vec<Area>,
    /// The area that is being filled, and how much of it is.
    now: usize,
    used: usize,
    /// Recorded anew for every join: a wait is for what was recorded before it was asked for.
    join: CudaEvent,
}

impl Copies {
    pub(super) fn new(context: &Arc<CudaContext>) -> Result<Self, DriverError> {
        let join = context.new_event(None)?;
        let lane = Mutex::new(Lane { areas: Vec::new(), now: 0, used: 0, join });
        Ok(Copies { lane, stream: context.new_stream()? })
    }

    fn lane(&self) -> MutexGuard<'_, Lane> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cuda {
    /// Copies `data` to the device memory at `to`, which nothing uses any more once `left` has passed, if it was ever
    /// recorded. Kernels asked for from now on find it there.
    ///
    /// # Safety
    /// From `to` on lie as many bytes as `data` has, and they stay there until the copy is done.
    pub(super) unsafe fn copy_in(&self, to: u64, data: &[u8], left: &CudaEvent) -> Result<()> {
        let failed = |e| self.failure("upload", e);
        let copies = &self.copies.stream;
        let mut lane = self.copies.lane();
        copies.wait(left).map_err(failed)?;
        for (at, piece) in data.chunks(AREA).enumerate() {
            let from = lane.stage(piece, copies).map_err(failed)?;
            // SAFETY: the range lies in the caller's; what is staged stays as it is until the copy is done.
            let copied =
                unsafe { result::memcpy_htod_async(to + (at * AREA) as u64, from, copies.cu_stream()) };
            copied.map_err(failed)?;
        }
        lane.join.record(copies).map_err(failed)?;
        self.stream.wait(&lane.join).map_err(failed)
    }

    /// Copies from the device memory at `from` to the host, after the kernels asked for so far; waits until it is done.
    ///
    /// # Safety
    /// From `from` on lie as many bytes as `to` has.
    pub(super) unsafe fn copy_out(&self, from: u64, to: &mut [u8]) -> Result<()> {
        let failed = |e| self.failure("download", e);
        let copies = &self.copies.stream;
        let lane = self.copies.lane();
        lane.join.record(&self.stream).map_err(failed)?;
        copies.wait(&lane.join).map_err(failed)?;
        drop(lane);
        // SAFETY: as the caller promises; `to` outlives the copy, which is waited for.
        let copied = unsafe { result::memcpy_dtoh_async(to, from, copies.cu_stream()) };
        copied.map_err(failed)?;
        // SAFETY: the stream lives as long as the device.
        unsafe { result::stream::synchronize(copies.cu_stream()) }.map_err(failed)
    }
}

impl Lane {
    /// A copy of `piece`, at most [`AREA`] bytes, in pinned memory that stays as it is until the copies are done that are
    /// asked of `copies` before the next call.
    fn stage(&mut self, piece: &[u8], copies: &CudaStream) -> Result<&[u8], DriverError> {
        if self.areas.is_empty() || self.used + piece.len() > AREA {
            self.turn(copies)?;
        }
        // Nothing reads or writes behind what is used: the copies out of it before `used` was set to zero were waited for.
        let to = &mut self.areas[self.now].memory.bytes_mut()[self.used..self.used + piece.len()];
        to.copy_from_slice(piece);
        self.used = (self.used + piece.len()).next_multiple_of(ALIGN);
        Ok(to)
    }

    /// Begins the next area, when the copies out of it are done.
    fn turn(&mut self, copies: &CudaStream) -> Result<(), DriverError> {
        if let Some(full) = self.areas.get(self.now) {
            full.left.record(copies)?;
        }
        if self.areas.len() < AREAS {
            self.areas.push(Area::new(copies.context())?);
            self.now = self.areas.len() - 1;
        } else {
            self.now = (self.now + 1) % AREAS;
            self.areas[self.now].left.synchronize()?;
        }
        self.used = 0;
        Ok(())
    }
}

/// A part of the lane.
struct Area {
    memory: Pinned,
    /// Recorded behind the last copy out of it.
    left: CudaEvent,
}

impl Area {
    fn new(context: &Arc<CudaContext>) -> Result<Self, DriverError> {
        Ok(Area { left: context.new_event(None)?, memory: Pinned::new(context, AREA)? })
    }
}

/// Pinned host memory, which the device reads by itself.
pub(super) struct Pinned {
    start: *mut u8,
    bytes: usize,
    context: Arc<CudaContext>,
}

// SAFETY: the memory is its owner's alone, and pinned memory may be used from any thread.
unsafe impl Send for Pinned {}

impl Pinned {
    /// So many bytes, zero.
    pub(super) fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, DriverError> {
        context.bind_to_thread()?;
        // SAFETY: the context is current.
        let start: *mut u8 = unsafe { result::malloc_host(bytes, 0) }?.cast();
        // SAFETY: that many bytes were allocated.
        unsafe { start.write_bytes(0, bytes) };
        Ok(Pinned { start, bytes, context: context.clone() })
    }

    /// Its bytes. The device must be done with the copies out of those that are written.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: allocated and written by `new`, and borrowed as `self` is.
        unsafe { slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Nobody is left to tell of a failure. The owners wait for the streams before they drop what these use.
        let _ = self.context.bind_to_thread();
        // SAFETY: allocated by `new`, freed once.
        let _ = unsafe { result::free_host(self.start.cast()) };
    }
}
