"""Three Factors Influencing Minima in SGD (Jastrzębski et al. 2018, arXiv 1711.04623).

Equal schedules (B5) and where the law breaks (B4) are in linear_scaling.py.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims import curves, replicates, selection
from analysis.claims.claim import Effect, Judgement, NotTested, claim
from analysis.crossed import Interval
from analysis.edges import SHARPNESS
from analysis.frames import Sweep
from analysis.labels import fixed, number
from analysis.laws import MARGIN, fit
from analysis.points import END, At, logit, matched_loss
from analysis.verdicts import sentence

_PAPER = "Jastrzębski et al. 2018, Three Factors Influencing Minima in SGD"


@claim("three_factors/ratio_law", "B0", paper=_PAPER, grade="robust", margin=MARGIN,
       words="the ratio of learning rate to batch size is a key determinant of the width of the "
             "endpoint of SGD",
       test="log λ_max = c + a log η + b log S at fixed epochs: the interval of a + b lies within "
            "the margin (0.1 unless the spec says otherwise)")
def ratio_law(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Equivalence test of a + b = 0 in the free power law (analysis/laws.py)."""
    fitted = fit(selection.at(sweep, SHARPNESS, END, "spectrum"), options["margin"])
    if not np.isfinite(fitted.total.value):
        raise NotTested("cells in which η and S vary apart")
    effect = Effect("a + b", fitted.total, options["margin"], "within", fitted.seeds)
    rows = [{"cell": int(cell), "lr": lr, "batch_size": batch, "log_lambda_max": y}
            for cell, lr, batch, y in zip(
                fitted.crossing.cells["cell"], fitted.crossing.cells["lr"],
                fitted.crossing.cells["batch_size"], fitted.crossing.means, strict=True)]
    return Judgement((effect,), sentence(fitted), "at equal epochs", rows)


@claim("three_factors/sharpness_falls", "B1", paper=_PAPER, grade="robust", bound=-0.8,
       words="higher values of the ratio of learning rate to batch size lead to wider minima",
       test="Spearman correlation of η/S with λ_max (and the Frobenius norm of H where measured) "
            "at the end over the cells of a setting, seed by seed, at fixed epochs: below −0.8")
def sharpness_falls(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Rank correlation over cells, averaged over settings, interval over seeds."""
    names = {SHARPNESS: "λ_max"}
    if sweep.measures("hessian_frobenius"):
        names["hessian_frobenius"] = "‖H‖_F"
    return _falls(sweep, names, END, options["bound"], "at equal epochs")


@claim("three_factors/sharpness_falls_at_equal_loss", "B2", paper=_PAPER, grade="robust",
       bound=-0.8, loss=0.0,
       words="higher values of the ratio of learning rate to batch size lead to wider minima (not "
             "only because they are further on in training)",
       test="Spearman correlation of η/S and λ_max where the training loss first reaches a level "
            "(the option loss; 0 takes the lowest that nine runs in ten reach) over the cells of a "
            "setting, seed by seed: below −0.8. Expected for squared loss; open for cross-entropy")
def sharpness_falls_at_equal_loss(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """As ``sharpness_falls``, at the same training loss."""
    level = options["loss"] or matched_loss(sweep)
    if not level:
        raise NotTested("finished runs with a training loss above 0")
    return _falls(sweep, {SHARPNESS: "λ_max"}, At("loss", level), options["bound"],
                  f"at train loss {number(level)}")


def _falls(sweep: Sweep, names: Mapping[str, str], where: At, bound: float,
           stop_rule: str) -> Judgement:
    effects, said, evidence, unreached = [], [], [], 0
    for metric, name in names.items():
        found = selection.at(sweep, metric, where, "spectrum")
        frame = found.frame
        selection.levels(frame, "ratio_group", 3, "values of η/S")
        unreached = max(unreached, sum(e.count for e in found.exclusions))
        interval, seeds = replicates.rank_correlation(frame, "setting", "ratio_group", "y")
        effects.append(Effect(f"Spearman(η/S, {name})", interval, bound, "below", seeds))
        verb = "falls" if interval.value < 0 else "does not fall"
        said.append(f"{name} {where} {verb} with η/S: rank correlation {fixed(interval.value)} "
                    f"over {frame['cell'].nunique()} cells")
        cells = frame.groupby(["cell", "lr", "batch_size", "ratio"])["value"].median()
        evidence += cells.reset_index().assign(metric=metric).to_dict("records")
    note = f"{unreached} finished runs are left out: never {where}" if unreached else ""
    return Judgement(tuple(effects), "; ".join(said), stop_rule, evidence, note)


@claim("three_factors/equal_ratios_coincide", "B3", paper=_PAPER, grade="robust", share=0.2,
       tolerance=2.0, factor=16.0,
       words="runs of equal ratio of learning rate to batch size end equally wide, and their "
             "losses follow the same curve over epochs",
       test="cells of equal η/S up to 16 times the smallest batch: (1) standard deviation of log "
            "λ_max at the end within a ratio over that across ratios below 0.2; (2) distance of "
            "log train loss curves to the smallest batch's over the distance between seeds of a "
            "cell below 2")
def equal_ratios_coincide(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Both seed by seed; the yardstick between seeds is one a family."""
    frame = selection.at(sweep, SHARPNESS, END, "spectrum").frame
    least = frame.groupby(["setting", "ratio_group"])["batch_size"].transform("min")
    frame = frame[frame["batch_size"] <= options["factor"] * least * (1 + 1e-9)]
    sizes = frame.groupby(["setting", "ratio_group"])["batch_size"].transform("nunique")
    frame = selection.where(frame, sizes > 1, "several batch sizes at one η/S")
    selection.levels(frame, "ratio_group", 2, "values of η/S, each with several batch sizes")
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
        f"batches up to {number(options['factor'])} times the smallest of their ratio")


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
    table = curves.logs(path, "train_loss", set(runs["run_id"]))
    yard = curves.between_seeds(table, [c["run_id"] for _, c in runs.groupby("cell")])
    reference = runs["batch_size"].min()
    first = runs[runs["batch_size"] == reference].set_index("seed")["run_id"]
    rest = runs[(runs["batch_size"] > reference) & runs["seed"].isin(first.index)]
    return pd.DataFrame([
        {"batch_size": run.batch_size, "seed": run.seed,
         "distance": curves.apart(table, first[run.seed], run.run_id) / yard}
        for run in rest.itertuples()], columns=["batch_size", "seed", "distance"])


