"""Every other op that a selection or a training step runs: unfold, attention, merge, sampling, norms, pooling, AdamW."""

from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.nn import functional as F

import inputs
from case import Case, Forms, Turns, channels_last
from inputs import fill, on_gpu, uniform
from network import CrossAttention
from sizes import Sizes

aten = torch.ops.aten


def unfold(channels: int, side: int, patch: int, stride: int) -> Forms:
    """patches copied into memory that exists already"""
    image = uniform("image", 1, channels, side, side)
    grid = image.unfold(2, patch, stride).unfold(3, patch, stride).permute(0, 2, 3, 1, 4, 5)
    patches = torch.empty(grid.shape, device=inputs.DEVICE)
    return {"torch-unfold-copy": lambda: patches.copy_(grid)}


class Attention:
    """4 queries, width 128, 8 heads: x (images, keys, 128) -> (images, 4, 128), no biases"""

    def __init__(self, images: int, keys: int):
        self.x = uniform("x", images, keys, 128)
        self.plain = fill(CrossAttention(4, 128, 8), "transf.crs_attn.").eval()
        self.module = nn.MultiheadAttention(128, 8, bias=False, batch_first=True).eval()
        self.module = self.module.to(inputs.DEVICE, inputs.DTYPE)
        with torch.no_grad():
            weights = [self.plain.q_w.weight, self.plain.k_w.weight, self.plain.v_w.weight]
            self.module.in_proj_weight.copy_(torch.cat(weights))
            self.module.out_proj.weight.copy_(self.plain.fc.weight)

    def through_module(self) -> torch.Tensor:
        query = self.plain.q.expand(self.x.shape[0], -1, -1)
        return self.module(query, self.x, self.x, need_weights=False)[0]

    def forms(self) -> Forms:
        return {
            "torch-eager": lambda: self.plain(self.x),
            "torch-sdpa": lambda: self.plain.fused(self.x),
            "torch-module": self.through_module,
        }

    def evaluation(self) -> Forms:
        """on a GPU also by this crate's algebra, so that its gain is told from that of the kernels"""
        folded = {"torch-expert": lambda: self.plain.folded(self.x)} if on_gpu() else {}
        return self.forms() | folded

    def training(self) -> Forms:
        """forward, then the gradients of x, queries and all four projections"""
        grad = uniform("grad", self.x.shape[0], 4, 128)
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
        return best, torch.gather(logits, 2, best[:, None].expand(-1, 32, -1)).transpose(1, 2)

    rows = [tuple(part.transpose(1, 2).contiguous() for part in pair) for pair in pairs]
    return {"torch-patch-major": Turns(patch_major, pairs), "torch-row-major": Turns(row_major, rows)}


def top_k() -> Forms:
    """places of the 100 greatest of 900 logits"""
    logits = [uniform(f"logits{i}", 1, 900, low=-4.0, high=4.0) for i in range(8)]
    return {"torch-eager": Turns(lambda x: x.topk(100, dim=1).indices, logits)}


def gumbel(rows: int, columns: int, count: int = 10) -> Forms:
    """so many draws without replacement from rows of logits, in draw order"""
    logits = [uniform(f"logits{i}", rows, columns, low=-4.0, high=4.0) for i in range(4)]
    noise = torch.empty(rows, columns, device=inputs.DEVICE)

    def plain(x):
        return (x - torch.log(-torch.log(torch.rand_like(x)))).topk(count, dim=1)

    def in_place(x):
        return torch.sub(x, noise.uniform_().log_().neg_().log_()).topk(count, dim=1)

    def race(x):
        return torch.sub(x, noise.exponential_().log_()).topk(count, dim=1)

    def multinomial(x):
        return torch.multinomial(F.softmax(x, dim=1), count)

    named = {"eager": plain, "in-place": in_place, "exponential": race}
    if columns <= 1 << 24:  # what multinomial takes
        named["multinomial"] = multinomial
    return {f"torch-{name}": Turns(call, logits) for name, call in named.items()}


