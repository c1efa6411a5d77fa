//! Areas of scratch as arguments of kernels.

use super::{Argument, Cx};
use crate::device::Areas;

impl<const N: usize> Areas<N> {
    /// The areas in the scratch that the operation asked for.
    pub(crate) fn arguments(&self, cx: &Cx) -> [Argument; N] {
        self.starts().map(|start| cx.scratch().after_words(start))
    }
}
