//! Runs operations on tensors of this device: allocates results and scratch, and calls the operation's arm.

use super::{Buffer, Cx, In, Out, Wgpu};
use crate::{
    DeviceKind,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    tensor::{self, Tensor},
};
use smallvec::SmallVec;
use std::sync::Arc;

/// Runs `op` and returns a new buffer for each result.
pub(crate) fn run<O: Op>(
    op: &O,
    device: &Arc<Wgpu>,
    ins: &[&Tensor],
    results: &Metas,
) -> Result<SmallVec<[Buffer; 2]>> {
    let alloc = |m: &Meta| device.alloc(m.dims.elements().saturating_mul(m.dtype.size()), O::NAME);
    let buffers = results.iter().map(alloc).collect::<Result<SmallVec<[Buffer; 2]>>>()?;
    let outs = buffers.iter().zip(results);
    let outs: SmallVec<[Out; 2]> =
        outs.map(|(buffer, m)| Out { dims: m.dims, dtype: m.dtype, buffer, start: 0 }).collect();
    call(op, device, &views::<O>(ins)?, &outs)?;
    drop(outs);
    Ok(buffers)
}

/// Runs `op` with its results written over `state`. A buffer that another tensor or the application
/// shares is copied first.
pub(crate) fn run_in_place<O: Op>(
    op: &O,
    device: &Arc<Wgpu>,
    state: &mut [&mut Tensor],
    ins: &[&Tensor],
) -> Result<()> {
    for tensor in state.iter_mut() {
        let tensor::Buffer::Wgpu(buffer) = &mut tensor.buffer else { return Err(elsewhere::<O>(tensor)) };
        if !Arc::ptr_eq(buffer.device(), device) {
            return Err(elsewhere::<O>(tensor));
        }
        if Arc::get_mut(buffer).is_none() || buffer.is_shared() {
            *buffer = Arc::new(device.copy(buffer, O::NAME)?);
        }
    }
    let state: SmallVec<[&Tensor; 8]> = state.iter().map(|t| &**t).collect();
    call(op, device, &views::<O>(ins)?, &views::<O>(&state)?)
}

fn call<O: Op>(op: &O, device: &Arc<Wgpu>, ins: &[In], outs: &[Out]) -> Result<()> {
    let metas: SmallVec<[Meta; 8]> = ins.iter().map(|x| Meta { dims: x.dims, dtype: x.dtype }).collect();
    // Returned to the pool as soon as the launches are recorded: those of the next owner come after them.
    let cx = Cx::new(O::NAME, device, op.scratch(DeviceKind::Wgpu, &metas))?.of(ins, outs);
    op.wgpu(&cx, ins, outs)
}

fn views<'a, O: Op>(tensors: &[&'a Tensor]) -> Result<SmallVec<[In<'a>; 8]>> {
    let view = |t: &&'a Tensor| match &t.buffer {
        tensor::Buffer::Wgpu(buffer) => Ok(In { dims: t.dims, dtype: t.dtype, buffer, start: t.offset }),
        _ => Err(elsewhere::<O>(t)),
    };
    tensors.iter().map(view).collect()
}

fn elsewhere<O: Op>(tensor: &Tensor) -> Error {
    let what =
        format!("a tensor on {} among those of another device: move it with to_device", tensor.device());
    Error::DeviceMismatch { op: O::NAME, what }
}