def per_layout(make: Callable[..., Callable[[], object]], *images: torch.Tensor) -> Forms:
    """one form for each memory layout of the (n, c, h, w) tensors"""
    return {"torch-eager": make(*images), "torch-channels-last": make(*[channels_last(i) for i in images])}


def running(c: int) -> tuple[torch.Tensor, torch.Tensor]:
    """running mean and variance before the first batch"""
    return torch.zeros(c, device=inputs.DEVICE), torch.ones(c, device=inputs.DEVICE)


def norm_forward(n: int, c: int, side: int) -> Forms:
    """batch statistics, running estimates updated"""
    weight, bias, mean, var = uniform("w", c), uniform("b", c), *running(c)

    def make(x):
        return lambda: aten.native_batch_norm(x, weight, bias, mean, var, True, 0.1, 1e-5)[0]

    return per_layout(make, uniform("x", n, c, side, side))


def norm_backward(n: int, c: int, side: int) -> Forms:
    """gradients of x, weight and bias from saved statistics"""
    weight, mean, var = uniform("w", c), *running(c)

    def make(x, grad):
        _, saved_mean, saved_scale = aten.native_batch_norm(x, weight, weight, mean, var, True, 0.1, 1e-5)
        saved = (weight, mean, var, saved_mean, saved_scale, True, 1e-5, [True, True, True])
        return lambda: aten.native_batch_norm_backward(grad, x, *saved)

    return per_layout(make, uniform("x", n, c, side, side), uniform("grad", n, c, side, side))


def pool_forward(n: int) -> Forms:
    """3x3, stride 2, padding 1, with the indices that backward needs"""

    def make(x):
        return lambda: aten.max_pool2d_with_indices(x, [3, 3], [2, 2], [1, 1])[0]

    return per_layout(make, uniform("x", n, 64, 25, 25))


def pool_backward(n: int) -> Forms:
    """gradient of the input of the same pooling"""
    geometry = ([3, 3], [2, 2], [1, 1], [1, 1], False)

    def make(x, grad):
        indices = aten.max_pool2d_with_indices(x, *geometry)[1]
        return lambda: aten.max_pool2d_with_indices_backward(grad, x, *geometry, indices)

    return per_layout(make, uniform("x", n, 64, 25, 25), uniform("grad", n, 64, 13, 13))


def global_pool(n: int) -> Forms:
    """mean over the pixels of each channel"""
    return per_layout(lambda x: lambda: F.adaptive_avg_pool2d(x, 1), uniform("x", n, 128, 7, 7))


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
        parameters = [nn.Parameter(uniform(f"p{i}", *shape).clone()) for i, shape in enumerate(shapes)]
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


def chain() -> Forms:
    """1,000 additions of tensors of one element, of which each needs the result of the one before"""
    x, y = uniform("x", 1), uniform("y", 1)

    def call():
        total = x
        for _ in range(1000):
            total = total + y
        return total

    return {"torch-eager": call}


def allocate() -> Forms:
    """1,000 tensors of a few sizes from the caching allocator, each freed again"""

    def call():
        for at in range(1000):
            torch.empty(1 << (at % 8), device=inputs.DEVICE)

    return {"torch-eager": call}


def host_cases() -> dict[str, Case]:
    """what an operation costs beside its arithmetic"""
    host = "; the host's time, without the wait" if on_gpu() else ""
    made = {
        "overhead/untracked": Case(f"1000 additions of 1 element{host}", lambda t: overhead(False), host=on_gpu()),
        "overhead/recorded": Case(
            f"1000 additions of 1 element, recorded for backward{host}",
            lambda t: overhead(True),
            inference=False,
            host=on_gpu(),
        ),
    }
    if on_gpu():
        about = f"1000 blocks of memory, each freed again{host}"
        made["overhead/pool"] = Case(about, lambda t: allocate(), host=True)
        made["overhead/chain"] = Case("1000 additions of 1 element, one after the other", lambda t: chain())
        made["top_k/100-of-900"] = Case("places of the 100 greatest of 1x900 logits", lambda t: top_k())
    return made


