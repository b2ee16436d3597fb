# ruff: noqa: T201
"""Do the laws find what was planted? Coverage of 95 % intervals, verdicts, break points.

    python -m bench.planted [--repeats 400] [--only laws nulls …] [--json FILE]

Synthetic sweeps of known truth, one a repeat, seeded by the repeat's number: nothing is chosen
after looking. A share of 400 that is 95 % in truth lies within 95 ± 2.1 % in 19 of 20 tables.
"""

import argparse
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from analysis.boundary import boundary
from analysis.collapse import breaks
from analysis.falls import squares
from analysis.frames import load
from analysis.laws import FREE, Fit, Verdict, fit
from analysis.sizes import fit_sizes, growth
from analysis.times import fit_times
from bench import report
from tests.analysis.planted import (
    Planted,
    planted_points,
    planted_thresholds,
    planted_times,
    tables,
    write_frames,
)

LR, BATCH = 0.02 * 2.0 ** np.arange(4), 8 * 2 ** np.arange(4)
WIDE = {"lr": 0.02 * 2.0 ** np.arange(6), "batch": 8 * 2 ** np.arange(5)}
# one sweep a row: what differs from 4 η × 4 S with scatter between seeds, cells and runs
LAWS: dict[str, dict[str, Any]] = {
    "3 seeds": {"seeds": 3},
    "4 seeds, 3 × 3 cells": {"seeds": 4, "lr": LR[:3], "batch": BATCH[:3]},
    "5 seeds": {"seeds": 5},
    "5 seeds, cells on the law": {"seeds": 5, "cell_sd": 0.0},
    "8 seeds": {"seeds": 8},
    "8 seeds that tilt the plane": {"seeds": 8, "slope_sd": 0.1},
    "3 seeds, 8-fold scatter at large S": {"seeds": 3, "growth": 1.0},
    "8 seeds, 8-fold scatter at large S": {"seeds": 8, "growth": 1.0},
    "5 seeds, a tenth of the runs missing": {"seeds": 5, "missing": 0.1},
    "3 seeds, a third of the runs missing": {"seeds": 3, "missing": 0.33},
    "3 seeds, three label noises": {"seeds": 3, "noise": (0.0, 0.2, 0.4)},
    "5 seeds, momentum 0 and 0.9": {"seeds": 5, "momentum": (0.0, 0.9)},
    "5 seeds, a law that bends, 6 × 5 cells": {"seeds": 5, "bend": 0.15, **WIDE},
}
RESAMPLED = ("5 seeds", "8 seeds that tilt the plane", "8 seeds, 8-fold scatter at large S")
TIMES = {
    "3 seeds, half of the runs censored": {"seeds": 3, "end": 350.0},
    "5 seeds, half of the runs censored": {"seeds": 5, "end": 350.0},
    "8 seeds, a fifth censored": {"seeds": 8, "end": 1000.0},
    "5 seeds, none censored": {"seeds": 5, "end": 1e9},
}
BOUNDARIES = {
    "grid of factor 2, 3 seeds": {"seeds": 3, "lr": lambda _: 0.02 * 2.0 ** np.arange(9), "c": 0.5},
    "grid of factor 2 in η/S, 3 seeds": {
        "seeds": 3, "lr": lambda s: 0.02 * s / 8 * 2.0 ** np.arange(8), "c": 0.8},
    "grid of factor 1.2, 5 seeds": {
        "seeds": 5, "lr": lambda _: 0.04 * 1.2 ** np.arange(26), "c": 0.5},
}


