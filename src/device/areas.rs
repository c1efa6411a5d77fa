//! Scratch of a device cut into areas for the results between the launches of one operation.

/// Areas of so many 4-byte words each. Each begins at a multiple of every alignment that a device may ask for, so that the
/// windows that a binding opens around two of them never overlap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Areas<const N: usize>(pub(crate) [usize; N]);

/// Words: the largest alignment of storage bindings is 256 bytes.
const ALIGNMENT: usize = 64;

impl<const N: usize> Areas<N> {
    /// Bytes of all; at least one word, so that the scratch exists.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|words| words.next_multiple_of(ALIGNMENT)).sum::<usize>().max(1) * 4
    }

    /// Where each begins, in words.
    pub(crate) fn starts(&self) -> [usize; N] {
        let mut start = 0;
        self.0.map(|words| {
            let own = start;
            start += words.next_multiple_of(ALIGNMENT);
            own
        })
    }
}
