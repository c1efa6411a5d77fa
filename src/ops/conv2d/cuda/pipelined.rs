//! Launches of the pipelined convolution on tensor cores, `kernels/conv2d/pipelined.cu`: weights are packed once, then for runs
//! of images their pixels, which the convolution copies to shared memory while it multiplies.

use super::taps::{Operands, Runs, Sizes, at_once};
use crate::{
    DType, Precision,
    cuda::{
        CONV2D_PACK_IMAGE_BF16, CONV2D_PACK_IMAGE_F16, CONV2D_PACK_IMAGE_TF32, CONV2D_PACK_IMAGE_U8_BF16,
        CONV2D_PACK_IMAGE_U8_F16, CONV2D_PACK_IMAGE_U8_TF32, CONV2D_PACK_WEIGHT_BF16, CONV2D_PACK_WEIGHT_F16,
        CONV2D_PACK_WEIGHT_TF32, CONV2D_PIPELINED_32_BF16, CONV2D_PIPELINED_32_F16, CONV2D_PIPELINED_32_TF32,
        CONV2D_PIPELINED_64_BF16, CONV2D_PIPELINED_64_F16, CONV2D_PIPELINED_64_TF32,
        CONV2D_PIPELINED_128_BF16, CONV2D_PIPELINED_128_F16, CONV2D_PIPELINED_128_TF32, Cx, Grid, Kernel,
    },
    device::Areas,
    error::Result,
};

/// Columns of a tile, `TILE_N` of `common/product.cuh`; words between its rows, and stages of the ring, of `pipelined.cu`.
const TILE_N: usize = 128;
const PITCH: usize = 20;
const STAGES: usize = 4;

/// The kernels of one precision.
struct Kernels {
    image: Kernel,
    bytes: Kernel,
    weight: Kernel,
    /// For tiles of [`ROWS`](super::ROWS).
    convolve: [Kernel; 3],
    /// Numbers in 16 bytes.
    each: usize,
}

fn kernels(precision: Precision) -> Kernels {
    match precision {
        Precision::F16 => Kernels {
            image: CONV2D_PACK_IMAGE_F16,
            bytes: CONV2D_PACK_IMAGE_U8_F16,
            weight: CONV2D_PACK_WEIGHT_F16,
            convolve: [CONV2D_PIPELINED_32_F16, CONV2D_PIPELINED_64_F16, CONV2D_PIPELINED_128_F16],
            each: 8,
        },
        Precision::Bf16 => Kernels {
            image: CONV2D_PACK_IMAGE_BF16,
            bytes: CONV2D_PACK_IMAGE_U8_BF16,
            weight: CONV2D_PACK_WEIGHT_BF16,
            convolve: [CONV2D_PIPELINED_32_BF16, CONV2D_PIPELINED_64_BF16, CONV2D_PIPELINED_128_BF16],
            each: 8,
        },
        // `Way::of` lets no other precision come here.
        Precision::Tf32 | Precision::F32 => Kernels {
            image: CONV2D_PACK_IMAGE_TF32,
            bytes: CONV2D_PACK_IMAGE_U8_TF32,
            weight: CONV2D_PACK_WEIGHT_TF32,
            convolve: [CONV2D_PIPELINED_32_TF32, CONV2D_PIPELINED_64_TF32, CONV2D_PIPELINED_128_TF32],
            each: 4,
        },
    }
}

/// Runs of 16 bytes of an image.
fn runs(s: &Sizes, each: usize) -> usize {
    s.channels.div_ceil(each) * s.image[0] * s.image[1]
}

fn images(s: &Sizes, each: usize) -> usize {
    at_once(s.batch, 4 * runs(s, each))
}

/// The runs of a batch.
pub(super) fn runs_of(s: &Sizes, precision: Precision) -> Runs {
    let plane = s.output[0] * s.output[1];
    Runs::new(s.batch, images(s, kernels(precision).each), |images| (images * plane).div_ceil(TILE_N))
}

/// Areas for the weights and a run of images.
fn areas(s: &Sizes, each: usize) -> Areas<2> {
    let weight = s.outs * s.kernel[0] * s.kernel[1] * s.channels.div_ceil(each);
    Areas([4 * weight, 4 * runs(s, each) * images(s, each)])
}

/// Bytes of them.
pub(super) fn scratch(s: &Sizes, precision: Precision) -> usize {
    areas(s, kernels(precision).each).bytes()
}

/// With tiles of `super::ROWS[rows]` channels.
pub(super) fn launch(
    cx: &Cx,
    s: &Sizes,
    precision: Precision,
    rows: usize,
    operands: Operands,
) -> Result<()> {
    let kernels = kernels(precision);
    let [weight, packed] = areas(s, kernels.each).arguments(cx);
    let params = s.params(cx, 0, false)?;
    let of_weight = s.outs * s.kernel[0] * s.kernel[1] * s.channels.div_ceil(kernels.each);
    let grid = Grid::over(of_weight, kernels.weight.threads as usize);
    cx.launch(kernels.weight, grid, &[operands.weight, weight], &params)?;
    let pack = if operands.dtype == DType::U8 { kernels.bytes } else { kernels.image };
    let (convolve, rows) = (cx.numbered(&kernels.convolve, cx.u32(rows)?)?, super::ROWS[rows]);
    let shared = (rows + TILE_N) * PITCH * size_of::<u32>() * STAGES;
    let batch = runs_of(s, precision);
    for first in (0..s.batch).step_by(batch.images) {
        let (count, operands) = (batch.images.min(s.batch - first), operands.from(first, s));
        let params = batch.params(cx, first, s.params(cx, count, operands.relu)?)?;
        let grid = Grid::over(count * runs(s, kernels.each), pack.threads as usize);
        cx.launch(pack, grid, &[operands.x, packed], &params)?;
        let pixels = count * s.output[0] * s.output[1];
        let grid = Grid::blocks([pixels.div_ceil(TILE_N), s.outs.div_ceil(rows), 1]);
        let pointers = [packed, weight, operands.bias(), operands.residual(), operands.y, operands.parts()];
        cx.launch(convolve, grid.shared(cx.u32(shared)?), &pointers, &params)?;
    }
    Ok(())
}
