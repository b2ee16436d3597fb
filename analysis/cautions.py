"""What a reader must know before believing the laws: the design's weak spots, one sentence each."""

import math
from collections.abc import Sequence

import numpy as np

from analysis.crossed import MIN_SEEDS
from analysis.forms import logs
from analysis.frames import Sweep
from analysis.labels import count, label, listed, number
from analysis.laws import Fit, Verdict
from analysis.verdicts import bends

_FEW_CELLS = 8
_COLLINEAR = 0.9
_BETTER = 4.0


def cautions(sweep: Sweep, fits: Sequence[Fit]) -> tuple[str, ...]:
    """Sentences about the grid, the seeds, what is missing, and how well the laws fit."""
    found = [*_of_runs(sweep)]
    if fits and fits[0].cells:
        found += [*_of_grid(fits[0]), *_of_seeds(fits[0])]
    for fit in fits:
        found += _of_fit(fit)
    return tuple(dict.fromkeys(found))


def _of_runs(sweep: Sweep) -> list[str]:
    runs, found = sweep.runs, []
    diverged = runs[runs["status"] == "diverged"]
    if len(diverged):
        found.append(
            f"{len(diverged)} of {count(len(runs), 'run')} diverged, from η/S = "
            f"{number(diverged['ratio'].min())} on: they are not missing at random, and the laws "
            "describe the others"
        )
    for column, words in (
        ("torch_version", "versions of torch"),
        ("device_kind", "kinds of device"),
        ("precision", "precisions"),
        ("numerics", "numerics versions"),
    ):
        kinds = sorted(map(str, runs[column].dropna().unique()))
        if len(kinds) > 1:
            found.append(f"the runs come from {len(kinds)} {words}: {listed(kinds)}")
    if (runs["stratum_label"] != "").any():
        names = sorted({word for word in runs["stratum_label"]})
        found.append(
            f"settings differ ({listed(names, 4)}): each has an intercept of its own, and the "
            "exponents are common to all"
        )
    return found


def _of_grid(fit: Fit) -> list[str]:
    cells, found = fit.crossing.cells, []
    if fit.cells < _FEW_CELLS:
        found.append(f"{count(fit.cells, 'cell')} only: the exponents rest on few points")
    if cells["ratio_group"].nunique() == 1:
        found.append("one ratio η/S only: nothing can be said about dependence on it")
    for column, name in (("lr", "learning rate"), ("batch_size", "batch size")):
        if cells[column].nunique() == 1:
            found.append(f"one {name} only: η/S cannot be told from the other alone")
    together = _correlation(logs(cells, fit.effective))
    if abs(together) > _COLLINEAR:
        found.append(
            f"η and S vary almost together (r = {number(together, 2)} of their logarithms): "
            "a and b are hard to tell apart"
        )
    if fit.effective:
        found.append("momentum varies: η stands for η/(1 − μ) in all laws")
    return found


def _correlation(pair: np.ndarray) -> float:
    if len(pair) < 3 or (np.ptp(pair, axis=0) == 0).any():
        return 0.0
    return float(np.corrcoef(pair.T)[0, 1])


def _of_seeds(fit: Fit) -> list[str]:
    if fit.seeds == 1:
        return ["one seed: chance cannot be told from the cell, nor runs compared with seed noise"]
    if not fit.crossing.crossed:
        return ["the cells do not all have the same seeds: seeds count as noise inside the cells"]
    if fit.seeds < MIN_SEEDS:
        return [f"{fit.seeds} seeds: the intervals take them as given; from five on they may vary"]
    return []


def _of_fit(fit: Fit) -> list[str]:
    name, found = f"{label(fit.metric).plain} {fit.at}", []
    if bends(fit):
        found.append(
            f"{name} bends on logarithmic axes (ΔAICc = {number(fit.delta_aicc_curved)} for a "
            "quadratic term): its exponents are averages over this grid"
        )
    rivals = [law for law in fit.laws.values() if law.name in ("sqrt", "lr", "batch")]
    best = min(rivals, key=lambda law: law.aicc if math.isfinite(law.aicc) else math.inf)
    lead = fit.laws["ratio"].aicc - best.aicc
    if fit.verdict in (Verdict.HOLDS, Verdict.UNDECIDED) and lead > _BETTER:
        found.append(f"{name} is fitted better by {best.formula} (ΔAICc = {number(lead)})")
    return found
