"""This crate against PyTorch in one process: its library (`../in_process`) works on PyTorch's tensors, in its context and on
its stream, and both sides are timed by the same events.

For every case and precision all of PyTorch's forms are tried: as they are, the fastest of them compiled, and in CUDA graphs.
Results are compared before anything is timed, and a row whose results differ is marked and not timed. Then the fastest form
and this crate run in random order, with this crate a second time for the noise. Without PyTorch this crate is timed alone; on the
emulator, in the smallest sizes, PyTorch's tensors lie in the emulator's memory, and times say nothing.

Writes a Markdown report, a CSV of all rows and a JSON of all rounds, anew after each case; `--resume` goes on with such a JSON.
"""

import argparse
import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time

import in_process_report
import paired
from library import Failure, Library

torch = None
# Decided before anything else, as importing takes long and this crate alone needs neither.
if "--alone" not in sys.argv and importlib.util.find_spec("torch") and importlib.util.find_spec("numpy"):
    import torch

    import agreement
    import ceilings
    import inputs
    import op_cases
    import peer
    import selection_cases
    import sizes as peer_sizes
    import variants

PRECISIONS = ("f32", "tf32", "f16", "bf16")
PRODUCTS = ("conv2d/", "encoder/", "selection/", "linear/", "cross_attention/")
IN_F16 = ("encoder-f16/", "selection-f16/")
FLUSHED = 256 << 20  # bytes that are written before a cold call: several times the cache


class Events(paired.Clock):
    """By events on the stream; the host's part by its clock."""

    def __init__(self):
        self.spoiler = torch.empty(FLUSHED, dtype=torch.uint8, device="cuda")

    def burst(self, run, calls):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start = time.perf_counter()
        first.record()
        run(calls)
        last.record()
        launched = time.perf_counter()
        torch.cuda.synchronize()
        return first.elapsed_time(last) * 1e-3 / calls, (launched - start) / calls

    def cold(self, run, calls):
        pairs = []
        for _ in range(calls):
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self.spoiler.fill_(len(pairs) % 251)
            first.record()
            run(1)
            last.record()
            pairs.append((first, last))
        torch.cuda.synchronize()
        return sum(first.elapsed_time(last) for first, last in pairs) * 1e-3 / calls


