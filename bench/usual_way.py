# ruff: noqa: T201
"""A sweep of ours against the same runs written the usual way (``bench.tune_script``).

    python -m bench.usual_way [--preset digits-ratio] [--share 1.0] [--repeats 1] [--full]
                              [--by-hand] [-s KEY=VALUE ...] [--json FILE]

Timed, as processes on the CPU, interleaved, one repeat after another:

ours    ``sgdscope run``, from the command to the report;
usual   Ray Tune with one run a trial, a plain PyTorch loop, PyHessian for λ_max alone;
full    (with --full) the usual way asking PyHessian for what ours measures too: the leading k
        eigenvalues and the trace. Ours also finds the smallest, error bounds and the analysis;
hand    (with --by-hand) one process, a loop over the runs, curvlinops and SciPy for λ_max.

Both make the same runs: the same data, initial weights, order of examples and measuring steps.
With --share below 1 the usual way makes only that part of them, evenly over the batch sizes, and
its time between start-up and end is scaled up: an estimate, printed as one. Ours runs whole.
Needs the extra ``bench`` (``make bench`` installs it).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench import report
from orchestrator import plan as make_plan

ROOT = Path(__file__).parents[1]
CLOSE = 0.05  # relative difference of λ_max up to which two measurements count as agreeing


def main() -> None:
    """Runs the comparison and prints it."""
    asked = _arguments()
    # The usual way is written for the CPU; ours is held to it.
    overrides = ["compute.device=cpu", *asked.overrides]
    with tempfile.TemporaryDirectory(prefix="sgdscope-bench-") as scratch:
        plan = make_plan(asked.preset, overrides=overrides, storage=Path(scratch) / "plan")
        _refuse_unsupported(plan)
        result = _compare(plan, asked, overrides, Path(scratch))
    _print(result)
    report.finish("sweep", result, asked.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.usual_way",
                                     description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--preset", default="digits-ratio", help="a preset's name, or a file")
    parser.add_argument("--share", type=float, default=1.0,
                        help="part of the runs that the usual way makes, above 0, at most 1")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--by-hand", action="store_true",
                        help="also one process with a loop over the runs, and curvlinops")
    parser.add_argument("--full", action="store_true",
                        help="also time the usual way with the leading k eigenvalues and the trace")
    parser.add_argument("-s", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
                        help="override a scalar of the spec, for both ways")
    report.option(parser)
    asked = parser.parse_args()
    if not 0 < asked.share <= 1 or asked.repeats < 1:
        parser.error("--share is above 0 and at most 1; --repeats is at least 1")
    return asked


def _refuse_unsupported(plan: Any) -> None:
    """Stops where the usual script would silently do other runs than ours."""
    wrong = set()
    for run in plan.runs:
        c, model = run.config, run.config["model"]
        wrong |= {what for what, there in (
            ("train.until", c["train"].get("until")),
            ("a learning-rate schedule", c["train"]["lr_schedule"]["name"] != "constant"),
            ("a batch-size schedule", c["train"]["batch_schedule"]["name"] != "constant"),
            ("an optimiser other than sgd", c["train"]["optimizer"]["name"] != "sgd"),
            ("a Fisher penalty", c["train"]["fisher_penalty"]),
            ("a loss other than cross_entropy", c["train"]["loss"] != "cross_entropy"),
            ("noise on inputs or gradients", c["noise"]["input"] or c["noise"]["gradient"]),
            ("batch norm or dropout", model.get("batch_norm") or model.get("dropout")),
            ("a model that is not one of ours by name", ":" in model["name"]),
            ("a precision other than fp32", c["precision"] != "fp32"),
            ("other monitors than spectrum",
             [n for n, _ in c["measure"]["monitors"]] != ["spectrum"]),
        ) if there}
    if wrong:
        sys.exit(f"the usual way is not written for {', '.join(sorted(wrong))}")


def _compare(plan: Any, asked: argparse.Namespace, overrides: Sequence[str],
             scratch: Path) -> dict[str, Any]:
    taken = _share(plan.runs, asked.share)
    ways = ["usual", *["full"] * asked.full, *["hand"] * asked.by_hand]
    repeats, rows, ours = defaultdict(list), {}, pd.DataFrame()
    for number in range(asked.repeats):
        print(f"repeat {number + 1} of {asked.repeats}: ours …", file=sys.stderr)
        ours, timing = _time_ours(asked.preset, overrides, scratch / f"ours-{number}", plan)
        repeats["ours"].append(timing)
        for way in ways:
            print(f"repeat {number + 1} of {asked.repeats}: {way}, {len(taken)} runs …",
                  file=sys.stderr)
            rows[way], timing = _time_usual(plan, taken, scratch / f"{way}-{number}", way)
            repeats[way].append(timing)
    medians = {w: statistics.median(t["seconds"] for t in ts) for w, ts in repeats.items()}
    return {
        "preset": asked.preset, "overrides": list(asked.overrides), "runs": len(plan.runs),
        "usual_runs": len(taken), "estimated": len(taken) < len(plan.runs),
        "machine": report.machine(), "median_seconds": medians,
        "ratio_to_ours": {w: medians[w] / medians["ours"] for w in ways},
        "agreement": {w: _agreement(ours, rows[w]) for w in ways},
        "repeats": dict(repeats),
    }


def _share(runs: Sequence[Any], share: float) -> list[Any]:
    """A part of the runs, at least one of each batch size, evenly spaced among that size's."""
    taken = []
    for group in _by_batch_size(runs).values():
        count = max(1, round(share * len(group)))
        taken += [group[(2 * i + 1) * len(group) // (2 * count)] for i in range(count)]
    return taken


def _by_batch_size(runs: Iterable[Any]) -> Mapping[int, list[Any]]:
    groups: dict[int, list[Any]] = defaultdict(list)
    for run in runs:
        groups[run.config["train"]["batch_size"]].append(run)
    return groups


def _time_ours(preset: str, overrides: Sequence[str], storage: Path,
               plan: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Our sweep: its runs table, and its seconds by where they went."""
    spec = str(Path(preset).resolve()) if Path(preset).is_file() else preset
    options = [part for o in overrides for part in ("-s", o)]
    command = ["orchestrator.cli", "run", spec, "--storage", str(storage), *options]
    start, end, seen = _timed(command, mark="analysing")
    folder = storage / plan.spec.name
    runs = pd.read_parquet(folder / "tables" / "runs")
    return runs, {"seconds": end - start,
                  "parts": _where_time_went(folder, runs, plan, start, seen or end, end)}


def _where_time_went(folder: Path, runs: pd.DataFrame, plan: Any, start: float, analysing: float,
                     end: float) -> dict[str, float]:
    """Seconds of the wall clock, from the tables' time_ columns and the files' times."""
    cores = int(len(os.sched_getaffinity(0)) // max(plan.spec.compute.cpus, 1e-9))
    workers = max(1, min(cores, runs.pack_id.nunique()))
    begun = {p: (folder / "packs" / p / "pack.json").stat().st_mtime for p in runs.pack_id.unique()}
    # A pack's last rows are those of its runs: their parts are published at its end.
    ended = {p: max(f.stat().st_mtime for f in (folder / "tables" / "runs").glob(f"{p}-*.parquet"))
             for p in begun}
    planned = (folder / "planned.txt").stat().st_mtime
    training, measuring = runs.time_train_s.sum(), runs.time_measure_s.sum()
    inside = sum(ended[p] - begun[p] for p in begun)
    parts = {
        "start-up: imports and plan": planned - start,
        "Ray's start, the first worker's imports": min(begun.values()) - planned,
        "training": training / workers,
        "measuring": measuring / workers,
        "committing and publishing": (inside - training - measuring) / workers,
        "Ray's end": analysing - max(ended.values()),
        "analysis and report": end - analysing,
    }
    parts = {k: float(v) for k, v in parts.items()}
    return {**parts, "other": end - start - sum(parts.values())}


def _time_usual(plan: Any, taken: Sequence[Any], work: Path, way: str
                ) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The usual way: its rows, and its seconds, scaled to all runs where it made only a part."""
    work.mkdir()
    (work / "jobs.json").write_text(json.dumps(_jobs(plan, taken, full=way == "full")))
    script = "bench.hand_script" if way == "hand" else "bench.tune_script"
    start, end, _ = _timed([script, str(work)])
    times = json.loads((work / "times.json").read_text())
    rows = pd.read_parquet(work / "rows.parquet")
    trials = times["trained"] - times["ready"]
    scale = _scale(plan.runs, taken, rows.groupby("run_id").seconds.max())
    return rows, {
        "seconds": end - start + (scale - 1) * trials, "measured_seconds": end - start,
        "start_and_end_seconds": end - start - trials, "trials_seconds": trials, "scale": scale}


def _scale(runs: Sequence[Any], taken: Sequence[Any], seconds: pd.Series) -> float:
    """All runs' work over that of the runs taken, a batch size's mean run standing for its runs."""
    if len(runs) == len(taken):
        return 1.0
    every, done = _by_batch_size(runs), _by_batch_size(taken)
    mean = {s: seconds.reindex([r.run_id for r in g]).mean() for s, g in done.items()}
    mean = {s: m for s, m in mean.items() if m == m}  # not of runs that diverged at once
    return float(sum(m * len(every[s]) for s, m in mean.items())
                 / sum(m * len(done[s]) for s, m in mean.items()))


def _jobs(plan: Any, taken: Sequence[Any], *, full: bool) -> dict[str, Any]:
    """What the usual script needs to know: runs, their measuring steps, what to measure on."""
    import torch

    from trainables.epochs import calendar
    from trainables.schedules import measuring_steps, total_steps
    from trainables.streams import derive

    first, runs = plan.runs[0].config, []
    for run in taken:
        days = calendar(plan.data.train_size, run.config["train"])
        steps = total_steps(run.config["train"], days)
        runs.append({"run_id": run.run_id, "config": run.config, "steps": steps, "measuring":
                     list(measuring_steps(run.config["measure"]["when"], days, steps))})
    # The measurement set of ours: the head of one permutation of the training set.
    source = torch.Generator().manual_seed(derive(first["data"]["seed"], "measure"))
    order = torch.randperm(plan.data.train_size, generator=source)
    options = dict(first["measure"]["monitors"])["spectrum"]
    settings = {
        "base_dir": str(plan.spec.base_dir), "tolerance": options["tolerance"],
        "measure_set": order[: first["measure"]["set_size"]].tolist(),
        "top_n": options["k"] if full else 1, "trace": full and options["trace"]}
    return {"data": first["data"], "settings": settings, "runs": runs}


def _timed(module: Sequence[str], mark: str = "") -> tuple[float, float, float | None]:
    """Runs ``python -m …``: when it began, when it ended, when it first printed ``mark``."""
    start, seen, tail = time.time(), None, []
    with subprocess.Popen(
            [sys.executable, "-m", *module], cwd=ROOT, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        for line in process.stdout or ():
            if mark and seen is None and mark in line:
                seen = time.time()
            tail = [*tail[-19:], line]
    end = time.time()
    if process.returncode:
        sys.exit(f"{' '.join(module)} failed ({process.returncode}):\n{''.join(tail)}")
    return start, end, seen


def _agreement(ours: pd.DataFrame, usual: pd.DataFrame) -> dict[str, Any]:
    """Relative differences of λ_max at the last step, over runs that both followed to it."""
    last = usual.sort_values("step").groupby("run_id").tail(1)
    both = ours.merge(last, on="run_id", suffixes=("", "_usual"))
    both = both[(both.steps == both.step) & both.final_hessian_lambda_max.notna()]
    difference = (both.eigenvalue_1 / both.final_hessian_lambda_max - 1).abs()
    return {"runs": len(both), "median": float(difference.median()),
            "largest": float(difference.max()), "close": int((difference <= CLOSE).sum())}


def _print(result: Mapping[str, Any]) -> None:
    medians = result["median_seconds"]
    print(report.told(result["machine"]))
    extra = "".join(f" -s {o}" for o in result["overrides"])
    print(f"{result['preset']}{extra}: {result['runs']} runs, repeats: "
          f"{len(result['repeats']['ours'])}, medians\n")
    names = {"ours": "our sweep, from the command to the report",
             "usual": "the usual way, λ_max alone",
             "full": "the usual way, leading k eigenvalues and trace",
             "hand": "by hand: one process, curvlinops for λ_max"}
    for way, seconds in medians.items():
        ratio = f"   {result['ratio_to_ours'][way]:.2f} × ours" if way != "ours" else ""
        print(f"{names[way]:<50}{seconds:9.1f} s{ratio}")
    if result["estimated"]:
        print(f"\nThe usual way is an ESTIMATE: it made {result['usual_runs']} of "
              f"{result['runs']} runs.")
        for way in result["ratio_to_ours"]:
            one = result["repeats"][way][-1]
            print(f"  {way}: {one['measured_seconds']:.1f} s measured, of which start and end "
                  f"{one['start_and_end_seconds']:.1f} s are kept and "
                  f"{one['trials_seconds']:.1f} s of trials are scaled by {one['scale']:.2f}"
                  " (last repeat)")
    print("\nwhere the time of our sweep goes")
    for part in result["repeats"]["ours"][0]["parts"]:
        seconds = statistics.median(r["parts"][part] for r in result["repeats"]["ours"])
        print(f"  {part:<48}{seconds:9.1f} s{seconds / medians['ours']:8.0%}")
    print()
    for way, found in result["agreement"].items():
        print(f"λ_max at the last step, {way} against ours: within {CLOSE:.0%} on {found['close']} "
              f"of {found['runs']} runs; relative difference: median {found['median']:.2%}, "
              f"largest {found['largest']:.2%}")


if __name__ == "__main__":
    main()
