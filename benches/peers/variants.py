"""PyTorch's ways to compute a case in this process: the case's forms as they are, the fastest of them compiled, and both in a
CUDA graph that is captured by hand. What cannot run says why."""

import contextlib
import ctypes
import itertools
from collections.abc import Callable

import torch

import inputs
from case import Case, Staged
from library import Library

DTYPES = {"f32": torch.float32, "tf32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
UPSTREAM = "torch-eager"  # as the published code does it


class Lender:
    """Puts named tensors where both sides read them: one copy, lent to the library by its address."""

    def __init__(self, library: Library):
        self.library, self.held = library, {}

    def __call__(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        key = (name, tensor.shape, tensor.dtype)
        if key not in self.held:
            self.held[key] = self.place(tensor)
            dtype = {torch.float32: "f32", torch.uint8: "u8"}[tensor.dtype]
            dims, pointer = list(tensor.shape), self.held[key].data_ptr()
            if inputs.DEVICE.type == "cuda":
                torch.cuda.synchronize()
            self.library.ask("lend", name=name, dtype=dtype, dims=dims, pointer=pointer)
        return self.held[key]

    def place(self, tensor: torch.Tensor) -> torch.Tensor:
        """On the GPU. The emulator's memory is the host's: there a tensor of the CPU is made over memory of its device."""
        if inputs.DEVICE.type == "cuda":
            return tensor.to(inputs.DEVICE)
        size = tensor.numel() * tensor.element_size()
        memory = (ctypes.c_char * max(size, 1)).from_address(self.library.ask("allocate", bytes=size)["pointer"])
        return torch.frombuffer(memory, dtype=tensor.dtype, count=tensor.numel()).view(tensor.shape).copy_(tensor)

    def forget(self):
        """before the next case; the library lets go first"""
        self.library.ask("forget")
        self.held.clear()


class Variant:
    """A way to compute a case, with the modes it runs under."""

    def __init__(self, name: str, call: Callable[[], object], case: Case, precision: str, plain: bool):
        self.name, self.call, self.case, self.precision = name, call, case, precision
        self.plain = plain  # neither compiled nor captured

    @contextlib.contextmanager
    def mode(self):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.precision == "tf32"
        evaluated = torch.inference_mode() if self.plain else torch.no_grad()
        with evaluated if self.case.inference else contextlib.nullcontext():
            yield

    def first(self) -> list[torch.Tensor]:
        """all results of a call on the first inputs, on the host in f32 or integers"""
        reset(self.call)
        with self.mode():
            return flat(self.call())

    def run(self, times: int):
        with self.mode():
            for _ in range(times):
                self.call()


def reset(call: Callable[[], object]):
    """a form that takes inputs in turn begins anew"""
    getattr(call, "reset", lambda: None)()


def flat(output: object) -> list[torch.Tensor]:
    """every tensor of an output, on the host"""
    if isinstance(output, (tuple, list)):
        return list(itertools.chain.from_iterable(flat(part) for part in output))
    output = output.detach().cpu()
    return [output.float() if output.is_floating_point() else output.clone()]


def eager(case: Case, precision: str, threads: int) -> list[Variant]:
    """the case's forms, with tensors and parameters of that precision"""
    inputs.DTYPE, inputs.COMPILE = DTYPES[precision], None
    try:
        forms = case.build(threads)
    finally:
        inputs.DTYPE = torch.float32
    return [Variant(name, call, case, precision, True) for name, call in forms.items()]


def compiled(variant: Variant, threads: int, mode: str = "max-autotune-no-cudagraphs") -> Variant:
    """The same form compiled: its network where the case has one, else the whole of it."""
    seen = 0

    def network(function: Callable) -> Callable:
        nonlocal seen
        seen += 1
        return torch.compile(function, mode=mode, dynamic=False)

    inputs.DTYPE, inputs.COMPILE = DTYPES[variant.precision], network
    try:
        call = variant.case.build(threads)[variant.name]
    finally:
        inputs.DTYPE, inputs.COMPILE = torch.float32, None
    if not seen:
        call = torch.compile(call, mode=mode, dynamic=False)
    return Variant(f"{variant.name}+compile", call, variant.case, variant.precision, False)


def captured(variant: Variant) -> Variant:
    """the same in a CUDA graph; of a form in stages, what happens on the device"""
    staged = variant.call if isinstance(variant.call, Staged) else None
    reset(variant.call)
    held = staged.load() if staged else None

    def compute() -> object:
        return staged.compute(held) if staged else variant.call()

    graph = torch.cuda.CUDAGraph()
    with Variant("", compute, variant.case, variant.precision, False).mode():
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(3):
                compute()
        torch.cuda.current_stream().wait_stream(beside)
        # Of inputs in turn a graph holds the first.
        reset(variant.call)
        with torch.cuda.graph(graph):
            output = compute()

    def replay(*_) -> object:
        graph.replay()
        return output

    call = Staged(staged.load, replay, staged.give) if staged else replay
    return Variant(f"{variant.name}+graph", call, variant.case, variant.precision, False)
