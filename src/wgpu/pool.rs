//! Device memory: buffers in size classes, kept for the next tensor instead of being returned to the driver, and
//! counted. A buffer may be handed out again while recorded work still reads it: the queue runs everything in order.
//!
//! `FOVEATE_POOL=off` gives every buffer its own allocation, filled with a pattern that reads as NaN.

use super::{Wgpu, health};
use crate::{
    device::Memory,
    error::{Error, Result},
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// The smallest buffer: every uniform and storage offset alignment there is divides it.
const SMALLEST: u64 = 256;

static REUSE: LazyLock<bool> = LazyLock::new(|| std::env::var("FOVEATE_POOL").map_or(true, |v| v != "off"));

/// What a buffer is for; wgpu lets one that the host can map be nothing but the target of a copy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Use {
    /// Bound by kernels, copied from and to.
    Kernels,
    /// Copied to, and mapped by the host.
    ReadBack,
}

/// Bytes from which on buffers are cut more finely.
const LARGE: u64 = 1 << 20;

/// The size of the buffer that serves `bytes`: four classes per power of two, and sixteen from [`LARGE`] on, where what is
/// left over counts.
fn class(bytes: u64) -> u64 {
    let step = if bytes <= SMALLEST {
        SMALLEST
    } else {
        SMALLEST.max(1 << (bytes.ilog2() - if bytes < LARGE { 2 } else { 4 }))
    };
    bytes.max(1).checked_next_multiple_of(step).unwrap_or(u64::MAX)
}

#[derive(Default)]
pub(super) struct Pool {
    state: Mutex<State>,
    /// The most bytes to hold for kernels at once, free ones included.
    limit: Option<u64>,
}

#[derive(Default)]
struct State {
    free: BTreeMap<(Use, u64), Vec<Raw>>,
    in_use: u64,
    peak: u64,
    pooled: u64,
}

/// A wgpu buffer with its size.
struct Raw {
    buffer: ::wgpu::Buffer,
    size: u64,
    /// The recording that last used the buffer, see [`super::recorder`].
    used: AtomicU64,
}

