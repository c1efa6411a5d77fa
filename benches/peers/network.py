"""The network of Iterative Patch Selection (Bergner et al., ICLR 2023) in plain PyTorch, Megapixel-MNIST configuration.

Only what the benchmarks run: the ResNet-18 encoder cut after layer 2, and the cross-attention that scores patches.
Module names give the parameter names of the published implementation, which `inputs.fill` seeds the values with.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """conv3x3 BN ReLU conv3x3 BN, plus the input or its 1x1 projection, ReLU: (n, in, h, w) -> (n, out, h/s, w/s)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + shortcut)


def encoder(channels: int = 1) -> nn.Sequential:
    """ResNet-18 up to layer 2 and the global average: (n, channels, p, p) -> (n, 128, 1, 1)."""
    return nn.Sequential(
        nn.Conv2d(channels, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
        nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1)),
        nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1)),
        nn.AdaptiveAvgPool2d(1),
    )


class CrossAttention(nn.Module):
    """Learned queries attend to patch embeddings, no biases: x (b, n, d) -> (b, t, d)."""

    def __init__(self, tokens: int, width: int, heads: int):
        super().__init__()
        self.tokens, self.width, self.heads = tokens, width, heads
        self.q = nn.Parameter(torch.empty(1, tokens, width))
        self.q_w = nn.Linear(width, width, bias=False)
        self.k_w = nn.Linear(width, width, bias=False)
        self.v_w = nn.Linear(width, width, bias=False)
        self.fc = nn.Linear(width, width, bias=False)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """(b, n, d) -> (b, heads, n, d / heads)"""
        return x.view(x.shape[0], x.shape[1], self.heads, self.width // self.heads).transpose(1, 2)

    def attention(self, x: torch.Tensor) -> torch.Tensor:
        """softmax over the patches, (b, heads, t, n)"""
        q, k = self.split(self.q_w(self.q)), self.split(self.k_w(x))
        return F.softmax(torch.matmul(q / math.sqrt(self.width // self.heads), k.transpose(2, 3)), dim=-1)

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """mean of the attention over heads and tokens, (b, n)"""
        return self.attention(x).mean(dim=1).transpose(1, 2).mean(-1)

    def join(self, heads: torch.Tensor) -> torch.Tensor:
        """(b, heads, t, d / heads) -> output projection of (b, t, d)"""
        return self.fc(heads.transpose(1, 2).reshape(heads.shape[0], heads.shape[2], self.width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.join(torch.matmul(self.attention(x), self.split(self.v_w(x))))

    def folded_queries(self) -> torch.Tensor:
        """what an embedding is multiplied with for its logits, (heads * t, d): no keys are made"""
        q = self.split(self.q_w(self.q))[0] / math.sqrt(self.width // self.heads)
        k = self.k_w.weight.view(self.heads, self.width // self.heads, self.width)
        return torch.matmul(q, k).flatten(0, 1)

    def folded(self, x: torch.Tensor) -> torch.Tensor:
        """the same with keys and values folded into the queries and the output: neither is made for a patch"""
        p = F.softmax(torch.matmul(self.folded_queries(), x.transpose(1, 2)), dim=-1)
        seen = torch.matmul(p, x).unflatten(1, (self.heads, self.tokens))
        v = self.v_w.weight.view(self.heads, self.width // self.heads, self.width)
        return self.join(torch.matmul(seen, v.transpose(1, 2)))

    def fused(self, x: torch.Tensor) -> torch.Tensor:
        """the same through scaled_dot_product_attention"""
        q = self.split(self.q_w(self.q)).expand(x.shape[0], -1, -1, -1)
        return self.join(F.scaled_dot_product_attention(q, self.split(self.k_w(x)), self.split(self.v_w(x))))


def positional_encoding(count: int, width: int) -> torch.Tensor:
    """sinusoid over the row-major patch index: sin in even columns, cos in odd ones, (1, count, width), on the host"""
    angle = torch.arange(count)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    return torch.stack((angle.sin(), angle.cos()), dim=-1).reshape(1, count, width)


def patchify(image: torch.Tensor, patch: int, stride: int) -> torch.Tensor:
    """patches in row-major order, materialised as the published data set does: (b, c, h, w) -> (b, n, c, p, p)"""
    grid = image.unfold(2, patch, stride).unfold(3, patch, stride)
    return grid.permute(0, 2, 3, 1, 4, 5).reshape(image.shape[0], -1, image.shape[1], patch, patch)
