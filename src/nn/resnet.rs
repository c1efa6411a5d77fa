//! The patch encoder: a residual network of basic blocks (He et al. 2016, the layout of torchvision's ResNet-18), whole or
//! truncated, down to a vector per patch.
//!
//! stem: 7×7 convolution, stride 2 → batch norm → ReLU → 3×3 max pooling, stride 2; then one stage per entry of
//! `widths`, each but the first halving the resolution; then the mean (or maximum) over pixels. Parameter names are those of an
//! `nn.Sequential` over torchvision's children: `0` the stem, `1` its batch norm, `4`, `5` … the stages.

use crate::{
    Device, Rng, Tensor,
    cpu::{FoldedBlock, FoldedConv, FoldedEncoder},
    error::{Error, Result},
    nn::{
        BatchNorm, Conv2d, FusedResNet, Pass,
        fused::FusedBlock,
        init,
        layers::module,
        recompute::{self, BlockLayers},
    },
    ops::{self, GlobalPool, pool::MaxPool2d},
};

/// The stem's windows.
const POOL: MaxPool2d = MaxPool2d { kernel: [3, 3], stride: [2, 2], padding: [1, 1] };

/// The shape of a [`ResNet`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResNetConfig {
    /// Channels of a patch: 1 for grey, 3 for colour.
    pub channels: usize,
    /// Width of the stem and of each stage's blocks; the stem has the first stage's width.
    pub widths: Vec<usize>,
    /// Basic blocks per stage.
    pub blocks: usize,
    /// How the last stage's pixels become one vector.
    pub pool: GlobalPool,
}

impl ResNetConfig {
    /// ResNet-18 without its classifier; 512 features, 11,176,512 parameters with three channels.
    pub fn resnet18(channels: usize) -> Self {
        ResNetConfig { channels, widths: vec![64, 128, 256, 512], blocks: 2, pool: GlobalPool::Mean }
    }

    /// ResNet-18 cut after its second stage; 128 features, 676,800 parameters with one channel.
    pub fn truncated(channels: usize) -> Self {
        ResNetConfig { channels, widths: vec![64, 128], blocks: 2, pool: GlobalPool::Mean }
    }

    /// A small encoder for small problems: two stages of one block, 16 and 32 channels, global maximum, 32 features.
    pub fn small(channels: usize) -> Self {
        ResNetConfig { channels, widths: vec![16, 32], blocks: 1, pool: GlobalPool::Max }
    }

    /// Length of a patch's feature vector.
    pub fn features(&self) -> usize {
        self.widths.last().copied().unwrap_or(0)
    }

    /// Multiply-adds of one patch of `height` by `width` pixels; twice that many FLOPs.
    pub fn macs(&self, height: usize, width: usize) -> usize {
        let half = |[h, w]: [usize; 2]| [h.div_ceil(2), w.div_ceil(2)];
        let mut size = half([height, width]);
        let stem = self.widths.first().copied().unwrap_or(0);
        let mut macs = size[0] * size[1] * 49 * self.channels * stem;
        size = half(size);
        let mut from = stem;
        for (stage, &width) in self.widths.iter().enumerate() {
            if stage > 0 {
                size = half(size);
            }
            let pixels = size[0] * size[1];
            for block in 0..self.blocks {
                let input = if block == 0 { from } else { width };
                let projection = if block == 0 && stage > 0 { input * width } else { 0 };
                macs += pixels * (9 * input * width + 9 * width * width + projection);
            }
            from = width;
        }
        macs
    }
}

/// Two 3×3 convolutions with batch norm, and a shortcut around them.
#[derive(Debug, Clone)]
pub struct BasicBlock {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    /// Convolution and batch norm of the shortcut, where width or resolution change.
    downsample: Option<Projection>,
}

#[derive(Debug, Clone)]
struct Projection {
    conv: Conv2d,
    bn: BatchNorm,
}

module!(Projection {; conv, bn });
module!(BasicBlock {; conv1, bn1, conv2, bn2, downsample });

impl BasicBlock {
    fn new(
        name: &str,
        from: usize,
        to: usize,
        stride: usize,
        device: &Device,
        rng: &mut Rng,
    ) -> Result<Self> {
        let mut conv = |part: &str, from: usize, kernel: usize, stride: usize| -> Result<Conv2d> {
            let weight = init::he_fan_out([to, from, kernel, kernel], device, rng)?;
            Ok(Conv2d::new(&format!("{name}.{part}"), weight, ops::Conv2d::new(stride, kernel / 2)))
        };
        let (conv1, conv2) = (conv("conv1", from, 3, stride)?, conv("conv2", to, 3, 1)?);
        let projected = stride != 1 || from != to;
        let downsample = if projected { Some(conv("downsample.0", from, 1, stride)?) } else { None };
        let bn = |part: &str| BatchNorm::new(&format!("{name}.{part}"), to, device);
        Ok(BasicBlock {
            conv1,
            bn1: bn("bn1")?,
            conv2,
            bn2: bn("bn2")?,
            downsample: downsample
                .map(|conv| Ok(Projection { conv, bn: bn("downsample.1")? }))
                .transpose()?,
        })
    }

