//! Areas of scratch as views.

use super::{Cx, View};
use crate::{DType, device::Areas, error::Result};

impl<const N: usize> Areas<N> {
    /// The areas in the scratch that the operation asked for.
    pub(crate) fn views<'a>(&self, cx: &'a Cx) -> Result<[View<'a>; N]> {
        let (scratch, starts) = (cx.scratch()?, self.starts());
        let view = |at: usize| {
            let (dims, start) = ([self.0[at]].into(), scratch.start + starts[at]);
            View { dims, dtype: DType::F32, start, ..scratch }
        };
        Ok(std::array::from_fn(view))
    }
}
