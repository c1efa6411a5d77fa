//! The pre-activation residual network that Attention Sampling reads speed limits with (He et al., "Identity mappings in deep
//! residual networks", ECCV 2016, in the sizes of the published code): a 3×3 convolution; blocks, most of which halve the
//! resolution; batch norm and ReLU. One width throughout, no biases. The Zoom-In network's ResNet set has one block more.
//!
//! A block: `a = relu(bn(x))`, `y = conv3(relu(bn(conv3_s(a)))) + conv1_s(a)` with stride s, or `+ x` where it is 1. Strided
//! convolutions pad as TensorFlow's "same" does: below and to the right before above and to the left.

use crate::{
    Device, Rng, Tensor,
    error::{Error, Result},
    nn::{BatchNorm, Conv2d, Pass, init, layers::module},
    ops,
};

/// The shape of a [`PreActivation`] network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreActivationConfig {
    /// Channels of a patch.
    pub channels: usize,
    /// Channels of every layer.
    pub width: usize,
    /// The stride of each block, 1 or 2.
    pub strides: Vec<usize>,
}

impl PreActivationConfig {
    /// That of Attention Sampling: width 32, three blocks that halve.
    pub fn speed_limits() -> Self {
        PreActivationConfig { channels: 3, width: 32, strides: vec![2; 3] }
    }

    /// That of the Zoom-In network's ResNet set: a block before these that keeps the resolution.
    pub fn zoom_in(channels: usize) -> Self {
        PreActivationConfig { channels, width: 32, strides: vec![1, 2, 2, 2] }
    }

    /// Multiply-adds of one patch of `size`; twice that many FLOPs.
    pub fn macs(&self, size: [usize; 2]) -> u64 {
        let (mut pixels, width) = (size, self.width);
        let mut macs = size[0] * size[1] * 9 * self.channels * width;
        for &stride in &self.strides {
            pixels = pixels.map(|side| side.div_ceil(stride.max(1)));
            let shortcut = usize::from(stride != 1);
            macs += pixels[0] * pixels[1] * (9 + 9 + shortcut) * width * width;
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
    /// Of a block that halves the resolution.
    shortcut: Option<Conv2d>,
}

module!(Block {; bn1, conv1, bn2, conv2, shortcut });

impl Block {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let a = self.bn1.forward_relu(x, None, pass)?;
        let (y, shortcut) = match &self.shortcut {
            Some(shortcut) => (halved(&self.conv1, &a, pass)?, halved(shortcut, &a, pass)?),
            None => (self.conv1.forward(&a, pass)?, x.clone()),
        };
        let y = self.conv2.forward(&self.bn2.forward_relu(&y, None, pass)?, pass)?;
        ops::add(&y, &shortcut)
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
        let (channels, width) = (config.channels, config.width);
        if channels == 0 || width == 0 || config.strides.iter().any(|stride| !(1..=2).contains(stride)) {
            let what = format!("{config:?}: channels and width must be at least 1, strides 1 or 2");
            return Err(Error::argument("pre_activation", what));
        }
        let mut conv = |part: &str, from: usize, kernel: usize| -> Result<Conv2d> {
            let weight = init::glorot_uniform([width, from, kernel, kernel], device, rng)?;
            Ok(Conv2d::new(&format!("{name}.{part}"), weight, ops::Conv2d::new(1, kernel / 2)))
        };
        let stem = conv("stem", channels, 3)?;
        let bn = |part: &str| BatchNorm::new(&format!("{name}.{part}"), width, device);
        let block = |(at, &stride): (usize, &usize)| -> Result<Block> {
            Ok(Block {
                bn1: bn(&format!("{at}.bn1"))?,
                conv1: conv(&format!("{at}.conv1"), width, 3)?,
                bn2: bn(&format!("{at}.bn2"))?,
                conv2: conv(&format!("{at}.conv2"), width, 3)?,
                shortcut: match stride {
                    1 => None,
                    _ => Some(conv(&format!("{at}.shortcut"), width, 1)?),
                },
            })
        };
        let blocks = config.strides.iter().enumerate().map(block).collect::<Result<_>>()?;
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
