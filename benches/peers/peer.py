"""PyTorch as the peer of the benchmarks on the CPU and on CUDA, and ONNX Runtime on the CPU: a server that times one case
at a time on request.

Reads one JSON object a line on stdin and answers one a line on stdout; `README.md` documents both. With `--measure` it
times the named cases by itself and prints a Markdown table.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import torch

import conv_cases
import encoder_cases
import inputs
import op_cases
import selection_cases
from case import Case, checksum
from sizes import NAMED, Sizes

WARM_UP_SECONDS = 0.25  # per form, when a case is first asked for
SETTLE_SECONDS = 0.02  # worker threads spin for a while after their last task: let them sleep before answering
TOGETHER_SECONDS = 0.02  # on a GPU, calls that are waited for together take at least so long
TF32 = "-tf32"  # ends the names of forms in which products may round their operands to 10 bits


def all_cases(sizes: Sizes) -> dict[str, Case]:
    """every case by name"""
    families = (conv_cases, encoder_cases, selection_cases, op_cases)
    return {name: case for family in families for name, case in family.cases(sizes).items()}


def wait():
    """until a GPU has done everything that was launched"""
    if inputs.DEVICE.type == "cuda":
        torch.cuda.synchronize()


class Prepared:
    """A case with its inputs made and every form warmed up, at one thread count; rounds of no time show that the wish is
    to see it run, without warming up."""

    def __init__(self, case: Case, threads: int, seconds: float):
        self.case = case
        self.calls = case.build(threads)
        if inputs.on_gpu() and case.products:
            self.calls |= {name + TF32: call for name, call in self.calls.items()}
        self.sums, self.warm, self.together = {}, {}, {}
        for name, call in self.calls.items():
            start = time.perf_counter()
            with self.mode(name):
                self.sums[name] = checksum(call())
            self.together[name], self.warm[name] = 1, time.perf_counter() - start
            if seconds > 0:
                self.warm_up(name)

    def warm_up(self, name: str):
        with self.mode(name):
            for _ in range(3):  # TorchScript compiles and cuDNN chooses during the first calls
                self.calls[name]()
            if inputs.DEVICE.type == "cuda" and not self.case.host:
                while self.timed(name) * self.together[name] < TOGETHER_SECONDS:
                    self.together[name] *= 2
        self.warm[name] = statistics.median(self.burst(name, WARM_UP_SECONDS))

    @contextlib.contextmanager
    def mode(self, name: str):
        """what the calls of a form run under"""
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name.endswith(TF32)
        with torch.inference_mode() if self.case.inference else contextlib.nullcontext():
            yield

    def form(self, peer: str) -> str:
        """`torch`, `torch-tf32` and `best` mean the fastest form by the warm-up: of PyTorch's in f32, of those in TF32, of
        all"""
        if peer in self.calls:
            return peer
        kinds = {
            "torch": lambda name: name.startswith("torch") and not name.endswith(TF32),
            "torch" + TF32: lambda name: name.endswith(TF32),
            "best": lambda name: True,
        }
        able = [name for name in self.calls if peer in kinds and kinds[peer](name)]
        if not able:
            raise ValueError(f"no peer {peer!r}: one of {', '.join([*kinds, *self.calls])}")
        return min(able, key=self.warm.__getitem__)

    def timed(self, name: str) -> float:
        """Seconds of a call, the mean of those that are waited for together."""
        call, count = self.calls[name], self.together[name]
        start = time.perf_counter()
        for _ in range(count):
            call()
        launched = time.perf_counter()
        wait()
        return ((launched if self.case.host else time.perf_counter()) - start) / count

    def burst(self, name: str, seconds: float) -> list[float]:
        """Measurements one after the other, at least three, until `seconds` have passed; a single one if these are none."""
        times = []
        with self.mode(name):
            if seconds == 0:
                return [self.timed(name)]
            self.calls[name]()
            wait()
            end = time.perf_counter() + seconds
            while len(times) < 3 or time.perf_counter() < end:
                times.append(self.timed(name))
        return times

    def rounds(self, name: str, count: int, seconds: float) -> dict:
        """Per round: the median call in seconds, how many calls, and how many cores other processes kept busy."""
        answer = {"seconds": [], "calls": [], "others": []}
        for _ in range(count):
            watch = Others()
            times = self.burst(name, seconds)
            answer["others"].append(watch.cores())
            answer["seconds"].append(statistics.median(times))
            answer["calls"].append(len(times) * self.together[name])
        return answer


class Others:
    """Cores that everything but this process kept busy since construction; null where /proc/stat is missing."""

    def __init__(self):
        self.start = self.read()

    @staticmethod
    def read() -> tuple[float, float, float] | None:
        try:
            with open("/proc/stat") as stat:
                ticks = [int(field) for field in stat.readline().split()[1:9]]
        except OSError:
            return None
        busy = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), busy, time.process_time()

    def cores(self) -> float | None:
        now = self.read()
        if now is None or self.start is None:
            return None
        wall, busy, own = (end - begin for end, begin in zip(now, self.start))
        return round(max(0.0, (busy - own) / wall), 3)


class Server:
    """Keeps the last case that was asked for; the thread count is PyTorch's own and changes with the request."""

    def __init__(self, cases: dict[str, Case]):
        self.cases = cases
        self.asked: tuple[str, int] | None = None
        self.prepared: Prepared | None = None

    def prepare(self, name: str, threads: int, seconds: float) -> Prepared:
        if name not in self.cases:
            raise ValueError(f"no case {name!r}: `peer.py --list` names them")
        if not 1 <= threads <= 1024:
            raise ValueError(f"threads {threads}: from 1 to 1024")
        torch.set_num_threads(threads)
        if self.asked != (name, threads):
            self.asked = self.prepared = None  # frees its memory
            self.prepared = Prepared(self.cases[name], threads, seconds)
            self.asked = (name, threads)
        return self.prepared

    def answer(self, request: dict) -> dict:
        name, threads = str(request["case"]), int(request.get("threads", 2))
        count, seconds = int(request.get("rounds", 1)), float(request.get("min_time", 0.3))
        prepared = self.prepare(name, threads, seconds)
        form = prepared.form(str(request.get("peer", "torch")))
        measured = prepared.rounds(form, count, seconds)
        time.sleep(SETTLE_SECONDS)
        sums = None if prepared.case.random else prepared.sums[form]
        return {
            "case": name,
            "peer": form,
            "threads": threads,
            **measured,
            "checksum": sums,
            "forms": prepared.warm,
            "flops": prepared.case.flops,
        }


