"""The Break-Even Point on Optimization Trajectories of Deep Neural Networks (Jastrzębski et al.
2020, arXiv 2002.09572). H: Hessian of the training loss; K: covariance of the examples' gradients.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import edges
from analysis.claims import replicates, selection
from analysis.claims.claim import Effect, Judgement, NotTested, claim
from analysis.claims.peaks import Peaks, lacking, note, peaks
from analysis.crossed import Interval
from analysis.edges import SHARPNESS
from analysis.frames import Sweep
from analysis.labels import fixed, number

_PAPER = "Jastrzębski et al. 2020, The Break-Even Point on Optimization Trajectories of DNNs"
_NOISE, _TRACE, _CONDITION = "k_lambda_max", "k_trace", "k_condition"
_NAMES = {SHARPNESS: "λ_H", _NOISE: "λ_K", _TRACE: "Tr K", _CONDITION: "λ_K*/λ_K"}


def _nets(sweep: Sweep, batch_norm: bool = False) -> Sweep:
    """Its runs at constant η and S, with or without batch normalisation."""
    sweep, column = selection.plain(sweep), "config_model_batch_norm"
    runs = sweep.runs
    normal = runs[column] == True if column in runs else pd.Series(False, runs.index)  # noqa: E712
    kept = selection.where(runs, normal == batch_norm,
                           f"nets with model.batch_norm: {str(batch_norm).lower()}")
    return selection.only(sweep, kept["run_id"])


def _cells(rows: pd.DataFrame, metric: str) -> list[dict[str, Any]]:
    cells = rows.groupby(["cell", "lr", "batch_size"])[["value", "epoch"]].median()
    return cells.reset_index().assign(metric=metric).to_dict("records")


def _slopes(runs: pd.DataFrame) -> float:
    """Of log peak on log η at equal S, averaged over the batch sizes and settings."""
    return replicates.over(runs.assign(at=runs.groupby(["setting", "batch_size"]).ngroup()), "at",
                           lambda part: replicates.slope(np.log(part["lr"]), part["y"]))


@claim("break_even/peaks_fall", "F1", paper=_PAPER, grade="robust", bound=0.0, from_epoch=1.0,
       loss=0.0,
       words="the largest curvature and the largest variance of gradients along the trajectory are "
             "smaller for a larger learning rate (variance reduction)",
       test="peaks of λ_H and λ_K from epoch 1 to a training loss that all compared runs reach (0: "
            "the lowest that nine in ten of a setting reach), of runs that have neither behind "
            "them at their first snapshot there: slope of the log peak on log η at equal S, seed "
            "by seed, below 0. Expected for squared loss; open for cross-entropy's λ_K")
def peaks_fall(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Conjecture 1."""
    return _peaks_fall(_nets(sweep), options)


