//! CUDA graphs: launches that are recorded once and then asked for all together, as one call of the driver.
//!
//! What is recorded goes to a stream made for the purpose, which nobody else knows, and the capture is this thread's own:
//! other threads may use the device meanwhile. A node holds addresses. So whoever keeps a graph keeps the memory that its
//! nodes use, and what changes from one run to the next is copied into that memory before it.

use super::Cuda;
use crate::error::Result;
use cudarc::driver::{
    CudaStream,
    result::{graph, stream},
    sys::{self, CUgraphInstantiate_flags, CUstreamCaptureMode},
};
use std::sync::{Arc, atomic::Ordering};

/// What is being recorded.
pub(super) struct Recording {
    streams: [Arc<CudaStream>; 2],
}

impl Recording {
    /// Two streams that take what is to be recorded. The second is part of it once it waits for an event of the first, which
    /// must wait for its last one in the end; what neither waits for may be done side by side.
    pub(super) fn streams(&self) -> [&CudaStream; 2] {
        self.streams.each_ref().map(|stream| &**stream)
    }

    fn origin(&self) -> sys::CUstream {
        self.streams[0].cu_stream()
    }
}

/// What was recorded, ready to run again and again.
pub(super) struct Graph {
    recorded: sys::CUgraph,
    executable: sys::CUgraphExec,
    device: Arc<Cuda>,
}

// SAFETY: the handles are opaque values of the driver, which any thread may use, one at a time: `launch` and the end of the
// graph take it by `&mut` or whole.
unsafe impl Send for Graph {}

impl Graph {
    /// Records what `work` asks for.
    pub(super) fn record(device: &Arc<Cuda>, work: impl FnOnce(&Recording) -> Result<()>) -> Result<Self> {
        let failed = |e| device.failure("recording a graph", e);
        device.bind("recording a graph")?;
        let stream = || device.context.new_stream().map_err(failed);
        let recording = Recording { streams: [stream()?, stream()?] };
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream was made above, and nothing was asked of it yet.
        unsafe { stream::begin_capture(recording.origin(), mode) }.map_err(failed)?;
        let asked = work(&recording);
        // The capture is ended also where the work failed: the stream could not be let go otherwise.
        // SAFETY: the stream is the one whose capture was begun above, by this thread.
        let recorded = unsafe { stream::end_capture(recording.origin()) };
        let mut new = Graph {
            recorded: recorded.as_ref().map_or(std::ptr::null_mut(), |graph| *graph),
            executable: std::ptr::null_mut(),
            device: device.clone(),
        };
        asked?;
        recorded.map_err(failed)?;
        // SAFETY: the graph was captured above and is not changed.
        let made = unsafe { graph::instantiate(new.recorded, CUgraphInstantiate_flags(0)) };
        new.executable = made.map_err(failed)?;
        Ok(new)
    }

    /// Asks the device's stream for all of it. It is one launch, whatever it holds.
    pub(super) fn launch(&mut self) -> Result<()> {
        let device = &self.device;
        device.bind("a graph")?;
        device.graphs.fetch_add(1, Ordering::Relaxed);
        // SAFETY: instantiated by `record`; the memory that its nodes use is kept by the graph's owner.
        let launched = unsafe { graph::launch(self.executable, device.stream.cu_stream()) };
        launched.map_err(|e| device.failure("a graph", e))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // It may be running. Nobody is left to tell of a failure, which the next call reports again.
        let _ = self.device.synchronize();
        if !self.executable.is_null() {
            // SAFETY: instantiated by `record`, destroyed once, and no longer running.
            let _ = unsafe { graph::exec_destroy(self.executable) };
        }
        if !self.recorded.is_null() {
            // SAFETY: captured by `record`, destroyed once.
            let _ = unsafe { graph::destroy(self.recorded) };
        }
    }
}
