//! Copies between host and device.

use super::{Buffer, Wgpu, pool::Use};
use crate::{error::Result, host};
use std::{
    future::Future,
    ops::Range,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

/// The most bytes read back through one staging buffer.
const STAGING_BYTES: usize = 64 << 20;

impl Wgpu {
    /// A new buffer with a copy of `data`.
    pub fn upload(self: &Arc<Self>, data: &[u8], what: &'static str) -> Result<Buffer> {
        let buffer = self.alloc(data.len(), what)?;
        self.write(&buffer, data)?;
        Ok(buffer)
    }

    /// Writes `data` to the start of a buffer, after everything recorded so far.
    fn write(&self, buffer: &Buffer, data: &[u8]) -> Result<()> {
        let Some(raw) = buffer.raw().filter(|_| data.len() as u64 <= buffer.size()) else {
            return Err(self.failed(format!("{} bytes do not fit in {buffer:?}", data.len())));
        };
        let mut recorder = self.recorder();
        // The write takes place before the commands of the next submission, among them those that use the buffer as
        // the tensor it was before.
        if buffer.used_by(recorder.serial()) {
            recorder.submit(self.queue());
        }
        let whole = data.len() - data.len() % 4;
        if whole > 0 {
            self.queue().write_buffer(raw, 0, &data[..whole]);
        }
        if whole < data.len() {
            let mut last = [0; 4];
            last[..data.len() - whole].copy_from_slice(&data[whole..]);
            self.queue().write_buffer(raw, whole as u64, &last);
        }
        recorder.uploaded(self.queue(), data.len() as u64);
        drop(recorder);
        self.check()
    }

    /// A new buffer with a copy of another, made on the device.
    pub(crate) fn copy(self: &Arc<Self>, from: &Buffer, what: &'static str) -> Result<Buffer> {
        let to = self.alloc(from.bytes(), what)?;
        if let (Some(source), Some(target)) = (from.raw(), to.raw()) {
            let mut recorder = self.recorder();
            from.mark_used(recorder.serial());
            to.mark_used(recorder.serial());
            let bytes = (from.bytes() as u64).next_multiple_of(4);
            recorder.encoder(self.raw()).copy_buffer_to_buffer(source, 0, target, 0, bytes);
        }
        Ok(to)
    }

    /// Copies `to.len()` bytes of `buffer`, from byte `start`, to the host, after everything recorded so far.
    pub fn download(self: &Arc<Self>, buffer: &Buffer, start: usize, to: &mut [u8]) -> Result<()> {
        for (at, to) in to.chunks_mut(STAGING_BYTES).enumerate() {
            let start = start + at * STAGING_BYTES;
            self.read(buffer, start..start + to.len())?.wait(to)?;
        }
        self.check()
    }

    /// Starts a copy of bytes `range` of `buffer` to the host, after everything recorded so far. The result is a
    /// future of the bytes; it waits on a thread of its own, so any executor will do.
    pub fn read(self: &Arc<Self>, buffer: &Buffer, range: Range<usize>) -> Result<Download> {
        let (first, last) = (range.start - range.start % 4, range.end.next_multiple_of(4));
        let (Some(raw), true) = (buffer.raw(), last as u64 <= buffer.size() && range.start <= range.end)
        else {
            return Err(self.failed(format!("bytes {range:?} are not in {buffer:?}")));
        };
        let staging = Buffer::new(self, Use::ReadBack, last - first, "reading back")?;
        let state = Arc::new(Shared::default());
        let wanted = range.start - first..range.end - first;
        let Some(to) = staging.raw().cloned().filter(|_| !range.is_empty()) else {
            state.mapped(true);
            return Ok(Download {
                device: self.clone(),
                staging: Some(staging),
                wanted,
                state,
                submission: None,
            });
        };
        let bytes = (last - first) as u64;
        let mut recorder = self.recorder();
        buffer.mark_used(recorder.serial());
        recorder.encoder(self.raw()).copy_buffer_to_buffer(raw, first as u64, &to, 0, bytes);
        recorder.submit(self.queue());
        recorder.counts.read_backs += 1;
        let submission = recorder.last();
        drop(recorder);
        let told = state.clone();
        let mapping = to.slice(..bytes);
        mapping.map_async(::wgpu::MapMode::Read, move |result| told.mapped(result.is_ok()));
        Ok(Download { device: self.clone(), staging: Some(staging), wanted, state, submission })
    }
}

/// Bytes `range` of a buffer as a future. The copy of the first [`STAGING_BYTES`] starts now; each further one when the
/// one before has come.
pub(crate) fn read_back(
    buffer: &Arc<Buffer>,
    range: Range<usize>,
) -> impl Future<Output = Result<Vec<u8>>> + Send + 'static {
    let buffer = buffer.clone();
    let part = move |start: usize| {
        let end = range.end.min(start.saturating_add(STAGING_BYTES));
        (buffer.device().read(&buffer, start..end), end)
    };
    let (mut download, mut end) = part(range.start);
    async move {
        let mut bytes = host::reserved(range.len(), "reading back")?;
        loop {
            bytes.extend_from_slice(&download?.await?);
            if end == range.end {
                return Ok(bytes);
            }
            (download, end) = part(end);
        }
    }
}