def image_cases(sizes: Sizes) -> dict[str, Case]:
    """patches, and the layers between convolutions"""
    n, cut = sizes.patches, sizes.cut
    made = {}
    for name, channels, patch, stride in [("50-50", 1, 50, 50), ("50-25", 1, 50, 25), ("rgb-100", 3, 100, 100)]:
        made[f"unfold/{name}"] = Case(
            f"1x{channels}x{cut}x{cut}, patch {patch} stride {stride}, into existing memory",
            lambda t, shape=(channels, cut, patch, stride): unfold(*shape),
        )
    for side in (25, 13):
        about = f"training, {n}x64x{side}x{side}"
        made[f"batch_norm/64-{side}/forward"] = Case(about, lambda t, side=side: norm_forward(n, 64, side))
        made[f"batch_norm/64-{side}/backward"] = Case(about, lambda t, side=side: norm_backward(n, 64, side))
    pool = f"3x3 stride 2 padding 1, {n}x64x25x25"
    made["max_pool2d/forward"] = Case(pool, lambda t: pool_forward(n))
    made["max_pool2d/backward"] = Case(pool, lambda t: pool_backward(n))
    made["global_avg_pool/forward"] = Case(f"{n}x128x7x7", lambda t: global_pool(n))
    return made


def row_cases() -> dict[str, Case]:
    """layers of rows"""
    large = 1600 * 128 * 128
    return {
        "linear/1600-128-128/forward": Case(
            "1600x128 -> 128", lambda t: linear_forward(1600, 128, 128), 2 * large, products=True
        ),
        "linear/1600-128-128/backward": Case(
            "1600x128 -> 128, all gradients", lambda t: linear_backward(1600, 128, 128), 4 * large, products=True
        ),
        "linear/64-128-512/forward": Case(
            "64x128 -> 512", lambda t: linear_forward(64, 128, 512), 2 * 64 * 128 * 512, products=True
        ),
        "softmax/512-200": Case("512 rows of 200", lambda t: softmax(512, 200)),
        "softmax/16-32400": Case("16 rows of 32400", lambda t: softmax(16, 32400)),
        "layer_norm/64-128": Case("64 rows of 128", lambda t: layer_norm(64, 128)),
        "layer_norm/3200-128": Case("3200 rows of 128", lambda t: layer_norm(3200, 128)),
    }


def draw_cases(draws: Iterable[tuple[int, int]], count: int) -> dict[str, Case]:
    """so many draws from rows of so many logits"""
    return {
        f"gumbel_top_k/{count}-of-{columns}": Case(
            f"top {count} of {rows}x{columns}, fresh noise each call",
            lambda t, rows=rows, columns=columns: gumbel(rows, columns, count),
            random=True,
        )
        for rows, columns in draws
    }


def cases(sizes: Sizes) -> dict[str, Case]:
    """name of each op -> case"""
    images, keys = sizes.attention
    attention = f"{images} images x (4 queries, {keys} keys), width 128, 8 heads, no biases"
    return {
        "cross_attention/forward": Case(attention, lambda t: Attention(images, keys).evaluation(), products=True),
        "cross_attention/training": Case(
            f"forward and all gradients; {attention}",
            lambda t: Attention(images, keys).training(),
            inference=False,
            products=True,
        ),
        "top_m_merge/100-100": Case("16 images, 100 kept + 100 new, 32 rows of logits, keep 100", lambda t: merge()),
        **draw_cases(sizes.draws, 10),
        **image_cases(sizes),
        **row_cases(),
        **host_cases(),
        "adamw/880k": Case("one step, about 880,000 parameters in 60 tensors", lambda t: adamw(), inference=False),
    }
