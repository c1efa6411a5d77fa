"""Every other op that a selection or a training step runs: unfold, attention, merge, sampling, norms, pooling, AdamW."""

from collections.abc import Callable, Iterable
from itertools import cycle

import torch
from torch import nn
from torch.nn import functional as F

from case import Case, Forms, channels_last
from inputs import fill, uniform
from network import CrossAttention

aten = torch.ops.aten


def fresh(call: Callable[..., object], inputs: Iterable[object]) -> Callable[[], object]:
    """`call` on the next input each time: a sort of the same tensor again and again trains the branch predictor"""
    ring = cycle(list(inputs))
    return lambda: call(next(ring))


def unfold(channels: int, side: int, patch: int, stride: int) -> Forms:
    """patches copied into memory that exists already"""
    image = uniform("image", 1, channels, side, side)
    grid = image.unfold(2, patch, stride).unfold(3, patch, stride).permute(0, 2, 3, 1, 4, 5)
    patches = torch.empty(grid.shape)
    return {"torch-unfold-copy": lambda: patches.copy_(grid)}


class Attention:
    """16 images, 4 queries, 200 keys, width 128, 8 heads: x (16, 200, 128) -> (16, 4, 128), no biases"""

    def __init__(self):
        self.x = uniform("x", 16, 200, 128)
        self.plain = fill(CrossAttention(4, 128, 8), "transf.crs_attn.").eval()
        self.module = nn.MultiheadAttention(128, 8, bias=False, batch_first=True).eval()
        with torch.no_grad():
            weights = [self.plain.q_w.weight, self.plain.k_w.weight, self.plain.v_w.weight]
            self.module.in_proj_weight.copy_(torch.cat(weights))
            self.module.out_proj.weight.copy_(self.plain.fc.weight)

    def through_module(self) -> torch.Tensor:
        query = self.plain.q.expand(16, -1, -1)
        return self.module(query, self.x, self.x, need_weights=False)[0]

    def forms(self) -> Forms:
        return {
            "torch-eager": lambda: self.plain(self.x),
            "torch-sdpa": lambda: self.plain.fused(self.x),
            "torch-module": self.through_module,
        }

    def training(self) -> Forms:
        """forward, then the gradients of x, queries and all four projections"""
        grad = uniform("grad", 16, 4, 128)
        self.x.requires_grad_()
        plain = [self.x, *self.plain.parameters()]
        module = [self.x, self.plain.q, *self.module.parameters()]
        forward = self.forms()

        def form(name: str, wanted: list[torch.Tensor]):
            return lambda: torch.autograd.grad(forward[name](), wanted, grad)

        return {name: form(name, module if name == "torch-module" else plain) for name in forward}


def merge() -> Forms:
    """cat, softmax, mean over rows, topk, gather: kept and new logits of 16 images, 100 patches each, 32 rows"""
    kept = [uniform(f"kept{i}", 16, 100, 32, low=-4.0, high=4.0) for i in range(16)]
    new = [uniform(f"new{i}", 16, 100, 32, low=-4.0, high=4.0) for i in range(16)]
    pairs = list(zip(kept, new))

    def patch_major(pair):
        logits = torch.cat(pair, dim=1)
        best = F.softmax(logits, dim=1).mean(dim=2).topk(100, dim=1).indices
        return best, torch.gather(logits, 1, best[..., None].expand(-1, -1, 32))

    def row_major(pair):
        logits = torch.cat(pair, dim=2)
        best = F.softmax(logits, dim=2).mean(dim=1).topk(100, dim=1).indices
        return best, torch.gather(logits, 2, best[:, None].expand(-1, 32, -1))

    rows = [tuple(part.transpose(1, 2).contiguous() for part in pair) for pair in pairs]
    return {"torch-patch-major": fresh(patch_major, pairs), "torch-row-major": fresh(row_major, rows)}


def gumbel() -> Forms:
    """10 draws without replacement from 16 rows of 32,400 logits, in draw order"""
    logits = [uniform(f"logits{i}", 16, 32400, low=-4.0, high=4.0) for i in range(4)]
    noise = torch.empty(16, 32400)

    def plain(x):
        return (x - torch.log(-torch.log(torch.rand(x.shape)))).topk(10, dim=1)

    def in_place(x):
        return torch.sub(x, noise.uniform_().log_().neg_().log_()).topk(10, dim=1)

    def race(x):
        return torch.sub(x, noise.exponential_().log_()).topk(10, dim=1)

    def multinomial(x):
        return torch.multinomial(F.softmax(x, dim=1), 10)

    named = {"eager": plain, "in-place": in_place, "exponential": race, "multinomial": multinomial}
    return {f"torch-{name}": fresh(call, logits) for name, call in named.items()}