def greeting(cases: dict[str, Case]) -> dict:
    """The first line: versions, where they compute, and every case with its shapes"""
    versions = {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
    if inputs.on_gpu():
        has = torch.cuda.is_available()
        versions["device"] = torch.cuda.get_device_name() if has else "the CPU"
        versions["cuda"] = torch.version.cuda
        versions["cudnn"] = str(torch.backends.cudnn.version()) if has else "none"
    else:
        import onnxruntime

        versions["onnxruntime"] = onnxruntime.__version__
    return {"ready": True, **versions, "cases": {name: case.about for name, case in cases.items()}}


def serve(cases: dict[str, Case]):
    """One answer a line until stdin ends; a bad request is answered with its error. Nothing else reaches stdout."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    server = Server(cases)
    print(json.dumps(greeting(cases)), file=replies)
    for line in sys.stdin:
        if not line.strip():
            continue
        request = None
        try:
            request = json.loads(line)
            reply = server.answer(request)
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            name = request.get("case") if isinstance(request, dict) else None
            reply = {"case": name, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=replies)


def calm_rounds(prepared: Prepared, form: str, args: argparse.Namespace) -> tuple[float, float]:
    """Median over `args.rounds` rounds in which others used under 0.06 cores; busy rounds are repeated a few times."""
    kept, busy = [], []
    while len(kept) < args.rounds and len(busy) < 4 * args.rounds:
        measured = prepared.rounds(form, 1, args.min_time)
        others = measured["others"][0] or 0.0
        (kept if others < 0.06 else busy).append((measured["seconds"][0], others))
    used = kept if len(kept) == args.rounds else sorted(kept + busy, key=lambda pair: pair[1])[: args.rounds]
    return statistics.median(seconds for seconds, _ in used), max(others for _, others in used)


def measure(cases: dict[str, Case], args: argparse.Namespace):
    """Prints one Markdown row per case and form; `others` is the busiest round that counted."""
    print("| case | form | ms | GFLOP/s | others |\n| --- | --- | ---: | ---: | ---: |")
    server = Server(cases)
    for name in [name for name in cases if not args.measure or any(part in name for part in args.measure)]:
        prepared = server.prepare(name, args.threads, args.min_time)
        for form in prepared.calls:
            seconds, others = calm_rounds(prepared, form, args)
            rate = f"{prepared.case.flops / seconds / 1e9:.0f}" if prepared.case.flops else ""
            print(f"| {name} | {form} | {seconds * 1e3:.4g} | {rate} | {others:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where PyTorch computes (cpu)")
    parser.add_argument("--smoke", action="store_true", help="the smallest sizes, on the CPU where there is no GPU")
    parser.add_argument("--list", action="store_true", help="print the cases and leave")
    parser.add_argument("--measure", nargs="*", metavar="PART", help="time the cases whose name holds a PART, or all")
    parser.add_argument("--threads", type=int, default=2, help="threads of each peer (2)")
    parser.add_argument("--rounds", type=int, default=5, help="bursts per form, their median is printed (5)")
    parser.add_argument("--min-time", type=float, default=0.3, help="seconds per burst (0.3)")
    args = parser.parse_args()
    inputs.use(args.device, args.smoke)
    torch.backends.cudnn.benchmark = True  # the fastest of cuDNN's algorithms, not the one it would guess
    cases = all_cases(NAMED["smoke" if args.smoke else args.device])
    if args.list:
        for name, case in cases.items():
            print(f"{name:32} {case.about}")
    elif args.measure is not None:
        measure(cases, args)
    else:
        serve(cases)


if __name__ == "__main__":
    main()
