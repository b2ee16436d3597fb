"""A Closer Look at Memorization in Deep Networks (Arpit et al. 2017, arXiv 1706.05394)."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims import noises, replicates, selection
from analysis.claims.claim import Effect, Judgement, NotTested, claim
from analysis.frames import Sweep
from analysis.labels import fixed, listed, number

_PAPER = "Arpit et al. 2017, A Closer Look at Memorization in Deep Networks"
_SIZE = ("train_size", "data_sha256", "config_data_train_size", "config_measure_set_size")


@claim("memorization/easy_and_hard", "A1", paper=_PAPER, grade="robust", bound=2.0, repeats=30.0,
       words="for randX the errors after one epoch are well modelled as Binomial; for randY this "
             "is not the case, and real examples are easy or hard far more consistently",
       test="over-dispersion of the examples' error p after one epoch from R starts, D = Var(p)/"
            "(p̄(1 − p̄)/R), told as that of 30 starts, 1 + (D − 1)·(30 − 1)/(R − 1), by seeds of "
            "the probe: D(real) − D(randY) > 0, D(randY) − D(randX) > 0, D(randX) < 2")
def easy_and_hard(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """D of the probes first_epoch of clean data and of all-noise data, paired by the probe's seed.

    Both D and its bound are of one number of starts, the option ``repeats``.
    """
    rows = selection.probe_curves(sweep, "first_epoch", ["first_epoch_dispersion"])
    rows = rows.assign(run_id=[ids[0] for ids in rows["run_ids"]],
                       examples=[json.loads(text)["examples"] for text in rows["options"]],
                       D=at_starts(rows["value"], rows["x"], options["repeats"]))
    known = sweep.runs.assign(group=selection.alike(sweep, *noises.KINDS).to_numpy(),
                              kind=noises.kind(sweep.runs))
    rows = rows.merge(known[["run_id", "group", "kind"]], on="run_id")
    rows = rows[rows["kind"] != ""].rename(columns={"probe_seed": "seed"})
    table = rows.pivot_table(index=["group", "examples", "seed"], columns="kind", values="D")
    if not {"real", "randY", "randX"} <= set(table) or table.dropna().empty:
        raise NotTested("the probe first_epoch of clean data, of label_noise: 1 and of "
                        "input_noise: 1")
    table = table.dropna().reset_index()
    values = {"D(real) − D(randY)": table["real"] - table["randY"],
              "D(randY) − D(randX)": table["randY"] - table["randX"], "D(randX)": table["randX"]}
    effects = []
    for name, value in values.items():
        interval, seeds = replicates.over_seeds(
            table.assign(v=value), lambda part: part["v"].mean())
        bound, side = (options["bound"], "below") if name == "D(randX)" else (0.0, "above")
        effects.append(Effect(name, interval, bound, side, seeds, "probe seed"))
    mean = table[["real", "randY", "randX"]].mean()
    starts = listed([number(x) for x in sorted(rows["x"].unique())])
    return Judgement(
        tuple(effects), f"over-dispersion of errors after one epoch: {fixed(mean['real'], 1)} on "
        f"real data, {fixed(mean['randY'], 1)} with random labels, {fixed(mean['randX'], 1)} with "
        "random inputs (1 if all examples are alike)", "after one epoch",
        table.to_dict("records"),
        f"D as that of {number(options['repeats'])} starts (measured: {starts}). Model, η, S, the "
        "examples and their noise are the same throughout: the intervals tell what other starts "
        "and orders would give, not what other data would")


def at_starts(dispersion: Any, starts: Any, others: float) -> Any:
    """The over-dispersion D that so many other starts would give in expectation.

    Of examples of true error rates π, E D = 1 + (R − 1) Var(π)/(p̄(1 − p̄)): what exceeds 1 grows as
    R − 1. Numbers or columns; two starts at the least.
    """
    return 1 + (dispersion - 1) * (others - 1) / (starts - 1)


@claim("memorization/sensitivity_is_unequal", "A2", paper=_PAPER, grade="robust",
       words="the loss is sensitive to a subset of the training examples on real data, and to "
             "nearly all of them alike on random data, throughout training",
       test="Gini(real) − Gini(randX) of the unrolled loss sensitivity over inputs at every "
            "snapshot: each above 0, seed by seed")
def sensitivity_is_unequal(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:  # noqa: ARG001
    """One effect a measuring step, paired by seed."""
    rows = selection.path(sweep, "sensitivity_gini", "memorization with sensitivity: true")
    table = noises.by_kind(sweep, rows, "sensitivity_gini", ["real", "randX"])
    effects = []
    for step, part in table.groupby("step"):
        difference = part.assign(v=part["real"] - part["randX"])
        interval, seeds = replicates.over_seeds(difference, lambda p: p["v"].mean())
        effects.append(Effect(f"Gini(real) − Gini(randX) at step {step}", interval, 0.0, "above",
                              seeds))
    losses = noises.by_kind(sweep, rows, "train_loss", ["real", "randX"])
    low, high = ((t["real"].mean(), t["randX"].mean()) for t in (table, losses))
    return Judgement(
        tuple(effects), f"Gini coefficient of the loss sensitivity, mean over {len(effects)} "
        f"snapshots: {fixed(low[0])} on real data, {fixed(low[1])} with random inputs",
        "at equal steps", table.to_dict("records"),
        f"at equal steps the train losses differ: in the mean {number(high[0])} on real data, "
        f"{number(high[1])} with random inputs")


@claim("memorization/fits_patterns_first", "A3", paper=_PAPER, grade="robust", fitted=0.9, drop=0.1,
       words="networks learn simple patterns first: validation accuracy is best before the noisy "
             "labels are fitted, and falls while they are",
       test="over label noise above 0 and below 1, runs that fit it, seed by seed: epoch at which "
            "the noisy labels' accuracy reaches 0.9 less the epoch of the best test accuracy > 0; "
            "best less final test accuracy > 0.1")
def fits_patterns_first(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Of runs that fit their noisy labels in the end: the others have not come to the point."""
    rows = selection.path(sweep, "corrupted_accuracy", "memorization")
    rows = selection.where(
        rows, (rows["label_noise"] > 0) & (rows["label_noise"] < noises.ALL)
        & (rows["input_noise"] == 0), "runs with label noise above 0 and below 1")
    found = pd.DataFrame([_course(path, options["fitted"])
                          for _, path in rows.groupby("run_id", sort=True)])
    late = int((~found["fitted"]).sum())
    found = selection.where(found, found["fitted"], f"runs that fit {options['fitted']:g} of their "
                            "noisy labels: train longer")
    gap, seeds = replicates.over_seeds(found, lambda p: p["gap_epochs"].mean())
    drop, _ = replicates.over_seeds(found, lambda p: p["drop"].mean())
    return Judgement(
        (Effect("epochs from the best test accuracy to noisy labels fitted", gap, 0.0, "above",
                seeds),
         Effect("best less final test accuracy", drop, options["drop"], "above", seeds)),
        f"test accuracy is best when {fixed(100 * found['noisy_at_best'].mean(), 0)} % of the "
        f"noisy labels are fitted, {number(gap.value)} epochs before "
        f"{100 * options['fitted']:.0f} % are, and ends {fixed(100 * drop.value, 0)} points lower",
        "over the whole path",
        found.to_dict("records"),
        f"left out: runs that never fitted their noisy labels ({late})" if late else "")


