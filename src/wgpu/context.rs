//! An open device: its queue, its limits, its memory, its kernels, and the commands on their way.

use super::{
    Adapter, Choice, adapter,
    health::{Health, now},
    pipeline::Pipelines,
    pool::{Buffer, Pool, Use},
    recorder::{Counts, Recorder},
    trace::{Timings, Tracer},
};
use crate::{
    device::Memory,
    error::{Error, Result},
};
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Features that are asked for where the adapter has them: clocks for [`Options::trace`], and 16-bit floats in kernels.
const WELCOME: ::wgpu::Features = ::wgpu::Features::TIMESTAMP_QUERY
    .union(::wgpu::Features::SHADER_F16)
    .union(::wgpu::Features::SHADER_INT64);

/// How to open a device.
///
/// ```
/// use foveate::wgpu::{Choice, Options, Wgpu, api};
/// # fn main() -> foveate::Result<()> {
/// // A device with the limits of every browser, which holds at most 256 MiB, on the first adapter called so.
/// let options = Options {
///     adapter: Choice::from("llvmpipe"),
///     memory: Some(256 << 20),
///     limits: Some(api::Limits::defaults()),
///     ..Options::default()
/// };
/// match Wgpu::open(&options) {
///     Ok(device) => assert_eq!(device.limits().max_compute_invocations_per_workgroup, 256),
///     Err(foveate::Error::NoDevice { why, .. }) => println!("not here: {why}"),
///     Err(other) => return Err(other),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which adapter.
    pub adapter: Choice,
    /// The most bytes of device memory to hold at once; beyond, an allocation is an error. None: what the driver gives.
    pub memory: Option<u64>,
    /// Limits to ask for, such as `wgpu::Limits::defaults()` for those of every browser. None: all the adapter has.
    pub limits: Option<::wgpu::Limits>,
    /// Whether to take the time of every kernel, see [`Wgpu::timings`]. The environment variable `FOVEATE_TRACE` asks for
    /// it as well, and for a table on standard error when the device is dropped.
    pub trace: bool,
}

/// Whether `FOVEATE_TRACE` is set, to anything but `0` or `off`.
fn trace_asked_for() -> bool {
    std::env::var("FOVEATE_TRACE").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "off"))
}

/// A device opened through wgpu. Shared by the tensors that live on it.
pub struct Wgpu {
    device: ::wgpu::Device,
    queue: ::wgpu::Queue,
    adapter: Adapter,
    name: String,
    limits: ::wgpu::Limits,
    health: Arc<Health>,
    pool: Pool,
    pipelines: Pipelines,
    recorder: Mutex<Recorder>,
    /// The layout by which buffers from outside are tried.
    pub(super) probe: OnceLock<::wgpu::BindGroupLayout>,
    /// Whether the timings are printed when the device is dropped.
    print_timings: AtomicBool,
}

impl Wgpu {
    /// Opens the best adapter of this machine; an error if there is none.
    pub fn new() -> Result<Arc<Self>> {
        Self::open(&Options::default())
    }

