//! Runs operations on tensors of this device: allocates results and scratch, and calls the operation's arm.

use super::{Block, Cuda, Cx, In, Out};
use crate::{
    DeviceKind,
    device::{Meta, Metas, Op},
    error::{Error, Result},
    tensor::{Buffer, Tensor},
};
use smallvec::SmallVec;
use std::sync::Arc;

type Ins = SmallVec<[In; 8]>;

/// Runs `op` and returns a new block for each result.
pub(crate) fn run<O: Op>(
    op: &O,
    device: &Arc<Cuda>,
    ins: &[&Tensor],
    results: &Metas,
) -> Result<SmallVec<[Block; 2]>> {
    let ins = views::<O>(ins)?;
    let mut blocks: SmallVec<[Block; 2]> = SmallVec::new();
    let mut outs: SmallVec<[Out; 2]> = SmallVec::new();
    for meta in results {
        let block = Block::new(device, meta.dims.elements().saturating_mul(meta.dtype.size()), O::NAME)?;
        outs.push(Out { dims: meta.dims, dtype: meta.dtype, pointer: block.pointer() });
        blocks.push(block);
    }
    call(op, device, &ins, &outs)?;
    Ok(blocks)
}

/// Runs `op` with its results written over `state`. A block that another tensor shares, or that is the
/// application's, is copied first.
pub(crate) fn run_in_place<O: Op>(
    op: &O,
    device: &Arc<Cuda>,
    state: &mut [&mut Tensor],
    ins: &[&Tensor],
    results: &Metas,
) -> Result<()> {
    let ins = views::<O>(ins)?;
    let mut outs: SmallVec<[Out; 4]> = SmallVec::new();
    for (tensor, meta) in state.iter_mut().zip(results) {
        let start = (tensor.offset * tensor.dtype.size()) as u64;
        let Buffer::Cuda(block) = &mut tensor.buffer else { return Err(elsewhere::<O>(device)) };
        if Arc::get_mut(block).is_none() || block.is_foreign() {
            *block = Arc::new(block.duplicate(O::NAME)?);
        }
        outs.push(Out { dims: meta.dims, dtype: meta.dtype, pointer: block.pointer() + start });
    }
    call(op, device, &ins, &outs)
}

fn call<O: Op>(op: &O, device: &Arc<Cuda>, ins: &[In], outs: &[Out]) -> Result<()> {
    if O::WIDENS && ins.iter().any(|x| x.dtype.is_half()) {
        let what = "its kernel takes no 16-bit floats: convert to f32".into();
        return Err(Error::Unsupported { op: O::NAME, device: device.name().into(), what });
    }
    let metas: SmallVec<[Meta; 8]> = ins.iter().map(In::meta).collect();
    // Returned to the pool as soon as the kernels are launched: the next owner's come after them on the stream.
    let scratch = Block::new(device, op.scratch(DeviceKind::Cuda, &metas), O::NAME)?;
    op.cuda(&Cx { scratch: scratch.pointer(), ..Cx::new(device, O::NAME) }, ins, outs)
}

fn views<O: Op>(ins: &[&Tensor]) -> Result<Ins> {
    let view = |t: &&Tensor| match &t.buffer {
        Buffer::Cuda(block) => {
            let pointer = block.pointer() + (t.offset * t.dtype.size()) as u64;
            Ok(In { dims: t.dims, dtype: t.dtype, pointer })
        }
        other => Err(elsewhere::<O>(other.device())),
    };
    ins.iter().map(view).collect()
}

fn elsewhere<O: Op>(device: impl std::fmt::Display) -> Error {
    let what = format!("a tensor on {device} among CUDA tensors: move it with to_device");
    Error::DeviceMismatch { op: O::NAME, what }
}
