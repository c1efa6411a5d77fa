//! The pre-activation residual network that Attention Sampling reads speed limits with (He et al., "Identity mappings in deep
//! residual networks", ECCV 2016, in the sizes of the published code): a 3×3 convolution; three blocks that each halve the
//! resolution; batch norm and ReLU. One width throughout, no biases.
//!
//! A block: `a = relu(bn(x))`, `y = conv3(relu(bn(conv3_s2(a)))) + conv1_s2(a)`. Strided convolutions pad as TensorFlow's
//! "same" does: below and to the right before above and to the left.

use crate::{
    Device, Rng, Tensor,
    error::{Error, Result},
    nn::{BatchNorm, Conv2d, Pass, init, layers::module},
    ops,
};

/// The shape of a [`PreActivation`] network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreActivationConfig {
    /// Channels of a patch.
    pub channels: usize,
    /// Channels of every layer.
    pub width: usize,
    /// Blocks, each of which halves the resolution.
    pub blocks: usize,
}

impl PreActivationConfig {
    /// The published one: width 32, three blocks.
    pub fn speed_limits() -> Self {
        PreActivationConfig { channels: 3, width: 32, blocks: 3 }
    }

    /// Multiply-adds of one patch of `size`; twice that many FLOPs.
    pub fn macs(&self, size: [usize; 2]) -> u64 {
        let (mut pixels, width) = (size, self.width);
        let mut macs = size[0] * size[1] * 9 * self.channels * width;
        for _ in 0..self.blocks {
            pixels = pixels.map(|side| side.div_ceil(2));
            macs += pixels[0] * pixels[1] * (9 + 9 + 1) * width * width;
        }
        macs as u64
    }
}

#[derive(Debug, Clone)]
struct Block {
    bn1: BatchNorm,
    conv1: Conv2d,
    bn2: BatchNorm,
    conv2: Conv2d,
    shortcut: Conv2d,
}

module!(Block {; bn1, conv1, bn2, conv2, shortcut });

impl Block {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let a = self.bn1.forward_relu(x, None, pass)?;
        let y = halved(&self.conv1, &a, pass)?;
        let y = self.conv2.forward(&self.bn2.forward_relu(&y, None, pass)?, pass)?;
        ops::add(&y, &halved(&self.shortcut, &a, pass)?)
    }
}

/// A convolution of stride 2 with TensorFlow's padding: `⌈side / 2⌉` pixels a side.
fn halved(conv: &Conv2d, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
    let kernel = conv.weight().dims()[2];
    let padding = |side: usize| {
        let all = ((side.div_ceil(2) - 1) * 2 + kernel).saturating_sub(side);
        [all / 2, all - all / 2]
    };
    let ([top, bottom], [left, right]) = (padding(x.dims()[2]), padding(x.dims()[3]));
    let weight = conv.watched_weight(pass)?;
    ops::conv2d(
        x,
        &weight,
        None,
        ops::Conv2d { padding: [top, bottom, left, right], ..ops::Conv2d::new(2, 0) },
    )
}

/// The network.
#[derive(Debug, Clone)]
pub struct PreActivation {
    config: PreActivationConfig,
    stem: Conv2d,
    blocks: Vec<Block>,
    bn: BatchNorm,
}

module!(PreActivation {; stem, blocks, bn });

impl PreActivation {
    /// A network with fresh parameters whose names start with `name`.
    ///
    /// # Errors
    ///
    /// A size of zero; out of memory.
    pub fn new(name: &str, config: PreActivationConfig, device: &Device, rng: &mut Rng) -> Result<Self> {
        let PreActivationConfig { channels, width, blocks } = config;
        if channels == 0 || width == 0 {
            let what = format!("{config:?}: channels and width must be at least 1");
            return Err(Error::argument("pre_activation", what));
        }
        let mut conv = |part: &str, from: usize, kernel: usize| -> Result<Conv2d> {
            let weight = init::glorot_uniform([width, from, kernel, kernel], device, rng)?;
            Ok(Conv2d::new(&format!("{name}.{part}"), weight, ops::Conv2d::new(1, kernel / 2)))
        };
        let stem = conv("stem", channels, 3)?;
        let bn = |part: &str| BatchNorm::new(&format!("{name}.{part}"), width, device);
        let block = |at: usize| -> Result<Block> {
            Ok(Block {
                bn1: bn(&format!("{at}.bn1"))?,
                conv1: conv(&format!("{at}.conv1"), width, 3)?,
                bn2: bn(&format!("{at}.bn2"))?,
                conv2: conv(&format!("{at}.conv2"), width, 3)?,
                shortcut: conv(&format!("{at}.shortcut"), width, 1)?,
            })
        };
        let blocks = (0..blocks).map(block).collect::<Result<_>>()?;
        Ok(PreActivation { config, stem, blocks, bn: bn("bn")? })
    }

    /// Its shape.
    pub fn config(&self) -> &PreActivationConfig {
        &self.config
    }

    /// x (B, C, H, W) to (B, width, h, w).
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut x = self.stem.forward(x, pass)?;
        for block in &self.blocks {
            x = block.forward(&x, pass)?;
        }
        self.bn.forward_relu(&x, None, pass)
    }
}
