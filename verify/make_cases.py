#!/usr/bin/env python3
"""Makes the small reference cases of verify/cases with PyTorch.

    python verify/make_cases.py verify/cases

Needs torch and safetensors. Every value is computed in float64 from inputs that are exact in float32 and stored in
float32, so that a case is the rounded true answer. Each file holds `input.*`, `output.*` and, where the operation has
gradients, `grad_output.*` (fed to backward) and `grad.*`; its metadata name the operation and its attributes.
"""
import json
import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import ips_reference


class Recorder:
    """Writes cases into a folder."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, op, name, attributes, tensors):
        def stored(t):
            kind = torch.uint8 if t.dtype == torch.uint8 else torch.float32 if t.is_floating_point() else torch.int32
            return t.detach().to(kind).contiguous()

        metadata = {"op": op, "attrs": json.dumps(attributes), "source": f"torch {torch.__version__} float64"}
        path = self.folder / f"{op}-{name}.safetensors"
        save_file({key: stored(t) for key, t in tensors.items()}, path, metadata=metadata)

    def function(self, op, name, attributes, inputs, function):
        """Records a function of named inputs; those that require a gradient get one."""
        outputs = function(**inputs)
        outputs = outputs if isinstance(outputs, dict) else {"y": outputs}
        tensors = {f"input.{key}": t for key, t in inputs.items()} | {f"output.{key}": t for key, t in outputs.items()}
        wanted = {key: t for key, t in inputs.items() if t.requires_grad}
        roots = {key: t for key, t in outputs.items() if t.requires_grad}
        if wanted and roots:
            fed = {key: values(*t.shape, grad=False) for key, t in roots.items()}
            grads = torch.autograd.grad(list(roots.values()), list(wanted.values()), [fed[key] for key in roots])
            tensors |= {f"grad_output.{key}": t for key, t in fed.items()}
            tensors |= {f"grad.{key}": t for key, t in zip(wanted, grads)}
        self.write(op, name, attributes, tensors)


def values(*shape, grad=True, scale=1.0):
    return (torch.randn(shape, dtype=torch.float32) * scale).double().requires_grad_(grad)


def patch_cases(to):
    def unfold(x, patch, stride):
        parts = x.unfold(2, patch[0], stride[0]).unfold(3, patch[1], stride[1])
        return parts.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)

    for name, shape, patch, stride in [("tiles", (2, 2, 9, 8), (3, 4), (3, 4)), ("rest", (2, 1, 10, 7), (4, 3), (3, 2))]:
        to.function("unfold", name, {"patch": patch, "stride": stride}, {"x": values(*shape)},
                    lambda x: unfold(x, patch, stride))
    offsets = torch.tensor([[[-1, 2], [0, 0], [0, 0]], [[5, 4], [3, -2], [9, 9]]])
    padded = lambda x: F.pad(x, (10, 10, 10, 10))
    to.function("extract_patches", "edges", {"patch": (3, 4)}, {"x": values(2, 2, 7, 6), "offsets": offsets},
                lambda x, offsets: torch.stack([
                    torch.stack([padded(x)[b, :, r + 10:r + 13, c + 10:c + 14] for r, c in offsets[b].tolist()])
                    for b in range(2)]))
    for name, size, mode in [("down", (3, 4), "area"), ("up", (11, 9), "bilinear")]:
        options = {} if mode == "area" else {"align_corners": False}
        to.function("resize", name, {"size": size, "mode": mode}, {"x": values(2, 2, 7, 6)},
                    lambda x: F.interpolate(x, size, mode=mode, **options))
    geometry = [("plain", (2, 3, 6, 5), 4, (3, 3), (1, 1), (1, 1)), ("stride", (2, 4, 7, 9), 5, (3, 2), (2, 3), (0, 1)),
                ("point", (3, 5, 4, 4), 6, (1, 1), (2, 2), (0, 0))]
    for name, shape, out, kernel, stride, padding in geometry:
        inputs = {"x": values(*shape), "weight": values(out, shape[1], *kernel, scale=0.3), "bias": values(out)}
        to.function("conv2d", name, {"stride": stride, "padding": padding}, inputs,
                    lambda x, weight, bias: F.conv2d(x, weight, bias, stride, padding))
    for kernel, stride, padding in [(3, 2, 1), (2, 3, 0)]:
        attributes = {"kernel": [kernel] * 2, "stride": [stride] * 2, "padding": [padding] * 2}
        to.function("max_pool2d", f"k{kernel}", attributes, {"x": values(2, 3, 7, 6)},
                    lambda x: F.max_pool2d(x, kernel, stride, padding))
    to.function("global_avg_pool", "odd", {}, {"x": values(2, 3, 5, 1)}, lambda x: x.mean((2, 3)))


def merge_cases(to):
    def merge(logits, m, chunk):
        kept = torch.arange(min(m, logits.shape[1])).expand(len(logits), -1)
        for start in range(m, logits.shape[1], chunk):
            new = torch.arange(start, min(start + chunk, logits.shape[1])).expand(len(logits), -1)
            candidates = torch.cat([kept, new], 1)
            rows = logits.take_along_dim(candidates[..., None], 1)
            order = rows.softmax(1).mean(2).argsort(dim=1, descending=True, stable=True)[:, :m]
            kept = candidates.take_along_dim(order, 1)
        return kept

    ties = values(1, 40, 3, grad=False)
    ties[:, 10:30] = 2.0
    for name, logits, m, chunk in [("plain", values(2, 53, 4, grad=False), 7, 5), ("ties", ties, 8, 9),
                                   ("few", values(2, 5, 2, grad=False), 9, 3)]:
        to.function("top_m_merge", name, {"m": m, "chunk": chunk}, {"logits": logits},
                    lambda logits: {"indices": merge(logits, m, chunk)})


def network_cases(to):
    for op in ["relu", "tanh", "sigmoid"]:
        to.function(op, "plain", {}, {"x": values(2, 3, 5, scale=2.0)}, getattr(torch, op))
    for op in ["softmax", "log_softmax"]:
        to.function(op, "rows", {"axis": -1}, {"x": values(3, 7, scale=10.0)}, lambda x: getattr(x, op)(-1))
    to.function("linear", "plain", {}, {"x": values(5, 7), "weight": values(3, 7), "bias": values(3)}, F.linear)
    to.function("layer_norm", "plain", {"eps": 1e-6}, {"x": values(2, 3, 9), "weight": values(9), "bias": values(9)},
                lambda x, weight, bias: F.layer_norm(x, (9,), weight, bias, 1e-6))
    for training in [True, False]:
        for name, shape in [("2d", (3, 4, 5, 3)), ("1d", (6, 4))]:
            def norm(x, weight, bias, running_mean, running_var):
                mean, var = running_mean.clone(), running_var.clone()
                y = F.batch_norm(x, mean, var, weight, bias, training, 0.1, 1e-5)
                return {"y": y, "running_mean": mean, "running_var": var} if training else y

            inputs = {"x": values(*shape), "weight": values(4), "bias": values(4), "running_mean": values(4, grad=False),
                      "running_var": values(4, grad=False).abs() + 0.5}
            to.function("batch_norm", f"{'train' if training else 'eval'}{name}",
                        {"training": training, "momentum": 0.1, "eps": 1e-5}, inputs, norm)
    to.function("cross_attention", "plain", {"heads": 2},
                {"x": values(2, 7, 8), "q": values(3, 8), **{w: values(8, 8, scale=0.4) for w in ("wq", "wk", "wv", "wo")}},
                lambda **inputs: ips_reference.cross_attention(heads=2, **inputs))
    to.function("gated_attention", "plain", {},
                {"h": values(2, 6, 5), "v": values(4, 5), "bv": values(4), "u": values(4, 5), "bu": values(4), "w": values(4)},
                gated_attention)
    attention = values(3, 4, grad=False).softmax(1) * 0.8
    without = lambda attention, features: (
        (attention[..., None] * features).cumsum(1) - attention[..., None] * features
        + (1 - attention.cumsum(1) + attention)[..., None] * features).mean(1)
    to.function("expectation", "without", {"replace": False},
                {"attention": attention.float().double(), "features": values(3, 4, 5)}, without)
    to.function("expectation", "with", {"replace": True},
                {"attention": attention.float().double(), "features": values(3, 4, 5)}, lambda attention, features: features.mean(1))
    perturbed(to)


def gated_attention(h, v, bv, u, bu, w):
    weights = ((h @ v.T + bv).tanh() * (h @ u.T + bu).sigmoid() @ w).softmax(1)
    return {"y": (weights[..., None] * h).sum(1), "weights": weights}


def perturbed(to, k=3, sigma=0.1):
    scores, noise, fed = values(2, 11, grad=False), values(2, 17, 11, grad=False), values(2, k, 11, grad=False)
    chosen = (scores[:, None] + sigma * noise).topk(k, -1).indices.sort(-1).values
    hard = F.one_hot(chosen, 11).double()
    reward = (hard * fed[:, None]).sum((2, 3))
    gradient = (reward[..., None] * noise).mean(1) / sigma
    to.write("perturbed_top_k", "plain", {"k": k, "sigma": sigma},
             {"input.scores": scores, "input.noise": noise, "output.indicators": hard.mean(1),
              "grad_output.indicators": fed, "grad.scores": gradient})


def training_cases(to):
    to.function("cross_entropy", "plain", {"reduction": "mean"},
                {"logits": values(6, 4, scale=3.0), "target": torch.randint(0, 4, (6,))}, lambda logits, target: F.cross_entropy(logits, target))
    to.function("bce_with_logits", "plain", {"reduction": "mean"},
                {"logits": values(4, 3, scale=5.0), "target": torch.randint(0, 2, (4, 3)).double()},
                lambda logits, target: F.binary_cross_entropy_with_logits(logits, target))
    start, gradients = values(7, 3, grad=False, scale=0.25), values(3, 7, 3, grad=False)
    parameter = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.AdamW([parameter], lr=3e-3, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.2)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    state = optimizer.state[parameter]
    to.write("adamw", "plain", {"lr": 3e-3, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0.2},
             {"input.parameter": start, "input.gradients": gradients, "output.step": parameter.detach() - start,
              "output.first_moment": state["exp_avg"], "output.second_moment": state["exp_avg_sq"]})
    # The three known answers published with the generator.
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0]
    signed = lambda rows: torch.tensor([[v - 2**32 if v >= 2**31 else v for v in row] for row in rows])
    to.write("philox", "published", {"rounds": 10}, {
        "input.counter": signed([[0] * 4, [2**32 - 1] * 4, pi[:4]]),
        "input.key": signed([[0] * 2, [2**32 - 1] * 2, pi[4:]]),
        "output.words": signed([[0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
                                [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
                                [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]])})


def main():
    torch.manual_seed(7)
    to = Recorder(sys.argv[1])
    for cases in [patch_cases, merge_cases, network_cases, training_cases, ips_reference.cases]:
        cases(to)


if __name__ == "__main__":
    main()
