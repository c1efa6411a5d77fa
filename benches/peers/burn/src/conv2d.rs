//! The encoder's convolutions, layer by layer, forward and backward.

use crate::support::{Case, between, float, uniform};
use burn::{
    backend::{Dispatch, ops::ModuleOps},
    tensor::{Tensor, module::conv2d, ops::ConvOptions},
};

/// x (n, inputs, side, side), weight (outputs, inputs, kernel, kernel), no bias.
#[derive(Clone, Copy)]
struct Layer {
    n: usize,
    inputs: usize,
    side: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

/// Name; input channels, side and output channels; kernel, stride and padding.
const LAYERS: [(&str, [usize; 3], [usize; 3]); 5] = [
    ("50-stem", [1, 50, 64], [7, 2, 3]),
    ("50-layer1", [64, 13, 64], [3, 1, 1]),
    ("50-layer2-down", [64, 13, 128], [3, 2, 1]),
    ("50-shortcut", [64, 13, 128], [1, 2, 0]),
    ("50-layer2", [128, 7, 128], [3, 1, 1]),
];

impl Layer {
    fn out_side(&self) -> usize {
        (self.side + 2 * self.padding - self.kernel) / self.stride + 1
    }

    fn flops(&self) -> usize {
        2 * self.n * self.outputs * self.out_side().pow(2) * self.inputs * self.kernel.pow(2)
    }

    fn about(&self, what: &str) -> String {
        let Layer { n, inputs, side, outputs, kernel, stride, padding } = self;
        format!(
            "{what}, {n}x{inputs}x{side}x{side} -> {outputs} channels, \
             {kernel}x{kernel} stride {stride} padding {padding}"
        )
    }

    fn options(&self) -> ConvOptions<2> {
        ConvOptions::new([self.stride; 2], [self.padding; 2], [1; 2], 1)
    }

    /// x, weight and the gradient of the output.
    fn tensors(&self) -> [Tensor<4>; 3] {
        let reach = (6.0 / (self.inputs * self.kernel.pow(2)) as f64).sqrt();
        let weight = [self.outputs, self.inputs, self.kernel, self.kernel];
        [
            uniform("x", [self.n, self.inputs, self.side, self.side]),
            between("weight", weight, -reach, reach),
            uniform("grad", [self.n, self.outputs, self.out_side(), self.out_side()]),
        ]
    }

    fn forward(self, name: &str) -> Case {
        let case = Case::new(&format!("conv2d/{name}/forward"), &self.about("convolution"), self.flops());
        case.form("burn", move || {
            let [x, weight, _] = self.tensors();
            move || vec![float(conv2d(x.clone(), weight.clone(), None, self.options()))]
        })
    }

    /// What burn's tape calls, without the tape. A stem's input is pixels: it needs the gradient of the weight only.
    fn backward(self, name: &str) -> Case {
        let pixels = self.inputs == 1;
        let what = if pixels { "gradient of the weight" } else { "gradients of input and weight" };
        let flops = self.flops() * if pixels { 1 } else { 2 };
        Case::new(&format!("conv2d/{name}/backward"), &self.about(what), flops).form("burn", move || {
            let tensors = self.tensors();
            move || {
                let given = || tensors.clone().map(Tensor::into_dispatch);
                let [x, weight, dy] = given();
                let grad = Dispatch::conv2d_weight_backward(x, weight, dy, self.options());
                let mut grads = vec![float(Tensor::<4>::from_dispatch(grad))];
                if !pixels {
                    let [x, weight, dy] = given();
                    let grad = Dispatch::conv2d_x_backward(x, weight, dy, self.options());
                    grads.push(float(Tensor::<4>::from_dispatch(grad)));
                }
                grads
            }
        })
    }
}

pub(crate) fn cases(n: usize) -> Vec<Case> {
    let both = LAYERS.iter().map(|&(name, [inputs, side, outputs], [kernel, stride, padding])| {
        let layer = Layer { n, inputs, side, outputs, kernel, stride, padding };
        [layer.forward(name), layer.backward(name)]
    });
    both.flatten().collect()
}
