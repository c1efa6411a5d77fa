"""What a case is: seeded inputs, one or more forms of the same computation, and the sums that prove they agree."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

Forms = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Case:
    """`build(threads)` prepares the inputs and gives each form as a function of no arguments that computes once."""

    about: str  # the shapes, in words
    build: Callable[[int], Forms]
    flops: int = 0  # multiply-adds times two, 0 where bytes and not arithmetic decide
    inference: bool = True  # run under torch.inference_mode
    random: bool = False  # fresh random numbers in every call: sums say nothing


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """the same (n, c, h, w) values with the channels innermost in memory"""
    return tensor.contiguous(memory_format=torch.channels_last)


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
