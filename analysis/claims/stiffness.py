"""Stiffness: A New Perspective on Generalization in Neural Networks (Fort, Nowak, Jastrzębski,
Narayanan 2019, arXiv 1901.09491)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims import replicates, selection
from analysis.claims.claim import Effect, Judgement, claim
from analysis.frames import Sweep
from analysis.labels import count, fixed, number

_PAPER = "Fort, Nowak, Jastrzębski, Narayanan 2019, Stiffness"
_WITHIN = "stiffness_cos_within"


def _early(sweep: Sweep, level: float, column: str) -> pd.DataFrame:
    """Each finished run's first snapshot after step 0 at a training loss of at most ``level``.

    A mean cosine is read where it was measured: between snapshots it is no power law.
    """
    rows = selection.path(sweep, column, "stiffness")
    rows = selection.where(rows, (rows["step"] > 0) & (rows["train_loss"] <= level),
                           f"finished runs that reach a train loss of {number(level)}")
    return rows.groupby("run_id").head(1)


@claim("stiffness/classes_are_stiff", "E1", paper=_PAPER, grade="robust", loss=1.0, bound=0.2,
       words="stiffness is higher between examples of one class than between those of different "
             "classes",
       test="mean cosine of gradients within classes less between classes, at the first snapshot "
            "with a train loss of at most 1, seed by seed: above 0.2")
def classes_are_stiff(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Mean over settings, then over seeds; without the last layer too, where that was measured."""
    rows = _early(sweep, options["loss"], _WITHIN)
    rows = rows.assign(gap=rows[_WITHIN] - rows["stiffness_cos_between"])
    interval, seeds = replicates.over_seeds(
        rows, lambda runs: replicates.over(runs, "cell", lambda p: p["gap"].mean()))
    inner, note = f"{_WITHIN}_inner", ""
    if sweep.measures(inner):
        gap = (rows[inner] - rows["stiffness_cos_between_inner"]).mean()
        note = ("the bias of the last layer alone sets classes apart; without the last layer the "
                f"difference is {fixed(gap)}")
    table = rows.groupby(["cell", "run_lr", "label_noise"])[
        [_WITHIN, "stiffness_cos_between", "gap", "train_loss"]].mean().reset_index()
    return Judgement(
        (Effect("cosine within − between classes", interval, options["bound"], "above", seeds),),
        f"the mean cosine of gradients is {fixed(rows[_WITHIN].mean())} within classes and "
        f"{fixed(rows['stiffness_cos_between'].mean())} between",
        f"first time at train loss {number(options['loss'])}", table.to_dict("records"), note)


@claim("stiffness/falls_with_distance", "E2", paper=_PAPER, grade="robust", loss=1.0,
       words="stiffness falls with the distance of the inputs; the distance at which it reaches "
             "zero within a class is the dynamical critical length ξ",
       test="slope of the within-class cosine against the inputs' distance 1 − cos, at the first "
            "snapshot with a train loss of at most 1, seed by seed: below 0")
