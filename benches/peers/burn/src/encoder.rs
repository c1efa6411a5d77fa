//! The ResNet-18 encoder of Iterative Patch Selection, cut after layer 2, out of burn's modules: evaluation, and one
//! training step.

use crate::support::{Case, Out, between, bounds, bytes, device, float};
use burn::{
    module::{Module, Param, RunningState},
    nn::{
        BatchNorm, BatchNormConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    optim::{AdamWConfig, GradientsParams},
    tensor::{Device, Tensor, TensorData, activation::relu},
};

/// Forward, one patch.
pub(crate) const FLOPS: usize = 105_140_352;

/// A convolution and the norm after it.
#[derive(Module, Debug)]
struct Unit {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Unit {
    /// `conv` and `norm` are the published names of the two. inputs, outputs; kernel and stride.
    fn new(
        [conv, norm]: [String; 2],
        channels: [usize; 2],
        [kernel, stride]: [usize; 2],
        device: &Device,
    ) -> Self {
        let padding = kernel / 2;
        let padding = PaddingConfig2d::Explicit(padding, padding, padding, padding);
        let config = Conv2dConfig::new(channels, [kernel; 2]).with_stride([stride; 2]);
        let mut unit = Unit {
            conv: config.with_padding(padding).with_bias(false).init(device),
            norm: BatchNormConfig::new(channels[1]).init(device),
        };
        let weight = [channels[1], channels[0], kernel, kernel];
        let value = |name: &str| parameter(&format!("{norm}.{name}"), [channels[1]], device);
        unit.conv.weight = Param::from_tensor(parameter(&format!("{conv}.weight"), weight, device));
        unit.norm.gamma = Param::from_tensor(value("weight"));
        unit.norm.beta = Param::from_tensor(value("bias"));
        unit.norm.running_mean = RunningState::new(value("running_mean"));
        unit.norm.running_var = RunningState::new(value("running_var"));
        unit
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

/// A parameter's seeded values.
fn parameter<const D: usize>(name: &str, dims: [usize; D], device: &Device) -> Tensor<D> {
    let (low, high) = bounds(name, &dims);
    let data = between(name, dims, low, high).into_data();
    Tensor::from_data(data, device)
}

/// conv3x3 BN ReLU conv3x3 BN, plus the input or its 1×1 projection, ReLU.
#[derive(Module, Debug)]
struct Block {
    first: Unit,
    second: Unit,
    shortcut: Option<Unit>,
}

impl Block {
    fn new(name: &str, [inputs, outputs]: [usize; 2], stride: usize, device: &Device) -> Self {
        let names = |at: usize| [format!("{name}.conv{at}"), format!("{name}.bn{at}")];
        let shortcut = [format!("{name}.downsample.0"), format!("{name}.downsample.1")];
        Block {
            first: Unit::new(names(1), [inputs, outputs], [3, stride], device),
            second: Unit::new(names(2), [outputs, outputs], [3, 1], device),
            shortcut: (stride > 1).then(|| Unit::new(shortcut, [inputs, outputs], [1, stride], device)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shortcut = self.shortcut.as_ref().map_or_else(|| x.clone(), |unit| unit.forward(x.clone()));
        let y = relu(self.first.forward(x));
        relu(self.second.forward(y) + shortcut)
    }
}

/// Patches (n, 1, h, w) to features (n, 128).
#[derive(Module, Debug)]
pub(crate) struct Encoder {
    stem: Unit,
    pool: MaxPool2d,
    blocks: Vec<Block>,
}

impl Encoder {
    pub(crate) fn new(device: &Device) -> Self {
        let block =
            |name: &str, channels, stride| Block::new(&format!("encoder.{name}"), channels, stride, device);
        let pool = MaxPool2dConfig::new([3, 3]).with_strides([2, 2]);
        Encoder {
            stem: Unit::new(["encoder.0".into(), "encoder.1".into()], [1, 64], [7, 2], device),
            pool: pool.with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(),
            blocks: vec![
                block("4.0", [64, 64], 1),
                block("4.1", [64, 64], 1),
                block("5.0", [64, 128], 2),
                block("5.1", [128, 128], 1),
            ],
        }
    }

    pub(crate) fn forward(&self, patches: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.stem.forward(patches)));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let [n, channels, height, width] = x.dims();
        x.reshape([n, channels, height * width]).mean_dim(2).reshape([n, channels])
    }

    /// Every parameter's gradient.
    fn gradients(&self, grads: &burn::tensor::Gradients) -> Vec<Out> {
        let blocks = self
            .blocks
            .iter()
            .flat_map(|block| [Some(&block.first), Some(&block.second), block.shortcut.as_ref()]);
        let units = std::iter::once(&self.stem).chain(blocks.flatten());
        units
            .flat_map(|unit| {
                [
                    unit.conv.weight.val().grad(grads).map(float),
                    unit.norm.gamma.val().grad(grads).map(float),
                    unit.norm.beta.val().grad(grads).map(float),
                ]
            })
            .flatten()
            .collect()
    }
}

/// Pixels in [0, 1).
fn patches(count: usize) -> Tensor<4> {
    between("patches", [count, 1, 50, 50], 0.0, 1.0)
}

pub(crate) fn cases(count: usize) -> Vec<Case> {
    let encoder = format!("ResNet-18 to layer 2, {count}x1x50x50 -> {count}x128");
    let step = format!("forward with batch statistics, mean as loss, backward, AdamW; {count}x1x50x50");
    let evaluation = Case::new("encoder/evaluation", &encoder, count * FLOPS).form("burn", move || {
        let (x, network) = (patches(count), Encoder::new(&device()));
        move || vec![float(network.forward(x.clone()))]
    });
    let about = format!("the same from bytes, which are 255 times as large as their pixels; {encoder}");
    // Its pixels are floats already: their conversion is not timed.
    let fused = Case::new("encoder/fused", &about, count * FLOPS).form("burn", move || {
        let pixels: Vec<f32> =
            bytes("patches", count * 50 * 50).iter().map(|pixel| f32::from(*pixel) / 255.0).collect();
        let x = Tensor::from_data(TensorData::new(pixels, [count, 1, 50, 50]), &device());
        let network = Encoder::new(&device());
        move || vec![float(network.forward(x.clone()))]
    });
    // Three times the forward pass, less the gradient of the pixels.
    let flops = 2 * count * (3 * FLOPS / 2 - 64 * 625 * 49);
    let training = Case::new("encoder/training", &step, flops).form("burn", move || {
        let device = device().autodiff();
        let x: Tensor<4> = Tensor::from_data(patches(count).into_data(), &device);
        let mut network = Some(Encoder::new(&device));
        let mut optimizer = AdamWConfig::new().with_weight_decay(0.1).init();
        move || {
            let Some(encoder) = network.take() else { return Vec::new() };
            let loss = encoder.forward(x.clone()).mean();
            let grads = loss.backward();
            let mut results = vec![float(loss.inner())];
            results.extend(encoder.gradients(&grads));
            let grads = GradientsParams::from_grads(grads, &encoder);
            network = Some(optimizer.step(1e-7, encoder, grads));
            results
        }
    });
    vec![evaluation, training, fused]
}
