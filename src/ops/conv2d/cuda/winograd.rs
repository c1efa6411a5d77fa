//! Launches of Winograd's F(4×4, 3×3), `kernels/conv2d/winograd.cu`: filters once, then for runs of images their tiles, a
//! batch of products, and the results.

use super::taps::{Operands, Runs, Sizes, at_once};
use crate::{
    DType,
    cuda::{
        Argument, CONV2D_WINOGRAD_DATA_F32, CONV2D_WINOGRAD_DATA_U8, CONV2D_WINOGRAD_FILTERS_F32,
        CONV2D_WINOGRAD_OUTPUTS_F32, Cx, Grid,
    },
    device::Areas,
    error::Result,
    ops::conv2d::space::Space,
};

fn space(s: &Sizes, images: usize) -> Space {
    Space::new([s.channels, s.outs], s.output, images)
}

/// How many images go together.
fn images(s: &Sizes) -> usize {
    let one = space(s, 1);
    at_once(s.batch, one.words() - one.filters().len())
}

/// The runs of a batch.
pub(super) fn runs(s: &Sizes) -> Runs {
    let threads = CONV2D_WINOGRAD_OUTPUTS_F32.threads as usize;
    Runs::new(s.batch, images(s), |images| space(s, images).tiles.div_ceil(threads))
}

/// Areas for the filters, the tiles and the products of a run.
fn areas(s: &Sizes) -> Areas<3> {
    let of = space(s, images(s));
    Areas([of.filters().len(), of.data().len(), of.products().len()])
}

/// Bytes of them.
pub(super) fn scratch(s: &Sizes) -> usize {
    areas(s).bytes()
}

pub(super) fn launch(cx: &Cx, s: &Sizes, operands: Operands) -> Result<()> {
    let [u, v, m] = areas(s).arguments(cx);
    let (kernel, params) = (CONV2D_WINOGRAD_FILTERS_F32, s.params(cx, 0, false)?);
    let grid = Grid::over(s.outs * s.channels, kernel.threads as usize);
    cx.launch(kernel, grid, &[operands.weight, u], &params)?;
    let data = if operands.dtype == DType::U8 { CONV2D_WINOGRAD_DATA_U8 } else { CONV2D_WINOGRAD_DATA_F32 };
    let runs = runs(s);
    for first in (0..s.batch).step_by(runs.images) {
        let count = runs.images.min(s.batch - first);
        let (of, operands) = (space(s, count), operands.from(first, s));
        let params = runs.params(cx, first, s.params(cx, count, operands.relu)?)?;
        let grid = |channels| Grid::blocks([of.tiles.div_ceil(data.threads as usize), channels, 1]);
        cx.launch(data, grid(s.channels), &[operands.x, v], &params)?;
        cx.product(&of.product(), [u, v, m])?;
        let pointers: [Argument; 5] = [m, operands.bias(), operands.residual(), operands.y, operands.parts()];
        cx.launch(CONV2D_WINOGRAD_OUTPUTS_F32, grid(s.outs), &pointers, &params)?;
    }
    Ok(())
}
