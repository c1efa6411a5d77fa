"""What a case is: seeded inputs, one or more forms of the same computation, and the sums that prove they agree."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval

import inputs

Forms = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Case:
    """`build(threads)` prepares the inputs and gives each form as a function of no arguments that computes once."""

    about: str  # the shapes, in words
    build: Callable[[int], Forms]
    flops: int = 0  # multiply-adds times two, 0 where bytes and not arithmetic decide
    inference: bool = True  # run under torch.inference_mode
    random: bool = False  # fresh random numbers in every call: sums say nothing
    products: bool = False  # of matrices or convolutions: on a GPU, every form also in TF32
    host: bool = False  # on a GPU, only the host's time counts: the clock stops before the wait


class Turns:
    """A call on the next input each time: a sort of the same tensor again and again trains the branch predictor, and what was
    read last is still in a cache."""

    def __init__(self, call: Callable[..., object], inputs: Iterable[object]):
        self.call, self.inputs, self.at = call, list(inputs), 0

    def __call__(self) -> object:
        self.at += 1
        return self.call(self.inputs[(self.at - 1) % len(self.inputs)])

    def reset(self):
        """the first input is the next one"""
        self.at = 0


@dataclass(frozen=True)
class Staged:
    """A form in three stages, of which a CUDA graph can hold the middle one: from the host, on the device, to the host."""

    load: Turns
    compute: Callable[[torch.Tensor], torch.Tensor]
    give: Callable[[torch.Tensor], torch.Tensor]

    def __call__(self) -> torch.Tensor:
        return self.give(self.compute(self.load()))

    def reset(self):
        """the first input is the next one"""
        self.load.reset()


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """the same (n, c, h, w) values with the channels innermost in memory"""
    return tensor.contiguous(memory_format=torch.channels_last)


def folded(module: torch.nn.Module) -> torch.nn.Module:
    """a copy of a module in evaluation mode without batch norms: each is in the weights of the convolution before it"""
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        last = None
        for name, child in list(parent.named_children()):
            if isinstance(last, torch.nn.Conv2d) and isinstance(child, torch.nn.BatchNorm2d):
                setattr(parent, before, fuse_conv_bn_eval(last, child))
                setattr(parent, name, torch.nn.Identity())
            before, last = name, child
    return module


def packed(name: str, module: torch.nn.Module, *inputs_: torch.Tensor) -> dict[str, Callable[..., torch.Tensor]]:
    """PyTorch's forms of a module that is only evaluated: `torch-jit` and its like on the CPU, `torch-folded` on a GPU"""
    if inputs.on_gpu():
        return {f"torch-folded{name}": folded(module.eval())}
    return {f"torch-jit{name}": optimised(module, *inputs_)}


def optimised(module: torch.nn.Module, *inputs: torch.Tensor) -> Callable[..., torch.Tensor]:
    """TorchScript at its best: frozen, batch norms folded, weights packed once into oneDNN's own layout."""
    with torch.no_grad():
        return torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(module.eval(), inputs)))


def checksum(output: object) -> list[float]:
    """[sum, sum of magnitudes] over all tensors of `output`, in f64"""
    if output is None:
        return [0.0, 0.0]
    if isinstance(output, (tuple, list)):
        return np.sum([checksum(part) for part in output], axis=0).tolist()
    values = output.detach() if isinstance(output, torch.Tensor) else torch.from_numpy(output)
    values = values.double()
    return [values.sum().item(), values.abs().sum().item()]