def _course(path: pd.DataFrame, level: float) -> dict[str, Any]:
    best = path.loc[path["test_accuracy"].idxmax()] if path["test_accuracy"].notna().any() \
        else path.iloc[-1]
    fitted = path[path["corrupted_accuracy"] >= level]
    until = fitted["epoch"].iloc[0] if len(fitted) else float("nan")
    return {"run_id": best["run_id"], "seed": best["seed"], "label_noise": best["label_noise"],
            "best_epoch": best["epoch"], "fitted_epoch": until, "fitted": bool(len(fitted)),
            "gap_epochs": until - best["epoch"], "noisy_at_best": best["corrupted_accuracy"],
            "drop": best["test_accuracy"] - path["test_accuracy"].iloc[-1]}


@claim("memorization/critical_samples_grow", "A4", paper=_PAPER, grade="robust", bound=0.9,
       words="the critical sample ratio on the validation set is higher, the more of the inputs or "
             "labels are noise",
       test="Spearman correlation of the fraction of noise and the final critical sample ratio, "
            "seed by seed, for each kind of noise that has at least three levels: above 0.9")
def critical_samples_grow(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """At the end; one effect a kind of noise."""
    rows = selection.path(sweep, "critical_sample_ratio", "memorization")
    rows = rows.groupby("run_id").tail(1)
    effects, said, table = noises.trends(sweep, rows, {"final ratio": "critical_sample_ratio"},
                                   options["bound"], "above")
    return Judgement(effects, "critical samples: " + said, "at equal epochs", table)


@claim("memorization/noise_costs_accuracy", "A5", paper=_PAPER, grade="robust", bound=-0.9,
       words="both the best and the final validation accuracy fall with the fraction of noise",
       test="Spearman correlation of the fraction of noise and the test accuracy, seed by seed, "
            "for each kind of noise that has at least three levels, best and final: below −0.9")
def noise_costs_accuracy(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """One effect a kind of noise, for the best and for the final accuracy."""
    rows = selection.path(sweep, "test_accuracy")
    last = rows.groupby("run_id").tail(1).assign(
        best=lambda r: r["run_id"].map(rows.groupby("run_id")["test_accuracy"].max()))
    effects, said, table = noises.trends(
        sweep, last, {"best": "best", "final": "test_accuracy"}, options["bound"], "below")
    return Judgement(effects, "test accuracy: " + said, "best, and at equal epochs", table)


@claim("memorization/noise_takes_longer_with_size", "A6", paper=_PAPER, grade="likely",
       words="the time to convergence grows faster with the size of the data on noise than on real "
             "data",
       test="slope of log epochs to the target accuracy against log N: noise (all labels, or all "
            "inputs) less real, seed by seed, over the sizes that all runs of both reached: > 0")
def noise_takes_longer_with_size(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:  # noqa: ARG001
    """Of runs with ``train.until``; a size at which one is censored is left out for both kinds."""
    runs = sweep.runs.assign(kind=noises.kind(sweep.runs), group=selection.alike(
        sweep, *noises.KINDS, *_SIZE).to_numpy())
    until = [c for c in runs if c.startswith("config_train_until_")]
    has = runs[until].notna().any(axis=1)
    runs = selection.where(runs[has], runs[has]["kind"] != "", "runs with train.until on clean "
                           "data and on all noise")
    censored = runs["status"] == "stopped"
    runs = runs[censored | (runs["status"] == "finished")]
    effects, said, table = [], [], []
    for kind in ("randX", "randY"):
        both = runs[runs["kind"].isin(["real", kind])]
        kinds = both.groupby(["group", "train_size"])["kind"].transform("nunique")
        ended = both.groupby(["group", "train_size"])["status"].transform(
            lambda s: (s == "finished").all())
        used = both[(kinds == 2) & ended]
        used = used[used.groupby("group")["train_size"].transform("nunique") >= 3]
        if used.empty:
            continue
        slopes = {k: replicates.by_seed(used[used["kind"] == k], _growth) for k in ("real", kind)}
        interval, seeds = replicates.over_seeds(used, lambda p, k=kind: _growth(
            p[p["kind"] == k]) - _growth(p[p["kind"] == "real"]))
        effects.append(Effect(f"slope({kind}) − slope(real)", interval, 0.0, "above", seeds))
        said.append(f"{fixed(float(np.mean(slopes['real'])))} on real data and "
                    f"{fixed(float(np.mean(slopes[kind])))} with {kind}")
        table += used.groupby(["kind", "train_size"])["epochs"].mean().reset_index().to_dict(
            "records")
    if not effects:
        raise NotTested("at least three values of train_size at which all runs on clean data and "
                        "with label_noise: 1 or input_noise: 1 reach the target of train.until")
    return Judgement(tuple(effects), "epochs to the target grow with N to the power "
                     + listed(said), "at the target accuracy", table,
                     f"{int(censored.sum())} runs stopped short of the target; sizes with such "
                     "runs are left out" if censored.any() else "")


def _growth(runs: pd.DataFrame) -> float:
    """Slope of log epochs on log N, a mean over groups."""
    return replicates.over(runs, "group", lambda p: replicates.slope(
        np.log(p["train_size"]), np.log(p["epochs"]))) if len(runs) else float("nan")


@claim("memorization/dropout_hinders_memorizing", "A7", paper=_PAPER, grade="likely", loss=0.01,
       gain=0.2,
       words="dropout lowers the accuracy reached on random labels at almost unchanged best "
             "validation accuracy on real data",
       test="for some dropout rate, seed by seed against no dropout (intervals widened for the "
            "number of rates): final train accuracy on random labels lower by more than 0.2, best "
            "test accuracy on real data lower by less than 0.01")
def dropout_hinders_memorizing(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """The rate told is the one with the best verdict, then with the largest of the smaller margins.
    """
    rows = selection.path(sweep, "train_accuracy")
    rate = selection.config(sweep, "config_model_dropout")
    group = selection.alike(sweep, *noises.KINDS, "config_model_dropout")
    rows = rows.assign(rate=rows["run_id"].map(rate), kind=noises.kind(rows),
                       group=rows["run_id"].map(group))
    last = rows.groupby("run_id").tail(1).assign(
        best=lambda r: r["run_id"].map(rows.groupby("run_id")["test_accuracy"].max()))
    index = ["group", "seed"]
    fit = last[last["kind"] == "randY"].pivot_table(index=index, columns="rate",
                                                     values="train_accuracy")
    real = last[last["kind"] == "real"].pivot_table(index=index, columns="rate", values="best")
    rates = sorted(set(fit) & set(real) - {0.0})
    if not rates or 0.0 not in fit or 0.0 not in real:
        raise NotTested("model.dropout at 0 and above, on clean data and with label_noise: 1")
    pairs = []
    for chosen in rates:
        pair = tuple(
            Effect(f"{name} at dropout {number(chosen)}", replicates.interval(
                values.groupby("seed").mean(), 1 - 0.05 / len(rates)), bound, side,
                values.index.get_level_values("seed").nunique())
            for name, values, bound, side in (
                ("fall of the accuracy on random labels", (fit[0.0] - fit[chosen]).dropna(),
                 options["gain"], "above"),
                ("fall of the best test accuracy on real data",
                 (real[0.0] - real[chosen]).dropna(), options["loss"], "below")))
        pairs.append(pair)
    order = {"holds": 2, "undecided": 1, "fails": 0}
    best = max(pairs, key=lambda p: (min(order[str(e.verdict)] for e in p), min(
        p[0].interval.value - options["gain"],
        (options["loss"] - p[1].interval.value) * options["gain"] / options["loss"])))
    table = [{"rate": r, "random_label_accuracy": fit[r].mean(), "best_test_accuracy": real[r].mean(
    )} for r in (0.0, *rates)]
    return Judgement(
        best, f"of {len(rates)} rates: {best[0].name.partition(' at ')[2]} lowers the accuracy on "
        f"random labels by {fixed(100 * best[0].interval.value, 1)} points and the best test "
        f"accuracy on real data by {fixed(100 * best[1].interval.value, 1)}",
        "at equal epochs", table)
