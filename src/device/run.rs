//! Runs operations: checks operands, allocates results, and dispatches on the device.

use super::{Device, Meta, Metas, Op, Outputs};
#[cfg(feature = "cuda")]
use crate::cuda;
#[cfg(feature = "wgpu")]
use crate::wgpu;
use crate::{
    Dims, cpu,
    dtype::DType,
    error::{Error, Result},
    host,
    spec::{self, Real},
    tensor::{Buffer, Tensor},
};
use smallvec::SmallVec;
use std::sync::Arc;

/// Elements of an operand or result from which an operation on the CPU is likely to use several threads.
const LARGE: usize = 4096;

/// Runs an operation: checks the arguments, allocates the results, and dispatches on the device. Nothing is recorded.
///
/// Inputs of type `f64` select the reference computation: the operation's specification, on the CPU.
pub fn run<O: Op>(op: &O, ins: &[&Tensor]) -> Result<Outputs> {
    let (metas, reference) = inferred::<O>(op, ins)?;
    if reference {
        op.validate(&cpu_views::<O>(ins)?)?;
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
            op.validate(&views)?;
            let outs = blocks.iter_mut().zip(&metas);
            let mut outs: SmallVec<[cpu::Out; 2]> = outs
                .map(|(block, m)| cpu::Out { dims: m.dims, dtype: m.dtype, bytes: block.bytes_mut() })
                .collect();
            let large = views.iter().map(|view| view.dims).chain(metas.iter().map(|meta| meta.dims));
            let call = |views: &[cpu::In], outs: &mut [cpu::Out]| match O::WIDENS {
                true => cpu::widened(O::NAME, views, outs, |views, outs| op.cpu(views, outs)),
                false => op.cpu(views, outs),
            };
            match large.map(|dims| dims.elements()).max() >= Some(LARGE) {
                true => cpu::awake(|| call(&views, &mut outs))?,
                false => call(&views, &mut outs)?,
            }
            drop(outs);
            let done = blocks.into_iter().zip(&metas);
            Ok(done.map(|(block, meta)| wrap(Buffer::Cpu(Arc::new(block)), meta)).collect())
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => {
            if O::WIDENS && ins.iter().any(|t| t.dtype.is_half()) {
                let what = "its kernel computes with 32-bit floats: convert the operands".into();
                return Err(Error::Unsupported { op: O::NAME, device: device.to_string(), what });
            }
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
    let results = op.infer(&metas)?;
    results.iter().try_for_each(|meta| meta.dims.check(O::NAME))?;
    Ok((results, reference))
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
        [] => metas.iter().map(|meta| Numbers::allocated(meta, O::NAME)).collect::<Result<_>>()?,
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
    /// Zeros.
    fn allocated(meta: &Meta, what: &str) -> Result<Self> {
        let n = meta.dims.elements();
        let (floats, ints) = if meta.dtype.is_float() { (n, 0) } else { (0, n) };
        let (x, int) = (host::filled(floats, T::of(0.0), what)?, host::filled(ints, 0, what)?);
        Ok(Numbers { dims: meta.dims, x, int })
    }

    #[cfg(test)]
    pub(crate) fn zeros(meta: &Meta) -> Self {
        Self::allocated(meta, "a test").unwrap()
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