def per_layout(make: Callable[..., Callable[[], object]], *images: torch.Tensor) -> Forms:
    """one form for each memory layout of the (n, c, h, w) tensors"""
    return {"torch-eager": make(*images), "torch-channels-last": make(*[channels_last(i) for i in images])}


def norm_forward(n: int, c: int, side: int) -> Forms:
    """batch statistics, running estimates updated"""
    weight, bias, mean, var = uniform("w", c), uniform("b", c), torch.zeros(c), torch.ones(c)

    def make(x):
        return lambda: aten.native_batch_norm(x, weight, bias, mean, var, True, 0.1, 1e-5)[0]

    return per_layout(make, uniform("x", n, c, side, side))


def norm_backward(n: int, c: int, side: int) -> Forms:
    """gradients of x, weight and bias from saved statistics"""
    weight, mean, var = uniform("w", c), torch.zeros(c), torch.ones(c)

    def make(x, grad):
        _, saved_mean, saved_scale = aten.native_batch_norm(x, weight, weight, mean, var, True, 0.1, 1e-5)
        saved = (weight, mean, var, saved_mean, saved_scale, True, 1e-5, [True, True, True])
        return lambda: aten.native_batch_norm_backward(grad, x, *saved)

    return per_layout(make, uniform("x", n, c, side, side), uniform("grad", n, c, side, side))


def pool_forward() -> Forms:
    """3x3, stride 2, padding 1, with the indices that backward needs"""

    def make(x):
        return lambda: aten.max_pool2d_with_indices(x, [3, 3], [2, 2], [1, 1])[0]

    return per_layout(make, uniform("x", 100, 64, 25, 25))


def pool_backward() -> Forms:
    """gradient of the input of the same pooling"""
    geometry = ([3, 3], [2, 2], [1, 1], [1, 1], False)

    def make(x, grad):
        indices = aten.max_pool2d_with_indices(x, *geometry)[1]
        return lambda: aten.max_pool2d_with_indices_backward(grad, x, *geometry, indices)

    return per_layout(make, uniform("x", 100, 64, 25, 25), uniform("grad", 100, 64, 13, 13))


def global_pool() -> Forms:
    """mean over the pixels of each channel"""
    return per_layout(lambda x: lambda: F.adaptive_avg_pool2d(x, 1), uniform("x", 100, 128, 7, 7))


def linear_forward(n: int, inputs: int, outputs: int) -> Forms:
    """x W^T + b"""
    x, weight, bias = uniform("x", n, inputs), uniform("weight", outputs, inputs), uniform("bias", outputs)
    return {"torch-eager": lambda: F.linear(x, weight, bias)}


def linear_backward(n: int, inputs: int, outputs: int) -> Forms:
    """gradients of x, weight and bias"""
    x, weight, grad = uniform("x", n, inputs), uniform("weight", outputs, inputs), uniform("grad", n, outputs)
    return {"torch-eager": lambda: (grad @ weight, grad.t() @ x, grad.sum(0))}


def softmax(*shape: int) -> Forms:
    """over the last axis"""
    x = uniform("x", *shape, low=-4.0, high=4.0)
    return {"torch-eager": lambda: F.softmax(x, dim=-1)}


def layer_norm(n: int, width: int) -> Forms:
    """over the last axis, with weight and bias"""
    x, weight, bias = uniform("x", n, width), uniform("weight", width), uniform("bias", width)
    return {"torch-eager": lambda: F.layer_norm(x, (width,), weight, bias, 1e-6)}


