"""Iterative Patch Selection in plain PyTorch, float64, for a small reference case of the whole network."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

TASKS = {"majority": "softmax", "multi": "sigmoid"}
CLASSES, HEADS, PATCH, MEMORY, ITERATION = 4, 2, 12, 3, 4


def cross_attention(x, q, wq, wk, wv, wo, heads):
    """x (B, N, D), q (T, D) to y (B, T, D) and the mean attention of each x, (B, N)."""
    split = lambda t: t.unflatten(-1, (heads, -1)).transpose(-3, -2)
    queries, keys, kept = split(q @ wq.T), split(x @ wk.T), split(x @ wv.T)
    attention = (queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1])).softmax(-1)
    return {"y": (attention @ kept).transpose(1, 2).flatten(2) @ wo.T, "scores": attention.mean((1, 2))}


class Block(nn.Module):
    """Two 3×3 convolutions with batch norm around a shortcut."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (self.downsample(x) if hasattr(self, "downsample") else x)).relu()


class Attention(nn.Module):
    def __init__(self, d, tokens):
        super().__init__()
        self.q = nn.Parameter(torch.randn(1, tokens, d))
        self.q_w, self.k_w, self.v_w, self.fc = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.layer_norm = nn.LayerNorm(d, eps=1e-6)

    def forward(self, x):
        weights = [w.weight for w in (self.q_w, self.k_w, self.v_w, self.fc)]
        both = cross_attention(x, self.q[0], *weights, heads=HEADS)
        return self.layer_norm(both["y"] + self.q), both["scores"]


class Perceptron(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.w_1, self.w_2, self.layer_norm = nn.Linear(d, 4 * d), nn.Linear(4 * d, d), nn.LayerNorm(d, eps=1e-6)

    def forward(self, x):
        return self.layer_norm(self.w_2(self.w_1(x).relu()) + x)


class Transformer(nn.Module):
    def __init__(self, d, tokens):
        super().__init__()
        self.crs_attn, self.mlp = Attention(d, tokens), Perceptron(d)


class Network(nn.Module):
    """Parameter names are those of the published implementation."""

    def __init__(self, widths, blocks):
        super().__init__()
        stages, inputs = [], widths[0]
        for at, width in enumerate(widths):
            stride = 1 if at == 0 else 2
            stages.append(nn.Sequential(*(Block(inputs if b == 0 else width, width, stride if b == 0 else 1)
                                          for b in range(blocks))))
            inputs = width
        stem = [nn.Conv2d(1, widths[0], 7, 2, 3, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        self.encoder = nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.transf = Transformer(inputs, len(TASKS))
        self.output_layers = nn.ModuleDict({task: nn.Sequential(nn.Linear(inputs, CLASSES)) for task in TASKS})
        self.d = inputs

    def features(self, patches, position):
        """patches (B, N, 1, p, p) to (B, N, D), with position."""
        return self.encoder(patches.flatten(0, 1)).unflatten(0, patches.shape[:2]) + position

    def predict(self, patches, position):
        attended, scores = self.transf.crs_attn(self.features(patches, position))
        y = self.transf.mlp(attended)
        act = {"softmax": lambda z: z.softmax(-1), "sigmoid": torch.sigmoid}
        return {t: act[kind](self.output_layers[t](y[:, i])) for i, (t, kind) in enumerate(TASKS.items())}, scores

    @torch.no_grad()
    def select(self, patches, position):
        """The published loop: keep the M best of kept and new, chunk by chunk."""
        features = self.encoder(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])
        kept = torch.arange(MEMORY).expand(len(patches), -1)
        for start in range(MEMORY, patches.shape[1], ITERATION):
            new = torch.arange(start, min(start + ITERATION, patches.shape[1])).expand(len(patches), -1)
            candidates = torch.cat([kept, new], 1)
            x = features.take_along_dim(candidates[..., None], 1) + position[0][candidates]
            order = self.transf.crs_attn(x)[1].argsort(dim=1, descending=True, stable=True)[:, :MEMORY]
            kept = candidates.take_along_dim(order, 1)
        return kept


def cases(to):
    torch.manual_seed(11)
    network = Network([6, 8], 2).double()
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    with torch.no_grad():
        for tensor in [*network.parameters(), *network.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(tensor.float().double())
    state = {f"param.{k}": v.clone() for k, v in network.state_dict().items() if "num_batches" not in k}
    image = torch.randint(0, 256, (2, 1, 50, 40), dtype=torch.uint8)
    grid = image.double().div(255).unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)
    patches = grid.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)
    n = torch.arange(patches.shape[1]).double()[:, None]
    rate = 10000 ** (-torch.arange(0, network.d, 2).double() / network.d)
    position = torch.stack([(n * rate).sin(), (n * rate).cos()], 2).flatten(1)[None]
    network.eval()
    selected = network.select(patches, position)
    chosen = patches.take_along_dim(selected[..., None, None, None], 1)
    where = position[0][selected]
    evaluated, scores = network.predict(chosen, where)
    network.train()
    trained, _ = network.predict(chosen, where)
    labels = {"majority": torch.tensor([1, 3]), "multi": torch.randint(0, 2, (2, CLASSES))}
    losses = {"majority": F.nll_loss((trained["majority"] + 1e-6).log(), labels["majority"]),
              "multi": F.binary_cross_entropy(trained["multi"], labels["multi"].double())}
    loss = sum(losses.values()) / len(losses)
    loss.backward()
    attributes = {"patch": [PATCH] * 2, "stride": [PATCH] * 2, "m": MEMORY, "i": ITERATION, "heads": HEADS,
                  "tokens": len(TASKS), "d": network.d, "res_blocks": 2, "widths": [6, 8], "n_class": CLASSES,
                  "tasks": TASKS}
    outputs = {"selected": selected, "eval.scores": scores, "loss": loss}
    outputs |= {f"eval.{t}": y for t, y in evaluated.items()} | {f"train.{t}": y for t, y in trained.items()}
    outputs |= {f"loss.{t}": v for t, v in losses.items()}
    tensors = state | {"input.image": image} | {f"input.label.{t}": v for t, v in labels.items()}
    tensors |= {f"output.{k}": v for k, v in outputs.items()}
    tensors |= {f"grad.{name}": p.grad for name, p in network.named_parameters()}
    to.write("ips", "small", attributes, tensors)
