"""On the Relation Between the Sharpest Directions of DNN Loss and the SGD Step Length (Jastrzębski
et al. 2019, arXiv 1807.05031). λ₁, e₁: largest eigenvalue of the Hessian of the training loss and
its direction. γ: by what Nudged-SGD multiplies η along the sharpest directions.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import edges
from analysis.claims import replicates, selection
from analysis.claims.claim import Effect, Judgement, NotTested, claim
from analysis.edges import SHARPNESS
from analysis.frames import Sweep
from analysis.labels import fixed, number
from analysis.points import END, PEAK

_PAPER = ("Jastrzębski et al. 2019, On the Relation Between the Sharpest Directions of DNN Loss "
          "and the SGD Step Length")
_CHANGE = "step_loss_change"
_SHARE = "step_gradient_share"


@claim("sharpest/rises_then_falls", "C1", paper=_PAPER, grade="likely", share=0.8,
       accuracy=0.9,
       words="the largest eigenvalues of the Hessian rise early in training, reach a peak, and "
             "then fall or settle",
       test="λ₁ of runs that end with a training accuracy of 0.9 or more, against step 0: "
            "(1) log of its largest value after step 0 over that at "
            "step 0, a mean over cells, seed by seed, above 0; (2) share of runs whose largest "
            "value is neither their first nor their last snapshot's, above 0.8")
def rises_then_falls(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Both over the cells of a seed. Runs without a snapshot at step 0 are left out."""
    path = _of_sgd(sweep, selection.path(sweep, SHARPNESS, "spectrum"))
    path, short = _trained(sweep, path, options["accuracy"])
    frame = _rises(path)
    if frame.empty:
        raise NotTested("finished runs with λ₁ above 0 at step 0 and at two later snapshots")
    rise, seeds = replicates.over_seeds(frame, lambda one: one["log_rise"].mean())
    inside, by = replicates.over_seeds(frame, lambda one: one["inside"].mean(), replicates.SHARE)
    return Judgement(
        (Effect("log(largest λ₁ / λ₁ at step 0)", rise, 0.0, "above", seeds),
         Effect("share of runs that peak inside", inside, options["share"], "above", by)),
        f"λ₁ becomes {number(math.exp(rise.value))} times that of step 0 (geometric mean over "
        f"runs), its peak lies at epoch {fixed(frame['peak_epoch'].median())} (median)",
        "over whole runs", frame.to_dict("records"),
        "; ".join(filter(None, (short, "what it rises from is the start's own curvature, set by "
                                "init and init_scale"))))


def _rises(path: pd.DataFrame) -> pd.DataFrame:
    """A row a run with λ₁ above 0 at step 0 and at two later snapshots or more; those of a run in
    order."""
    start, end = (path.drop_duplicates("run_id", keep=k).set_index("run_id")
                  for k in ("first", "last"))
    by_run = path.groupby("run_id")[SHARPNESS]
    peak = path.loc[by_run.idxmax()].set_index("run_id").loc[start.index]
    later = path[path["step"] > 0].groupby("run_id")[SHARPNESS].max().reindex(start.index)
    known = (start["step"] == 0) & (start[SHARPNESS] > 0) & (by_run.size().loc[start.index] >= 3)
    frame = pd.DataFrame({
        "seed": start["seed"], "lr": start["run_lr"], "batch_size": start["batch_size"],
        "peak_epoch": peak["epoch"], "epochs": end["epoch"],
        "log_rise": np.log(later.clip(lower=1e-300)[known] / start.loc[known, SHARPNESS]),
        "inside": ((peak["step"] > 0) & (peak["step"] < end["step"])).astype(float)})
    return frame[known].reset_index()


@claim("sharpest/peak_falls", "C2", paper=_PAPER, grade="robust", bound=-0.5,
       accuracy=0.9,
       words="the largest curvature along the path is lower for a larger learning rate or a "
             "smaller batch",
       test="runs that end with a training accuracy of 0.9 or more: Spearman correlation of η/S "
            "with the largest λ₁ after step 0 over the cells of a setting, seed by seed: below "
            "−0.5")