class Comparison:
    """The library, and PyTorch beside it, if there is one."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.on_gpu = torch is not None and not args.smoke
        self.stream = None
        if self.on_gpu:
            torch.cuda.init()
            self.stream = torch.cuda.Stream()
            torch.cuda.set_stream(self.stream)
        self.library = Library(args.library)
        address = self.stream.cuda_stream if self.stream else 0
        size = "smoke" if args.smoke else "cuda"
        self.opened = self.library.ask("open", ordinal=0, stream=address, sizes=size)
        self.known = {case["name"]: case for case in self.opened["cases"]}
        self.clock = Events() if self.on_gpu else paired.Clock(lambda: self.library.ask("synchronize"))
        self.cases, self.lender = {}, None
        if torch is not None:
            inputs.use("cuda", args.smoke)
            if args.smoke:
                inputs.DEVICE = torch.device("cpu")
            torch.backends.cudnn.benchmark = True
            chosen = peer_sizes.NAMED[size]
            self.cases = peer.all_cases(chosen) | selection_cases.batches(chosen)
            self.cases |= op_cases.draw_cases(chosen.large_draw, 100)
            self.lender = inputs.LEND = variants.Lender(self.library)

    def ceilings(self) -> dict:
        """of this device, or those assumed"""
        return ceilings.measure(self.clock) if self.on_gpu else dict(in_process_report.ASSUMED)

    def precisions(self, name: str) -> tuple[str, ...]:
        """those in which a case differs"""
        if name.startswith(IN_F16):
            return ("f16",)
        wanted = PRECISIONS if name.startswith(PRODUCTS) else PRECISIONS[:1]
        return tuple(one for one in wanted if one in self.args.precisions)

    def rows(self, name: str) -> list[dict]:
        """of one case, each precision by itself"""
        made = []
        try:
            reference = None
            for precision in self.precisions(name):
                row = {"case": name, "about": self.known[name]["about"], "precision": precision}
                try:
                    reference = self.row(row, reference)
                except (Failure, RuntimeError, ValueError) as error:
                    row["failed"] = reason(error)
                made.append(row)
        finally:
            if self.lender:
                self.lender.forget()
            else:
                self.library.ask("forget")
            if self.on_gpu:
                torch.cuda.empty_cache()
        return made

    def row(self, row: dict, reference: list | None) -> list | None:
        """measures a row; gives the results that those of further precisions are held against"""
        name, precision = row["case"], row["precision"]
        forms = []
        if name in self.cases:
            # The inputs of the reference are those that this crate is lent.
            if reference is None:
                plain = variants.eager(self.cases[name], "f32", self.args.threads)
                reference = next((v for v in plain if v.name == variants.UPSTREAM), plain[0]).first()
                forms = plain if precision == "f32" else []
            forms = forms or variants.eager(self.cases[name], precision, self.args.threads)
        prepared = self.library.ask("prepare", case=name, precision=precision)
        row |= {"flops": self.known[name]["flops"], "bytes": prepared["bytes"]}
        row |= {"shared": prepared["shared"], "made": prepared["made"]}
        if forms:
            row["bound"] = agreement.bound(name, precision)
            if "/training" in name and precision != "f32":
                # How far rounding carries a step's gradients, PyTorch's own show: twice as far ours may be.
                own = agreement.apart(name, forms[0].first(), reference)
                row["bound"] = max(row["bound"], 2.0 * own)
            row["apart"] = self.ours_apart(name, prepared, reference)
        wrong = row.get("apart", 0.0) > row.get("bound", 0.0)
        best, row["forms"] = self.fastest(name, forms, reference, row.get("bound", 0.0)) if forms else (None, [])
        if wrong:
            row["failed"] = f"wrong: {row['apart']:.2g} apart, {row['bound']:.2g} may be"
            return reference
        self.counted(row)
        self.time(row, best)
        return reference

    def ours_apart(self, name: str, prepared: dict, reference: list) -> float:
        """how far the first call's results are from the reference"""
        kinds = {"f32": torch.float32, "i32": torch.int32, "u8": torch.uint8}
        mine = [
            torch.frombuffer(held, dtype=kinds[shape["dtype"]]).view(shape["dims"])
            for held, shape in (self.library.result(at, one) for at, one in enumerate(prepared["results"]))
        ]
        if self.known[name]["random"]:
            # The second set of logits is the first call's.
            return agreement.drawn(mine[0], self.logits(1))
        return agreement.apart(name, mine, reference)

    def logits(self, at: int):
        """a set of the logits of a draw, on the host"""
        return next(held for key, held in self.lender.held.items() if key[0] == f"logits{at}").cpu()

    def fastest(self, name: str, forms: list, reference: list, bound: float) -> tuple:
        """tries all that PyTorch has: the fastest whose results are right, or None, and what is said of each"""
        right, said = [], []

        def tried(title: str, make):
            entry = {"form": title}
            said.append(entry)
            try:
                variant = make()
                results = variant.first()
                if self.known[name]["random"]:
                    entry["apart"] = agreement.drawn(results[-1], self.logits(0))
                else:
                    entry["apart"] = agreement.apart(name, results, reference)
                if entry["apart"] > bound:
                    raise ValueError(f"wrong: {entry['apart']:.2g} apart, {bound:.2g} may be")
                side = paired.Side(title, variant.run)
                if not self.args.smoke:
                    side.run(3)
                    paired.enough(self.clock, side)
                entry["seconds"] = self.clock.burst(side.run, side.calls)[0]
                if self.on_gpu:
                    torch.cuda.reset_peak_memory_stats()
                    side.run(1)
                    torch.cuda.synchronize()
                    entry["peak"] = torch.cuda.max_memory_allocated()
                right.append((entry["seconds"], variant, side, entry))
            except Exception as error:  # whatever a compiler or a capture says is a reason
                entry["why"] = reason(error)

        for form in forms:
            tried(form.name, lambda form=form: form)
        if right and self.args.smoke:
            for how in ("compile", "graph"):
                said.append({"form": f"+{how}", "why": "no GPU: PyTorch has nothing to compile for or to capture"})
        elif right:
            plain = min(right, key=lambda one: one[0])[1]
            tried(f"{plain.name}+graph", lambda: variants.captured(plain))
            if self.args.compile:
                made = []
                tried(f"{plain.name}+compile", lambda: made.append(variants.compiled(plain, self.args.threads)) or made[0])
                if made:
                    tried(f"{plain.name}+compile+graph", lambda: variants.captured(made[0]))
        chosen = min(right, key=lambda one: one[0], default=None)
        return (chosen[2], chosen[3]) if chosen else None, said

    def counted(self, row: dict):
        """kernels, graphs and waits of a call, and this crate's peak of memory"""
        if not self.args.smoke:
            self.library.run(1)
            self.library.ask("synchronize")
        self.library.ask("reset_peak")
        before = self.library.ask("counters")
        self.library.run(1)
        self.library.ask("synchronize")
        after = self.library.ask("counters")
        row |= {what: after[what] - before[what] for what in ("launches", "graphs", "read_backs")}
        row["peak"] = after["peak"]

    def time(self, row: dict, best: tuple | None):
        """the rounds, warm and cold"""
        sides = [paired.Side(name, self.library.run) for name in ("ours", "again")]
        if not self.args.smoke:
            paired.enough(self.clock, sides[0])
        sides[1].calls = sides[0].calls
        if best:
            side, entry = best
            row["peer"] = side.name
            row["peer_peak"] = entry.get("peak")
            sides.append(paired.Side("peer", side.run, side.calls))
        row["warm"] = paired.rounds(self.clock, sides, self.args.rounds, self.args.seed)
        row["cold"] = paired.cold_rounds(self.clock, sides, max(self.args.rounds // 3, 2), self.args.seed + 1)
        row["clocks"] = clocks() if self.on_gpu else None


def reason(error: BaseException) -> str:
    """a line of what went wrong"""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"


def clocks() -> str | None:
    """clock of the multiprocessors, power, and why they are slowed, where nvidia-smi says so"""
    program = shutil.which("nvidia-smi")
    if not program:
        return None
    wanted = "--query-gpu=clocks.sm,power.draw,clocks_throttle_reasons.active"
    try:
        said = subprocess.run([program, wanted, "--format=csv,noheader"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.splitlines()[0].strip() if said.returncode == 0 and said.stdout else None


def write(path: str, text: str):
    """whole or not at all"""
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".part", path)


def save(out: str, report: dict):
    """the three files"""
    write(f"{out}.json", json.dumps(report, indent=1))
    write(f"{out}.md", in_process_report.markdown(report))
    with open(f"{out}.csv.part", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(in_process_report.table(report))
    os.replace(f"{out}.csv.part", f"{out}.csv")


def earlier(path: str, about: dict) -> list[dict]:
    """the rows of a run that was cut short, if it was on this device and in these sizes"""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    if report["about"] != about:
        raise SystemExit(f"{path} is of another device or other sizes: {report['about']}")
    return report["rows"]


def arguments() -> argparse.Namespace:
    """what can be asked for"""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, help="this crate's benchmarks as a library")
    parser.add_argument("--out", required=True, help="the files to write, without their endings .md, .csv and .json")
    parser.add_argument("--built", help="a file that says of what the library was built")
    parser.add_argument("--only", nargs="*", default=[], metavar="PART", help="cases whose name holds a PART")
    parser.add_argument("--precisions", nargs="*", default=list(PRECISIONS), choices=PRECISIONS, help="those to measure (all)")
    parser.add_argument("--rounds", type=int, default=30, help="rounds of each row (30)")
    parser.add_argument("--seed", type=int, default=0, help="of the order within rounds (0)")
    parser.add_argument("--threads", type=int, default=2, help="PyTorch's threads (2)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no further case begins after this")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parser.add_argument("--alone", action="store_true", help="this crate without PyTorch, also where there is one")
    parser.add_argument("--resume", action="store_true", help="keep the rows that the JSON has")
    parser.add_argument("--smoke", action="store_true", help="the smallest sizes, on the emulator")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    start = time.monotonic()
    if torch is not None:
        torch.set_num_threads(args.threads)
    comparison = Comparison(args)
    about = {"device": comparison.opened["device"], "smoke": args.smoke, "torch": torch and torch.__version__}
    if args.built:
        with open(args.built, encoding="utf-8") as file:
            about["built"] = file.read().splitlines()
    rows = earlier(f"{args.out}.json", about) if args.resume else []
    report = {"about": about, "ceilings": comparison.ceilings(), "rounds": args.rounds, "seed": args.seed, "rows": rows}
    done, wanted = {row["case"] for row in rows}, [
        name for name in comparison.known if not args.only or any(part in name for part in args.only)
    ]
    if not wanted:
        print(f"no case is named like {' '.join(args.only)}: there are {' '.join(comparison.known)}", file=sys.stderr)
        return 2
    for at, name in enumerate(wanted):
        if name in done:
            continue
        if time.monotonic() - start > args.seconds:
            rows.append({"case": name, "precision": "", "failed": "the time was used up before this case"})
            continue
        for row in comparison.rows(name):
            rows.append(row)
            print(f"[{at + 1}/{len(wanted)}] {in_process_report.line(row, report['ceilings'])}", flush=True)
        save(args.out, report)
    save(args.out, report)
    comparison.library.ask("close")
    wrong = [row for row in rows if row.get("failed", "").startswith("wrong")]
    print(f"{len(rows)} rows, {len(wrong)} with results that differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
