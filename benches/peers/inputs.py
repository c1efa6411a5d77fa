"""Inputs that any language can make again, bit for bit: a tensor's values follow from its name.

Element i of tensor `name` is splitmix64(fnv1a64(name) + (i + 1) * GOLDEN) reduced to its top 24 bits, which give a
uniform number in [low, high). Both sides of a benchmark fill their tensors so, and can compare their checksums.
Tensors are on `DEVICE` and of `DTYPE`, which are set before any case makes its inputs. `LEND` sees every named tensor, and
may put it where both sides of a benchmark read it.
"""

import itertools
from collections.abc import Callable

import numpy as np
import torch

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
DEVICE = torch.device("cpu")
FOR_GPU = False
DTYPE = torch.float32
LEND: Callable[[str, torch.Tensor], torch.Tensor] | None = None
COMPILE: Callable[[Callable], Callable] | None = None


def use(device: str, smoke: bool):
    """Everything made from here on is for this device. A smoke run for a GPU makes do without one."""
    global DEVICE, FOR_GPU
    FOR_GPU = device == "cuda"
    DEVICE = torch.device("cpu" if smoke and not torch.cuda.is_available() else device)


def on_gpu() -> bool:
    """Whether the cases and forms are those for a GPU."""
    return FOR_GPU


def compiled(function: Callable) -> Callable:
    """the function that a form calls most: compiled where that is asked for"""
    return COMPILE(function) if COMPILE else function


def placed(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """a tensor of the host on the device"""
    return LEND(name, tensor) if LEND else tensor.to(DEVICE)


def fnv1a64(name: str) -> int:
    """FNV-1a hash of the UTF-8 bytes of `name`, 64 bits."""
    hashed = 0xCBF29CE484222325
    for byte in name.encode():
        hashed = ((hashed ^ byte) * 0x100000001B3) & MASK
    return hashed


def words(name: str, count: int) -> np.ndarray:
    """`count` 64-bit words of the splitmix64 stream that starts at the hash of `name`. (count,) u64"""
    z = np.uint64(fnv1a64(name)) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(name: str, *shape: int, low: float = -1.0, high: float = 1.0) -> torch.Tensor:
    """tensor of `shape`, uniform in [low, high): low + (high - low) * word/2^24, computed in f64 and rounded once, or once
    more to `DTYPE`."""
    unit = (words(name, int(np.prod(shape))) >> np.uint64(40)).astype(np.float64) / (1 << 24)
    values = torch.from_numpy((low + (high - low) * unit).astype(np.float32).reshape(shape))
    return placed(name, values).to(DTYPE)


def fill(module: torch.nn.Module, prefix: str) -> torch.nn.Module:
    """Sets every parameter and statistic of `module` from `prefix` and its name in the state dict; moves it to `DEVICE`
    and `DTYPE`."""
    module = module.to(DEVICE, DTYPE)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                low, high = bounds(prefix + name, tensor.shape)
                tensor.copy_(uniform(prefix + name, *tensor.shape, low=low, high=high))
    return module


def bounds(name: str, shape: torch.Size) -> tuple[float, float]:
    """Range of a parameter's values, such that variance survives the layers; `name` tells norms from queries."""
    if len(shape) == 4:
        reach = (6.0 / (shape[1] * shape[2] * shape[3])) ** 0.5
    elif len(shape) == 2:
        reach = (3.0 / shape[1]) ** 0.5
    elif name.endswith(".q"):
        reach = 0.25
    elif name.endswith("running_var") or name.endswith(".weight"):
        return 0.5, 1.5
    else:
        reach = 0.1
    return -reach, reach


def byte_values(name: str, *shape: int) -> torch.Tensor:
    """u8 tensor of `shape` of independent bytes, on the host"""
    return torch.from_numpy((words(name, int(np.prod(shape))) >> np.uint64(56)).astype(np.uint8).reshape(shape))


def suffix(at: int) -> str:
    """what ends the name of the `at`th image of its size: nothing for the first"""
    return f"-{at}" if at else ""


def dense_image(side: int, at: int = 0) -> torch.Tensor:
    """u8 image of independent pixels, the `at`th of its size: no patch is blank. (1, 1, side, side), on the host"""
    return byte_values(f"image-dense-{side}{suffix(at)}", 1, 1, side, side)


def sparse_image(side: int, at: int = 0) -> torch.Tensor:
    """u8 image as empty as a Megapixel-MNIST one: 5 digits and 50 noise patterns, each a 28x28 square at a position
    drawn uniformly, one pixel in five set; later squares overwrite earlier ones. (1, 1, side, side), on the host"""
    image = np.zeros((side, side), dtype=np.uint8)
    places = words(f"image-sparse-{side}{suffix(at)}-places", 2 * 55) % np.uint64(side - 27)
    ink = words(f"image-sparse-{side}{suffix(at)}-ink", 55 * 28 * 28).reshape(55, 28, 28)
    for (row, column), square in zip(places.reshape(55, 2).tolist(), ink):
        set_here = (square & np.uint64(0xFFFF)) < np.uint64(13107)
        image[row : row + 28, column : column + 28] = np.where(set_here, square >> np.uint64(56), 0)
    return torch.from_numpy(image.reshape(1, 1, side, side))


def philox(counter: int, key: int) -> list[int]:
    """One block of Philox4x32-10 (Salmon et al., SC 2011): four 32-bit words."""
    c = [counter & 0xFFFFFFFF, counter >> 32, 0, 0]
    low, high = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ low, q & 0xFFFFFFFF, (p >> 32) ^ c[3] ^ high, p & 0xFFFFFFFF]
        low, high = (low + 0x9E3779B9) & 0xFFFFFFFF, (high + 0xBB67AE85) & 0xFFFFFFFF
    return c


def permutation(seed: int, count: int) -> list[int]:
    """The order in which a selection with this seed sees `count` patches: Fisher and Yates from the last place on,
    with Lemire's unbiased draws from the Philox stream."""
    stream = (word for block in itertools.count() for word in philox(block, seed))

    def below(n: int) -> int:
        while True:
            product = next(stream) * n
            if product & 0xFFFFFFFF >= (1 << 32) % n:
                return product >> 32

    order = list(range(count))
    for i in range(count - 1, 0, -1):
        j = below(i + 1)
        order[i], order[j] = order[j], order[i]
    return order
