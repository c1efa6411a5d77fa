//! By which kernels a convolution is computed on CUDA: what its caller names, or the table below by shape and precision. The
//! choice follows from the shape of one image, never from the batch, so that an image's results have the same bits in any.

use super::{
    super::{Algorithm, Conv2d, Shape},
    arithmetic,
    table::TABLE,
    taps::Sizes,
};
use crate::{
    DeviceKind, Precision,
    error::{Error, Result},
};

/// Channels of the pipelined kernel's tiles.
pub(super) const ROWS: [usize; 3] = [32, 64, 128];

/// The kernels that compute a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// `naive.cu`
    Naive,
    /// `conv2d.cu`
    Direct,
    /// `winograd.cu`
    Winograd,
    /// `pipelined.cu`, with tiles of [`ROWS`] of this index.
    Pipelined(usize),
}

/// The shape of one image's convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// Channels read and written.
    pub(super) channels: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    /// Rows and columns read and written.
    pub(super) image: [usize; 2],
    pub(super) output: [usize; 2],
}

impl Layer {
    fn of(s: &Sizes) -> Self {
        let Sizes { channels, outs, kernel, stride, image, output, .. } = *s;
        Layer { channels: [channels, outs], kernel, stride, image, output }
    }
}

/// What the table says of a layer, or where it has none the arithmetic.
fn chosen(s: &Sizes, precision: Precision) -> Way {
    let layer = Layer::of(s);
    let row = TABLE.iter().find(|row| row.layer() == layer);
    row.map_or_else(|| arithmetic::fastest(&layer, precision), |row| row.ways[precision.index()])
}

/// The index of the tiles' rows for so many channels of the result.
pub(super) fn rows_for(outs: usize) -> usize {
    ROWS.iter().position(|rows| outs <= *rows).unwrap_or(ROWS.len() - 1)
}

/// What an adapter has no kernel for.
pub(super) fn missing(op: &'static str, what: &str) -> Error {
    Error::Unsupported { op, device: DeviceKind::Cuda.to_string(), what: what.into() }
}

impl Conv2d {
    /// How the convolution itself is computed.
    pub(super) fn forward_way(&self, op: &'static str, s: &Shape) -> Result<Way> {
        self.way(op, s, &Sizes::forward(s))
    }

    /// How the gradient of its image is.
    pub(super) fn grad_input_way(&self, op: &'static str, s: &Shape) -> Result<Way> {
        match self.algorithm {
            Algorithm::Naive => Err(missing(op, "the naive kernel has no gradients: use Auto")),
            _ if s.stride != [1, 1] => Ok(Way::Direct),
            _ => self.way(op, s, &Sizes::grad_input(s)),
        }
    }

    fn way(&self, op: &'static str, s: &Shape, of: &Sizes) -> Result<Way> {
        let precision = self.precision.unwrap_or_default();
        let exact = precision == Precision::F32;
        match self.algorithm {
            Algorithm::Naive if exact => Ok(Way::Naive),
            Algorithm::Winograd4 if exact => Ok(Way::Winograd),
            Algorithm::Naive | Algorithm::Winograd4 => {
                Err(missing(op, "this algorithm does not round its operands: use Auto, or the precision f32"))
            }
            Algorithm::Pipelined(_) if exact => {
                Err(missing(op, "tensor cores round their operands: use Auto, or a precision other than f32"))
            }
            Algorithm::Pipelined(rows) => {
                let named = rows.and_then(|rows| ROWS.iter().position(|have| *have == rows));
                Ok(Way::Pipelined(named.unwrap_or_else(|| rows_for(of.outs))))
            }
            Algorithm::Auto if s.groups == 1 => Ok(chosen(of, precision)),
            _ => Ok(Way::Direct),
        }
    }
}
