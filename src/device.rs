//! Devices, operations, and [`run`]: the one place in the crate that decides where an operation executes.

#[cfg(feature = "cuda")]
use crate::cuda;
#[cfg(feature = "wgpu")]
use crate::wgpu;
use crate::{
    Dims, cpu,
    dtype::DType,
    error::{Error, Result},
    spec::{self, Real},
    tensor::{Buffer, Tensor},
};
use smallvec::SmallVec;
use std::{fmt, sync::Arc};

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

    /// The best GPU that wgpu finds, or a software driver if there is one and no GPU. [`crate::wgpu::Wgpu::open`] chooses
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

/// Shape and dtype of an operand or result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    /// Shape.
    pub dims: Dims,
    /// Element type.
    pub dtype: DType,
}

impl Meta {
    /// A shape with its dtype.
    pub fn new(dims: impl Into<Dims>, dtype: DType) -> Self {
        Meta { dims: dims.into(), dtype }
    }

    /// An `f32` shape.
    pub fn f32(dims: impl Into<Dims>) -> Self {
        Self::new(dims, DType::F32)
    }
}

impl fmt::Display for Meta {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}", self.dims, self.dtype)
    }
}

/// Shapes of an operation's results.
pub type Metas = SmallVec<[Meta; 2]>;
/// An operation's results.
pub type Outputs = SmallVec<[Tensor; 2]>;

/// Which devices an operation has kernels for, beside the CPU, which has them all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Arms {
    /// Has a WGSL kernel.
    pub wgpu: bool,
    /// Has a CUDA kernel.
    pub cuda: bool,
}

/// One computation, forward or backward: how shapes follow from shapes, what it means, and how each device does it.
///
/// The trait is open: a crate of its own can add an operation, and [`run`] treats it like any other. The device arms
/// are written by [`arms!`](crate::arms), which forwards to inherent methods kept in one file per device.
pub trait Op: fmt::Debug + Send + Sync + 'static {
    /// Name in errors, tapes and tables; the same as its folder, kernel files and benchmark.
    const NAME: &'static str;
    /// The devices that [`arms!`](crate::arms) was told of.
    const ARMS: Arms;
    /// How many times the error of the straightforward `f32` computation a kernel may make. More than two only for
    /// named algorithms that state why.
    const TOLERANCE: f64 = 2.0;

    /// Checks every argument and gives the results' shapes. [`run`] calls it once; the arms rely on it.
    fn infer(&self, ins: &[Meta]) -> Result<Metas>;

    /// Bytes of scratch that one run needs on a device, handed to the arm.
    fn scratch(&self, _device: DeviceKind, _ins: &[Meta]) -> usize {
        0
    }

    /// The specification: plain loops, readable as maths. See [`crate::spec`].
    fn spec<T: Real>(&self, ins: &[spec::In<T>], outs: &mut [spec::Out<T>]);

    /// Runs on the CPU.
    fn cpu(&self, ins: &[cpu::In], outs: &mut [cpu::Out]) -> Result<()>;

    /// Runs through wgpu. Without a kernel: an error.
    #[cfg(feature = "wgpu")]
    fn wgpu(&self, cx: &wgpu::Cx, _ins: &[wgpu::In], _outs: &[wgpu::Out]) -> Result<()> {
        let what = "move the operands to a device that has one with to_device".into();
        Err(Error::Unsupported { op: Self::NAME, device: cx.device().name().into(), what })
    }

    /// Runs on an NVIDIA GPU. Without a kernel: an error.
    #[cfg(feature = "cuda")]
    fn cuda(&self, cx: &cuda::Cx, _ins: &[cuda::In], _outs: &[cuda::Out]) -> Result<()> {
        let what = "move the operands to a device that has one with to_device".into();
        Err(Error::Unsupported { op: Self::NAME, device: cx.device().to_string(), what })
    }
}

/// Writes the device arms of an [`Op`] inside its `impl`: `arms!(cpu)`, `arms!(cpu, wgpu)` or `arms!(cpu, wgpu, cuda)`
/// forward to the inherent methods `on_cpu`, `on_wgpu` and `on_cuda`.
#[macro_export]
macro_rules! arms {
    (cpu $(, $more:ident)*) => {
        const ARMS: $crate::device::Arms = {
            #[allow(unused_mut)]
            let mut arms = $crate::device::Arms { wgpu: false, cuda: false };
            $(arms.$more = true;)*
            arms
        };
        fn cpu(&self, ins: &[$crate::cpu::In], outs: &mut [$crate::cpu::Out]) -> $crate::Result<()> {
            self.on_cpu(ins, outs)
        }
        $($crate::__arm!($more);)*
    };
}