    /// Opens a device as `options` say.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if no adapter matches (the error lists those there are) or it does not meet the limits asked
    /// for (the error names the limit); [`Error::Device`] if timings are asked for and the adapter has no clock.
    pub fn open(options: &Options) -> Result<Arc<Self>> {
        let adapter = adapter::choose(&options.adapter)?;
        let limits = options.limits.clone().unwrap_or_else(|| adapter.limits());
        let descriptor = ::wgpu::DeviceDescriptor {
            label: Some("foveate"),
            required_limits: limits,
            required_features: adapter.features() & WELCOME,
            ..::wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = now(adapter.request_device(&descriptor))
            .map_err(|error| Error::NoDevice { device: adapter.get_info().name, why: error.to_string() })?;
        let device = Self::from_wgpu(device, queue, options.memory);
        let print = trace_asked_for();
        if options.trace || print {
            device.trace(true)?;
            device.print_timings.store(print, Ordering::Relaxed);
        }
        Ok(device)
    }

    /// A device over the `wgpu::Device` and `wgpu::Queue` of an application, which may hold at most `memory` bytes of
    /// its own there. Make one for each `wgpu::Device` and share it: tensors of two cannot meet in one operation.
    ///
    /// Work is recorded here and submitted to the application's queue, so it keeps its order with what the application
    /// submits: it sees what was submitted before an operation is called, and [`Tensor::to_wgpu`](crate::Tensor::to_wgpu)
    /// submits what a tensor is made by.
    ///
    /// It takes over the device's callbacks for uncaught errors and for its loss, since nothing else tells of them. An
    /// application that sets its own afterwards hands a loss on by [`Wgpu::lost`].
    ///
    /// ```
    /// use foveate::wgpu::{Wgpu, api};
    /// use foveate::{Device, Tensor, ops};
    /// # fn main() -> foveate::Result<()> {
    /// # let Ok(opened) = Wgpu::new() else { return Ok(()) };
    /// # let (device, queue): (api::Device, api::Queue) = (opened.raw().clone(), opened.queue().clone());
    /// // `device` and `queue` are the application's.
    /// let device = Device::Wgpu(Wgpu::from_wgpu(device, queue, None));
    /// let x = Tensor::from_slice(&[1.0_f32, 2.0, 3.0], [3], &device)?;
    /// assert_eq!(ops::sum_all(&x)?.item::<f32>()?, 6.0);
    /// # Ok(()) }
    /// ```
    pub fn from_wgpu(device: ::wgpu::Device, queue: ::wgpu::Queue, memory: Option<u64>) -> Arc<Self> {
        let health = Health::of(&device);
        let adapter = Adapter::of(&device.adapter_info());
        let recorder = Mutex::new(Recorder::new(&device));
        Arc::new(Wgpu {
            limits: device.limits(),
            name: format!("wgpu ({})", adapter.name),
            device,
            queue,
            adapter,
            health,
            pool: Pool::new(memory),
            pipelines: Pipelines::default(),
            recorder,
            probe: OnceLock::new(),
            print_timings: AtomicBool::new(false),
        })
    }

    /// The same device, taken for another kind of adapter.
    #[cfg(test)]
    pub(super) fn pretend(self: &mut Arc<Self>, kind: super::AdapterKind) {
        if let Some(device) = Arc::get_mut(self) {
            device.adapter.kind = kind;
        }
    }

    /// The adapter that was chosen.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// What the device is called in errors and tables.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device's limits.
    pub fn limits(&self) -> &::wgpu::Limits {
        &self.limits
    }

    /// The wgpu device.
    pub fn raw(&self) -> &::wgpu::Device {
        &self.device
    }

    /// The wgpu queue.
    pub fn queue(&self) -> &::wgpu::Queue {
        &self.queue
    }

    /// Whether kernels can store and compute with 16-bit floats.
    pub fn has_f16(&self) -> bool {
        self.device.features().contains(::wgpu::Features::SHADER_F16)
    }

    /// Whether kernels can move 64-bit words.
    pub fn has_int64(&self) -> bool {
        self.device.features().contains(::wgpu::Features::SHADER_INT64)
    }

    /// Memory held on the device, of what this crate allocated there: buffers of the application do not count.
    pub fn memory(&self) -> Memory {
        self.pool.memory()
    }

    /// Launches, submissions and copies to the host so far.
    pub fn counts(&self) -> Counts {
        self.recorder().counts
    }

    /// Starts [`Memory::peak`] anew.
    pub fn reset_peak(&self) {
        self.pool.reset_peak();
    }

    /// Returns pooled memory to the driver.
    pub fn release(&self) {
        self.pool.release();
    }

    /// A buffer of `bytes` bytes for tensors or scratch; `what` names its use when memory runs out.
    pub fn alloc(self: &Arc<Self>, bytes: usize, what: &'static str) -> Result<Buffer> {
        Buffer::new(self, Use::Kernels, bytes, what)
    }

    /// An error if the device is lost or has reported an error that no call returned.
    pub fn check(&self) -> Result<()> {
        if self.health.is_ill() {
            // If the device is lost, that is behind the other errors, and wgpu tells of it when it is polled.
            let most = Some(Duration::from_secs(1));
            let _ = self.device.poll(::wgpu::PollType::Wait { submission_index: None, timeout: most });
        }
        self.health.check(&self.name)
    }

    /// Notes that the device is lost: from now on every call is an error. Of use to an application that keeps the
    /// device's own callback to itself.
    pub fn lost(&self, why: &str) {
        self.health.lost(why);
    }

    /// Destroys the device, its memory included; from now on every call is an error.
    pub fn destroy(&self) {
        self.health.lost("it was destroyed");
        self.device.destroy();
    }

    /// Starts (anew) or ends taking the time of every kernel by the device's clock. Each launch is then a pass of its
    /// own, and each submission is waited for, so the whole takes longer than it does untraced.
    ///
    /// # Errors
    /// [`Error::Device`] if the device has not the feature `TIMESTAMP_QUERY`, or an earlier error turns up.
    pub fn trace(&self, on: bool) -> Result<()> {
        let mut recorder = self.recorder();
        recorder.submit(&self.queue);
        recorder.tracer = None;
        if on {
            if !self.device.features().contains(::wgpu::Features::TIMESTAMP_QUERY) {
                let what = "no timings of kernels: the device was opened without TIMESTAMP_QUERY, or its adapter has none";
                return Err(self.failed(what));
            }
            recorder.tracer = Some(Tracer::new(&self.device, &self.queue));
        }
        drop(recorder);
        self.check()
    }

    /// How long each kernel ran since [`Wgpu::trace`] was turned on, the longest first; `Display` makes it a table.
    ///
    /// ```
    /// use foveate::wgpu::{Options, Wgpu};
    /// use foveate::{Device, Tensor, ops};
    /// # fn main() -> foveate::Result<()> {
    /// let wgpu = match Wgpu::open(&Options { trace: true, ..Options::default() }) {
    ///     Ok(wgpu) => wgpu,
    ///     Err(why) => return Ok(println!("no timings here: {why}")),
    /// };
    /// let x = Tensor::zeros([1, 1, 64, 64], &Device::Wgpu(wgpu.clone()))?;
    /// ops::unfold(&x, [8, 8], [4, 4])?;
    /// println!("{}", wgpu.timings()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Device`] if nothing is traced, or the device failed.
    pub fn timings(&self) -> Result<Timings> {
        let mut recorder = self.recorder();
        recorder.submit(&self.queue);
        let timings = recorder.tracer.as_ref().map(Tracer::timings);
        drop(recorder);
        self.check()?;
        timings
            .ok_or_else(|| self.failed("nothing is traced: open it with Options::trace, or call trace(true)"))
    }

    /// Submits what is recorded, without waiting for it.
    pub fn submit(&self) -> Result<()> {
        self.recorder().submit(&self.queue);
        self.check()
    }

    /// Submits what is recorded and waits until everything is done.
    pub fn synchronize(&self) -> Result<()> {
        let last = {
            let mut recorder = self.recorder();
            recorder.submit(&self.queue);
            recorder.last()
        };
        match last {
            Some(index) => self.wait(index)?,
            None => self.poll()?,
        }
        self.check()
    }

    pub(super) fn wait(&self, submission: ::wgpu::SubmissionIndex) -> Result<()> {
        let poll = ::wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
        self.polled(poll)
    }

    /// Lets callbacks that are due run.
    pub(super) fn poll(&self) -> Result<()> {
        self.polled(::wgpu::PollType::Poll)
    }

    fn polled(&self, how: ::wgpu::PollType) -> Result<()> {
        match self.device.poll(how) {
            Ok(_) => Ok(()),
            // A lost device has other troubles as well; its loss is the one to name.
            Err(error) => self.check().and(Err(self.failed(error))),
        }
    }

    /// A device error of this device.
    pub(super) fn failed(&self, what: impl fmt::Display) -> Error {
        Error::Device { device: self.name.clone(), what: what.to_string() }
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(super) fn pipelines(&self) -> &Pipelines {
        &self.pipelines
    }

    pub(super) fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wgpu {
    fn drop(&mut self) {
        if *self.print_timings.get_mut()
            && let Ok(timings) = self.timings()
        {
            eprintln!("{}\n{timings}", self.name);
        }
    }
}

impl fmt::Debug for Wgpu {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Wgpu({})", self.adapter)
    }
}
