//! Devices, and the operations that run on them: [`Device`] is where tensors live, [`Op`] what can be computed, [`run`]
//! the one place in the crate that decides where.

#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod areas;
mod op;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod product;
mod rows;
mod run;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) mod walk;

#[cfg(any(feature = "cuda", feature = "wgpu"))]
pub(crate) use areas::Areas;
pub use op::{Arms, Meta, Metas, Op, Outputs};
#[cfg(any(feature = "cuda", feature = "wgpu"))]
pub(crate) use product::{Axis, Matrix, Product, Stride};
pub(crate) use rows::{run_rows, runs};
#[cfg(test)]
pub(crate) use run::{Numbers, spec_on};
pub use run::{run, run_in_place, run1};

#[cfg(feature = "cuda")]
use crate::cuda;
#[cfg(feature = "wgpu")]
use crate::wgpu;
use crate::{
    cpu,
    dtype::DType,
    error::{Error, Result},
    host,
    precision::Precision,
    tensor::Buffer,
};
use std::{fmt, ops::Range, pin::Pin, sync::Arc};

/// A device that holds tensors and runs operations. The list is closed: its arms are the only dispatch in the crate.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Device {
    /// The host's processor: all its threads, and the widest vectors it has.
    Cpu,
    /// An NVIDIA GPU, through the driver.
    #[cfg(feature = "cuda")]
    Cuda(Arc<cuda::Cuda>),
    /// A GPU through wgpu, or a driver that computes on the host.
    #[cfg(feature = "wgpu")]
    Wgpu(Arc<wgpu::Wgpu>),
}

/// Bytes on their way to the host.
pub(crate) type Reading = Pin<Box<dyn Future<Output = Result<Vec<u8>>> + Send>>;

/// The kind of a [`Device`], without the device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum DeviceKind {
    /// The host's processor.
    Cpu,
    /// A GPU through wgpu.
    Wgpu,
    /// An NVIDIA GPU.
    Cuda,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            DeviceKind::Cpu => cpu::NAME,
            DeviceKind::Wgpu => "wgpu",
            DeviceKind::Cuda => "cuda",
        })
    }
}

/// Bytes of a device's memory held for tensors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// In use by tensors and scratch now.
    pub in_use: usize,
    /// The most that was in use at once since the start or [`Device::reset_peak`].
    pub peak: usize,
    /// Kept for reuse, returned by [`Device::release`].
    pub pooled: usize,
}

impl Device {
    /// The NVIDIA GPU with this ordinal; asking again gives the same device.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if there is no driver, no such GPU, one of them is too old for the embedded kernels, or the
    /// crate was built without the feature `cuda`.
    ///
    /// ```
    /// use foveate::{Device, Error};
    /// match Device::cuda(0) {
    ///     Ok(device) => println!("{device}"),
    ///     Err(Error::NoDevice { why, .. }) => println!("no CUDA here: {why}"),
    ///     Err(other) => panic!("{other}"),
    /// }
    /// ```
    pub fn cuda(ordinal: usize) -> Result<Device> {
        #[cfg(feature = "cuda")]
        return cuda::Cuda::new(ordinal).map(Device::Cuda);
        #[cfg(not(feature = "cuda"))]
        Err(Error::NoDevice {
            device: format!("cuda:{ordinal}"),
            why: "the crate was built without the feature `cuda`".into(),
        })
    }

    /// The best GPU that wgpu finds, or a software driver if there is one and no GPU. [`Device::wgpu_on`] chooses
    /// another adapter.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if there is no adapter, or the crate was built without the feature `wgpu`.
    ///
    /// ```
    /// use foveate::{Device, Error};
    /// match Device::wgpu() {
    ///     Ok(device) => println!("{device}"),
    ///     Err(Error::NoDevice { why, .. }) => println!("nothing for wgpu here: {why}"),
    ///     Err(other) => panic!("{other}"),
    /// }
    /// ```
    pub fn wgpu() -> Result<Device> {
        #[cfg(feature = "wgpu")]
        return wgpu::Wgpu::new().map(Device::Wgpu);
        #[cfg(not(feature = "wgpu"))]
        Err(Error::NoDevice {
            device: "wgpu".into(),
            why: "the crate was built without the feature `wgpu`".into(),
        })
    }

