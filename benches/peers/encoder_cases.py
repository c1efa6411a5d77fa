"""The truncated ResNet-18 on patches of 1x50x50: evaluation from floats and, on a GPU, from bytes, and one training step."""

from dataclasses import replace

import torch

import inputs
from case import Case, Forms, channels_last, packed
from inputs import byte_values, fill, on_gpu, uniform
from network import encoder
from sizes import Sizes

FLOPS = 105_140_352  # forward, one patch


def patches(count: int) -> torch.Tensor:
    """(count, 1, 50, 50), pixels in [0, 1)"""
    return uniform("patches", count, 1, 50, 50, low=0.0)


def networks(x: torch.Tensor) -> dict:
    """every form of the encoder in evaluation mode that PyTorch has, by name, for inputs like `x`"""
    plain = fill(encoder(), "encoder.").eval()
    last = fill(encoder(), "encoder.").eval().to(memory_format=torch.channels_last)
    made = {
        "torch-eager": plain,
        "torch-channels-last": last,
        **packed("", plain, x),
        **packed("-channels-last", last, channels_last(x)),
    }
    return {name: inputs.compiled(network) for name, network in made.items()}


def in_layout(name: str, x: torch.Tensor) -> torch.Tensor:
    """the memory layout that a form of this name takes"""
    return channels_last(x) if name.endswith("channels-last") else x


def evaluation(count: int, threads: int) -> Forms:
    """running statistics; the packed forms fold them into the weights"""
    x = patches(count)
    forms = {
        name: lambda network=network, x=in_layout(name, x): network(x) for name, network in networks(x).items()
    }
    if not on_gpu():
        from onnx_encoder import run, session  # so that a machine without ONNX Runtime has the rest

        plain = fill(encoder(), "encoder.").eval()
        loaded, pixels = session(plain, tuple(x.shape), threads), x.numpy()
        forms["onnxruntime"] = lambda: run(loaded, pixels)
    return forms


def from_bytes(count: int) -> Forms:
    """the same from bytes on the device; their conversion is timed"""
    x, dtype = inputs.placed("patches", byte_values("patches", count, 1, 50, 50)), inputs.DTYPE
    return {
        name: lambda network=network, name=name: network(in_layout(name, x.to(dtype) / 255))
        for name, network in networks(x.to(dtype)).items()
    }


def training(count: int) -> Forms:
    """forward with batch statistics, mean of all embeddings as loss, backward, AdamW; gives the loss and all gradients.

    The learning rate is tiny, so that thousands of steps leave weights and activations at their usual magnitude.
    """

    def form(x: torch.Tensor, layout: torch.memory_format, half: torch.dtype | None = None):
        network = fill(encoder(), "encoder.").train().to(memory_format=layout)
        network = network.float() if half else network
        # What a graph can hold keeps its step count on the device.
        graph = inputs.DEVICE.type == "cuda"
        parameters = list(network.parameters())
        optimiser = torch.optim.AdamW(parameters, lr=1e-7, weight_decay=0.1, fused=True, capturable=graph)
        forward = inputs.compiled(network)

        def call():
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast(x.device.type, half, enabled=half is not None):
                loss = forward(x).mean()
            loss.backward()
            optimiser.step()
            return [loss, *[parameter.grad for parameter in parameters]]

        return call

    x = patches(count)
    made = {
        "torch-eager": form(x, torch.contiguous_format),
        "torch-channels-last": form(channels_last(x), torch.channels_last),
    }
    if inputs.DTYPE != torch.float32:
        made["torch-autocast"] = form(channels_last(x.float()), torch.channels_last, inputs.DTYPE)
    return made


def cases(sizes: Sizes) -> dict[str, Case]:
    """every mode"""
    count = sizes.patches
    about = f"ResNet-18 to layer 2, {count}x1x50x50 -> {count}x128"
    made = {
        "encoder/evaluation": Case(
            about, lambda threads: evaluation(count, threads), count * FLOPS, products=True
        ),
        "encoder/training": Case(
            f"forward with batch statistics, mean as loss, backward, AdamW; {count}x1x50x50",
            lambda threads: training(count),
            2 * count * (3 * FLOPS // 2 - 64 * 625 * 49),
            inference=False,
            products=True,
        ),
    }
    if on_gpu():
        # The other side of both forms of our step is the same.
        made["encoder/training-statistics"] = replace(
            made["encoder/training"], about=made["encoder/training"].about + "; statistics by the convolutions"
        )
        made["encoder/fused"] = Case(
            f"the same from bytes, which are 255 times as large as their pixels; {about}",
            lambda threads: from_bytes(count),
            count * FLOPS,
            products=True,
        )
    return made
