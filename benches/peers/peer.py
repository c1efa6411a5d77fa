"""PyTorch and ONNX Runtime as peers of the CPU benchmarks: a server that times one case at a time on request.

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

import onnxruntime
import torch

import conv_cases
import encoder_cases
import op_cases
import selection_cases
from case import Case, checksum

CASES: dict[str, Case] = {
    **conv_cases.cases(),
    **encoder_cases.cases(),
    **selection_cases.cases(),
    **op_cases.cases(),
}
WARM_UP_SECONDS = 0.25  # per form, when a case is first asked for
SETTLE_SECONDS = 0.02  # worker threads spin for a while after their last task: let them sleep before answering


class Prepared:
    """A case with its inputs made and every form warmed up, at one thread count."""

    def __init__(self, case: Case, threads: int):
        self.case = case
        self.calls = case.build(threads)
        self.sums, self.warm = {}, {}
        for name, call in self.calls.items():
            with self.mode():
                self.sums[name] = checksum(call())
                for _ in range(3):  # TorchScript compiles during its first calls
                    call()
            self.warm[name] = statistics.median(self.burst(name, WARM_UP_SECONDS))

    def mode(self):
        return torch.inference_mode() if self.case.inference else contextlib.nullcontext()

    def form(self, peer: str) -> str:
        """`best` and `torch` mean the fastest form, of all or of PyTorch's, by the warm-up"""
        if peer in self.calls:
            return peer
        if peer not in ("best", "torch"):
            raise ValueError(f"no peer {peer!r}: one of best, torch, {', '.join(self.calls)}")
        able = [name for name in self.calls if peer == "best" or name.startswith("torch")]
        return min(able, key=self.warm.__getitem__)

    def burst(self, name: str, seconds: float) -> list[float]:
        """Times of single calls, at least three, until `seconds` have passed."""
        call, times = self.calls[name], []
        with self.mode():
            call()
            end = time.perf_counter() + seconds
            while len(times) < 3 or time.perf_counter() < end:
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
        return times

    def rounds(self, name: str, count: int, seconds: float) -> dict:
        """Per round: the median call in seconds, how many calls, and how many cores other processes kept busy."""
        answer = {"seconds": [], "calls": [], "others": []}
        for _ in range(count):
            watch = Others()
            times = self.burst(name, seconds)
            answer["others"].append(watch.cores())
            answer["seconds"].append(statistics.median(times))
            answer["calls"].append(len(times))
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
    """Keeps prepared cases between requests; the thread count is PyTorch's own and changes with the request."""

    def __init__(self):
        self.prepared: dict[tuple[str, int], Prepared] = {}

    def prepare(self, name: str, threads: int) -> Prepared:
        if name not in CASES:
            raise ValueError(f"no case {name!r}: `peer.py --list` names them")
        if not 1 <= threads <= 1024:
            raise ValueError(f"threads {threads}: from 1 to 1024")
        torch.set_num_threads(threads)
        if (name, threads) not in self.prepared:
            self.prepared[name, threads] = Prepared(CASES[name], threads)
        return self.prepared[name, threads]

    def answer(self, request: dict) -> dict:
        name, threads = str(request["case"]), int(request.get("threads", 2))
        count, seconds = int(request.get("rounds", 1)), float(request.get("min_time", 0.3))
        prepared = self.prepare(name, threads)
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


def greeting() -> dict:
    """The first line: versions, the vector instructions in use, and every case with its shapes"""
    return {
        "ready": True,
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cases": {name: case.about for name, case in CASES.items()},
    }


def serve():
    """One answer a line until stdin ends; a bad request is answered with its error. Nothing else reaches stdout."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    server = Server()
    print(json.dumps(greeting()), file=replies)
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


def measure(args: argparse.Namespace):
    """Prints one Markdown row per case and form; `others` is the busiest round that counted."""
    print("| case | form | ms | GFLOP/s | others |\n| --- | --- | ---: | ---: | ---: |")
    server = Server()
    for name in [name for name in CASES if not args.measure or any(part in name for part in args.measure)]:
        prepared = server.prepare(name, args.threads)
        for form in prepared.calls:
            seconds, others = calm_rounds(prepared, form, args)
            rate = f"{prepared.case.flops / seconds / 1e9:.0f}" if prepared.case.flops else ""
            print(f"| {name} | {form} | {seconds * 1e3:.4g} | {rate} | {others:.2f} |", flush=True)
        del server.prepared[name, args.threads]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the cases and leave")
    parser.add_argument("--measure", nargs="*", metavar="PART", help="time the cases whose name holds a PART, or all")
    parser.add_argument("--threads", type=int, default=2, help="threads of each peer (2)")
    parser.add_argument("--rounds", type=int, default=5, help="bursts per form, their median is printed (5)")
    parser.add_argument("--min-time", type=float, default=0.3, help="seconds per burst (0.3)")
    args = parser.parse_args()
    if args.list:
        for name, case in CASES.items():
            print(f"{name:32} {case.about}")
    elif args.measure is not None:
        measure(args)
    else:
        serve()


if __name__ == "__main__":
    main()
