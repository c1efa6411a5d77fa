//! The encoder's convolutions, layer by layer: patches of 1×50×50 and of 3×100×100, forward and backward.

use crate::support::{Call, Case, between, many, one, sizes::Sizes, uniform};
use foveate::{
    Result, Tensor,
    device::run1,
    ops::{
        self, Conv2d,
        conv2d::{Conv2dGradInput, Conv2dGradWeight},
    },
};

/// x (n, inputs, side, side), weight (outputs, inputs, kernel, kernel), no bias.
#[derive(Clone, Copy)]
pub(crate) struct Layer {
    pub(crate) n: usize,
    pub(crate) inputs: usize,
    pub(crate) side: usize,
    pub(crate) outputs: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    /// A stem's input is pixels: its backward pass needs the weight gradient only.
    pub(crate) grad_input: bool,
}

/// By name; those of patches of 50² and of 100².
const LAYERS: [[(&str, Layer); 5]; 2] = [
    [
        ("50-stem", Layer { grad_input: false, ..layer([1, 50, 64], [7, 2, 3]) }),
        ("50-layer1", layer([64, 13, 64], [3, 1, 1])),
        ("50-layer2-down", layer([64, 13, 128], [3, 2, 1])),
        ("50-shortcut", layer([64, 13, 128], [1, 2, 0])),
        ("50-layer2", layer([128, 7, 128], [3, 1, 1])),
    ],
    [
        ("100-stem", Layer { grad_input: false, ..layer([3, 100, 64], [7, 2, 3]) }),
        ("100-layer1", layer([64, 25, 64], [3, 1, 1])),
        ("100-layer2-down", layer([64, 25, 128], [3, 2, 1])),
        ("100-shortcut", layer([64, 25, 128], [1, 2, 0])),
        ("100-layer2", layer([128, 13, 128], [3, 1, 1])),
    ],
];

/// Of one image: input channels, side and output channels; kernel, stride and padding.
const fn layer([inputs, side, outputs]: [usize; 3], [kernel, stride, padding]: [usize; 3]) -> Layer {
    Layer { n: 1, inputs, side, outputs, kernel, stride, padding, grad_input: true }
}

impl Layer {
    fn out_side(&self) -> usize {
        (self.side + 2 * self.padding - self.kernel) / self.stride + 1
    }

    pub(crate) fn flops(&self) -> usize {
        2 * self.n * self.outputs * self.out_side().pow(2) * self.inputs * self.kernel.pow(2)
    }

    pub(crate) fn about(&self, what: &str) -> String {
        let Layer { n, inputs, side, outputs, kernel, stride, padding, .. } = self;
        format!(
            "{what}, {n}x{inputs}x{side}x{side} -> {outputs} channels, \
             {kernel}x{kernel} stride {stride} padding {padding}"
        )
    }

    /// x, weight and the gradient of the output.
    fn tensors(&self) -> Result<[Tensor; 3]> {
        let reach = (6.0 / (self.inputs * self.kernel.pow(2)) as f64).sqrt();
        let weight = [self.outputs, self.inputs, self.kernel, self.kernel];
        Ok([
            uniform("x", [self.n, self.inputs, self.side, self.side])?,
            between("weight", weight, -reach, reach)?,
            uniform("grad", [self.n, self.outputs, self.out_side(), self.out_side()])?,
        ])
    }

    pub(crate) fn forward(&self, conv: Conv2d) -> Result<Call> {
        let [x, weight, _] = self.tensors()?;
        one(move || ops::conv2d(&x, &weight, None, conv))
    }

    /// A bias, and a residual of the shape of the output.
    fn followed_by(&self) -> Result<[Tensor; 2]> {
        Ok([
            uniform("bias", [self.outputs])?,
            uniform("residual", [self.n, self.outputs, self.out_side(), self.out_side()])?,
        ])
    }

    /// With bias, residual and ReLU in one operation.
    pub(crate) fn fused(&self, conv: Conv2d) -> Result<Call> {
        let ([x, weight, _], [bias, residual]) = (self.tensors()?, self.followed_by()?);
        one(move || ops::conv2d_fused(&x, &weight, &bias, Some(&residual), conv, true))
    }

    /// With bias, residual and ReLU, the last two as an operation of their own.
    pub(crate) fn apart(&self, conv: Conv2d) -> Result<Call> {
        let ([x, weight, _], [bias, residual]) = (self.tensors()?, self.followed_by()?);
        one(move || ops::add_relu(&ops::conv2d(&x, &weight, Some(&bias), conv)?, &residual))
    }

    /// The gradients of input and weight, without a tape around them.
    fn backward(&self, conv: Conv2d) -> Result<Call> {
        let [x, weight, dy] = self.tensors()?;
        let to_weight = Conv2dGradWeight { conv, kernel: [self.kernel; 2] };
        let to_input = Conv2dGradInput { conv, image: [self.side; 2] };
        let grad_input = self.grad_input;
        many(move || {
            let mut grads = vec![run1(&to_weight, &[&x, &dy])?];
            if grad_input {
                grads.push(run1(&to_input, &[&dy, &weight])?);
            }
            Ok(grads)
        })
    }
}

/// Every layer, of so many patches as there are of its size.
pub(crate) fn layers(sizes: &Sizes) -> impl Iterator<Item = (&'static str, Layer)> + use<> {
    let counts = [sizes.patches, sizes.large_patches];
    LAYERS
        .into_iter()
        .zip(counts)
        .flat_map(|(layers, n)| layers.map(|(name, layer)| (name, Layer { n, ..layer })))
}

pub(crate) fn cases(sizes: &Sizes) -> Vec<Case> {
    let both = layers(sizes).map(|(name, layer)| {
        let what = if layer.grad_input { "gradients of input and weight" } else { "gradient of the weight" };
        let forward = format!("conv2d/{name}/forward");
        let backward = format!("conv2d/{name}/backward");
        let products = 1 + usize::from(layer.grad_input);
        let conv = Conv2d::new(layer.stride, layer.padding);
        [
            Case::new(&forward, &layer.about("convolution"), move || layer.forward(conv))
                .flops(layer.flops()),
            Case::new(&backward, &layer.about(what), move || layer.backward(conv))
                .flops(layer.flops() * products),
        ]
    });
    both.flatten().collect()
}