/// One further arm of [`arms!`]. The macro of each device exists twice, since a `cfg` in an expansion would ask for the
/// features of the crate that it is expanded in.
#[doc(hidden)]
#[macro_export]
macro_rules! __arm {
    (wgpu) => {
        $crate::__arm_wgpu!();
    };
    (cuda) => {
        $crate::__arm_cuda!();
    };
}

#[doc(hidden)]
#[macro_export]
#[cfg(feature = "cuda")]
macro_rules! __arm_cuda {
    () => {
        fn cuda(
            &self,
            cx: &$crate::cuda::Cx,
            ins: &[$crate::cuda::In],
            outs: &[$crate::cuda::Out],
        ) -> $crate::Result<()> {
            self.on_cuda(cx, ins, outs)
        }
    };
}

#[doc(hidden)]
#[macro_export]
#[cfg(not(feature = "cuda"))]
macro_rules! __arm_cuda {
    () => {};
}

#[doc(hidden)]
#[macro_export]
#[cfg(feature = "wgpu")]
macro_rules! __arm_wgpu {
    () => {
        fn wgpu(
            &self,
            cx: &$crate::wgpu::Cx,
            ins: &[$crate::wgpu::In],
            outs: &[$crate::wgpu::Out],
        ) -> $crate::Result<()> {
            self.on_wgpu(cx, ins, outs)
        }
    };
}

#[doc(hidden)]
#[macro_export]
#[cfg(not(feature = "wgpu"))]
macro_rules! __arm_wgpu {
    () => {};
}