def peak_falls(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Rank correlation over cells, averaged over settings; the time of the peak is evidence."""
    found = selection.at(sweep, SHARPNESS, PEAK, "spectrum")
    frame, short = _trained(sweep, _of_sgd(sweep, found.frame), options["accuracy"])
    frame = selection.within(frame, "setting", "ratio_group", 3, "values of η/S in one setting")
    interval, seeds = replicates.rank_correlation(frame, "setting", "ratio_group", "y")
    earlier, _ = replicates.rank_correlation(frame, "setting", "ratio_group", "epoch")
    cells = frame.groupby(["cell", "lr", "batch_size", "ratio"])[["value", "epoch"]].median()
    lost = sum(e.count for e in found.exclusions)
    return Judgement(
        (Effect("Spearman(η/S, peak of λ₁)", interval, options["bound"], "below", seeds),),
        f"the peak of λ₁ has rank correlation {fixed(interval.value)} with η/S over "
        f"{frame['cell'].nunique()} cells (its epoch: {fixed(earlier.value)})",
        "at each run's peak after step 0",
        cells.rename(columns={"epoch": "peak_epoch"}).reset_index().to_dict("records"),
        "; ".join(filter(None, (short, f"{lost} finished runs are left out: their largest λ₁ is "
                                "that of the first snapshot" if lost else ""))))


@claim("sharpest/overshoots", "C3", paper=_PAPER, grade="robust", share=0.8, from_epoch=3.0,
       least=0.3,
       words="along the sharpest direction SGD's step is too long: a step half as long would lower "
             "the loss more, and one twice as long raises it",
       test="monitor step_geometry, multiples ½, 1, 2 of the step along e₁, snapshots from epoch 3 "
            "on at which η·λ₁ is above 0.3: share with ΔL(½) < ΔL(1), with ΔL(1) < ΔL(2), and with "
            "ΔL(2) > 0, seed by seed, each above 0.8")
def overshoots(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """ΔL: mean change of the loss over minibatches, the same ones for all multiples."""
    curve = sweep.curves
    curve = curve[(curve["quantity"] == _CHANGE) & (curve["series"] == "e1")]
    wide = curve.pivot_table(index=["subject_id", "step"], columns="x", values="value")
    if wide.empty or not {0.5, 1.0, 2.0} <= set(wide.columns):
        raise NotTested("the monitor step_geometry with the multiples 0.5, 1 and 2")
    wide = wide[[0.5, 1.0, 2.0]].dropna().set_axis(["half", "one", "two"], axis=1).reset_index()
    path = _of_sgd(sweep, selection.path(sweep, SHARPNESS, "spectrum"))
    path = path.assign(product=path["lr"] * path[SHARPNESS]).drop(columns="cell").merge(
        wide, left_on=["run_id", "step"], right_on=["subject_id", "step"])
    late = (path["epoch"] >= options["from_epoch"]) & (path["product"] > options["least"])
    path = selection.where(path, late, f"snapshots from epoch {number(options['from_epoch'])} on "
                                       f"at which η·λ₁ is above {number(options['least'])}")
    marks = {"ΔL(½) < ΔL(1)": path["half"] < path["one"],
             "ΔL(1) < ΔL(2)": path["one"] < path["two"], "ΔL(2) > 0": path["two"] > 0}
    path, effects = path.assign(**marks), []
    for name in marks:
        interval, seeds = replicates.over_seeds(
            path, lambda one, name=name: one[name].mean(), replicates.SHARE)
        effects.append(Effect(f"share of snapshots with {name}", interval, options["share"],
                              "above", seeds))
    cells = path.groupby(["run_lr", "batch_size"])[["product", "half", "one", "two", *marks]].mean()
    shares = [effect.interval.value for effect in effects]
    return Judgement(
        tuple(effects),
        f"of {len(path)} snapshots with η·λ₁ above {number(options['least'])}, half a step along "
        f"e₁ would be better in {shares[0]:.0%}, and twice the step raises the loss in "
        f"{shares[2]:.0%}", f"from epoch {number(options['from_epoch'])} on",
        cells.reset_index().to_dict("records"),
        "cells of smaller η·λ₁ are left out: there a step is too short to overshoot")


@claim("sharpest/aligned", "C4", paper=_PAPER, grade="robust", times=50.0,
       words="SGD's steps are aligned with the sharpest directions far above chance",
       test="monitor step_geometry: share of the minibatch gradients' squared norm in the span of "
            "the k sharpest directions over k/P, which it is by chance, geometric mean over "
            "snapshots after step 0, seed by seed: above 50")
def aligned(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """P: trainable parameters; the mean over all cells of a seed, in logarithms."""
    path = _of_sgd(sweep, selection.path(sweep, _SHARE, "step_geometry"))
    sizes = selection.config(sweep, "parameters").astype(float)
    chance = selection.monitor_option(sweep, "step_geometry", "k").astype(float) / sizes
    path = path.assign(chance=path["run_id"].map(chance))
    path = selection.where(path, (path["step"] > 0) & (path[_SHARE] > 0) & path["chance"].notna(),
                           "snapshots after step 0 of the monitor step_geometry")
    path = path.assign(excess=np.log(path[_SHARE] / path["chance"]))
    interval, seeds = replicates.over_seeds(path, lambda one: one["excess"].mean())
    cells = path.groupby(["cell", "run_lr", "batch_size"])[[_SHARE, "chance"]].mean()
    return Judgement(
        (Effect("log(share / chance)", interval, math.log(options["times"]), "above", seeds),),
        f"the span holds {path[_SHARE].mean():.0%} of the minibatch gradients' squared norm, "
        f"{number(math.exp(interval.value))} times what it would by chance",
        "over all snapshots after step 0", cells.reset_index().to_dict("records"),
        f"the bound is log {number(options['times'])} = {fixed(math.log(options['times']))}")


@claim("sharpest/nudged_is_sharper", "C5", paper=_PAPER, grade="likely", loss=0.0,
       words="a smaller learning rate along the sharpest directions alone leads to sharper "
             "regions, a larger one to flatter ones",
       test="Nudged-SGD of several γ, one of them 1 (plain SGD): log λ₁ where the training loss "
            "first reaches a level (the option loss; 0 takes the lowest that nine in ten of the "
            "runs compared reach), seed by seed: (1) that of γ < 1 less that of γ = 1, (2) that of "
            "γ = 1 less that of γ > 1, each above 0. It takes both to hold")
def nudged_is_sharper(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Means over the γ of a side, and over cells that differ in γ alone."""
    sweep, nudges = _nudged(sweep)
    levels = selection.losses(sweep, options["loss"], nudges["group"])
    frame, lost = selection.at_losses(sweep, SHARPNESS, levels, "spectrum")
    frame = frame.join(nudges, on="run_id")
    effects, said = [], []
    for side, sign, name in (("below", 1, "log λ₁(γ < 1) − log λ₁(γ = 1)"),
                             ("beyond", -1, "log λ₁(γ = 1) − log λ₁(γ > 1)")):
        interval, seeds = _against_plain(frame, "y", side, sign)
        effects.append(Effect(name, interval, 0.0, "above", seeds))
        words = "below 1" if side == "below" else "above 1"
        said.append(f"with γ {words} λ₁ is {number(math.exp(sign * interval.value))} times "
                    "that of plain SGD" if seeds else f"no run with γ {words} is compared")
    return Judgement(tuple(effects), "; ".join(said), f"at {selection.named(levels)}",
                     _by_gamma(frame), f"{lost} finished runs never reach it" if lost else "")


@claim("sharpest/nudged_is_no_worse", "C6", paper=_PAPER, grade="robust", margin=0.01,
       words="curvature of the end point does not predict how well it generalises: a smaller "
             "learning rate along the sharpest directions ends sharper and generalises as well",
       test="Nudged-SGD of γ < 1 less that of γ = 1 (plain SGD) at the end, seed by seed: (1) log "
            "λ₁ above 0, (2) test accuracy above −0.01")
def nudged_is_no_worse(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """No worse by the margin; better is not tested."""
    sweep, nudges = _nudged(sweep)
    sharp = selection.at(sweep, SHARPNESS, END, "spectrum").frame.set_index("run_id")
    frame = selection.at(sweep, "test_accuracy", END).frame.join(nudges, on="run_id").join(
        sharp[["value", "y"]].set_axis(["lambda_max", "log_sharp"], axis=1), on="run_id")
    frame = selection.where(frame, frame["side"] != "beyond", "Nudged-SGD with γ below 1")
    interval, seeds = _against_plain(frame, "value", "below", 1)
    sharper, by = _against_plain(frame, "log_sharp", "below", 1)
    return Judgement(
        (Effect("log λ₁(γ < 1) − log λ₁(γ = 1)", sharper, 0.0, "above", by),
         Effect("test accuracy(γ < 1) − (γ = 1)", interval, -options["margin"], "above", seeds)),
        f"with γ below 1 test accuracy changes by {fixed(100 * interval.value)} points, where λ₁ "
        f"is {number(math.exp(sharper.value))} times that of plain SGD",
        "at equal epochs", _by_gamma(frame))


def _of_sgd(sweep: Sweep, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of runs that follow plain minibatch gradients, with momentum or without."""
    plain = edges.descends(sweep, rows) & (rows["batch_size"] < rows["train_size"])
    return selection.where(rows, plain, "plain SGD on minibatches")


def _trained(sweep: Sweep, rows: pd.DataFrame, accuracy: float) -> tuple[pd.DataFrame, str]:
    """Rows of runs that end with that training accuracy, and a note of how many do not: a run that
    has not got going has its peak still before it."""
    ends = selection.config(sweep, "final_train_accuracy")
    done = rows["run_id"].map(ends) >= accuracy
    kept = selection.where(
        rows, done, f"runs that end with a training accuracy of {number(accuracy)}")
    lost = rows["run_id"].nunique() - kept["run_id"].nunique()
    return kept, (f"{lost} runs are left out: they end with a training accuracy below "
                  f"{number(accuracy)}" if lost else "")


def _nudged(sweep: Sweep) -> tuple[Sweep, pd.DataFrame]:
    """The runs of SGD and Nudged-SGD at constant η and S, and by run_id their ``gamma``, the
    ``side`` of 1 on which it lies (below, plain, beyond), and the ``group`` of those that differ in
    γ and seed alone. Plain SGD counts as γ = 1."""
    wanted = "the optimizer nudged_sgd with several gamma, one of them 1"
    column = "config_train_optimizer_gamma"
    if column not in sweep.runs:
        raise NotTested(wanted)
    sweep = selection.plain(sweep)
    names = selection.config(sweep, "config_train_optimizer_name")
    gamma = selection.config(sweep, column).where(names != "sgd", 1.0).astype(float).dropna()
    side = np.select([gamma < 1, gamma == 1], ["below", "plain"], "beyond")
    group = selection.alike(sweep, "config_train_optimizer")[gamma.index]
    found = pd.DataFrame({"gamma": gamma, "side": side, "group": group})
    known = found.loc[found.index.intersection(sweep.finished["run_id"]), "side"]
    if not {"plain"} < set(known):
        raise NotTested(wanted)
    return selection.only(sweep, found.index), found


def _against_plain(frame: pd.DataFrame, column: str, side: str, sign: int) -> tuple[Any, int]:
    """sign · (mean of the side − mean of plain), a mean over groups, seed by seed."""

    def difference(group: pd.DataFrame) -> float:
        means = group.groupby("side")[column].mean()
        return sign * float(means.get(side, math.nan) - means.get("plain", math.nan))

    return replicates.over_seeds(
        frame, lambda one: replicates.over(one, "group", difference))


def _by_gamma(frame: pd.DataFrame) -> list[dict[str, Any]]:
    kept = [c for c in ("value", "lambda_max") if c in frame]
    return frame.groupby(["group", "lr", "batch_size", "gamma"])[kept].mean().reset_index().to_dict(
        "records")