    /// An adapter by its place in the list of `foveate::wgpu::adapters` or by part of its name, in any case: `0`, `llvmpipe`,
    /// `geforce`. `foveate::wgpu::Wgpu::open` has more options: limits, memory, timings.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if there is no such adapter (it lists those there are), or the crate was built without the
    /// feature `wgpu`.
    ///
    /// ```
    /// use foveate::{Device, Error};
    /// match Device::wgpu_on("0") {
    ///     Ok(device) => println!("{device}"),
    ///     Err(Error::NoDevice { device, .. }) => assert_eq!(device, "wgpu:0"),
    ///     Err(other) => panic!("{other}"),
    /// }
    /// ```
    pub fn wgpu_on(adapter: &str) -> Result<Device> {
        #[cfg(feature = "wgpu")]
        return wgpu::Wgpu::open(&wgpu::Options { adapter: adapter.into(), ..Default::default() })
            .map(Device::Wgpu);
        #[cfg(not(feature = "wgpu"))]
        Err(Error::NoDevice {
            device: format!("wgpu:{adapter}"),
            why: "the crate was built without the feature `wgpu`".into(),
        })
    }

    /// The first there is of: CUDA device 0, a GPU through wgpu (not a driver that computes on the host), the CPU. Its
    /// `Display` says which it is. Operations without a kernel on it are [`Error::Unsupported`]; nothing moves to another
    /// device by itself.
    ///
    /// # Errors
    /// Whatever a device that is there answers apart from [`Error::NoDevice`]: a GPU out of memory, say.
    ///
    /// ```
    /// # fn main() -> foveate::Result<()> {
    /// println!("computing on {}", foveate::Device::best()?);
    /// # Ok(()) }
    /// ```
    pub fn best() -> Result<Device> {
        match Device::cuda(0) {
            Err(Error::NoDevice { .. }) => {}
            answer => return answer,
        }
        #[cfg(feature = "wgpu")]
        match wgpu::Wgpu::new() {
            Err(Error::NoDevice { .. }) => {}
            Ok(device) if device.adapter().kind == wgpu::AdapterKind::Software => {}
            Ok(device) => return Ok(Device::Wgpu(device)),
            Err(other) => return Err(other),
        }
        Ok(Device::Cpu)
    }

    /// The kind of this device.
    pub fn kind(&self) -> DeviceKind {
        match self {
            Device::Cpu => DeviceKind::Cpu,
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => DeviceKind::Cuda,
            #[cfg(feature = "wgpu")]
            Device::Wgpu(_) => DeviceKind::Wgpu,
        }
    }

    /// Whether the two are the same device, so that their tensors may meet in one operation.
    pub fn same(&self, other: &Device) -> bool {
        match (self, other) {
            (Device::Cpu, Device::Cpu) => true,
            #[cfg(feature = "cuda")]
            (Device::Cuda(a), Device::Cuda(b)) => Arc::ptr_eq(a, b),
            #[cfg(feature = "wgpu")]
            (Device::Wgpu(a), Device::Wgpu(b)) => Arc::ptr_eq(a, b),
            #[cfg(any(feature = "cuda", feature = "wgpu"))]
            _ => false,
        }
    }

    /// Memory that this crate holds on the device; on the CPU, in the whole process.
    pub fn memory(&self) -> Memory {
        match self {
            Device::Cpu => cpu::memory(),
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => device.memory(),
            #[cfg(feature = "wgpu")]
            Device::Wgpu(device) => device.memory(),
        }
    }

    /// How operands are rounded where a call does not say it; [`Precision::F32`] unless it was set.
    pub fn precision(&self) -> Precision {
        match self {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => device.precision(),
            _ => Precision::F32,
        }
    }

    /// How operands are rounded from now on where a call does not say it. What a tape has recorded keeps its precision.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the device does not have it.
    pub fn set_precision(&self, precision: Precision) -> Result<()> {
        precision.check("set_precision", self)?;
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = self {
            device.set_precision(precision);
        }
        Ok(())
    }