def main() -> None:
    """Measures and prints."""
    parts = {"laws": laws, "verdicts": verdicts, "nulls": nulls, "times": times, "sizes": sizes,
             "boundaries": boundaries, "breaks": break_points}
    parser = argparse.ArgumentParser(prog="python -m bench.planted")
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--only", nargs="*", default=list(parts), choices=list(parts))
    report.option(parser)
    asked = parser.parse_args()
    result: dict[str, Any] = {"machine": report.machine(), "repeats": asked.repeats}
    for name in asked.only:
        print(f"\n{name}", flush=True)
        result[name] = {}
        for row, found in parts[name](asked.repeats):
            result[name][row] = found
            shown = "  ".join(f"{key} {_said(key, value)}" for key, value in found.items())
            print(f"  {row:42s} {shown}", flush=True)
    report.finish("planted", result, asked.json)


def _said(key: str, value: float) -> str:
    return f"{value:.3f}" if key.startswith("half") else f"{100 * value:5.1f} %"


Rows = Iterator[tuple[str, dict[str, float]]]


def sweep_of(rng: np.random.Generator, how: dict[str, Any], resample: bool = False) -> Fit:
    """The fit of one planted sweep."""
    how = {"lr": LR, "batch": BATCH, **how}
    given = (how.pop(name) for name in ("lr", "batch", "seeds"))
    return fit(planted_points(rng, *given, **how), resample=resample)


def laws(repeats: int) -> Rows:
    """Coverage of a, b and a + b: t intervals, and the bootstrap's for a + b."""
    for name, how in LAWS.items():
        resample = name in RESAMPLED
        found = [sweep_of(np.random.default_rng(k), how, resample) for k in range(repeats)]
        free = [f.laws["free"].exponents for f in found]
        shares = {
            "a": _share(e["a"].holds(-0.7) for e in free),
            "b": _share(e["b"].holds(0.7) for e in free),
            "a+b free": _share(f.sums["free law"].interval.holds(0) for f in found),
        }
        if found[0].equal_ratio is not None:
            shares["a+b equal ratio"] = _share(f.total.holds(0) for f in found)
            if how.get("cell_sd") == 0.0:  # else a ratio's own line is not the law's
                slopes = [s.slope for f in found for s in f.equal_ratio.families]
                shares["one ratio"] = _share(s.holds(0) for s in slopes)
        boots = [f.resampled for f in found if f.resampled is not None]
        if boots:
            shares["bootstrap"] = _share(b.holds(0) for b in boots)
        halves = {"free": [f.sums[FREE].interval.half for f in found],
                  "used": [f.total.half for f in found]}
        shares |= {f"half {kind}": float(np.median(some)) for kind, some in halves.items()}
        yield name, shares


def verdicts(repeats: int) -> Rows:
    """How often which verdict, by the planted a + b against the margin of 0.1."""
    for total in (0.0, 0.05, 0.1, 0.15, 0.2, 0.4):
        how = {"seeds": 5, "b": 0.7 + total, "cell_sd": 0.03, **WIDE}
        found = [sweep_of(np.random.default_rng(k), how).verdict for k in range(repeats)]
        yield f"a + b = {total}", {str(v): _share(f is v for f in found) for v in
                                   (Verdict.HOLDS, Verdict.FAILS, Verdict.UNDECIDED)}


def nulls(repeats: int) -> Rows:
    """How often a metric that depends on neither is said to follow no law."""
    for seeds in (3, 5, 8):
        how = {"seeds": seeds, "a": 0.0, "b": 0.0}
        found = [sweep_of(np.random.default_rng(10_000 + k), how).verdict for k in range(repeats)]
        yield f"{seeds} seeds", {"no law": _share(f is Verdict.NO_LAW for f in found)}


def times(repeats: int) -> Rows:
    """Coverage of the law of a time of which some is not seen, and of one that drops those runs."""
    for name, how in TIMES.items():
        hits, censored, dropped = [], [], []
        for k in range(repeats):
            made = planted_times(np.random.default_rng(k), LR, BATCH, how["seeds"], how["end"])
            found = fit_times(made)
            free = found.laws["free"].exponents
            hits.append([free["a"].holds(-1), free["b"].holds(1), found.total.holds(0)])
            censored.append(found.censored / found.runs)
            seen = made.frame[~made.frame["censored"]].reset_index(drop=True)
            blind = fit_times(type(made)("", seen, ()))
            dropped.append(blind.laws["free"].exponents["a"].holds(-1))
        a, b, total = np.mean(hits, axis=0)
        yield name, {"a": a, "b": b, "a+b": total, "censored": float(np.mean(censored)),
                     "a, censored runs dropped": float(np.mean(dropped))}