impl Pool {
    pub(super) fn new(limit: Option<u64>) -> Self {
        Pool { limit, ..Pool::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn memory(&self) -> Memory {
        let state = self.state();
        let [in_use, peak, pooled] = [state.in_use, state.peak, state.pooled].map(|bytes| bytes as usize);
        Memory { in_use, peak, pooled }
    }

    pub(super) fn reset_peak(&self) {
        let mut state = self.state();
        state.peak = state.in_use;
    }

    /// Returns what is kept to the driver, once the work that uses it is done.
    pub(super) fn release(&self) {
        let mut state = self.state();
        state.pooled = 0;
        drop(std::mem::take(&mut state.free));
    }

    /// Counts `size` bytes as in use, if they are for kernels (those for reading back are the host's, for a moment), and
    /// hands out a free buffer of that class if there is one. False when the limit does not allow for more.
    fn take(&self, usage: Use, size: u64) -> (bool, Option<Raw>) {
        let mut state = self.state();
        let counted = usage == Use::Kernels;
        let limit = self.limit.filter(|_| counted);
        let kept = state.free.get_mut(&(usage, size)).and_then(Vec::pop);
        if kept.is_some() {
            state.pooled -= size;
        } else if limit.is_some_and(|limit| state.in_use.saturating_add(size) > limit) {
            return (false, None);
        } else if limit.is_some_and(|limit| state.in_use + state.pooled + size > limit) {
            state.pooled = 0;
            drop(std::mem::take(&mut state.free));
        }
        if counted {
            state.in_use += size;
            state.peak = state.peak.max(state.in_use);
        }
        (true, kept)
    }

    /// Takes back what [`Pool::take`] counted.
    fn forget(&self, usage: Use, size: u64) {
        if usage == Use::Kernels {
            self.state().in_use -= size;
        }
    }

    fn give(&self, usage: Use, raw: Raw, keep: bool) {
        self.forget(usage, raw.size);
        let mut state = self.state();
        if keep && *REUSE {
            state.pooled += raw.size;
            state.free.entry((usage, raw.size)).or_default().push(raw);
        }
    }
}

/// Device memory with one owner; it returns to the pool when dropped. Its contents are unspecified at first.
pub struct Buffer {
    device: Arc<Wgpu>,
    usage: Use,
    /// Present until the buffer is dropped.
    raw: Option<Raw>,
    bytes: usize,
    /// Whether the application made the buffer: it is not of the pool, and not counted.
    foreign: bool,
    /// Whether the application has the buffer too, so that it must not be handed out again nor written in place.
    shared: AtomicBool,
}

impl Buffer {
    pub(super) fn new(device: &Arc<Wgpu>, usage: Use, bytes: usize, what: &'static str) -> Result<Self> {
        device.check()?;
        let most = device.limits().max_buffer_size;
        // A class may be larger than any buffer when what is asked for is not.
        let size = if bytes as u64 <= most { class(bytes as u64).min(most - most % 4) } else { bytes as u64 };
        let refused = || Error::OutOfMemory { device: device.name().into(), bytes, what: what.into() };
        if size > most || size < bytes as u64 {
            let what_to_do = "use smaller images or batches, or a device with a higher limit".into();
            let (limit, have) = ("max_buffer_size", most);
            return Err(Error::Limit { op: what, limit, have, need: bytes as u64, what: what_to_do });
        }
        let (allowed, kept) = device.pool().take(usage, size);
        if !allowed {
            return Err(refused());
        }
        let raw = match kept {
            Some(raw) => Ok(raw),
            None => create(device, usage, size).or_else(|_| {
                device.pool().release();
                device.synchronize()?;
                create(device, usage, size)
            }),
        };
        match raw {
            Ok(raw) => Ok(Buffer {
                device: device.clone(),
                usage,
                raw: Some(raw),
                bytes,
                foreign: false,
                shared: AtomicBool::new(false),
            }),
            Err(error) => {
                device.pool().forget(usage, size);
                device.check()?;
                Err(if matches!(error, Error::OutOfMemory { .. }) { refused() } else { error })
            }
        }
    }

    /// A buffer of the application.
    pub(super) fn foreign(device: &Arc<Wgpu>, buffer: ::wgpu::Buffer) -> Self {
        let size = buffer.size();
        Buffer {
            device: device.clone(),
            usage: Use::Kernels,
            raw: Some(Raw { buffer, size, used: AtomicU64::new(0) }),
            bytes: size as usize,
            foreign: true,
            shared: AtomicBool::new(true),
        }
    }

    /// Notes that the application has the buffer too.
    pub(super) fn share(&self) {
        self.shared.store(true, Ordering::Relaxed);
    }

    /// Whether the application has the buffer too.
    pub(super) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    /// The device it lives on.
    pub fn device(&self) -> &Arc<Wgpu> {
        &self.device
    }

    /// Bytes asked for; the buffer itself may be larger.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The wgpu buffer.
    pub fn raw(&self) -> Option<&::wgpu::Buffer> {
        self.raw.as_ref().map(|raw| &raw.buffer)
    }

    pub(super) fn size(&self) -> u64 {
        self.raw.as_ref().map_or(0, |raw| raw.size)
    }

    /// Notes that the recording `serial` uses the buffer.
    pub(super) fn mark_used(&self, serial: u64) {
        if let Some(raw) = &self.raw {
            raw.used.store(serial, Ordering::Relaxed);
        }
    }

    /// Whether the recording `serial` uses the buffer.
    pub(super) fn used_by(&self, serial: u64) -> bool {
        self.raw.as_ref().is_some_and(|raw| raw.used.load(Ordering::Relaxed) == serial)
    }

    /// Drops the buffer for good, as one must that is in a state not worth repairing.
    pub(super) fn discard(self) {
        self.share();
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(raw) = self.raw.take()
            && !self.foreign
        {
            self.device.pool().give(self.usage, raw, !self.is_shared());
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Buffer({} bytes on {})", self.bytes, self.device.name())
    }
}

fn create(device: &Wgpu, usage: Use, size: u64) -> Result<Raw> {
    let usages = match usage {
        Use::Kernels => {
            ::wgpu::BufferUsages::STORAGE | ::wgpu::BufferUsages::COPY_SRC | ::wgpu::BufferUsages::COPY_DST
        }
        Use::ReadBack => ::wgpu::BufferUsages::MAP_READ | ::wgpu::BufferUsages::COPY_DST,
    };
    let poison = !*REUSE && usage == Use::Kernels;
    let descriptor =
        ::wgpu::BufferDescriptor { label: None, size, usage: usages, mapped_at_creation: poison };
    let buffer =
        health::caught(device.raw(), || device.raw().create_buffer(&descriptor)).map_err(|error| {
            let what = error.to_string();
            match error {
                ::wgpu::Error::OutOfMemory { .. } => {
                    Error::OutOfMemory { device: device.name().into(), bytes: size as usize, what }
                }
                _ => Error::Device { device: device.name().into(), what },
            }
        })?;
    if poison {
        if let Ok(mut bytes) = buffer.get_mapped_range_mut(..) {
            bytes.copy_from_slice(&vec![0xFF; size as usize]);
        }
        buffer.unmap();
    }
    Ok(Raw { buffer, size, used: AtomicU64::new(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_at_most_a_quarter_and_large_ones_a_sixteenth() {
        for bytes in [0, 1, 256, 257, 1000, 5000, 70_000, (1 << 20) + 1, 99_999_999, 1 << 40] {
            let class = class(bytes);
            assert!(class >= bytes && class.is_multiple_of(SMALLEST), "{bytes} -> {class}");
            let share = if bytes < LARGE { 4 } else { 16 };
            assert!(class <= (bytes + bytes / share).max(bytes + SMALLEST), "{bytes} -> {class}");
        }
        assert_eq!(class(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_limit_on_memory_is_kept() {
        let pool = Pool::new(Some(1000));
        assert!(pool.take(Use::Kernels, 600).0);
        assert!(!pool.take(Use::Kernels, 600).0);
        assert!(pool.take(Use::Kernels, 400).0);
        // What tensors hold can be read back whatever they hold.
        assert!(pool.take(Use::ReadBack, 600).0);
        assert_eq!(pool.memory(), Memory { in_use: 1000, peak: 1000, pooled: 0 });
    }
}