    /// x (B, C, H, W) to (B, O, h, w).
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        if pass.recomputes() {
            let layers = BlockLayers {
                first: (&self.conv1, &self.bn1),
                second: (&self.conv2, &self.bn2),
                shortcut: self.downsample.as_ref().map(|Projection { conv, bn }| (conv, bn)),
            };
            return recompute::block(&layers, x, pass);
        }
        let y = self.conv1.forward_normalised(&self.bn1, x, None, true, pass)?;
        let projected;
        let shortcut = match &self.downsample {
            Some(Projection { conv, bn }) => {
                projected = conv.forward_normalised(bn, x, None, false, pass)?;
                &projected
            }
            None => x,
        };
        self.conv2.forward_normalised(&self.bn2, &y, Some(shortcut), true, pass)
    }
}

/// The patch encoder.
#[derive(Debug, Clone)]
pub struct ResNet {
    config: ResNetConfig,
    stem: Conv2d,
    bn: BatchNorm,
    stages: Vec<Vec<BasicBlock>>,
}

module!(ResNet {; stem, bn, stages });

impl ResNet {
    /// An encoder with fresh parameters whose names start with `name`.
    pub fn new(name: &str, config: ResNetConfig, device: &Device, rng: &mut Rng) -> Result<Self> {
        let Some(&stem_width) = config.widths.first() else {
            return Err(Error::argument("resnet", "widths is empty: name the width of at least one stage"));
        };
        if config.channels == 0 || config.blocks == 0 || config.widths.contains(&0) {
            return Err(Error::argument("resnet", format!("{config:?}: every size must be at least 1")));
        }
        // The one-channel stem of the published network is a fresh layer with the default initialisation.
        let dims = [stem_width, config.channels, 7, 7];
        let weight = if config.channels == 3 {
            init::he_fan_out(dims, device, rng)?
        } else {
            init::default_uniform(dims, device, rng)?
        };
        let stem = Conv2d::new(&format!("{name}.0"), weight, ops::Conv2d::new(2, 3));
        let bn = BatchNorm::new(&format!("{name}.1"), stem_width, device)?;
        let mut from = stem_width;
        let mut stages = Vec::new();
        for (stage, &width) in config.widths.iter().enumerate() {
            let mut blocks = Vec::new();
            for block in 0..config.blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("{name}.{}.{block}", stage + 4);
                blocks.push(BasicBlock::new(
                    &name,
                    if block == 0 { from } else { width },
                    width,
                    stride,
                    device,
                    rng,
                )?);
            }
            from = width;
            stages.push(blocks);
        }
        Ok(ResNet { config, stem, bn, stages })
    }

    /// Its shape.
    pub fn config(&self) -> &ResNetConfig {
        &self.config
    }

    /// The weights as evaluation applies them on the CPU: batch norm folded into the convolutions. With a matrix (R, D)
    /// the packed encoder gives its product with the features.
    pub fn folded(&self, matrix: Option<&Tensor>) -> Result<FoldedEncoder> {
        let blocks = self.stages.iter().flatten().map(|block| {
            let shortcut = block.downsample.as_ref().map(|Projection { conv, bn }| folded(conv, bn));
            Ok(FoldedBlock {
                conv1: folded(&block.conv1, &block.bn1)?,
                conv2: folded(&block.conv2, &block.bn2)?,
                shortcut: shortcut.transpose()?,
            })
        });
        Ok(FoldedEncoder {
            stem: folded(&self.stem, &self.bn)?,
            blocks: blocks.collect::<Result<_>>()?,
            pool: self.config.pool,
            matrix: matrix.map(Tensor::to_vec).transpose()?,
        })
    }

    /// The network as evaluation applies it to bytes of pixels, in fused operations on its own device: a snapshot of its
    /// present weights.
    pub fn fused(&self) -> Result<FusedResNet> {
        let blocks = self.stages.iter().flatten().map(|block| {
            let shortcut = block.downsample.as_ref().map(|Projection { conv, bn }| (conv, bn));
            FusedBlock::new((&block.conv1, &block.bn1), (&block.conv2, &block.bn2), shortcut)
        });
        FusedResNet::new((&self.stem, &self.bn), blocks.collect::<Result<_>>()?, self.config.pool)
    }

    /// Patches (P, C, ph, pw) to features (P, D).
    pub fn forward(&self, patches: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let MaxPool2d { kernel, stride, padding } = POOL;
        let mut x = if pass.recomputes() {
            recompute::stem((&self.stem, &self.bn), patches, POOL, pass)?
        } else {
            let x = self.stem.forward_normalised(&self.bn, patches, None, true, pass)?;
            ops::max_pool2d(&x, kernel, stride, padding)?
        };
        for block in self.stages.iter().flatten() {
            x = block.forward(&x, pass)?;
        }
        ops::global_pool(&x, self.config.pool)
    }
}

/// A convolution with the batch norm behind it: γ / √(σ² + ε) into the weight, β − μ γ / √(σ² + ε) as bias.
fn folded(conv: &Conv2d, bn: &BatchNorm) -> Result<FoldedConv> {
    let (scale, bias) = bn.folded()?;
    let mut weight = conv.weight().to_vec::<f32>()?;
    let each = weight.len() / scale.len();
    for (weight, scale) in weight.chunks_exact_mut(each).zip(&scale) {
        weight.iter_mut().for_each(|w| *w *= scale);
    }
    Ok(FoldedConv { weight, bias, kernel: conv.weight().dims()[2], stride: conv.geometry().stride[0] })
}
