# ruff: noqa: T201
"""Where the time of a sweep goes that is neither training nor measuring.

    python -m bench.overhead [SPEC] [-s KEY=VALUE ...] [--repeats 1] [--json FILE]

Runs ``sgdscope run`` in a fresh folder with SGDSCOPE_TIMELINE set (``orchestrator.timeline``) and
divides the wall clock times the cores, without a remainder, into parts:

start   until the first worker imports torch; every core counts, whatever it does;
work    from then to the last commit: what the workers log, training and measuring from the rows'
        ``time_`` columns; ``between`` is the rest of a busy worker's time (Tune's turn from trial
        to trial, beats), ``idle`` is that of cores without a trial left;
end     from the last commit to the end of the command; every core counts.

The ratio is the wall clock over (training + measuring) / cores: 1 would be no overhead at all.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from bench import report
from orchestrator.timeline import VARIABLE

ROOT = Path(__file__).parents[1]
Line: TypeAlias = Mapping[str, Any]
# What a worker logs, in the order of a pack's life.
LOGGED = {"import": "imports of the workers", "build": "data and models",
          "begin": "compiling; timing, to place the commits",
          "restore": "first state, newest commit", "commit": "commits"}


def main() -> None:
    """Runs the sweeps and prints the table."""
    asked = _arguments()
    found = [measured(asked.spec, asked.overrides) for _ in range(asked.repeats)]
    middle = sorted(found, key=lambda f: f["ratio"])[len(found) // 2]
    result = {**middle, "spec": asked.spec, "overrides": asked.overrides,
              "ratios": [f["ratio"] for f in found],
              "median_wall_s": statistics.median(f["wall_s"] for f in found),
              "machine": report.machine()}
    _print(result)
    report.finish("overhead", result, asked.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.overhead",
                                     description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("spec", nargs="?", default="digits-ratio", help="a preset, or a file")
    parser.add_argument("-s", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--repeats", type=int, default=1)
    report.option(parser)
    return parser.parse_args()


def measured(spec: str, overrides: Sequence[str]) -> dict[str, Any]:
    """One sweep in a fresh folder, from the command to its exit, divided up."""
    spec = str(Path(spec).resolve()) if Path(spec).is_file() else spec
    with tempfile.TemporaryDirectory(prefix="sgdscope-bench-") as scratch:
        log = Path(scratch) / "timeline.jsonl"
        options = [part for o in overrides for part in ("-s", o)]
        command = [sys.executable, "-m", "orchestrator.cli", "run", spec, "--storage",
                   f"{scratch}/sweeps", *options]
        start = time.time()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False,
                              env={**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: str(log)})
        end = time.time()
        if done.returncode:
            sys.exit(f"the sweep failed ({done.returncode}):\n{done.stderr[-2000:]}")
        (folder,) = (Path(scratch) / "sweeps").iterdir()
        runs = pd.read_parquet(folder / "tables" / "runs")
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    pure = {"training": float(runs.time_train_s.sum()),
            "measuring": float(runs.time_measure_s.sum())}
    found = divided(lines, pure, start, end, len(os.sched_getaffinity(0)))
    return {**found, "runs": len(runs), "packs": int(runs.pack_id.nunique())}


def divided(lines: Sequence[Line], pure: Mapping[str, float], start: float, end: float,
            cores: int) -> dict[str, Any]:
    """Core seconds by part, which sum to wall × cores; and the spans of the driver's phases.

    ``lines``: the timeline. ``pure``: core seconds of training and measuring.
    """
    workers = {line["pid"] for line in lines if line["phase"] == "import"}
    inside = [line for line in lines if line["pid"] in workers]
    begun, over = min(w["start"] for w in inside), max(w["end"] for w in inside)
    parts = {"start: until the first worker imports torch": (begun - start) * cores}
    for name, words in LOGGED.items():
        parts[f"work: {words}"] = sum(w["end"] - w["start"] for w in inside if w["phase"] == name)
    parts |= {f"work: {name}": seconds for name, seconds in pure.items()}
    spans = [(min(w["start"] for w in inside if w["pid"] == one),
              max(w["end"] for w in inside if w["pid"] == one)) for one in workers]
    busy = sum(last - first for first, last in spans)
    parts["work: between trials and beats"] = busy - sum(list(parts.values())[1:])
    parts["work: idle cores"] = (over - begun) * cores - busy
    parts["end: last commit to exit"] = (end - over) * cores
    driver = {line["phase"]: [line["start"] - start, line["end"] - start]
              for line in lines if line["pid"] not in workers}
    return {"wall_s": end - start, "cores": cores, "core_seconds": parts, "driver": driver,
            "ratio": (end - start) / (sum(pure.values()) / cores)}


def _print(result: Mapping[str, Any]) -> None:
    cores = result["cores"]
    print(report.told(result["machine"]))
    extra = "".join(f" -s {o}" for o in result["overrides"])
    print(f"{result['spec']}{extra}: {result['runs']} runs in {result['packs']} packs, "
          f"{result['wall_s']:.1f} s of {cores} cores\n")
    for part, seconds in result["core_seconds"].items():
        share = seconds / cores / result["wall_s"]
        print(f"{part:<48}{seconds / cores:8.1f} s{share:8.1%}")
    print("\nthe driver's phases, in seconds from the command (some overlap)")
    for phase, (first, last) in sorted(result["driver"].items(), key=lambda p: p[1][0]):
        print(f"  {phase:<46}{first:8.1f} to {last:6.1f}")
    ratios = ", ".join(f"{r:.2f}" for r in result["ratios"])
    print(f"\nwall clock over (training + measuring) / cores: {ratios}")


if __name__ == "__main__":
    main()
