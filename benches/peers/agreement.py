"""Whether two sides computed the same: how far results are apart, and how far they may be."""

import math

import torch

# Relative to the greatest magnitude of a result. Both sides round operands once where a precision says so, at other places.
BOUNDS = {"f32": 1e-3, "tf32": 3e-2, "f16": 3e-2, "bf16": 1.5e-1}
# Part of the patches chosen that may differ: scores that lie within the rounding change places.
CHOICES = {"f32": 0.02, "tf32": 0.1, "f16": 0.1, "bf16": 0.25}
# Logits of what was drawn: standard deviations of their mean from the expected one.
DEVIATIONS = 5.0


def bound(name: str, precision: str) -> float:
    """for the results of a case"""
    if name.startswith("gumbel_top_k/"):
        return DEVIATIONS
    if name.startswith(("selection", "top_k/")):
        return CHOICES[precision]
    # Batch statistics and the kinks of ReLUs magnify the rounding of a training step.
    return min(BOUNDS[precision] * (10.0 if "/training" in name else 1.0), 0.5)


def apart(name: str, results: list[torch.Tensor], wanted: list[torch.Tensor]) -> float:
    """How far results are from those wanted, by the measure of the case; infinite if they are not comparable."""
    if name.startswith(("selection", "top_k/")):
        rows = wanted[0].reshape(-1, wanted[0].shape[-1]).long()
        if results[0].numel() != rows.numel():
            return math.inf
        pairs = zip(results[0].reshape(rows.shape).long().tolist(), rows.tolist())
        return max(1.0 - len(set(mine) & set(theirs)) / len(theirs) for mine, theirs in pairs)
    # One side may keep several matrices in one.
    whole = {part.numel() for part in wanted}
    parts = ((part, max((n for n in whole if n and part.numel() % n == 0), default=0)) for part in results)
    results = [piece for part, n in parts for piece in (part.reshape(-1).split(n) if n else [part])]
    if sorted(map(torch.numel, results)) != sorted(map(torch.numel, wanted)):
        return math.inf
    # Gradients of parameters come in each side's own order: each is held against the nearest of its size.
    left, worst = [part.reshape(-1).double() for part in results], 0.0
    for part in wanted:
        part = part.reshape(-1).double()
        able = [(distance(one, part), at) for at, one in enumerate(left) if one.numel() == part.numel()]
        error, at = min(able)
        worst = max(worst, error)
        del left[at]
    return worst


def distance(mine: torch.Tensor, theirs: torch.Tensor) -> float:
    """the greatest difference over the greatest magnitude"""
    if mine.numel() == 0:
        return 0.0
    far, scale = (mine - theirs).abs().max().item(), theirs.abs().max().item()
    return math.inf if math.isnan(far) else far / scale if scale else far and math.inf


def drawn(indices: torch.Tensor, logits: torch.Tensor) -> float:
    """How many standard deviations the mean logit of (rows, k) draws is from its expectation, of logits uniform in [-4, 4];
    infinite where a place was drawn twice or is none. A draw's density is that of the logits times their exponential, as long as few
    are drawn of many: 3.0027 with a standard deviation of 0.989."""
    indices = indices.reshape(logits.shape[0], -1).long()
    if indices.min() < 0 or indices.max() >= logits.shape[1]:
        return math.inf
    if any(len(set(row)) != len(row) for row in indices.tolist()):
        return math.inf
    mean = torch.gather(logits.double(), 1, indices).mean().item()
    return abs(mean - 3.0027) * math.sqrt(indices.numel()) / 0.989
