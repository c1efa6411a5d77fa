"""The report of `in_process.py`: what a row says, as Markdown and as a table. Needs nothing but Python."""

import paired

# An NVIDIA H200: copies and products in bf16 as they were once measured, the others by its data sheet.
ASSUMED = {"copy": 4.3e12, "f32": 67e12, "tf32": 395e12, "f16": 790e12, "bf16": 790e12, "launch": 2e-6}
# The part of a ceiling that is predicted: of copies, and of products as the ladder of the convolution (benches/README.md) has it.
PREDICTED = {"copy": 0.85, "f32": 0.40, "tf32": 0.54, "f16": 0.42, "bf16": 0.42}

HEAD = [
    ("case", "case"),
    ("precision", "in"),
    ("ours", "ours, µs"),
    ("spread", "10–90 %"),
    ("host", "host, µs"),
    ("launches", "launches"),
    ("bytes", "MB"),
    ("gflop", "GFLOP"),
    ("floor", "floor, µs"),
    ("share", "share"),
    ("predicted", "predicted, µs"),
    ("peer", "PyTorch's fastest"),
    ("theirs", "its µs"),
    ("ratio", "ratio"),
    ("ratios", "10–90 %"),
    ("noise", "A/A"),
    ("cold", "cold, µs"),
    ("cold_ratio", "cold ratio"),
    ("memory", "peak, MB"),
    ("their_memory", "its MB"),
    ("apart", "apart"),
    ("note", ""),
]


def floor(row: dict, ceilings: dict) -> float:
    """seconds that the bytes, or the arithmetic, take at least"""
    return max(row["bytes"] / ceilings["copy"], row["flops"] / ceilings[row["precision"]])


def predicted(row: dict, ceilings: dict) -> float:
    """seconds that were expected: launches one after the other, and the part of the ceilings that is predicted"""
    moved = row["bytes"] / ceilings["copy"] / PREDICTED["copy"]
    counted = row["flops"] / ceilings[row["precision"]] / PREDICTED[row["precision"]]
    return max(moved, counted) + row.get("launches", 1) * ceilings["launch"]


def micro(seconds: float) -> str:
    """as microseconds, with three or four digits"""
    return f"{seconds * 1e6:.4g}"


def ends(low: float, high: float, show=micro) -> str:
    return f"{show(low)}–{show(high)}"


def two(value: float) -> str:
    return f"{value:.2f}"


def cells(row: dict, ceilings: dict) -> dict[str, str]:
    """the text of each column; one that has nothing to say is missing"""
    made = {"case": row["case"], "precision": row["precision"]}
    if "apart" in row:
        made["apart"] = f"{row['apart']:.1e}"
    if "bytes" in row:
        made |= {"bytes": f"{row['bytes'] / 1e6:.4g}", "gflop": f"{row['flops'] / 1e9:.4g}" if row["flops"] else ""}
        made["floor"] = micro(floor(row, ceilings))
    if "failed" in row:
        return made | {"note": row["failed"]}
    middle, low, high = paired.spread(paired.times(row["warm"], "ours"))
    host = paired.quantile([one["ours"][1] for one in row["warm"]], 0.5)
    made |= {"ours": micro(middle), "spread": ends(low, high), "host": micro(host)}
    made["launches"] = str(row["launches"]) + (f" + {row['graphs']} graph" if row["graphs"] else "")
    made["share"] = f"{100 * floor(row, ceilings) / middle:.0f} %"
    made["predicted"] = micro(predicted(row, ceilings))
    made["noise"] = two(paired.quantile(paired.ratios(row["warm"], "again", "ours"), 0.5))
    made["memory"] = f"{row['peak'] / 1e6:.4g}"
    if row["cold"]:
        made["cold"] = micro(paired.quantile(paired.times(row["cold"], "ours"), 0.5))
    if "peer" not in row:
        return made | {"note": "no form of PyTorch's is right" if row["forms"] else ""}
    made |= {"peer": row["peer"], "theirs": micro(paired.quantile(paired.times(row["warm"], "peer"), 0.5))}
    middle, low, high = paired.spread(paired.ratios(row["warm"], "peer", "ours"))
    made |= {"ratio": two(middle), "ratios": ends(low, high, two)}
    if row["cold"]:
        made["cold_ratio"] = two(paired.quantile(paired.ratios(row["cold"], "peer", "ours"), 0.5))
    if row.get("peer_peak") is not None:
        made["their_memory"] = f"{row['peer_peak'] / 1e6:.4g}"
    return made


def line(row: dict, ceilings: dict) -> str:
    """a row in words, for the terminal"""
    made = cells(row, ceilings)
    if "failed" in row:
        return f"{row['case']} {row['precision']}: {row['failed']}"
    against = f", {made['peer']} {made['theirs']} us, ratio {made['ratio']}" if "peer" in made else ""
    return f"{row['case']} {row['precision']}: {made['ours']} us, {made['launches']} launches{against}"


