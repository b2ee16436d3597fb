"""Three Factors Influencing Minima in SGD (Jastrzębski et al. 2018, arXiv 1711.04623).

Equal schedules (B5) and where the law breaks (B4) are in linear_scaling.py.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims import curves, replicates, selection
from analysis.claims.claim import Effect, Judgement, NotTested, claim
from analysis.crossed import Interval
from analysis.edges import SHARPNESS
from analysis.forms import FORMS, MIN_DOF, design
from analysis.frames import Sweep
from analysis.labels import fixed, number
from analysis.laws import MARGIN, Fit, Verdict, fit
from analysis.levels import first_reading
from analysis.points import END, logit
from analysis.verdicts import sentence

_PAPER = "Jastrzębski et al. 2018, Three Factors Influencing Minima in SGD"
_NAMES = {SHARPNESS: "λ_max", "hessian_frobenius": "‖H‖_F"}


@claim("three_factors/ratio_law", "B0", paper=_PAPER, grade="robust", margin=MARGIN,
       words="the ratio of learning rate to batch size is a key determinant of the width of the "
             "endpoint of SGD",
       test="log λ_max = c + a log η + b log S at fixed epochs: the interval of a + b lies within "
            "the margin (0.1 unless the spec says otherwise); SGD at constant η and S")
def ratio_law(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Equivalence test of a + b = 0 in the free power law (analysis/laws.py)."""
    sweep, note = selection.constant_sgd(sweep)
    fitted = fit(selection.at(sweep, SHARPNESS, END, "spectrum"), options["margin"])
    if not np.isfinite(fitted.total.value):
        raise NotTested(_unfitted(fitted))
    if fitted.verdict is Verdict.NO_LAW:  # a + b = 0 would hold of what moves with neither
        raise NotTested("a λ_max that moves with η or S: here it does not by more than its scatter "
                        "or the margin")
    effect = Effect("a + b", fitted.total, options["margin"], "within", fitted.seeds)
    rows = [{"cell": int(cell), "lr": lr, "batch_size": batch, "log_lambda_max": y}
            for cell, lr, batch, y in zip(
                fitted.crossing.cells["cell"], fitted.crossing.cells["lr"],
                fitted.crossing.cells["batch_size"], fitted.crossing.means, strict=True)]
    return Judgement((effect,), sentence(fitted), "at equal epochs", rows, note)


def _unfitted(fitted: Fit) -> str:
    """What a grid lacks in which a and b could not be fitted."""
    cells = fitted.crossing.cells
    rows = design(cells, cells, fitted.effective, FORMS["free"])
    rank = int(np.linalg.matrix_rank(rows))
    if rank - int(np.linalg.matrix_rank(rows[:, :-2])) < 2:
        return "cells in which η and S vary apart"
    return (f"at least {rank + MIN_DOF} cells of η and S: {len(cells)} leave too little to tell a "
            "and b with an error")


@claim("three_factors/sharpness_falls", "B1", paper=_PAPER, grade="robust", bound=-0.8,
       words="higher values of the ratio of learning rate to batch size lead to wider minima",
       test="Spearman correlation of η/S with λ_max (and the Frobenius norm of H where measured) "
            "at the end over the cells of a setting, seed by seed, at fixed epochs: below −0.8; "
            "SGD at constant η and S, settings of three η/S or more")