def sizes(repeats: int) -> Rows:
    """How often N is given its part: metrics that follow η/S, and η·N/S."""
    for name, c in (("η/S", 0.0), ("ηN/S", -0.7), ("neither", -0.35)):
        found = []
        for k in range(repeats):
            made = planted_points(np.random.default_rng(k), LR, BATCH[:3], 5, c=c, cell_sd=0.03,
                                  train_size=(500, 1000, 2000))
            found.append(fit_sizes(made))
        yield f"truth {name}", {
            "c covered": _share(f.size.holds(c) for f in found),
            "verdict right": _share(f.verdict == name for f in found),
            "undecided": _share(f.verdict == "undecided" for f in found)}


def boundaries(repeats: int) -> Rows:
    """Coverage of the exponent of the largest stable η."""
    for name, how in BOUNDARIES.items():
        c, found = how["c"], []
        for k in range(max(repeats // 4, 1)):
            runs = planted_thresholds(np.random.default_rng(k), batch=8 * 2 ** np.arange(6), **how)
            found.append(boundary(SimpleNamespace(runs=runs)))
        yield name, {"c": _share(f.exponent.holds(c) for f in found),
                     "half": float(np.median([f.exponent.half for f in found]))}


def break_points(repeats: int) -> Rows:
    """How often the last factor that coincides is the planted one, and whether it grows with N."""
    diagonal = Planted(lr=(0.01, 0.02, 0.04, 0.08, 0.16), batch_size=(8, 16, 32, 64, 128), seeds=5,
                       epochs=8.0, seed_sd=0.1, cell_sd=0.0, run_sd=0.02)
    for off in (0.15, 0.2, 0.3, 0.5):  # of log curves; twice that for the loss
        found = [_located(diagonal.but(break_batch=32, break_by=off, rng=k))
                 for k in range(max(repeats // 4, 1))]
        step = 2 * off / (2 * diagonal.seed_sd * math.sqrt(2))
        yield f"a step of {step:.1f} times the seeds' distance", {
            "exact": _share(b.last.value == 4 for b in found),
            "within a factor 2": _share(2 <= b.last.value <= 8 for b in found),
            "interval covers": _share(b.last.holds(4) for b in found)}
    for name, edges in (("later with N", (16, 64)), ("the same for all N", (32, 32))):
        found = []
        for k in range(max(repeats // 8, 1)):
            pair = [_located(diagonal.but(break_batch=edge, break_by=0.5, rng=k, train_size=n))
                    for edge, n in zip(edges, (500, 2000), strict=True)]
            found.append(growth(pair)[0].verdict)
        yield f"break {name}", {v: _share(f == v for f in found) for v in
                                ("later", "earlier", "undecided")}
    worse = np.random.default_rng(0).normal(0, 1, (repeats * 10, 5))
    mean, error = (part[0] for part in squares(worse, np.ones((1, 5))))
    yield "one cell that is not worse, by accuracy", {"broken": _share(mean > 4 * error)}


def _located(planted: Planted) -> Any:
    """The break of the train loss at η/S = 0.00125."""
    runs, snapshots = tables(planted)
    runs = runs[np.isclose(runs["ratio"], 0.00125)].reset_index(drop=True)
    kept = snapshots[snapshots["run_id"].isin(runs["run_id"])]
    with tempfile.TemporaryDirectory() as folder:
        return breaks(load(write_frames(Path(folder), planted, runs, kept)), "train_loss")[0]


def _share(hits: Any) -> float:
    return float(np.mean(list(hits)))


if __name__ == "__main__":
    main()
