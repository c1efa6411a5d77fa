//! An open device: its queue, its limits, its memory, its kernels, and the commands on their way.

use super::{
    Adapter, Choice, adapter,
    health::{Health, now},
    pipeline::Pipelines,
    pool::{Buffer, Pool, Use},
    recorder::Recorder,
};
use crate::{
    device::Memory,
    error::{Error, Result},
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How to open a device.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which adapter.
    pub adapter: Choice,
    /// The most bytes of device memory to hold at once; beyond, an allocation is an error. None: what the driver gives.
    pub memory: Option<u64>,
    /// Limits to ask for, such as `wgpu::Limits::defaults()` for those of every browser. None: all the adapter has.
    pub limits: Option<::wgpu::Limits>,
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
}

impl Wgpu {
    /// Opens the best adapter of this machine; an error if there is none.
    pub fn new() -> Result<Arc<Self>> {
        Self::open(&Options::default())
    }

    /// Opens a device as `options` say.
    pub fn open(options: &Options) -> Result<Arc<Self>> {
        let adapter = adapter::choose(&options.adapter)?;
        let limits = options.limits.clone().unwrap_or_else(|| adapter.limits());
        let descriptor = ::wgpu::DeviceDescriptor {
            label: Some("foveate"),
            required_limits: limits,
            ..::wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = now(adapter.request_device(&descriptor))
            .map_err(|error| Error::NoDevice { device: adapter.get_info().name, why: error.to_string() })?;
        Ok(Self::from_wgpu(device, queue, options.memory))
    }

    /// A device over the `wgpu::Device` and `wgpu::Queue` of an application. It takes over the device's callbacks for
    /// uncaught errors and for its loss.
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
        })
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

    /// Memory held on the device.
    pub fn memory(&self) -> Memory {
        self.pool.memory()
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
    pub fn alloc(self: &Arc<Self>, bytes: usize, what: &str) -> Result<Buffer> {
        Buffer::new(self, Use::Kernels, bytes, what)
    }

    /// An error if the device is lost or has reported an error that no call returned.
    pub fn check(&self) -> Result<()> {
        self.health.check(&self.name)
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
        if let Some(index) = last {
            self.wait(index)?;
        }
        self.check()
    }

    pub(super) fn wait(&self, submission: ::wgpu::SubmissionIndex) -> Result<()> {
        let poll = ::wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
        self.device.poll(poll).map(|_| ()).map_err(|error| self.failed(error))
    }

    /// Lets callbacks that are due run.
    pub(super) fn poll(&self) -> Result<()> {
        self.device.poll(::wgpu::PollType::Poll).map(|_| ()).map_err(|error| self.failed(error))
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

impl fmt::Debug for Wgpu {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Wgpu({})", self.adapter)
    }
}