#[derive(Default)]
struct State {
    /// Whether mapping succeeded, once it has been tried.
    mapped: Option<bool>,
    waker: Option<Waker>,
    /// Whether a thread waits for the device on behalf of the future.
    waited_for: bool,
}

/// Bytes on their way to the host; see [`Wgpu::read`].
#[must_use = "a download does nothing until it is waited for"]
pub struct Download {
    device: Arc<Wgpu>,
    staging: Option<Buffer>,
    /// The bytes of the staging buffer that were asked for.
    wanted: Range<usize>,
    state: Arc<Shared>,
    submission: Option<::wgpu::SubmissionIndex>,
}

/// What the callback of `map_async` and the thread that waits for it share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mapped(&self, success: bool) {
        let mut state = self.state();
        state.mapped = Some(success);
        self.changed.notify_all();
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Waits for the callback, which comes on whatever thread polls the device; none if that takes longer than `most`.
    fn wait(&self, most: Duration) -> Option<bool> {
        let waiting = self.changed.wait_timeout_while(self.state(), most, |state| state.mapped.is_none());
        waiting.unwrap_or_else(PoisonError::into_inner).0.mapped
    }
}

impl Download {
    /// Waits for the bytes and copies them to `to`, which is as long as the range asked for.
    fn wait(mut self, to: &mut [u8]) -> Result<()> {
        if let Some(submission) = self.submission.clone() {
            self.device.wait(submission)?;
        }
        loop {
            if let Some(mapped) = self.state.wait(Duration::from_millis(100)) {
                return self.take(mapped, to);
            }
            self.device.check()?;
            self.device.poll()?;
        }
    }

    /// Copies the mapped bytes out and returns the staging buffer to the pool.
    fn take(&mut self, mapped: bool, to: &mut [u8]) -> Result<()> {
        let Some(staging) = self.staging.take() else {
            return Err(self.device.failed("a download was polled after it had ended"));
        };
        let Some(raw) = staging.raw().filter(|_| !to.is_empty()) else { return Ok(()) };
        if !mapped {
            staging.discard();
            self.device.check()?;
            return Err(self.device.failed("a buffer could not be read back"));
        }
        let end = self.wanted.end.next_multiple_of(4) as u64;
        let mapped = raw.slice(..end).get_mapped_range();
        let result = mapped.or_else(|error| self.device.check().and(Err(self.device.failed(error))));
        let result = result.map(|bytes| to.copy_from_slice(&bytes[self.wanted.clone()]));
        raw.unmap();
        result
    }
}

impl Future for Download {
    type Output = Result<Vec<u8>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<Self::Output> {
        let mapped = {
            let mut state = self.state.state();
            if state.mapped.is_none() {
                state.waker = Some(context.waker().clone());
                if !std::mem::replace(&mut state.waited_for, true) {
                    let (device, submission) = (self.device.clone(), self.submission.clone());
                    // The callback of `map_async` runs on this thread and wakes the future. If waiting fails, the
                    // device is lost, and wgpu has called it with an error before.
                    let wait = move || submission.map(|submission| device.wait(submission));
                    if let Err(error) = thread::Builder::new().name("read-back".into()).spawn(wait) {
                        return Poll::Ready(Err(self
                            .device
                            .failed(format!("no thread to wait on: {error}"))));
                    }
                }
            }
            state.mapped
        };
        let Some(mapped) = mapped else { return Poll::Pending };
        let mut bytes = vec![0; self.wanted.len()];
        Poll::Ready(self.take(mapped, &mut bytes).map(|()| bytes))
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // A buffer that is still being mapped must not be handed out again.
        if let Some(staging) = self.staging.take() {
            staging.discard();
        }
    }
}