def table(report: dict) -> list[list[str]]:
    """all rows with a head, for a CSV"""
    keys = [key for key, _ in HEAD]
    return [keys] + [[cells(row, report["ceilings"]).get(key, "") for key in keys] for row in report["rows"]]


def markdown(report: dict) -> str:
    """the whole report"""
    parts = [heading(report), ceilings_of(report), rows_of(report), gains(report), forms_of(report)]
    return "\n".join(part for part in parts if part)


def heading(report: dict) -> str:
    about = report["about"]
    peer = f"PyTorch {about['torch']}" if about["torch"] else "no PyTorch: this crate alone"
    said = f"# In one process\n\n{about['device']}; {peer}; {report['rounds']} rounds in random order, "
    said += f"seed {report['seed']}.\n"
    if about["smoke"]:
        said += "\n**On the emulator, in the smallest sizes: times, shares and ratios say nothing; that results agree does.**\n"
    return said + "".join(f"\n* {one}" for one in about.get("built", [])) + "\n"


def ceilings_of(report: dict) -> str:
    c = report["ceilings"]
    assumed = report["about"]["smoke"] or not report["about"]["torch"]
    how = "assumed, those of an H200" if assumed else "measured by PyTorch's kernels"
    rates = ", ".join(f"{name} {c[name] / 1e12:.1f}" for name in ("f32", "tf32", "f16", "bf16"))
    return (
        f"## Ceilings\n\n{how}: copies {c['copy'] / 1e12:.2f} TB/s, products {rates} TFLOP/s, a launch {micro(c['launch'])} µs.\n"
        "A floor is the larger of bytes (inputs and results once) and arithmetic at these; a share is the floor's part of the\n"
        f"time. A prediction is {PREDICTED['copy']} of the copies, or {PREDICTED['f32']}, {PREDICTED['tf32']} and "
        f"{PREDICTED['f16']} of the products in f32, tf32 and 16 bits, and a launch after the other.\n"
    )


def rows_of(report: dict) -> str:
    lines = ["## Rows\n", "| " + " | ".join(title for _, title in HEAD) + " |", "| --- " * len(HEAD) + "|"]
    for row in report["rows"]:
        made = cells(row, report["ceilings"])
        lines.append("| " + " | ".join(made.get(key, "").replace("|", "/") for key, _ in HEAD) + " |")
    return "\n".join(lines) + "\n"


def gains(report: dict) -> str:
    """Where PyTorch computes by this crate's algorithm as well (`expert`), the gain of that algorithm and the gain of kernels."""
    lines = []
    for row in report["rows"]:
        timed = {form["form"]: form["seconds"] for form in row.get("forms", []) if "seconds" in form}
        expert = {name: seconds for name, seconds in timed.items() if "expert" in name}
        plain = {name: seconds for name, seconds in timed.items() if "expert" not in name}
        if "warm" not in row or not expert or not plain:
            continue
        ours = paired.quantile(paired.times(row["warm"], "ours"), 0.5)
        best, by_algorithm = min(plain.values()), min(expert.values())
        lines.append(
            f"| {row['case']} | {row['precision']} | {micro(best)} | {micro(by_algorithm)} | {micro(ours)} | "
            f"{best / by_algorithm:.2f} | {by_algorithm / ours:.2f} |"
        )
    if not lines:
        return ""
    head = "| case | in | PyTorch, published algorithm | PyTorch, this crate's | ours | algorithm | kernels |\n"
    head += "| --- " * 7 + "|"
    return (
        "## What is the algorithm's gain, and what the kernels'\n\n"
        "Replay (all patches encoded at once, logits alone kept), folded keys and values, and constant patches skipped, in PyTorch\n"
        "as well (`expert`): its gain over the published algorithm is the algorithm's, ours over it the kernels'.\n\n"
        + "\n".join([head, *lines]) + "\n"
    )


def forms_of(report: dict) -> str:
    lines = ["## All of PyTorch's forms\n", "| case | in | form | µs | apart | peak, MB | why not |", "| --- " * 7 + "|"]
    for row in report["rows"]:
        for form in row.get("forms", []):
            said = [row["case"], row["precision"], form["form"]]
            said.append(micro(form["seconds"]) if "seconds" in form else "")
            said.append(f"{form['apart']:.1e}" if "apart" in form else "")
            said.append(f"{form['peak'] / 1e6:.4g}" if form.get("peak") else "")
            lines.append("| " + " | ".join([*said, form.get("why", "").replace("|", "/")]) + " |")
    return "\n".join(lines) + "\n" if len(lines) > 3 else ""
