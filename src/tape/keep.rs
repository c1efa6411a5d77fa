//! Keeping activations for backward with fewer digits, for half the memory.

use super::{Backward, Computed, Kind, Tape};
use crate::{
    DType,
    error::{Error, Result},
    ops,
    tensor::Tensor,
};
use smallvec::SmallVec;

/// Places among an operation's activations.
pub(super) type Rounded = SmallVec<[u8; 4]>;

/// How a tape keeps activations, and those of its values that some record keeps already: several operations may save one.
pub(super) struct Keep {
    dtype: DType,
    shared: Vec<(u32, Tensor)>,
}

impl Tape {
    /// An empty tape that keeps the activations of convolutions, linear layers and batch norms as `dtype`: bf16 or f16
    /// for half the memory, f32 for [`Tape::new`]. What a forward pass computes stays as it is; gradients of weights and
    /// of batch norms are computed from the rounded activations. Operands that no operation on this tape computed, such as
    /// weights and images, are kept as they are.
    ///
    /// ```
    /// use foveate::{DType, Device, Tape, Tensor, ops};
    /// # fn main() -> foveate::Result<()> {
    /// let image = Tensor::full(0.3_f32, [1, 1, 8, 8], &Device::Cpu)?;
    /// let weight = Tensor::full(0.1_f32, [1, 1, 3, 3], &Device::Cpu)?;
    /// let saved = |dtype| {
    ///     let tape = Tape::keeping(dtype)?;
    ///     let weight = tape.watch(&weight)?;
    ///     let y = ops::conv2d(&image, &weight, None, ops::Conv2d::new(1, 1))?;
    ///     ops::conv2d(&y, &weight, None, ops::Conv2d::new(1, 1))?;
    ///     Ok::<_, foveate::Error>(tape.saved_bytes())
    /// };
    /// assert_eq!(saved(DType::F32)? - saved(DType::BF16)?, 8 * 8 * 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Another type.
    pub fn keeping(dtype: DType) -> Result<Self> {
        let tape = Tape::new();
        match dtype {
            DType::F32 => {}
            DType::F16 | DType::BF16 => tape.lock().keep = Some(Keep { dtype, shared: Vec::new() }),
            _ => {
                let what = format!("activations are kept as f32, bf16 or f16, not {dtype}");
                return Err(Error::dtype("tape", what));
            }
        }
        Ok(tape)
    }

    /// Rounds what a new record may keep with fewer digits. Beside the places, the results of the operation among them, by
    /// number.
    pub(super) fn round(
        &self,
        backward: &mut dyn Backward,
        ins: &[&Tensor],
        outs: &[Tensor],
    ) -> Result<(Rounded, Vec<(u32, Tensor)>)> {
        let (mut rounded, mut of_outs) = (Rounded::new(), Vec::new());
        let Some(dtype) = self.lock().keep.as_ref().map(|keep| keep.dtype) else {
            return Ok((rounded, of_outs));
        };
        for (at, kept) in backward.activations().into_iter().enumerate() {
            if kept.dtype != DType::F32 {
                continue;
            }
            let same = |t: &Tensor| t.buffer.address() == kept.buffer.address() && t.offset == kept.offset;
            let out = outs.iter().position(same);
            let value = ins.iter().find(|t| same(t)).and_then(|t| t.node.as_ref()).map(|node| node.value);
            let short = match (out, value) {
                (None, Some(value)) if self.is_leaf(value) => continue,
                (None, Some(value)) => self.shared(value, dtype, kept)?,
                (Some(out), _) => {
                    let short = ops::convert(kept, dtype)?;
                    of_outs.push((out as u32, short.clone()));
                    short
                }
                (None, None) => continue,
            };
            *kept = short;
            rounded.push(at as u8);
        }
        Ok((rounded, of_outs))
    }

    /// Notes the rounded results of a record whose first result is `value`.
    pub(super) fn share(&self, value: u32, of_outs: Vec<(u32, Tensor)>) {
        if let Some(keep) = &mut self.lock().keep {
            keep.shared.extend(of_outs.into_iter().map(|(out, short)| (value + out, short)));
        }
    }

    /// The rounded form of a value: the one that an earlier record has, or a new one.
    fn shared(&self, value: u32, dtype: DType, kept: &Tensor) -> Result<Tensor> {
        let find =
            |keep: &Keep| keep.shared.iter().rev().find(|have| have.0 == value).map(|have| have.1.clone());
        if let Some(short) = self.lock().keep.as_ref().and_then(find) {
            return Ok(short);
        }
        let short = ops::convert(kept, dtype)?;
        self.share(value, vec![(0, short.clone())]);
        Ok(short)
    }

    /// Whether a value was watched and not computed.
    fn is_leaf(&self, value: u32) -> bool {
        let records = self.lock();
        let after = records.list.partition_point(|record| record.first <= value);
        let record = after.checked_sub(1).and_then(|at| records.list.get(at));
        record.is_some_and(|record| matches!(record.kind, Kind::Leaf(_)))
    }
}

impl Computed {
    /// Gives activations their type back.
    pub(super) fn widen(&mut self) -> Result<()> {
        for (at, kept) in self.backward.activations().into_iter().enumerate() {
            if self.rounded.contains(&(at as u8)) {
                *kept = ops::convert(kept, DType::F32)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bits, random};

    /// Gradients are those of the rounded activations, bit for bit, and whoever shares one keeps it once.
    #[test]
    fn gradients_are_those_of_what_was_kept() {
        let (x, weight, bias) = (random([2, 3, 7, 5], 1), random([4, 3, 3, 3], 2), random([2, 4, 7, 5], 3));
        let rounded = ops::convert(&ops::convert(&x, DType::BF16).unwrap(), DType::F32).unwrap();
        let gradients = |dtype: DType, x: &Tensor| {
            let tape = Tape::keeping(dtype).unwrap();
            let (image, weight) = (tape.watch(x).unwrap(), tape.watch(&weight).unwrap());
            // An activation is what an operation on the tape computed.
            let x = ops::scale(&image, 1.0, 0.0).unwrap();
            let conv = |x: &Tensor| ops::conv2d(x, &weight, None, ops::Conv2d::new(1, 1)).unwrap();
            let y = ops::add(&conv(&x), &conv(&x)).unwrap();
            let loss = ops::sum_all(&ops::mul(&y, &bias).unwrap()).unwrap();
            let bytes = tape.saved_bytes();
            let grads = tape.backward(&loss).unwrap();
            ([&image, &weight].map(|t| bits(grads.of(t).unwrap())), bytes)
        };
        let (kept, less) = gradients(DType::BF16, &x);
        let (want, more) = gradients(DType::F32, &rounded);
        assert_eq!(kept, want);
        assert_eq!(more - less, 2 * x.elements());
    }
}