def _peaks_fall(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    found = {metric: peaks(sweep, metric, options) for metric in (SHARPNESS, _NOISE)}
    effects, said, evidence = [], [], []
    for metric, one in found.items():
        _several_rates(one)
        interval, seeds = replicates.over_seeds(one.rows, _slopes)
        name = _NAMES[metric]
        effects.append(Effect(f"slope of log {name} peak on log η", interval, options["bound"],
                              "below", seeds))
        said.append(f"the peak of {name} changes by a factor of {number(2 ** interval.value)} "
                    "where η doubles")
        evidence += _cells(one.rows, metric)
    return Judgement(tuple(effects), "; ".join(said), found[SHARPNESS].stop_rule, evidence,
                     note(*found.values()))


def _several_rates(found: Peaks) -> None:
    if found.rows.groupby(["setting", "batch_size"])["lr"].nunique().max() < 2:
        raise NotTested(lacking("several η at one batch size", found))


def _rank(sweep: Sweep, metric: str, options: Mapping[str, Any], side: str) -> Judgement:
    """Spearman correlation of η/S with the peak of a metric."""
    found = peaks(_nets(sweep), metric, options)
    rows = selection.within(found.rows, "setting", "ratio_group", 3,
                            lacking("values of η/S in one setting", found))
    interval, seeds = replicates.rank_correlation(rows, "setting", "ratio_group", "y")
    name = _NAMES[metric]
    effect = Effect(f"Spearman(η/S, peak of {name})", interval, options["bound"], side, seeds)
    return Judgement((effect,), f"the peak of {name} {'falls' if interval.value < 0 else 'rises'} "
                     f"with η/S: rank correlation {fixed(interval.value)} over "
                     f"{rows['cell'].nunique()} cells", found.stop_rule, _cells(rows, metric),
                     note(found))


@claim("break_even/noise_falls", "F2", paper=_PAPER, grade="robust", bound=0.0, from_epoch=1.0,
       loss=0.0,
       words="the largest trace of the covariance of gradients along the trajectory is smaller for "
             "a larger learning rate or a smaller batch size",
       test="Spearman correlation of η/S and the peak of Tr K (from epoch 1 to a training loss "
            "that all compared runs reach) over the cells of a setting, seed by seed, below 0")
def noise_falls(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """The second half of conjecture 2."""
    return _rank(sweep, _TRACE, options, "below")


@claim("break_even/conditioning_improves", "F3", paper=_PAPER, grade="open", bound=0.0,
       from_epoch=1.0, loss=0.0,
       words="the conditioning of the covariance of gradients is better for a larger learning rate "
             "or a smaller batch size (pre-conditioning)",
       test="Spearman correlation of η/S and the largest λ_K*/λ_K along the trajectory over the "
            "cells of a setting, seed by seed, above 0. Open: a statistic of the number and size "
            "of the measured minibatches, not of K alone")
def conditioning_improves(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """The first half of conjecture 2."""
    return _rank(sweep, _CONDITION, options, "above")


@claim("break_even/curvature_moves_with_noise", "F4", paper=_PAPER, grade="robust", bound=0.7,
       loss=0.0,
       words="the spectral norms of the Hessian and of the covariance of gradients are highly "
             "correlated along the trajectory",
       test="Pearson correlation of λ_H and λ_K over the snapshots of a run after step 0, mean "
            "over the runs of a seed that reach a common training loss: above 0.7. Expected for "
            "cross-entropy alone: with squared loss K falls with the residuals while H grows")
def curvature_moves_with_noise(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Correlation along paths; by loss where there are several."""
    sweep = _nets(sweep)
    selection.path(sweep, _NOISE, "gradient_noise")
    path = selection.path(sweep, SHARPNESS, "spectrum")
    path = path[(path["step"] > 0) & path[_NOISE].notna()]
    levels = selection.losses(sweep, options["loss"])
    done = path.groupby("run_id")["train_loss"].min()
    done = done[done <= levels.reindex(done.index)]
    path = selection.where(path, path["run_id"].isin(done.index),
                           f"runs that reach {selection.named(levels)}")
    one = path.groupby("run_id")[["cell", "seed", "run_lr", "batch_size"]].first()
    one["correlation"] = _pearson(path)
    interval, seeds = replicates.over_seeds(one, lambda r: r["correlation"].mean(),
                                            replicates.CORRELATION)
    cells = one.groupby(["cell", "run_lr", "batch_size"])["correlation"].mean().reset_index()
    return Judgement(
        (Effect("Pearson(λ_H, λ_K) along a run", interval, options["bound"], "above", seeds),),
        f"along a run λ_H and λ_K correlate by {fixed(interval.value)} on average, from "
        f"{fixed(cells['correlation'].min())} to {fixed(cells['correlation'].max())} over cells",
        f"from step 1 to the end, runs that reach {selection.named(levels)}",
        cells.rename(columns={"run_lr": "lr"}).to_dict("records"))


def _pearson(path: pd.DataFrame) -> pd.Series:
    """run_id -> the correlation of λ_H and λ_K along its path; NaN below five snapshots and where
    one of the two is constant."""
    runs = path.groupby("run_id")[[SHARPNESS, _NOISE]]
    off = path[[SHARPNESS, _NOISE]] - runs.transform("mean")
    both = (off[SHARPNESS] * off[_NOISE]).groupby(path["run_id"]).sum()
    size = np.sqrt((off**2).groupby(path["run_id"]).sum()).prod(axis=1)
    known = (runs.size() >= 5) & (runs.nunique() > 1).all(axis=1)
    return (both / size.where(known)).clip(-1.0, 1.0)


@claim("break_even/breaks_even_early", "F6", paper=_PAPER, grade="likely", accuracy=0.8,
       from_epoch=0.0, loss=0.0,
       words="the break-even point is reached early in training, earlier with a larger learning "
             "rate",
       test="at the peak of λ_K (after step 0, up to a training loss that all compared runs reach) "
            "the training accuracy is below 0.8, and the slope of the log epoch of the peak on "
            "log η at equal S is below 0, seed by seed (the number 0.8 is ours)")
def breaks_even_early(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Where λ_K peaks."""
    found = peaks(_nets(sweep), _NOISE, options)
    _several_rates(found)
    rows = found.rows
    accuracy, seeds = replicates.over_seeds(rows, lambda r: r["train_accuracy"].mean(),
                                            replicates.SHARE)
    slope, _ = replicates.over_seeds(rows.assign(y=np.log(rows["epoch"])), _slopes)
    return Judgement(
        (Effect("train accuracy at the peak of λ_K", accuracy, options["accuracy"], "below", seeds),
         Effect("slope of log epoch of the peak on log η", slope, 0.0, "below", seeds)),
        f"λ_K peaks at epoch {number(rows['epoch'].median())} (median), at train accuracy "
        f"{fixed(accuracy.value)}", found.stop_rule, _cells(rows, _NOISE), note(found))


@claim("break_even/peak_is_bounded", "F7", paper=_PAPER, grade="open", slack=1.05, from_epoch=1.0,
       loss=0.0,
       words="the curvature at the break-even point, 2/η − αc with α = λ_K/λ_H and c = "
             "(N−S)/(S(N−1)), bounds the curvature that is reached",
       test="η (λ_H + c λ_K/λ_H)/2 at the peak of λ_H, the largest over the cells of a seed: below "
            "1.05 (SGD without momentum, nudge or penalty; the position along the sharpest "
            "direction is taken as 1)")
def peak_is_bounded(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """λ_H ≤ 2/η − αc, as a share of the room."""
    sweep = _of_plain_sgd(_nets(sweep))
    noise = selection.path(sweep, _NOISE, "gradient_noise")[["run_id", "epoch", _NOISE]]
    found = peaks(sweep, SHARPNESS, options)
    runs = sweep.runs.set_index("run_id")
    rows = found.rows.merge(noise, on=["run_id", "epoch"])
    rows = selection.where(rows, rows[_NOISE] > 0, "runs with λ_K above 0 at the peak of λ_H")
    size, batch = rows["run_id"].map(runs["train_size"]), rows["batch_size"]
    alpha_c = rows[_NOISE] / rows["value"] * (size - batch) / (batch * (size - 1))
    rows = rows.assign(share=rows["lr"] * (rows["value"] + alpha_c) / 2)
    interval, seeds = replicates.over_seeds(rows, lambda r: r["share"].max())
    cells = rows.groupby(["cell", "lr", "batch_size"])[["value", _NOISE, "share"]].median()
    return Judgement(
        (Effect("η (λ_H + αc)/2, the largest cell", interval, options["slack"], "below", seeds),),
        f"at its peak λ_H takes {fixed(rows['share'].median())} of what the break-even condition "
        f"allows (median), {fixed(interval.value)} in the cell that takes most",
        found.stop_rule, cells.reset_index().to_dict("records"), note(found))


def _of_plain_sgd(sweep: Sweep) -> Sweep:
    """Its runs whose steps are η times a minibatch gradient, as in the condition."""
    runs = sweep.runs
    plain = edges.descends(sweep, runs) & (runs["momentum"] == 0)
    return selection.only(sweep, selection.where(
        runs, plain, "runs of plain SGD without momentum")["run_id"])


@claim("break_even/batch_norm_is_not_enough", "F8", paper=_PAPER, grade="likely", bound=0.0,
       from_epoch=1.0, loss=0.0,
       words="using a large learning rate is necessary to achieve the smoothing of the loss that "
             "was attributed to batch normalisation alone",
       test="as peaks_fall (F1), in nets with batch normalisation")
def batch_norm_is_not_enough(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Conjecture 1 with batch normalisation."""
    return _peaks_fall(_nets(sweep, batch_norm=True), options)


@claim("break_even/dynamics_along_the_sharpest", "F5", paper=_PAPER, grade="robust",
       tolerance=0.01,
       words="along the sharpest direction, with an own parabola for each example, E ψ² grows in a "
             "step by (1−ηλ)² + s²η²(N−S)/(S(N−1)), and breaks even where that is 1",
       test="probe break_even: measured growth over the formula, and the curvature where it breaks "
            "even over 2/η − αc, less 1, at each η and S: within ±0.01 (exact where all "
            "minibatches are taken, else with the standard error of a sample)")
def dynamics_along_the_sharpest(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """The largest deviation over η and S of either; seeds of the probe are the unit."""
    rows = selection.probe_curves(sweep, "break_even", ["break_even_growth", "break_even_error",
                                                        "break_even_curvature"])
    parts = rows["series"].str.rpartition("_")
    quantity = rows["quantity"].str.removeprefix("break_even_")
    rows = rows.assign(column=quantity.where(quantity == "error", quantity + "_" + parts[0]),
                       batch_size=parts[2].astype(int))
    table = rows.pivot_table(index=["x", "batch_size", "probe_seed"], columns="column",
                             values="value").reset_index().rename(columns={"x": "lr"})
    table["growth_off"] = table["growth_measured"] / table["growth_predicted"] - 1
    table["curvature_off"] = table["curvature_found"] / table["curvature_predicted"] - 1 if {
        "curvature_found", "curvature_predicted"} <= set(table) else math.nan
    table["half"] = 1.96 * table["error"] / table["growth_predicted"]
    worst = table.loc[table["growth_off"].abs().idxmax()]
    effects = [Effect("growth of E ψ² over the formula, less 1, the worst case",
                      _around(worst["growth_off"], worst["half"]), options["tolerance"], "within",
                      len(table), "case")]
    known = table["curvature_off"].dropna()
    exact = table.loc[known.index, "half"] == 0
    if exact.any():
        off = float(known[exact].abs().max())
        effects.append(Effect("break-even curvature over 2/η − αc, less 1, the worst case",
                              _around(off, 0.0), options["tolerance"], "within",
                              int(exact.sum()), "case"))
    return Judgement(
        tuple(effects), f"E ψ² grows as the formula says, to {number(abs(worst['growth_off']), 2)} "
        f"of it in the worst of {len(table)} cases", "one step", table.to_dict("records"))


def _around(value: float, half: float) -> Interval:
    return Interval(float(value), float(value - half), float(value + half))