def falls_with_distance(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Mean over cells, then over seeds. ξ is told where it lies among the distances observed."""
    rows = _early(sweep, options["loss"], "stiffness_slope")
    interval, seeds = replicates.over_seeds(
        rows, lambda runs: replicates.over(runs, "cell", lambda p: p["stiffness_slope"].mean()))
    known = rows["critical_length"].dropna()
    lengths = (f"ξ = {fixed(known.median())} in the median of {count(len(known), 'run')}"
               if len(known) else "ξ lies beyond the distances observed in all runs")
    table = rows.groupby(["cell", "run_lr", "label_noise"])[
        ["stiffness_slope", "critical_length", "train_loss"]].mean().reset_index()
    missing = len(rows) - len(known)
    return Judgement(
        (Effect("slope of within-class cosine against distance", interval, 0.0, "below", seeds),),
        f"within-class stiffness changes by {fixed(interval.value)} a unit of distance; {lengths}",
        f"first time at train loss {number(options['loss'])}", table.to_dict("records"),
        f"in {missing} of {len(rows)} runs ξ would be an extrapolation and is left out"
        if missing and len(known) else "")


@claim("stiffness/critical_length_falls_with_rate", "E3", paper=_PAPER, grade="open", loss=0.0,
       margin=0.01,
       words="the higher the learning rate, the smaller the critical length ξ, at a given training "
             "loss (the later version of the paper; the first version had the opposite)",
       test="runs at constant η: slope of log ξ on log η at equal train loss, seed by seed: below "
            "−0.01; above it, the claim fails. The loss is the lowest that 9 of 10 runs of a "
            "setting and batch size reach, or as given")
def critical_length_falls_with_rate(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Settings of one batch size and noise in which ξ is known at two rates or more."""
    sweep = selection.plain(sweep)
    runs = selection.within(sweep.finished, ["setting", "batch_size"], "lr", 2,
                            "learning rates at one batch size")
    at_one_size = pd.Series(runs.groupby(["setting", "batch_size"]).ngroup().to_numpy(),
                            runs["run_id"])
    sweep = selection.only(sweep, runs["run_id"])
    levels = selection.losses(sweep, options["loss"], at_one_size)
    frame, _ = selection.at_losses(sweep, "critical_length", levels, "stiffness")
    frame = selection.within(frame, ["setting", "batch_size", "seed"], "lr", 2,
                             "learning rates with a critical length at equal train loss")
    frame = frame.assign(group=frame.groupby(["setting", "batch_size"]).ngroup())
    interval, seeds = replicates.over_seeds(frame, lambda runs: replicates.over(
        runs, "group", lambda p: replicates.slope(np.log(p["lr"]), p["y"])))
    table = frame.groupby(["setting_label", "batch_size", "lr", "level"])["value"].agg(
        ["mean", "count"]).reset_index().rename(columns={"mean": "critical_length"})
    share = 100 * (10 ** interval.value - 1)
    return Judgement(
        (Effect("slope of log ξ on log η", interval, -options["margin"], "below", seeds),),
        f"at equal train loss ξ changes by {fixed(share, 1)} % when η is ten times as large",
        "at equal train loss", table.to_dict("records"),
        "runs in which ξ would be an extrapolation at that loss are left out")


@claim("stiffness/fades_when_overfitting", "E4", paper=_PAPER, grade="likely", rise=0.1, share=0.5,
       words="stiffness within a class goes to zero once over-fitting sets in",
       test="in runs with label noise whose test loss ends at least 10 % above its lowest: the "
            "within-class cosine at the last snapshot over that at the lowest test loss, seed by "
            "seed: below 0.5")
def fades_when_overfitting(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Only with label noise: clean small data shows no over-fitting to speak of."""
    rows = selection.path(sweep, _WITHIN, "stiffness")
    rows = selection.where(rows, (rows["label_noise"] > 0) & rows["test_loss"].notna(),
                           "finished runs with label noise")
    found = pd.DataFrame([_fading(path) for _, path in rows.groupby("run_id", sort=True)])
    over = selection.where(found, found["rise"] >= options["rise"],
                           "runs with label noise that over-fit: train longer")
    interval, seeds = replicates.over_seeds(
        over, lambda runs: replicates.over(runs, "cell", lambda p: p["share"].mean()))
    return Judgement(
        (Effect("within-class cosine at the end over that at the lowest test loss", interval,
                options["share"], "below", seeds),),
        f"from the lowest test loss to the end the within-class cosine goes from "
        f"{fixed(over['at_best'].mean())} to {fixed(over['at_end'].mean())}",
        "from the lowest test loss to the end", found.to_dict("records"),
        f"{len(found) - len(over)} of {len(found)} runs do not over-fit and are left out"
        if len(over) < len(found) else "")


def _fading(path: pd.DataFrame) -> dict[str, Any]:
    later = path[path["step"] > 0]
    best = later.loc[later["test_loss"].idxmin()] if len(later) else path.iloc[-1]
    end = path.iloc[-1]
    return {"run_id": end["run_id"], "cell": end["cell"], "seed": end["seed"],
            "lr": end["run_lr"], "label_noise": end["label_noise"],
            "best_epoch": best["epoch"], "at_best": best[_WITHIN], "at_end": end[_WITHIN],
            "share": end[_WITHIN] / best[_WITHIN] if best[_WITHIN] > 0 else float("nan"),
            "rise": end["test_loss"] / best["test_loss"] - 1}
