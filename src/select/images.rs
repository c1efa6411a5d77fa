//! What systems read of a batch of images: their common size, small views of them, and patches at any place.

use crate::{
    Device, Tensor,
    data::{PatchSource, Window},
    error::{Error, Result},
    ops,
};
use rayon::prelude::*;

/// Images of one size.
pub(crate) type Images<'a> = [&'a dyn PatchSource];

/// [C, H, W] of the images of a batch, which must agree in it and have `channels`.
pub(super) fn common_size(op: &'static str, images: &Images, channels: usize) -> Result<[usize; 3]> {
    let Some(first) = images.first() else {
        return Err(Error::argument(op, "a batch without images"));
    };
    let size = |image: &dyn PatchSource| [image.channels(), image.height(), image.width()];
    let want = size(*first);
    if want[0] != channels {
        let what = format!("images of {} channels, the network takes {channels}", want[0]);
        return Err(Error::shape(op, what));
    }
    match images.iter().map(|image| size(*image)).find(|size| *size != want) {
        None => Ok(want),
        Some(other) => {
            let what =
                format!("images of (C, H, W) {want:?} and {other:?} in one batch: batch images of one size");
            Err(Error::shape(op, what))
        }
    }
}

/// Views (B, C, h, w) of whole images, f32 between 0 and 1.
pub(super) fn views(images: &Images, size: [usize; 2], device: &Device) -> Result<Tensor> {
    let channels = images.first().map_or(0, |image| image.channels());
    let each = channels * size[0] * size[1];
    let mut out = crate::cpu::Scratch::<f32>::new(each * images.len(), "views")?;
    let views = out.par_chunks_exact_mut(each.max(1)).zip(images);
    views.try_for_each(|(out, image)| image.view(size, out))?;
    Tensor::from_slice(&out, [images.len(), channels, size[0], size[1]], device)
}

/// Patches (B · P, C, ph, pw), f32 between 0 and 1, at `corners` (B · P), row and column, of which each image has P; zero
/// outside of the images. It is what [`extract_patches`](ops::extract_patches()) cuts out of images in memory, read from wherever
/// they are.
pub(super) fn patches(
    images: &Images,
    corners: &[[i32; 2]],
    patch: [usize; 2],
    device: &Device,
) -> Result<Tensor> {
    let channels = images.first().map_or(0, |image| image.channels());
    let each = channels * patch[0] * patch[1];
    if images.is_empty() || each == 0 || !corners.len().is_multiple_of(images.len()) {
        let what = format!("{} patches of {patch:?} for {} images", corners.len(), images.len());
        return Err(Error::argument("patches", what));
    }
    let per_image = corners.len() / images.len();
    let mut pixels = crate::cpu::Scratch::<u8>::new(each * corners.len(), "patches")?;
    pixels.par_chunks_exact_mut(each).zip(corners).enumerate().try_for_each(|(at, (out, corner))| {
        let [row, column] = corner.map(|c| c as isize);
        images[at / per_image].read(Window::new(row, column, patch[0], patch[1]), out)
    })?;
    let pixels = Tensor::from_slice(&pixels, [corners.len(), channels, patch[0], patch[1]], device)?;
    ops::to_unit(&pixels)
}
