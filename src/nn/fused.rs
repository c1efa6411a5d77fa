//! The patch encoder in evaluation mode as a few fused operations: batch norm folded into the convolutions, residual and
//! ReLU done where a convolution writes. Made on the network's own device, from which nothing is read back.

use crate::{
    Tensor,
    error::Result,
    nn::{BatchNorm, Conv2d},
    ops::{self, GlobalPool},
};

/// A convolution with the batch norm behind it.
#[derive(Debug, Clone)]
struct FusedConv {
    weight: Tensor,
    bias: Tensor,
    geometry: ops::Conv2d,
}

impl FusedConv {
    /// γ / √(σ² + ε) goes into the weight, β − μ γ / √(σ² + ε) is the bias; inputs are `scale` times too large.
    fn new(conv: &Conv2d, bn: &BatchNorm, scale: f64) -> Result<Self> {
        let (factor, bias) = bn.scale_and_shift()?;
        let out = conv.weight().dims()[0];
        let weight = ops::mul(&conv.weight().detach(), &ops::reshape(&factor, [out, 1, 1, 1])?)?;
        let weight = if scale == 1.0 { weight } else { ops::scale(&weight, scale, 0.0)? };
        Ok(FusedConv { weight, bias, geometry: conv.geometry() })
    }

    fn forward(&self, x: &Tensor, residual: Option<&Tensor>, relu: bool) -> Result<Tensor> {
        ops::conv2d_fused(x, &self.weight, &self.bias, residual, self.geometry, relu)
    }
}

/// `relu(conv2(relu(conv1(x))) + shortcut(x))`.
#[derive(Debug, Clone)]
pub(super) struct FusedBlock {
    conv1: FusedConv,
    conv2: FusedConv,
    shortcut: Option<FusedConv>,
}

impl FusedBlock {
    pub(super) fn new(
        conv1: (&Conv2d, &BatchNorm),
        conv2: (&Conv2d, &BatchNorm),
        shortcut: Option<(&Conv2d, &BatchNorm)>,
    ) -> Result<Self> {
        let fused = |(conv, bn): (&Conv2d, &BatchNorm)| FusedConv::new(conv, bn, 1.0);
        Ok(FusedBlock {
            conv1: fused(conv1)?,
            conv2: fused(conv2)?,
            shortcut: shortcut.map(fused).transpose()?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.conv1.forward(x, None, true)?;
        let projected = self.shortcut.as_ref().map(|conv| conv.forward(x, None, false)).transpose()?;
        self.conv2.forward(&y, Some(projected.as_ref().unwrap_or(x)), true)
    }
}

/// The encoder, from bytes of pixels to features.
#[derive(Debug, Clone)]
pub struct FusedResNet {
    stem: FusedConv,
    blocks: Vec<FusedBlock>,
    pool: GlobalPool,
}

impl FusedResNet {
    pub(super) fn new(
        (stem, bn): (&Conv2d, &BatchNorm),
        blocks: Vec<FusedBlock>,
        pool: GlobalPool,
    ) -> Result<Self> {
        Ok(FusedResNet { stem: FusedConv::new(stem, bn, 1.0 / 255.0)?, blocks, pool })
    }

    /// Patches (P, C, ph, pw) of bytes, u8, to features (P, D), f32. Bytes are read by the first convolution itself.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let x = self.stem.forward(pixels, None, true)?;
        let mut x = ops::max_pool2d(&x, [3, 3], [2, 2], [1, 1])?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        ops::global_pool(&x, self.pool)
    }
}