def sharpness_falls(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Rank correlation over cells, averaged over settings, interval over seeds."""
    kept, note = selection.constant_sgd(sweep)
    frames = {metric: selection.at(kept, metric, END, "spectrum").frame for metric in _NAMES
              if metric == SHARPNESS or kept.measures(metric)}
    return _falls(frames, "at the end", options["bound"], "at equal epochs", [note])


@claim("three_factors/sharpness_falls_at_equal_loss", "B2", paper=_PAPER, grade="robust",
       bound=-0.8, loss=0.0,
       words="higher values of the ratio of learning rate to batch size lead to wider minima (not "
             "only because they are further on in training)",
       test="Spearman correlation of η/S and λ_max where the training loss first reaches a level "
            "(the option loss; 0 takes the lowest that nine runs in ten of a setting reach) over "
            "the cells of a setting, seed by seed: below −0.8; SGD at constant η and S, settings "
            "of three η/S or more. Expected for squared loss; open for cross-entropy")
def sharpness_falls_at_equal_loss(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """As ``sharpness_falls``, at the same training loss within a setting."""
    kept, note = selection.constant_sgd(sweep)
    levels = selection.losses(kept, options["loss"])
    frame, lost = selection.at_losses(kept, SHARPNESS, levels, "spectrum")
    where = f"at {selection.named(levels)}"
    unreached = f"{lost} finished runs are left out: never {where}" if lost else ""
    return _falls({SHARPNESS: frame}, where, options["bound"], where, [unreached, note])


def _falls(frames: Mapping[str, pd.DataFrame], where: str, bound: float, stop_rule: str,
           notes: Sequence[str]) -> Judgement:
    """``frames``: of each metric, as selection.at has it. ``where``: in words."""
    effects, said, evidence = [], [], []
    for metric, frame in frames.items():
        name = _NAMES[metric]
        frame = selection.within(frame, "setting", "ratio_group", 3,
                                 "values of η/S in one setting")
        interval, seeds = replicates.rank_correlation(frame, "setting", "ratio_group", "y")
        effects.append(Effect(f"Spearman(η/S, {name})", interval, bound, "below", seeds))
        verb = "falls" if interval.value < 0 else "does not fall"
        said.append(f"{name} {where} {verb} with η/S: rank correlation {fixed(interval.value)} "
                    f"over {frame['cell'].nunique()} cells")
        cells = frame.groupby(["cell", "lr", "batch_size", "ratio"])["value"].median()
        evidence += cells.reset_index().assign(metric=metric).to_dict("records")
    return Judgement(tuple(effects), "; ".join(said), stop_rule, evidence,
                     "; ".join(filter(None, notes)))


@claim("three_factors/equal_ratios_coincide", "B3", paper=_PAPER, grade="robust", share=0.2,
       tolerance=2.0, factor=16.0,
       words="runs of equal ratio of learning rate to batch size end equally wide, and their "
             "losses follow the same curve over epochs",
       test="cells of equal η/S up to 16 times the smallest batch: (1) standard deviation of log "
            "λ_max at the end within a ratio over that across ratios below 0.2; (2) distance of "
            "log train loss curves to the smallest batch's over the distance between seeds of a "
            "cell below 2; SGD at constant η and S")
def equal_ratios_coincide(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Both seed by seed; the yardstick between seeds is one a family."""
    sweep, note = selection.constant_sgd(sweep)
    frame = selection.at(sweep, SHARPNESS, END, "spectrum").frame
    least = frame.groupby(["setting", "ratio_group"])["batch_size"].transform("min")
    frame = frame[frame["batch_size"] <= options["factor"] * least * (1 + 1e-9)]
    sizes = frame.groupby(["setting", "ratio_group"])["batch_size"].transform("nunique")
    frame = selection.where(frame, sizes > 1, "several batch sizes at one η/S")
    frame = selection.within(frame, "setting", "ratio_group", 2,
                             "values of η/S in one setting, each with several batch sizes")
    spread, seeds = replicates.over_seeds(
        frame, lambda runs: replicates.over(runs, "setting", _spread))
    path, distances, evidence = selection.path(sweep, "train_loss"), [], []
    for (setting, ratio), runs in frame.groupby(["setting", "ratio_group"]):
        found = _to_smallest(path, runs)
        distances.append(found)
        evidence += found.assign(setting=setting, ratio=ratio).to_dict("records")
    apart, by = replicates.over_seeds(
        pd.concat(distances), lambda rows: float(rows["distance"].mean()))
    said = (f"log λ_max varies {fixed(spread.value)} times as much within a ratio as across; loss "
            f"curves at equal η/S lie {fixed(apart.value)} times as far apart as seeds do")
    return Judgement(
        (Effect("sd within / sd across", spread, options["share"], "below", seeds),
         Effect("distance of loss curves / between seeds", apart, options["tolerance"], "below",
                by)), said, "at equal epochs", evidence,
        "; ".join(filter(None, (
            f"batches up to {number(options['factor'])} times the smallest of their ratio", note))))


def _spread(runs: pd.DataFrame) -> float:
    """Of one seed's cells in one setting."""
    families = runs.groupby("ratio_group")["y"]
    free = len(runs) - families.ngroups
    if free < 1 or families.ngroups < 2:
        return math.nan
    within = math.sqrt(float(((runs["y"] - families.transform("mean")) ** 2).sum()) / free)
    across = float(families.mean().std(ddof=1))
    return within / across if across > 0 else math.inf


def _to_smallest(path: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Rows (batch_size, seed, distance): each run's curve to the smallest batch's of its seed, over
    the distance between seeds."""
    smallest = runs["batch_size"] == runs["batch_size"].min()
    found, _ = curves.distances(path, runs, runs[smallest], runs[~smallest])
    sizes = runs.drop_duplicates("cell").set_index("cell")["batch_size"]
    return found.assign(batch_size=found["second"].map(sizes))[["batch_size", "seed", "distance"]]


@claim("three_factors/memorization_costs_less", "B7", paper=_PAPER, grade="open", memorized=0.4,
       words="at an equal level of memorized random labels, a larger ratio of learning rate to "
             "batch size gives a higher accuracy on clean validation data",
       test="test accuracy where the accuracy on the relabelled training examples first reaches "
            "0.4: its Spearman correlation with η/S over the cells of a setting, seed by seed, "
            "above 0; SGD at constant η and S. Open: a small trial found the opposite")
def memorization_costs_less(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Rank correlation at equal memorized fraction, averaged over noise levels."""
    sweep, note = selection.constant_sgd(sweep)
    path = selection.path(sweep, "corrupted_accuracy", "memorization")
    path = selection.where(path, path["label_noise"] > 0, "label noise above 0")
    level = options["memorized"]
    path = path[path["test_accuracy"].notna()]
    read = first_reading(path, ["test_accuracy"], path["corrupted_accuracy"],
                         path["corrupted_accuracy"] >= level, level)
    read = read.loc[~read["at_once"], "test_accuracy"]  # the others were there unseen
    if read.empty:
        raise NotTested(f"runs that memorize {number(level)} of the relabelled examples")
    runs = sweep.finished[sweep.finished["run_id"].isin(read.index)]
    runs = runs.assign(value=runs["run_id"].map(read))
    runs = runs.assign(y=logit(runs["value"].to_numpy(), runs["test_size"].to_numpy(float)))
    runs = selection.within(runs, "setting", "ratio_group", 3,
                            "values of η/S in one setting that memorize as much")
    interval, seeds = replicates.rank_correlation(runs, "setting", "ratio_group", "y")
    cells = runs.groupby(["cell", "label_noise", "lr", "batch_size", "ratio"])["value"].mean()
    lost = path["run_id"].nunique() - len(read)
    best, worst = (runs.loc[runs["ratio_group"] == r, "value"].mean()
                   for r in (runs["ratio_group"].max(), runs["ratio_group"].min()))
    return Judgement(
        (Effect("Spearman(η/S, test accuracy)", interval, 0.0, "above", seeds),),
        f"with {number(level)} of the random labels memorized, test accuracy is {fixed(best)} at "
        f"the largest η/S and {fixed(worst)} at the smallest",
        f"at {number(level)} of the relabelled examples memorized",
        cells.reset_index().to_dict("records"),
        "; ".join(filter(None, (f"{lost} finished runs never memorize as much" if lost else "",
                                note))))


@claim("three_factors/wider_on_the_line", "B8", paper=_PAPER, grade="likely",
       words="on the line between two minima the loss rises more slowly on the side of the one "
             "with the higher ratio of learning rate to batch size",
       test="probe interpolation between runs of one seed and different η/S: log of the half-"
            "width (distance at which the loss has risen by the probe's rise) at the higher "
            "ratio's end over that at the lower's, outwards and inwards, above 0")
def wider_on_the_line(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:  # noqa: ARG001
    """Mean log ratio of widths of a seed's pairs; both ends share the line, hence its length."""
    rows = selection.probe_curves(sweep, "interpolation", ["interpolation_half_width"])
    runs = sweep.runs.set_index("run_id")
    found = []
    for probe_id, part in rows.groupby("subject_id"):
        a, b = part["run_ids"].iloc[0][:2]
        if not {a, b} <= set(runs.index) or runs.at[a, "seed"] != runs.at[b, "seed"]:
            continue
        first, second = runs.at[a, "ratio_group"], runs.at[b, "ratio_group"]
        width = part.set_index("series")["value"]
        for side in ("out", "in"):
            ratio = _log_ratio(width, f"first_{side}", f"second_{side}")
            if first != second and math.isfinite(ratio):
                found.append({"probe_id": probe_id, "seed": runs.at[a, "seed"], "side": side,
                              "lower": min(first, second), "higher": max(first, second),
                              "log_width_ratio": ratio if first > second else -ratio})
    if not found:
        raise NotTested("the probe interpolation between runs of one seed and different η/S")
    frame = pd.DataFrame(found)
    interval, seeds = replicates.over_seeds(frame, lambda one: one["log_width_ratio"].mean())
    rises = sorted({json.loads(text).get("rise", math.nan) for text in rows["options"]})
    return Judgement(
        (Effect("log(width at higher η/S / at lower)", interval, 0.0, "above", seeds),),
        f"the minimum of the higher η/S is {number(math.exp(interval.value))} times as wide on the "
        f"line between the two",
        f"at equal epochs, where the loss has risen by {' or '.join(map(number, rises))}", found,
        "widths grow with the weights' norm: compare nets of one architecture alone")


def _log_ratio(width: pd.Series, first: str, second: str) -> float:
    """log(first / second); where one is not reached on the line, of what was looked at, which is
    kept only if the sign is certain."""
    seen = [(width.get(n), width.get(f"{n}_at_least")) for n in (first, second)]
    values = [w if w is not None else least for w, least in seen]
    if any(v is None or not v > 0 for v in values):
        return math.nan
    ratio = math.log(values[0] / values[1])
    open_ends = [w is None for w, _ in seen]
    certain = not any(open_ends) or (open_ends[0] and ratio > 0) or (open_ends[1] and ratio < 0)
    return ratio if certain and not all(open_ends) else math.nan


@claim("three_factors/excess_loss_on_a_quadratic", "B6", paper=_PAPER, grade="robust",
       tolerance=0.01,
       words="on a quadratic with C = H the ratio of the expected excess loss to the trace of the "
             "Hessian is set by the learning rate over the batch size, η/4S: the limit of small ηλ "
             "of E ΔL = (η/2S) Σ λ/(2 − ηλ), which SGD follows at any η",
       test="probe quadratic: measured excess loss over the exact (η/2S) Σ λ/(2 − ηλ), less 1, for "
            "each curvature, η and S: within ±0.01 over the probe's seeds (the simulation's "
            "standard error where there is one seed). How much lower the limit (η/4S) Tr H is, is "
            "told and not tested")
def excess_loss_on_a_quadratic(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """One effect a case: a probe's options, η and S; the limit stands beside in the evidence."""
    rows = selection.probe_curves(sweep, "quadratic", ["quadratic_excess", "quadratic_error"])
    rows = rows.assign(quantity=[_kind(q, s) for q, s in zip(
        rows["quantity"], rows["series"], strict=True)],
        size=rows["series"].str.rpartition("_")[2].astype(int))
    bowls = {text: f"bowl {i}, " for i, text in enumerate(sorted(set(rows["options"])), 1)}
    table = rows.pivot_table(index=["options", "x", "size", "probe_seed"], columns="quantity",
                             values="value")
    table = table.reset_index().rename(columns={"x": "lr", "size": "batch_size"})
    effects = []
    for (bowl, lr, size), part in table.groupby(["options", "lr", "batch_size"]):
        off = (part["measured"] / part["exact"] - 1).to_numpy()
        half = 1.96 * float((part["error"] / part["exact"]).max())
        interval = replicates.interval(off) if len(off) > 1 else Interval(
            float(off[0]), float(off[0]) - half, float(off[0]) + half)
        where = f"{bowls[bowl] if len(bowls) > 1 else ''}η = {number(lr)}, S = {size}"
        effects.append(Effect(f"excess loss over exact, less 1 ({where})", interval,
                              options["tolerance"], "within", len(off)))
    worst = max(abs(e.interval.value) for e in effects)
    low = (1 - table["sde"] / table["exact"]).groupby(table["lr"]).max()
    least, most = (number(100 * low.iloc[i], 2) for i in (0, -1))
    return Judgement(
        tuple(effects), f"the excess loss is the exact one to {number(100 * worst, 2)} % in "
        f"{len(effects)} cases; the limit (η/4S) Tr H is {least} % too low at η = "
        f"{number(low.index[0])} and {most} % at η = {number(low.index[-1])}",
        "stationary state", table.to_dict("records"), "; ".join(
            f"{name}{text}" for text, name in bowls.items()) if len(bowls) > 1 else "")


def _kind(quantity: str, series: str) -> str:
    return "error" if quantity.endswith("error") else series.rpartition("_")[0]