/// Runs an operation: checks the arguments, allocates the results, and dispatches on the device. Nothing is recorded.
///
/// Inputs of type `f64` select the reference computation: the operation's specification, on the CPU.
pub fn run<O: Op>(op: &O, ins: &[&Tensor]) -> Result<Outputs> {
    let (metas, reference) = inferred::<O>(op, ins)?;
    if reference {
        return run_spec(op, ins, &metas, &[]);
    }
    match device_of::<O>(ins)? {
        Device::Cpu => {
            let mut blocks: SmallVec<[cpu::Block; 2]> = SmallVec::new();
            for meta in &metas {
                blocks
                    .push(cpu::Block::new(meta.dims.elements().saturating_mul(meta.dtype.size()), O::NAME)?);
            }
            let views = cpu_views::<O>(ins)?;
            let outs = blocks.iter_mut().zip(&metas);
            let mut outs: SmallVec<[cpu::Out; 2]> = outs
                .map(|(block, m)| cpu::Out { dims: m.dims, dtype: m.dtype, bytes: block.bytes_mut() })
                .collect();
            op.cpu(&views, &mut outs)?;
            drop(outs);
            let done = blocks.into_iter().zip(&metas);
            Ok(done.map(|(block, meta)| wrap(Buffer::Cpu(Arc::new(block)), meta)).collect())
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => {
            let done = cuda::run(op, &device, ins, &metas)?.into_iter().zip(&metas);
            Ok(done.map(|(block, meta)| wrap(Buffer::Cuda(Arc::new(block)), meta)).collect())
        }
        #[cfg(feature = "wgpu")]
        Device::Wgpu(device) => {
            let done = wgpu::run(op, &device, ins, &metas)?.into_iter().zip(&metas);
            Ok(done.map(|(buffer, meta)| wrap(Buffer::Wgpu(Arc::new(buffer)), meta)).collect())
        }
    }
}

/// [`run`] for the operations with a single result.
pub fn run1<O: Op>(op: &O, ins: &[&Tensor]) -> Result<Tensor> {
    run(op, ins)?.into_iter().next().ok_or_else(|| Error::shape(O::NAME, "the operation has no result"))
}

/// Runs an operation whose results replace tensors in place: `state[i]` holds the present value of result `i` and
/// receives the new one. A state tensor that is shared with another handle is copied first, so no clone ever changes.
/// If the operation fails, the state is as it was, unless the device itself failed half way.
pub fn run_in_place<O: Op>(op: &O, state: &mut [&mut Tensor], ins: &[&Tensor]) -> Result<()> {
    let (metas, reference) = inferred::<O>(op, ins)?;
    for (have, want) in state.iter().zip(&metas) {
        if have.dims != want.dims || (!reference && have.dtype != want.dtype) {
            return Err(Error::shape(
                O::NAME,
                format!("state is {} {}, must be {want}", have.dims, have.dtype),
            ));
        }
    }
    if state.len() != metas.len() {
        return Err(Error::shape(O::NAME, format!("{} state tensors, must be {}", state.len(), metas.len())));
    }
    if reference {
        let before: Vec<Tensor> = state.iter().map(|t| t.detach()).collect();
        for (to, from) in state.iter_mut().zip(run_spec(op, ins, &metas, &before)?) {
            **to = from;
        }
        return Ok(());
    }
    match device_of::<O>(ins)? {
        Device::Cpu => {
            let mut blocks: SmallVec<[(&mut cpu::Block, usize, Meta); 4]> = SmallVec::new();
            for (tensor, meta) in state.iter_mut().zip(&metas) {
                let start = tensor.offset * tensor.dtype.size();
                let Some(block) = tensor.buffer.on_cpu_mut() else { return Err(not_on_cpu::<O>()) };
                if Arc::get_mut(block).is_none() {
                    let mut copy = cpu::Block::new(block.bytes().len(), O::NAME)?;
                    copy.bytes_mut().copy_from_slice(block.bytes());
                    *block = Arc::new(copy);
                }
                if let Some(block) = Arc::get_mut(block) {
                    blocks.push((block, start, *meta));
                }
            }
            let mut outs: SmallVec<[cpu::Out; 4]> = SmallVec::new();
            for (block, start, meta) in &mut blocks {
                let len = meta.dims.elements() * meta.dtype.size();
                let bytes = &mut block.bytes_mut()[*start..*start + len];
                outs.push(cpu::Out { dims: meta.dims, dtype: meta.dtype, bytes });
            }
            op.cpu(&cpu_views::<O>(ins)?, &mut outs)
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda::run_in_place(op, &device, state, ins, &metas),
        #[cfg(feature = "wgpu")]
        Device::Wgpu(device) => wgpu::run_in_place(op, &device, state, ins),
    }
}

fn wrap(buffer: Buffer, meta: &Meta) -> Tensor {
    Tensor { buffer, offset: 0, dims: meta.dims, dtype: meta.dtype, node: None }
}

/// The operation's result shapes, and whether the operands ask for the reference computation. An operation is told
/// `f32` where the reference has `f64`, so it need not know of it.
fn inferred<O: Op>(op: &O, ins: &[&Tensor]) -> Result<(Metas, bool)> {
    let mut metas: SmallVec<[Meta; 8]> = ins.iter().map(|t| Meta { dims: t.dims, dtype: t.dtype }).collect();
    let reference = metas.iter().any(|m| m.dtype == DType::F64);
    if reference {
        if let Some(other) = metas.iter().find(|m| m.dtype.is_float() && m.dtype != DType::F64) {
            let what =
                format!("f64 operands meet one of {}: convert all of them to one precision", other.dtype);
            return Err(Error::dtype(O::NAME, what));
        }
        metas.iter_mut().filter(|m| m.dtype == DType::F64).for_each(|m| m.dtype = DType::F32);
    }
    Ok((op.infer(&metas)?, reference))
}

/// The device that all operands share.
fn device_of<O: Op>(ins: &[&Tensor]) -> Result<Device> {
    let Some(first) = ins.first() else {
        return Err(Error::argument(O::NAME, "an operation needs at least one operand to know its device"));
    };
    let device = first.device();
    if let Some(other) = ins.iter().find(|t| !t.device().same(&device)) {
        let what = format!("operands on {device} and {}: move them with to_device", other.device());
        return Err(Error::DeviceMismatch { op: O::NAME, what });
    }
    Ok(device)
}

fn cpu_views<'a, O: Op>(ins: &[&'a Tensor]) -> Result<SmallVec<[cpu::In<'a>; 8]>> {
    ins.iter()
        .map(|t| {
            let block = t.buffer.on_cpu().ok_or_else(not_on_cpu::<O>)?;
            let start = t.offset * t.dtype.size();
            let bytes = &block.bytes()[start..start + t.dims.elements() * t.dtype.size()];
            Ok(cpu::In { dims: t.dims, dtype: t.dtype, bytes })
        })
        .collect()
}

