//! Tensors, parameters and images on the chosen device, filled with the numbers of [`words`](super::words).

use super::{
    device, given,
    words::{bounds, bytes, dense_pixels, suffix, values, words},
};
use foveate::{DType, Dims, Parameter, Result, Tensor, data::DenseImage, nn::Module};

/// An f32 tensor, uniform in [low, high).
pub(crate) fn between(name: &str, dims: impl Into<Dims>, low: f64, high: f64) -> Result<Tensor> {
    let dims = dims.into();
    if let Some(tensor) = given(name, dims, DType::F32)? {
        return Ok(tensor);
    }
    Tensor::from_slice(&values(name, dims.elements(), low, high), dims, &device())
}

/// An f32 tensor, uniform in [−1, 1).
pub(crate) fn uniform(name: &str, dims: impl Into<Dims>) -> Result<Tensor> {
    between(name, dims, -1.0, 1.0)
}

/// A u8 tensor of independent bytes.
pub(crate) fn byte_tensor(name: &str, dims: impl Into<Dims>) -> Result<Tensor> {
    let dims = dims.into();
    match given(name, dims, DType::U8)? {
        Some(tensor) => Ok(tensor),
        None => Tensor::from_slice(&bytes(name, dims.elements()), dims, &device()),
    }
}

/// Sets every parameter and statistic of a network from its name.
pub(crate) fn fill(module: &mut impl Module) -> Result<()> {
    let mut failed = None;
    module.visit_mut(&mut |_, parameter| {
        let done = parameter_value(parameter).and_then(|value| parameter.set(value));
        failed = failed.take().or(done.err());
    });
    failed.map_or(Ok(()), Err)
}

fn parameter_value(parameter: &Parameter) -> Result<Tensor> {
    let (name, dims) = (parameter.name(), parameter.tensor().dims());
    let (low, high) = bounds(name, &dims);
    between(name, dims, low, high)
}

/// A u8 image of independent pixels, the `at`th of its size: no patch is blank. (1, side, side)
pub(crate) fn dense_image(side: usize, at: usize) -> Result<DenseImage> {
    DenseImage::new([1, side, side], dense_pixels(side, at))
}

/// A u8 image as empty as a Megapixel-MNIST one: 5 digits and 50 noise patterns, each a 28×28 square at a position drawn
/// uniformly, one pixel in five set; later squares overwrite earlier ones. The `at`th of its size. (1, side, side)
pub(crate) fn sparse_image(side: usize, at: usize) -> Result<DenseImage> {
    let mut pixels = vec![0u8; side * side];
    let name = format!("image-sparse-{side}{}", suffix(at));
    let mut place = words(&format!("{name}-places")).map(|word| (word % (side as u64 - 27)) as usize);
    let mut ink = words(&format!("{name}-ink"));
    for (row, column) in (0..55).filter_map(|_| place.next().zip(place.next())) {
        for line in pixels.chunks_exact_mut(side).skip(row).take(28) {
            for (pixel, word) in line[column..column + 28].iter_mut().zip(&mut ink) {
                *pixel = if word & 0xFFFF < 13_107 { (word >> 56) as u8 } else { 0 };
            }
        }
    }
    DenseImage::new([1, side, side], pixels)
}