@claim("three_factors/memorization_costs_less", "B7", paper=_PAPER, grade="open", memorized=0.4,
       words="at an equal level of memorized random labels, a larger ratio of learning rate to "
             "batch size gives a higher accuracy on clean validation data",
       test="test accuracy where the accuracy on the relabelled training examples first reaches "
            "0.4: its Spearman correlation with η/S over the cells of a setting, seed by seed, "
            "above 0. Open: a small trial found the opposite")
def memorization_costs_less(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Rank correlation at equal memorized fraction, averaged over noise levels."""
    path = selection.path(sweep, "corrupted_accuracy", "memorization")
    path = selection.where(path, path["label_noise"] > 0, "label noise above 0")
    level = options["memorized"]
    read = curves.reading(path, "test_accuracy", "corrupted_accuracy", level)
    if read.empty:
        raise NotTested(f"runs that memorize {number(level)} of the relabelled examples")
    runs = sweep.finished[sweep.finished["run_id"].isin(read.index)]
    runs = runs.assign(value=runs["run_id"].map(read))
    runs = runs.assign(y=logit(runs["value"].to_numpy(), runs["test_size"].to_numpy(float)))
    selection.levels(runs, "ratio_group", 3, "values of η/S that memorize as much")
    interval, seeds = replicates.rank_correlation(runs, "setting", "ratio_group", "y")
    cells = runs.groupby(["cell", "label_noise", "lr", "batch_size", "ratio"])["value"].mean()
    lost = path["run_id"].nunique() - len(runs)
    best, worst = (runs.loc[runs["ratio_group"] == r, "value"].mean()
                   for r in (runs["ratio_group"].max(), runs["ratio_group"].min()))
    return Judgement(
        (Effect("Spearman(η/S, test accuracy)", interval, 0.0, "above", seeds),),
        f"with {number(level)} of the random labels memorized, test accuracy is {fixed(best)} at "
        f"the largest η/S and {fixed(worst)} at the smallest",
        f"at {number(level)} of the relabelled examples memorized",
        cells.reset_index().to_dict("records"),
        f"{lost} finished runs never memorize as much" if lost else "")


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
    rise = json.loads(rows["options"].iloc[0]).get("rise")
    return Judgement(
        (Effect("log(width at higher η/S / at lower)", interval, 0.0, "above", seeds),),
        f"the minimum of the higher η/S is {number(math.exp(interval.value))} times as wide on the "
        f"line between the two", f"at equal epochs, where the loss has risen by {rise}", found,
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
       words="the ratio of the expected excess loss to the trace of the Hessian is set by the "
             "learning rate over the batch size: E ΔL = (η/4S) Tr H on a quadratic with C = H",
       test="probe quadratic: measured excess loss over the exact (η/2S) Σ λ/(2 − ηλ), less 1, at "
            "each η and S: within ±0.01 over the probe's seeds (the simulation's standard error "
            "where there is one seed)")
def excess_loss_on_a_quadratic(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """One effect a pair (η, S); the limit (η/4S) Tr H stands beside in the evidence."""
    rows = selection.probe_curves(sweep, "quadratic", ["quadratic_excess", "quadratic_error"])
    rows = rows.assign(quantity=[_kind(q, s) for q, s in zip(
        rows["quantity"], rows["series"], strict=True)],
        size=rows["series"].str.rpartition("_")[2].astype(int))
    table = rows.pivot_table(index=["x", "size", "probe_seed"], columns="quantity", values="value")
    table = table.reset_index().rename(columns={"x": "lr", "size": "batch_size"})
    effects = []
    for (lr, size), part in table.groupby(["lr", "batch_size"]):
        off = (part["measured"] / part["exact"] - 1).to_numpy()
        half = 1.96 * float(part["error"].iloc[0] / part["exact"].iloc[0])
        interval = replicates.interval(off) if len(off) > 1 else Interval(
            float(off[0]), float(off[0]) - half, float(off[0]) + half)
        effects.append(Effect(f"excess loss over exact, less 1 (η = {number(lr)}, S = {size})",
                              interval, options["tolerance"], "within", len(off)))
    worst = max(abs(e.interval.value) for e in effects)
    low = float((1 - table["sde"] / table["exact"]).max())
    return Judgement(
        tuple(effects), f"the excess loss is the exact one to {number(100 * worst, 2)} % in "
        f"{len(effects)} cases; the limit (η/4S) Tr H is up to {number(100 * low, 2)} % too low",
        "stationary state", table.to_dict("records"))


def _kind(quantity: str, series: str) -> str:
    return "error" if quantity.endswith("error") else series.rpartition("_")[0]
