//! The ways of the encoder's layers on CUDA, by precision: written by `cargo xtask tune conv2d --device cuda --write`.

use super::choices::{Layer, Way, Way::*};

/// The GPU that was measured. None so far: every row is what `arithmetic.rs` says.
#[allow(dead_code)] // It is for readers, and for the test below.
pub(super) const MEASURED_ON: Option<&str> = None;

/// One layer, of square images.
pub(super) struct Row {
    /// Channels read and written; kernel, stride and padding; pixels on a side.
    pub(super) shape: ([usize; 2], [usize; 3], usize),
    /// In f32, TF32, f16 and bf16.
    pub(super) ways: [Way; 4],
}

impl Row {
    pub(super) const fn layer(&self) -> Layer {
        let (channels, [kernel, stride, padding], side) = self.shape;
        let output = (side + 2 * padding - kernel) / stride + 1;
        Layer { channels, kernel: [kernel; 2], stride: [stride; 2], image: [side; 2], output: [output; 2] }
    }
}

const fn row(channels: [usize; 2], kernel: [usize; 3], side: usize, ways: [Way; 4]) -> Row {
    Row { shape: (channels, kernel, side), ways }
}

#[rustfmt::skip]
pub(super) const TABLE: &[Row] = &[
    row([1, 64], [7, 2, 3], 50, [Direct, Direct, Direct, Direct]),
    row([64, 64], [3, 1, 1], 13, [Winograd, Direct, Pipelined(1), Pipelined(1)]),
    row([64, 128], [3, 2, 1], 13, [Direct, Direct, Direct, Direct]),
    row([64, 128], [1, 2, 0], 13, [Direct, Direct, Direct, Direct]),
    row([128, 128], [3, 1, 1], 7, [Winograd, Direct, Pipelined(2), Pipelined(2)]),
    row([3, 64], [7, 2, 3], 100, [Direct, Direct, Direct, Direct]),
    row([64, 64], [3, 1, 1], 25, [Winograd, Direct, Pipelined(1), Pipelined(1)]),
    row([64, 128], [3, 2, 1], 25, [Direct, Direct, Direct, Direct]),
    row([64, 128], [1, 2, 0], 25, [Direct, Direct, Direct, Direct]),
    row([128, 128], [3, 1, 1], 13, [Winograd, Direct, Pipelined(2), Pipelined(2)]),
];

#[cfg(test)]
mod tests {
    use super::{super::arithmetic, *};
    use crate::Precision;

    #[test]
    fn until_a_gpu_is_measured_the_table_is_the_arithmetic() {
        for row in TABLE.iter().filter(|_| MEASURED_ON.is_none()) {
            let ways = Precision::ALL.map(|precision| arithmetic::fastest(&row.layer(), precision));
            assert_eq!(row.ways, ways, "{:?}", row.shape);
        }
    }
}
