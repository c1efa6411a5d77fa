//! A convolution of all channels on CUDA, as Winograd's kernels and the pipelined ones take it: the forward pass, or with
//! stride 1 the gradient of the image, which is a convolution of dy with the taps turned round.

use super::Shape;
use crate::{
    DType,
    cuda::{Argument, Cx},
    error::Result,
};
use bytemuck::NoUninit;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct Conv2dTapsParams {
    pub(super) batch: u32,
    pub(super) channels: u32,
    pub(super) height: u32,
    pub(super) width: u32,
    pub(super) outs: u32,
    pub(super) rows: u32,
    pub(super) columns: u32,
    pub(super) kernel_height: u32,
    pub(super) kernel_width: u32,
    pub(super) stride_height: u32,
    pub(super) stride_width: u32,
    pub(super) top: i32,
    pub(super) left: i32,
    pub(super) weight_out: u32,
    pub(super) weight_in: u32,
    pub(super) flipped: u32,
    pub(super) relu: u32,
    pub(super) parts: u32,
    pub(super) first_part: u32,
}

/// The sizes of a convolution of one group, whichever pass it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    /// Channels and pixels of what is read.
    pub(super) channels: usize,
    pub(super) image: [usize; 2],
    /// And of what is written.
    pub(super) outs: usize,
    pub(super) output: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    /// Where the first tap of the first result lies, before the first row and column.
    before: [usize; 2],
    backward: bool,
}

impl Sizes {
    pub(super) fn forward(s: &Shape) -> Self {
        Sizes {
            batch: s.batch,
            channels: s.channels,
            image: s.image,
            outs: s.out,
            output: s.output,
            kernel: s.kernel,
            stride: s.stride,
            before: [s.padding[0], s.padding[2]],
            backward: false,
        }
    }

    /// The gradient of the image of a convolution with stride 1.
    pub(super) fn grad_input(s: &Shape) -> Self {
        Sizes {
            channels: s.out,
            image: s.output,
            outs: s.channels,
            output: s.image,
            backward: true,
            ..Self::forward(s)
        }
    }

    pub(super) fn params(&self, cx: &Cx, batch: usize, relu: bool) -> Result<Conv2dTapsParams> {
        let ([rows, columns], [height, width]) = (self.output, self.image);
        // The kernels count pixels, and elements of a plane, in 32 bits.
        cx.u32(batch * rows * columns)?;
        cx.u32(batch * height * width)?;
        let taps = self.kernel[0] * self.kernel[1];
        let of_tap = |axis: usize| -> Result<i32> {
            let (before, last) = (cx.u32(self.before[axis])? as i32, cx.u32(self.kernel[axis])? as i32 - 1);
            Ok(if self.backward { before - last } else { -before })
        };
        // The weight is (O, C, kh, kw) of the forward pass.
        let (weight_out, weight_in) =
            if self.backward { (taps, self.outs * taps) } else { (self.channels * taps, taps) };
        Ok(Conv2dTapsParams {
            batch: cx.u32(batch)?,
            channels: cx.u32(self.channels)?,
            height: cx.u32(height)?,
            width: cx.u32(width)?,
            outs: cx.u32(self.outs)?,
            rows: cx.u32(rows)?,
            columns: cx.u32(columns)?,
            kernel_height: cx.u32(self.kernel[0])?,
            kernel_width: cx.u32(self.kernel[1])?,
            stride_height: cx.u32(self.stride[0])?,
            stride_width: cx.u32(self.stride[1])?,
            top: of_tap(0)?,
            left: of_tap(1)?,
            weight_out: cx.u32(weight_out)?,
            weight_in: cx.u32(weight_in)?,
            flipped: self.backward.into(),
            relu: relu.into(),
            parts: 0,
            first_part: 0,
        })
    }
}

/// What a convolution reads and writes.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub(super) x: Argument,
    pub(super) dtype: DType,
    pub(super) weight: Argument,
    pub(super) bias: Option<Argument>,
    pub(super) residual: Option<Argument>,
    pub(super) y: Argument,
    pub(super) relu: bool,
    /// Where the statistics of y go, a part for each block: how many, mean, squares about it.
    pub(super) parts: Option<Argument>,
}

impl Operands {
    /// Of the images from `first` on.
    pub(super) fn from(self, first: usize, s: &Sizes) -> Self {
        let read = first * s.channels * s.image[0] * s.image[1] * self.dtype.size();
        let written = first * s.outs * s.output[0] * s.output[1];
        Operands {
            x: self.x.after(read),
            residual: self.residual.map(|residual| residual.after_words(written)),
            y: self.y.after_words(written),
            ..self
        }
    }

    pub(super) fn bias(&self) -> Argument {
        self.bias.unwrap_or(Argument::NONE)
    }

    pub(super) fn residual(&self) -> Argument {
        self.residual.unwrap_or(Argument::NONE)
    }

    pub(super) fn parts(&self) -> Argument {
        self.parts.unwrap_or(Argument::NONE)
    }
}

/// The runs of a batch that go together, and the blocks along pixels that each is cut into, `of(images)`.
pub(super) struct Runs {
    pub(super) images: usize,
    /// Blocks of a full run, and of all.
    full: usize,
    pub(super) parts: usize,
}

impl Runs {
    pub(super) fn new(batch: usize, images: usize, of: impl Fn(usize) -> usize) -> Self {
        let full = of(images);
        let rest = if batch.is_multiple_of(images) { 0 } else { of(batch % images) };
        Runs { images, full, parts: batch / images * full + rest }
    }

    /// The parameters of the run that begins with image `first`.
    pub(super) fn params(&self, cx: &Cx, first: usize, params: Conv2dTapsParams) -> Result<Conv2dTapsParams> {
        let first_part = cx.u32(self.first_part(first))?;
        Ok(Conv2dTapsParams { parts: cx.u32(self.parts)?, first_part, ..params })
    }

    /// Blocks before the run that begins with image `first`.
    fn first_part(&self, first: usize) -> usize {
        first / self.images * self.full
    }
}

/// Words of scratch that the images of one run may take: what is written there should still be in a large GPU's cache when it
/// is read.
pub(super) use crate::ops::conv2d::space::WORDS;

/// How many images of a batch go together, each of which takes so many words.
pub(super) fn at_once(batch: usize, words: usize) -> usize {
    (WORDS / words.max(1)).clamp(1, batch.max(1))
}

#[cfg(test)]
mod tests {
    use super::Runs;

    #[test]
    fn blocks_of_all_runs_stand_side_by_side() {
        // Nine pixels an image, four to a block.
        let of = |images: usize| (9 * images).div_ceil(4);
        for batch in [1, 2, 3, 6, 7, 20] {
            let runs = Runs::new(batch, 3.min(batch), of);
            let mut next = 0;
            for image in (0..batch).step_by(runs.images) {
                assert_eq!(runs.first_part(image), next);
                next += of(runs.images.min(batch - image));
            }
            assert_eq!(runs.parts, next);
        }
    }
}
