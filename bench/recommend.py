"""Does `sgdscope recommend` recommend well? Batch sizes are held back from a digits sweep.

    python -m bench.recommend --storage DIR          # about 4 minutes of one core
    python -m bench.recommend --planted 200          # coverage on planted curves, 2 minutes

Of a sweep over η and S, each S in turn is held back; η for it is recommended from the others; the
recommended runs are made. Told for each: whether the interval of `best` holds the optimum that the
held-back runs show, how far the recommended η's score is from the best of them in seed deviations,
and whether the train-loss curves of `equal ratio` are those of the reference cell within seed
noise, beside what the recommendation said of that.
"""
# ruff: noqa: T201

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from bench import report

SPEC = {
    "name": "recommend-digits", "data": {"name": "digits", "train_size": 1000},
    "model": {"name": "mlp", "width": 64, "depth": 2},
    "train": {"epochs": 24, "loss": "cross_entropy"},
    "measure": {"when": {"early": "log", "every_epochs": 2}, "monitors": []},
}
SIZES = (8, 16, 32, 64, 128, 256)
SEEDS = 5
SWEEP = {
    "axes": {"ratio": {"log": [1.0e-4, 0.1024], "n": 21}, "batch_size": list(SIZES),
             "seed": {"count": SEEDS}},
    "derived": {"lr": "ratio * batch_size"}, "keep": "0.01 <= lr <= 3.5",
}


def trained(storage: Path, name: str, sweep: dict[str, Any]) -> Path:
    """The folder of a finished sweep."""
    import orchestrator

    storage.mkdir(parents=True, exist_ok=True)
    path = storage / f"{name}.yaml"
    path.write_text(json.dumps({**SPEC, "name": name, "sweep": sweep}))
    return orchestrator.run(path, storage=storage, inline=True)


def held_back(storage: Path, metric: str, folder: Path | None) -> list[dict[str, Any]]:
    """A row a batch size that was held back from the sweep in ``folder``, made if not given."""
    import analysis
    from analysis.recommend import recommend

    whole = analysis.load(folder or trained(storage, "whole", SWEEP))
    found = {}
    for size in SIZES[1:]:
        runs = whole.runs
        rest = analysis.load(whole.folder, runs.loc[runs["batch_size"] != size, "run_id"].tolist())
        (found[size],) = recommend(rest, size, metric=metric)
    points = [{"lr": advice.lr.value, "batch_size": size, "seed": seed}
              for size, one in found.items() for advice in (one.best, one.equal_ratio)
              for seed in range(SEEDS)]
    made = analysis.load(trained(storage, f"made-{metric.replace('_', '-')}", {"include": points}))
    return [_row(whole, made, size, one, metric) for size, one in found.items()]


def _row(whole: Any, made: Any, size: int, one: Any, metric: str) -> dict[str, Any]:
    from analysis.recommend import recommend

    (full,) = recommend(whole, size, metric=metric)
    own = next(o for o in full.optima if o.batch_size == size)
    best, equal = one.best, one.equal_ratio
    there = _scores(whole, size, own.best, metric)
    ours = _scores(made, size, best.lr.value, metric)
    deviation = math.sqrt((there.var(ddof=1) + ours.var(ddof=1)) / 2)
    ratio = _distance(whole, one.optima[0], made, size, equal.lr.value)
    return {
        "S": size, "eta": best.lr.value, "low": best.lr.low, "high": best.lr.high,
        "best cell": own.best, "covers": best.lr.low <= own.best <= best.lr.high,
        "score": float(ours.mean()), "best score": float(there.mean()),
        "behind": float((there.mean() - ours.mean()) / deviation),
        "equal eta": equal.lr.value, "distance": ratio, "coincides": ratio <= 2,
        "said sound": equal.sound, "said": equal.validity,
    }


def matching(folder: Path) -> list[dict[str, Any]]:
    """Each cell held back with its batch size: whether equal ratio was said to hold there, from
    the other batch sizes, and the distance of its curves from the reference in seed noise."""
    import analysis
    from analysis.collapse import breaks
    from analysis.recommend import coincide

    whole, rows = analysis.load(folder), []
    for size in SIZES[1:]:
        runs = whole.runs
        rest = analysis.load(folder, runs.loc[runs["batch_size"] != size, "run_id"].tolist())
        told = breaks(rest, "train_loss")
        for family in breaks(whole, "train_loss"):
            for step in family.steps:
                if step.batch_size == size and step.coincides is not None:
                    said, sound = coincide(told, family.ratio, SIZES[0], size)
                    rows.append({"S": size, "ratio": family.ratio, "sound": sound, "said": said,
                                 "distance": step.distance / step.seed_noise,
                                 "coincides": step.coincides})
    return rows


def _scores(sweep: Any, size: int, lr: float, metric: str) -> np.ndarray:
    """(seeds,): on the scale of the laws, more is better."""
    from analysis.points import END, points

    frame = points(sweep, metric, END).frame
    rows = frame[(frame["batch_size"] == size) & np.isclose(frame["lr"], lr, rtol=1e-9)]
    y = rows.sort_values("seed")["y"].to_numpy(float)
    return y if metric.endswith("accuracy") else -y


