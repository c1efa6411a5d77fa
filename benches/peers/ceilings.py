"""What a device can do at most, by PyTorch's kernels for exactly that: copying, products of large matrices, launching."""

import torch

from paired import Clock, Side, enough, quantile

SIDE = 8192


def measure(clock: Clock) -> dict[str, float]:
    """Bytes a second of a copy (read and written), operations a second of products by precision, seconds of a launch: the best
    of some bursts, since it is what is possible that is asked for."""

    def best(run) -> float:
        side = Side("", lambda times: [run() for _ in range(times)])
        side.run(2)
        enough(clock, side)
        return quantile([clock.burst(side.run, side.calls)[0] for _ in range(7)], 0.0)

    source = torch.ones(1 << 28, device="cuda")
    target = torch.empty_like(source)
    made = {"copy": 2 * source.numel() * 4 / best(lambda: target.copy_(source))}
    del source, target
    kinds = {"f32": torch.float32, "tf32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
    for name, dtype in kinds.items():
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        a, b = (torch.rand(SIDE, SIDE, device="cuda").to(dtype) for _ in range(2))
        made[name] = 2 * SIDE**3 / best(lambda: torch.mm(a, b))
    torch.backends.cuda.matmul.allow_tf32 = False
    one = torch.zeros(1, device="cuda")
    made["launch"] = best(lambda: one.add_(1.0))
    return made
