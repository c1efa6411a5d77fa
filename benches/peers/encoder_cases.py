"""The truncated ResNet-18 on 100 patches of 1x50x50: evaluation, and one training step."""

import torch

from case import Case, Forms, channels_last, optimised
from inputs import fill, uniform
from network import encoder
from onnx_encoder import run, session

PATCHES = 100
FLOPS = 105_140_352  # forward, one patch


def patches() -> torch.Tensor:
    """(100, 1, 50, 50), pixels in [0, 1)"""
    return uniform("patches", PATCHES, 1, 50, 50, low=0.0)


def evaluation(threads: int) -> Forms:
    """running statistics; the frozen forms fold them into the weights"""
    x, network = patches(), fill(encoder(), "encoder.").eval()
    last = fill(encoder(), "encoder.").eval().to(memory_format=torch.channels_last)
    x_last = channels_last(x)
    packed, packed_last = optimised(network, x), optimised(last, x_last)
    loaded, pixels = session(network, tuple(x.shape), threads), x.numpy()
    return {
        "torch-eager": lambda: network(x),
        "torch-channels-last": lambda: last(x_last),
        "torch-jit": lambda: packed(x),
        "torch-jit-channels-last": lambda: packed_last(x_last),
        "onnxruntime": lambda: run(loaded, pixels),
    }


def training(threads: int) -> Forms:
    """forward with batch statistics, mean of all embeddings as loss, backward, AdamW; gives the loss and all gradients.

    The learning rate is tiny, so that thousands of steps leave weights and activations at their usual magnitude.
    """

    def form(x: torch.Tensor, layout: torch.memory_format):
        network = fill(encoder(), "encoder.").train().to(memory_format=layout)
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-7, weight_decay=0.1, fused=True)

        def call():
            optimiser.zero_grad(set_to_none=True)
            loss = network(x).mean()
            loss.backward()
            optimiser.step()
            return [loss, *[parameter.grad for parameter in network.parameters()]]

        return call

    x = patches()
    return {
        "torch-eager": form(x, torch.contiguous_format),
        "torch-channels-last": form(channels_last(x), torch.channels_last),
    }


def cases() -> dict[str, Case]:
    """both modes"""
    return {
        "encoder/evaluation": Case("ResNet-18 to layer 2, 100x1x50x50 -> 100x128", evaluation, PATCHES * FLOPS),
        "encoder/training": Case(
            "forward with batch statistics, mean as loss, backward, AdamW; 100x1x50x50",
            training,
            2 * PATCHES * (3 * FLOPS // 2 - 64 * 625 * 49),
            inference=False,
        ),
    }
