//! Scratch cut into areas for the results between the launches of one operation.

use super::{Cx, View};
use crate::{DType, error::Result};

/// Areas of so many 4-byte words each. Each begins at a multiple of every alignment that a device may ask of a binding,
/// so that the windows around two of them never overlap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Areas<const N: usize>(pub(crate) [usize; N]);

/// Words: the largest alignment of storage bindings is 256 bytes.
const ALIGNMENT: usize = 64;

impl<const N: usize> Areas<N> {
    /// Bytes of all; at least one word, so that the scratch exists.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|words| words.next_multiple_of(ALIGNMENT)).sum::<usize>().max(1) * 4
    }

    /// The areas in the scratch that the operation asked for.
    pub(crate) fn views<'a>(&self, cx: &'a Cx) -> Result<[View<'a>; N]> {
        let scratch = cx.scratch()?;
        let mut start = scratch.start;
        Ok(self.0.map(|words| {
            let view = View { dims: [words].into(), dtype: DType::F32, start, ..scratch };
            start += words.next_multiple_of(ALIGNMENT);
            view
        }))
    }
}
