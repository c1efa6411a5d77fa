"""The encoder's convolutions, layer by layer: patches of 1x50x50 and of 3x100x100, forward and backward."""

from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from case import Case, Forms, channels_last, optimised
from inputs import on_gpu, uniform
from sizes import Sizes


@dataclass(frozen=True)
class Layer:
    """x (n, inputs, side, side), weight (outputs, inputs, kernel, kernel), no bias"""

    n: int
    inputs: int
    side: int
    outputs: int
    kernel: int
    stride: int
    padding: int
    grad_input: bool = True  # a stem's input is pixels: its backward pass needs the weight gradient only

    @property
    def out_side(self) -> int:
        return (self.side + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def flops(self) -> int:
        return 2 * self.n * self.outputs * self.out_side**2 * self.inputs * self.kernel**2

    def about(self, what: str) -> str:
        return (
            f"{what}, {self.n}x{self.inputs}x{self.side}x{self.side} -> {self.outputs} channels, "
            f"{self.kernel}x{self.kernel} stride {self.stride} padding {self.padding}"
        )

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """x, weight and the gradient of the output"""
        reach = (6.0 / (self.inputs * self.kernel**2)) ** 0.5
        x = uniform("x", self.n, self.inputs, self.side, self.side)
        weight = uniform("weight", self.outputs, self.inputs, self.kernel, self.kernel, low=-reach, high=reach)
        return x, weight, uniform("grad", self.n, self.outputs, self.out_side, self.out_side)


# Of one image.
LAYERS = {
    "50-stem": Layer(1, 1, 50, 64, 7, 2, 3, grad_input=False),
    "50-layer1": Layer(1, 64, 13, 64, 3, 1, 1),
    "50-layer2-down": Layer(1, 64, 13, 128, 3, 2, 1),
    "50-shortcut": Layer(1, 64, 13, 128, 1, 2, 0),
    "50-layer2": Layer(1, 128, 7, 128, 3, 1, 1),
    "100-stem": Layer(1, 3, 100, 64, 7, 2, 3, grad_input=False),
    "100-layer1": Layer(1, 64, 25, 64, 3, 1, 1),
    "100-layer2-down": Layer(1, 64, 25, 128, 3, 2, 1),
    "100-shortcut": Layer(1, 64, 25, 128, 1, 2, 0),
    "100-layer2": Layer(1, 128, 13, 128, 3, 1, 1),
}


def forward(layer: Layer) -> Forms:
    """plain layout, channels innermost, and a frozen module with packed weights"""
    x, weight, _ = layer.tensors()
    x_last, weight_last = channels_last(x), channels_last(weight)
    forms = {
        "torch-eager": lambda: F.conv2d(x, weight, None, layer.stride, layer.padding),
        "torch-channels-last": lambda: F.conv2d(x_last, weight_last, None, layer.stride, layer.padding),
    }
    if not on_gpu():
        module = torch.nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.padding, bias=False)
        with torch.no_grad():
            module.weight.copy_(weight)
        packed = optimised(module, x)
        forms["torch-jit"] = lambda: packed(x)
    return forms


def backward(layer: Layer) -> Forms:
    """gradients of input and weight from the gradient of the output, without autograd around them"""
    wanted = [layer.grad_input, True, False]
    stride, padding = [layer.stride] * 2, [layer.padding] * 2

    def form(x: torch.Tensor, weight: torch.Tensor, grad: torch.Tensor):
        def call():
            grads = torch.ops.aten.convolution_backward(
                grad, x, weight, None, stride, padding, [1, 1], False, [0, 0], 1, wanted
            )
            return [g for g, want in zip(grads, wanted) if want]

        return call

    tensors = layer.tensors()
    return {
        "torch-eager": form(*tensors),
        "torch-channels-last": form(*[channels_last(t) for t in tensors]),
    }


def cases(sizes: Sizes) -> dict[str, Case]:
    """every layer in both directions"""
    made = {}
    for name, layer in LAYERS.items():
        layer = replace(layer, n=sizes.patches if name.startswith("50-") else sizes.large_patches)
        made[f"conv2d/{name}/forward"] = Case(
            layer.about("convolution"), lambda threads, layer=layer: forward(layer), layer.flops, products=True
        )
        what = "gradients of input and weight" if layer.grad_input else "gradient of the weight"
        made[f"conv2d/{name}/backward"] = Case(
            layer.about(what),
            lambda threads, layer=layer: backward(layer),
            layer.flops * (1 + layer.grad_input),
            products=True,
        )
    return made