def adamw() -> Forms:
    """one step over as many parameters as the Megapixel-MNIST network has, in tensors of an encoder's sizes.

    The parameters after the step are the result; most gradients are positive, so that their sum tells a wrong step.
    """

    def form(**how):
        shapes = [(64, 49), (64, 576), (64, 576), (64, 576), (64, 576), (128, 576), (128, 1152), (128, 1152)]
        shapes += [(128, 1152), (128, 64), (4, 128), (128, 128), (128, 128), (128, 128), (128, 128), (512, 128)]
        shapes += [(128, 512), (512,)] + [(128,)] * 24 + [(64,)] * 10 + [(10, 128)] * 4 + [(10,)] * 4
        parameters = [nn.Parameter(uniform(f"p{i}", *shape)) for i, shape in enumerate(shapes)]
        for i, parameter in enumerate(parameters):
            parameter.grad = uniform(f"g{i}", *parameter.shape, low=-0.5)
        optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.1, **how)

        def call():
            optimiser.step()
            return parameters

        return call

    return {"torch-foreach": form(foreach=True), "torch-fused": form(fused=True)}


def overhead(recorded: bool) -> Forms:
    """1,000 additions of tensors of one element; with a gradient to come, each leaves a node of the graph"""
    x, y = uniform("x", 1).requires_grad_(recorded), uniform("y", 1)

    def call():
        for _ in range(999):
            x + y
        return x + y

    return {"torch-eager": call}


def cases() -> dict[str, Case]:
    """name of each op -> case"""
    attention = "16 images x (4 queries, 200 keys), width 128, 8 heads, no biases"
    return {
        "unfold/50-50": Case("1x1x3000x3000, patch 50 stride 50, into existing memory", lambda t: unfold(1, 3000, 50, 50)),
        "unfold/50-25": Case("1x1x3000x3000, patch 50 stride 25, into existing memory", lambda t: unfold(1, 3000, 50, 25)),
        "unfold/rgb-100": Case("1x3x3000x3000, patch 100 stride 100, same", lambda t: unfold(3, 3000, 100, 100)),
        "cross_attention/forward": Case(attention, lambda t: Attention().forms()),
        "cross_attention/training": Case(
            f"forward and all gradients; {attention}", lambda t: Attention().training(), inference=False
        ),
        "top_m_merge/100-100": Case("16 images, 100 kept + 100 new, 32 rows of logits, keep 100", lambda t: merge()),
        "gumbel_top_k/10-of-32400": Case("top 10 of 16x32400, fresh noise each call", lambda t: gumbel(), random=True),
        "batch_norm/64-25/forward": Case("training, 100x64x25x25", lambda t: norm_forward(100, 64, 25)),
        "batch_norm/64-25/backward": Case("training, 100x64x25x25", lambda t: norm_backward(100, 64, 25)),
        "batch_norm/64-13/forward": Case("training, 100x64x13x13", lambda t: norm_forward(100, 64, 13)),
        "batch_norm/64-13/backward": Case("training, 100x64x13x13", lambda t: norm_backward(100, 64, 13)),
        "max_pool2d/forward": Case("3x3 stride 2 padding 1, 100x64x25x25", lambda t: pool_forward()),
        "max_pool2d/backward": Case("3x3 stride 2 padding 1, 100x64x25x25", lambda t: pool_backward()),
        "global_avg_pool/forward": Case("100x128x7x7", lambda t: global_pool()),
        "linear/1600-128-128/forward": Case(
            "1600x128 -> 128", lambda t: linear_forward(1600, 128, 128), 2 * 1600 * 128 * 128
        ),
        "linear/1600-128-128/backward": Case(
            "1600x128 -> 128, all gradients", lambda t: linear_backward(1600, 128, 128), 4 * 1600 * 128 * 128
        ),
        "linear/64-128-512/forward": Case("64x128 -> 512", lambda t: linear_forward(64, 128, 512), 2 * 64 * 128 * 512),
        "softmax/512-200": Case("512 rows of 200", lambda t: softmax(512, 200)),
        "softmax/16-32400": Case("16 rows of 32400", lambda t: softmax(16, 32400)),
        "layer_norm/64-128": Case("64 rows of 128", lambda t: layer_norm(64, 128)),
        "layer_norm/3200-128": Case("3200 rows of 128", lambda t: layer_norm(3200, 128)),
        "overhead/untracked": Case("1000 additions of 1 element", lambda t: overhead(False)),
        "overhead/recorded": Case(
            "1000 additions of 1 element, recorded for backward", lambda t: overhead(True), inference=False
        ),
        "adamw/880k": Case("one step, about 880,000 parameters in 60 tensors", lambda t: adamw(), inference=False),
    }
