//! Inputs that follow from the names of tensors, bit for bit the same as those of `peers/inputs.py`.
//!
//! Element i of tensor `name` is splitmix64(fnv1a64(name) + (i + 1) · GOLDEN) reduced to its top 24 bits, which give a
//! uniform number in [low, high).

use foveate::{Device, Dims, Parameter, Result, Tensor, data::DenseImage, nn::Module};

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// FNV-1a hash of the UTF-8 bytes of `name`, 64 bits.
fn fnv1a64(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hashed, byte| {
        (hashed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// The splitmix64 stream that starts at the hash of `name`.
fn words(name: &str) -> impl Iterator<Item = u64> + use<> {
    let start = fnv1a64(name);
    (1u64..).map(move |i| {
        let z = start.wrapping_add(i.wrapping_mul(GOLDEN));
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// An f32 tensor, uniform in [low, high): low + (high − low) · word / 2^24, computed in f64 and rounded once.
pub(crate) fn between(name: &str, dims: impl Into<Dims>, low: f64, high: f64) -> Result<Tensor> {
    let dims = dims.into();
    let unit = |word: u64| (word >> 40) as f64 / f64::from(1 << 24);
    let values: Vec<f32> =
        words(name).take(dims.elements()).map(|word| (low + (high - low) * unit(word)) as f32).collect();
    Tensor::from_slice(&values, dims, &Device::Cpu)
}

/// An f32 tensor, uniform in [−1, 1).
pub(crate) fn uniform(name: &str, dims: impl Into<Dims>) -> Result<Tensor> {
    between(name, dims, -1.0, 1.0)
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

/// Values of a range in which variance survives the layers; the name tells norms from queries.
fn parameter_value(parameter: &Parameter) -> Result<Tensor> {
    let (name, dims) = (parameter.name(), parameter.tensor().dims());
    let reach = match *dims {
        [_, inputs, height, width] => (6.0 / (inputs * height * width) as f64).sqrt(),
        [_, inputs] => (3.0 / inputs as f64).sqrt(),
        _ if name.ends_with(".q") => 0.25,
        _ if name.ends_with("running_var") || name.ends_with(".weight") => {
            return between(name, dims, 0.5, 1.5);
        }
        _ => 0.1,
    };
    between(name, dims, -reach, reach)
}

/// A u8 image of independent pixels: no patch is blank. (1, side, side)
pub(crate) fn dense_image(side: usize) -> Result<DenseImage> {
    let pixels = words(&format!("image-dense-{side}")).take(side * side).map(|word| (word >> 56) as u8);
    DenseImage::new([1, side, side], pixels.collect::<Vec<_>>())
}

/// A u8 image as empty as a Megapixel-MNIST one: 5 digits and 50 noise patterns, each a 28×28 square at a position drawn
/// uniformly, one pixel in five set; later squares overwrite earlier ones. (1, side, side)
pub(crate) fn sparse_image(side: usize) -> Result<DenseImage> {
    let mut pixels = vec![0u8; side * side];
    let mut place =
        words(&format!("image-sparse-{side}-places")).map(|word| (word % (side as u64 - 27)) as usize);
    let mut ink = words(&format!("image-sparse-{side}-ink"));
    for (row, column) in (0..55).filter_map(|_| place.next().zip(place.next())) {
        for line in pixels.chunks_exact_mut(side).skip(row).take(28) {
            for (pixel, word) in line[column..column + 28].iter_mut().zip(&mut ink) {
                *pixel = if word & 0xFFFF < 13_107 { (word >> 56) as u8 } else { 0 };
            }
        }
    }
    DenseImage::new([1, side, side], pixels)
}
