//! First values of parameters, as PyTorch draws them (the distributions, not the same numbers).

use crate::{Device, Dims, Rng, Tensor, error::Result, host};

/// Uniform in `[-bound, bound)`.
pub fn uniform(dims: impl Into<Dims>, bound: f32, device: &Device, rng: &mut Rng) -> Result<Tensor> {
    let dims = dims.into();
    let data = host::made(dims.elements(), "first values", |_| (2.0 * rng.uniform() - 1.0) * bound)?;
    Tensor::from_slice(&data, dims, device)
}

/// Normal with the given deviation.
pub fn normal(dims: impl Into<Dims>, deviation: f32, device: &Device, rng: &mut Rng) -> Result<Tensor> {
    let dims = dims.into();
    let data = host::made(dims.elements(), "first values", |_| rng.normal() * deviation)?;
    Tensor::from_slice(&data, dims, device)
}

/// `N(0, 2 / fan_out)`, for convolutions followed by a ReLU (He et al. 2015, as in torchvision's ResNet). `dims` is
/// (O, C, kh, kw); fan_out is `O · kh · kw`.
pub fn he_fan_out(dims: [usize; 4], device: &Device, rng: &mut Rng) -> Result<Tensor> {
    let fan_out = dims[0] as f32 * dims[2] as f32 * dims[3] as f32;
    normal(dims, (2.0 / fan_out).sqrt(), device, rng)
}

/// `U(±1 / √fan_in)`, the default of linear and convolution layers. fan_in is the product of all axes but the first.
pub fn default_uniform(dims: impl Into<Dims>, device: &Device, rng: &mut Rng) -> Result<Tensor> {
    let dims = dims.into();
    let fan_in: usize = dims.iter().skip(1).product();
    uniform(dims, 1.0 / (fan_in as f32).sqrt(), device, rng)
}

/// `U(±√(6 / (fan_in + fan_out)))`, the default of Keras (Glorot and Bengio 2010), for a convolution's weight (O, C, kh, kw).
pub fn glorot_uniform(dims: [usize; 4], device: &Device, rng: &mut Rng) -> Result<Tensor> {
    let pixels = dims[2] as f32 * dims[3] as f32;
    uniform(dims, (6.0 / (pixels * (dims[0] as f32 + dims[1] as f32))).sqrt(), device, rng)
}