def _distance(whole: Any, reference: Any, made: Any, size: int, lr: float) -> float:
    """Of log train-loss curves, seed by seed, in units of the seed noise of a cell."""
    from analysis.collapse import mean_squares

    cells = [_curves(whole, reference.batch_size, reference.best), _curves(made, size, lr)]
    start = max(e[0] for cell in cells for e, _ in cell)
    grid = np.linspace(start, min(e[-1] for cell in cells for e, _ in cell), 64)
    curves = np.array([[np.interp(grid, e, v) for e, v in cell] for cell in cells])
    distance, noise = mean_squares(curves, np.ones((1, SEEDS)))
    return float(np.sqrt(distance / noise)[0, 0])


def _curves(sweep: Any, size: int, lr: float) -> list[tuple[np.ndarray, np.ndarray]]:
    rows = sweep.snapshots
    rows = rows[(rows["batch_size"] == size) & np.isclose(rows["run_lr"], lr, rtol=1e-9)
                & (rows["step"] > 0)]
    return [(p["epoch"].to_numpy(float), np.log(p["train_loss"].to_numpy(float)))
            for _, p in rows.groupby("seed")]


def main() -> None:
    """Told on the terminal and as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage", type=Path, default=Path("sweeps/bench-recommend"))
    parser.add_argument("--planted", type=int, metavar="N", help="N planted sweeps instead")
    parser.add_argument("--sweep", type=Path, metavar="DIR", help="a finished sweep of SPEC")
    parser.add_argument("--metrics", nargs="+", default=["test_accuracy", "train_loss"])
    report.option(parser)
    asked = parser.parse_args()
    if asked.planted:
        found = [planted(kind, asked.planted) for kind in KINDS]
        print(report.table(found, {"curve": "<28", "own": ">7.3f", "held back": ">10.3f",
                                   "beyond": ">8.3f", "exponent": ">9.3f", "width": ">7.2f"}))
        report.finish("recommend-planted", {"rows": found}, asked.json)
        return
    rows = {m: held_back(asked.storage, m, asked.sweep) for m in asked.metrics}
    for metric, found in rows.items():
        print(f"\nby {metric}")
        print(report.table(found, {
            "S": ">4d", "eta": ">7.3f", "low": ">7.3f", "high": ">7.3f", "best cell": ">10.3f",
            "covers": ">7", "score": ">7.2f", "best score": ">11.2f", "behind": ">7.2f",
            "equal eta": ">10.3f", "distance": ">9.2f", "coincides": ">10", "said sound": ">11"}))
    cells = matching(asked.sweep or asked.storage / "whole")
    for sound in (True, False):
        some = [c["coincides"] for c in cells if c["sound"] is sound]
        print(f"equal ratio said {'to hold' if sound else 'not to be sure'} in {len(some)} cells "
              f"held back: curves coincide in {sum(some)}")
    report.finish("recommend", {"rows": rows, "cells": cells}, asked.json)


KINDS: dict[str, dict[str, float]] = {
    "symmetric, fine": {"skew": 1, "step": 2**0.5, "off": 0.0},
    "steeper above, fine": {"skew": 2, "step": 2**0.5, "off": 0.15},
    "much steeper above, coarse": {"skew": 3, "step": 2.0, "off": 0.0},
    "cliff above, coarse": {"skew": 3, "step": 2.0, "off": 0.15, "cliff": 0.5},
    "cliff above, three seeds": {"skew": 2, "step": 2**0.5, "off": 0.15, "cliff": 0.3, "seeds": 3},
    "steeper above, one seed": {"skew": 2, "step": 2.0, "off": 0.0, "seeds": 1},
}


def planted(kind: str, count: int) -> dict[str, Any]:
    """Shares of ``count`` sweeps in which the stated 95 % intervals hold the planted truth: of the
    optimum at a batch size that was run, of the prediction at S = 64 and 256 held back, and of the
    exponent."""
    from analysis.optimum import Kind
    from analysis.scaling import scaling
    from tests.analysis.curves import Curves, optima

    told: dict[str, list[float]] = {n: [] for n in ("own", "held back", "beyond", "exponent",
                                                    "width")}
    for seed in range(count):
        curves = Curves(exponent=0.6, rng=seed, **KINDS[kind])
        every = [o for o in optima(curves) if o.kind is not Kind.EDGE]
        told["own"] += [o.lr.holds(curves.truth[o.batch_size]) for o in every]
        for size, name in ((64, "held back"), (256, "beyond")):
            law = scaling([o for o in every if o.batch_size != size])
            predicted = law.predict(size)
            told[name].append(predicted.holds(curves.truth[size]))
            if size == 64:
                told["exponent"].append(law.exponent.holds(0.6))
                told["width"].append(math.log(predicted.high / predicted.low))
    return {"curve": kind, "sweeps": count, **{n: float(np.mean(v)) for n, v in told.items()}}


if __name__ == "__main__":
    main()