    /// Starts [`Memory::peak`] anew.
    pub fn reset_peak(&self) {
        match self {
            Device::Cpu => cpu::reset_peak(),
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => device.reset_peak(),
            #[cfg(feature = "wgpu")]
            Device::Wgpu(device) => device.reset_peak(),
        }
    }

    /// Returns pooled memory to the system.
    pub fn release(&self) {
        match self {
            Device::Cpu => cpu::release(),
            // A failed device keeps its memory; the next operation on it says why.
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => drop(device.release()),
            #[cfg(feature = "wgpu")]
            Device::Wgpu(device) => device.release(),
        }
    }

    /// Waits until everything submitted to the device is done; a failure on the way surfaces here.
    pub fn synchronize(&self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => device.synchronize(),
            #[cfg(feature = "wgpu")]
            Device::Wgpu(device) => device.synchronize(),
        }
    }

    /// Refuses dtypes that the device cannot hold.
    pub(crate) fn check_dtype(&self, op: &'static str, dtype: DType) -> Result<()> {
        if dtype == DType::F64 && self.kind() != DeviceKind::Cpu {
            return Err(Error::dtype(op, format!("f64 is the CPU's reference precision; on {self} use f32")));
        }
        Ok(())
    }
    /// A new buffer of unspecified contents; `what` names its use when memory runs out.
    pub(crate) fn alloc(&self, bytes: usize, what: &'static str) -> Result<Buffer> {
        match self {
            Device::Cpu => Ok(Buffer::Cpu(Arc::new(cpu::Block::new(bytes, what)?))),
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => Ok(Buffer::Cuda(Arc::new(cuda::Block::new(device, bytes, what)?))),
            #[cfg(feature = "wgpu")]
            Device::Wgpu(device) => Ok(Buffer::Wgpu(Arc::new(device.alloc(bytes, what)?))),
        }
    }

    /// A new buffer that holds a copy of `data`.
    pub(crate) fn upload(&self, data: &[u8]) -> Result<Buffer> {
        match self {
            Device::Cpu => {
                let mut block = cpu::Block::new(data.len(), "a tensor")?;
                block.bytes_mut().copy_from_slice(data);
                Ok(Buffer::Cpu(Arc::new(block)))
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => Ok(Buffer::Cuda(Arc::new(cuda::Block::upload(device, data)?))),
            #[cfg(feature = "wgpu")]
            Device::Wgpu(device) => Ok(Buffer::Wgpu(Arc::new(device.upload(data, "a tensor")?))),
        }
    }

    /// Copies `to.len()` bytes of `buffer`, from byte `start`, to the host.
    pub(crate) fn download(&self, buffer: &Buffer, start: usize, to: &mut [u8]) -> Result<()> {
        match buffer {
            Buffer::Cpu(block) => to.copy_from_slice(&block.bytes()[start..start + to.len()]),
            #[cfg(feature = "cuda")]
            Buffer::Cuda(block) => block.download(start, to)?,
            #[cfg(feature = "wgpu")]
            Buffer::Wgpu(buffer) => buffer.device().download(buffer, start, to)?,
        }
        Ok(())
    }

    /// Bytes `range` of `buffer` as a future. Where the device can it copies them meanwhile, else they are there already.
    pub(crate) fn read(&self, buffer: &Buffer, range: Range<usize>) -> Reading {
        #[cfg(feature = "wgpu")]
        if let Buffer::Wgpu(buffer) = buffer {
            return Box::pin(wgpu::read_back(buffer, range));
        }
        let copied = host::filled(range.len(), 0, "reading back").and_then(|mut bytes| {
            self.download(buffer, range.start, &mut bytes)?;
            Ok(bytes)
        });
        Box::pin(std::future::ready(copied))
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str(cpu::NAME),
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => device.fmt(f),
            #[cfg(feature = "wgpu")]
            Device::Wgpu(device) => f.write_str(device.name()),
        }
    }
}