fn not_on_cpu<O: Op>() -> Error {
    Error::DeviceMismatch {
        op: O::NAME,
        what: "a tensor of another device among the CPU's: use to_device".into(),
    }
}

/// Runs the specification on `f64` tensors. `state` is the present value of the results, for updates in place.
fn run_spec<O: Op>(op: &O, ins: &[&Tensor], metas: &[Meta], state: &[Tensor]) -> Result<Outputs> {
    let ins: Vec<Numbers<f64>> = ins.iter().map(|t| Numbers::of(t)).collect::<Result<_>>()?;
    let mut outs: Vec<Numbers<f64>> = match state {
        [] => metas.iter().map(Numbers::zeros).collect(),
        state => state.iter().map(Numbers::of).collect::<Result<_>>()?,
    };
    spec_on(op, &ins, &mut outs);
    outs.iter().zip(metas).map(|(numbers, meta)| numbers.to_tensor(meta.dtype)).collect()
}

/// Calls an operation's specification on host numbers.
pub(crate) fn spec_on<O: Op, T: Real>(op: &O, ins: &[Numbers<T>], outs: &mut [Numbers<T>]) {
    let ins: Vec<spec::In<T>> = ins.iter().map(|n| spec::In { dims: n.dims, x: &n.x, int: &n.int }).collect();
    let mut outs: Vec<spec::Out<T>> =
        outs.iter_mut().map(|n| spec::Out { dims: n.dims, x: &mut n.x, int: &mut n.int }).collect();
    op.spec(&ins, &mut outs);
}

/// A tensor's elements on the host as a specification wants them: floats as `T`, or integers.
#[derive(Clone, Debug)]
pub(crate) struct Numbers<T> {
    pub(crate) dims: Dims,
    pub(crate) x: Vec<T>,
    pub(crate) int: Vec<i64>,
}

impl<T: Real> Numbers<T> {
    pub(crate) fn zeros(meta: &Meta) -> Self {
        let n = meta.dims.elements();
        let (floats, ints) = if meta.dtype.is_float() { (n, 0) } else { (0, n) };
        Numbers { dims: meta.dims, x: vec![T::of(0.0); floats], int: vec![0; ints] }
    }

    pub(crate) fn of(t: &Tensor) -> Result<Self> {
        let (mut x, mut int) = (Vec::new(), Vec::new());
        match t.dtype {
            DType::F64 => x = t.to_vec::<f64>()?.into_iter().map(T::of).collect(),
            DType::F32 => x = t.to_vec::<f32>()?.into_iter().map(|v| T::of(v.into())).collect(),
            DType::F16 => x = t.to_vec::<half::f16>()?.into_iter().map(|v| T::of(v.into())).collect(),
            DType::BF16 => x = t.to_vec::<half::bf16>()?.into_iter().map(|v| T::of(v.into())).collect(),
            DType::U8 => int = t.to_vec::<u8>()?.into_iter().map(i64::from).collect(),
            DType::I32 => int = t.to_vec::<i32>()?.into_iter().map(i64::from).collect(),
            DType::U32 => int = t.to_vec::<u32>()?.into_iter().map(i64::from).collect(),
        }
        Ok(Numbers { dims: t.dims, x, int })
    }

    /// A CPU tensor: `f64` for floats, `dtype` for integers.
    pub(crate) fn to_tensor(&self, dtype: DType) -> Result<Tensor> {
        let cpu = &Device::Cpu;
        match dtype {
            DType::U8 => {
                Tensor::from_slice(&self.int.iter().map(|&v| v as u8).collect::<Vec<_>>(), self.dims, cpu)
            }
            DType::I32 => {
                Tensor::from_slice(&self.int.iter().map(|&v| v as i32).collect::<Vec<_>>(), self.dims, cpu)
            }
            DType::U32 => {
                Tensor::from_slice(&self.int.iter().map(|&v| v as u32).collect::<Vec<_>>(), self.dims, cpu)
            }
            _ => Tensor::from_slice(&self.x.iter().map(|v| v.f64()).collect::<Vec<_>>(), self.dims, cpu),
        }
    }
}
