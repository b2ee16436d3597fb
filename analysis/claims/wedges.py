"""Large Scale Structure of Neural Network Loss Landscapes (Fort & Jastrzębski 2019, arXiv
1906.04724). P: trainable parameters; d: dimension of a random cut; D, n: dimensions of the toy and
of its wedges.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims import replicates, selection
from analysis.claims.claim import Effect, Judgement, NotTested, claim
from analysis.frames import Sweep
from analysis.labels import fixed, listed, number, significant

_PAPER = "Fort & Jastrzębski 2019, Large Scale Structure of Neural Network Loss Landscapes"
_AXES = {"lr": ("η", 1), "batch_size": ("1/S", -1), "weight_decay": ("L2", 1)}


@claim("wedges/cuts", "D1", paper=_PAPER, grade="robust", accuracy=0.9, share=0.05,
       words="training succeeds on random cuts of far fewer dimensions than the network has "
             "parameters, the better the more dimensions the cut has",
       test="probe subspace: (1) largest log ratio of final training losses of a cut to the next "
            "smaller one, below 0, so that the loss falls strictly with d; (2) smallest d/P that "
            "reaches 0.9 of the run's own test accuracy (linear in log d between cuts) below 0.05; "
            "seed by seed")
def cuts(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Means over a run's draws first. A run that no cut brings so far counts as d = P."""
    rows = _of_runs(sweep, selection.probe_curves(
        sweep, "subspace", ["subspace_train_loss", "subspace_test_accuracy"]))
    found, evidence = [], []
    for run_id, part in rows.groupby("run_id"):
        own = part[part["series"] == "run"].set_index("quantity")
        drawn = part[part["series"] != "run"].pivot_table(
            index="x", columns="quantity", values="value")
        if len(drawn.dropna()) < 3 or len(own) < 2:
            continue
        loss, reached = drawn["subspace_train_loss"], drawn["subspace_test_accuracy"]
        size = float(own["x"].iloc[0])
        target = options["accuracy"] * own.at["subspace_test_accuracy", "value"]
        dimension = _first(np.log(drawn.index.to_numpy(float)), reached.to_numpy(float), target)
        steps = np.diff(np.log(np.maximum(loss.to_numpy(float), 1e-300)))
        seed = part["run_seed"].iloc[0]
        found.append({"seed": seed, "steepest": float(steps.max()),
                      "share": min(math.exp(dimension) / size, 1.0)})
        evidence += [{"run_id": run_id, "seed": seed, "dimension": d, "train_loss": loss[d],
                      "test_accuracy": reached[d], "parameters": size} for d in drawn.index]
    if not found:
        raise NotTested("the probe subspace with at least 3 dimensions")
    frame = pd.DataFrame(found)
    step, seeds = replicates.over_seeds(frame, lambda one: one["steepest"].mean())
    share, by = replicates.over_seeds(frame, lambda one: one["share"].mean(), replicates.SHARE)
    return Judgement(
        (Effect("largest log(loss at the next d / at d)", step, 0.0, "below", seeds),
         Effect(f"d/P for {number(options['accuracy'])} of the test accuracy", share,
                options["share"], "below", by)),
        f"cuts of {share.value:.1%} of the parameters reach {number(options['accuracy'])} of the "
        "run's test accuracy; the largest step of the loss from a cut to the next is a factor of "
        f"{significant(math.exp(step.value))}", "after the probe's steps", evidence,
        "steps are fixed: a cut's loss is an upper bound of the lowest one there")


def _first(x: np.ndarray, y: np.ndarray, level: float) -> float:
    """Where y first reaches the level, read linearly in x; x of the first if it starts there, and
    infinite if it never does."""
    reached = np.flatnonzero(y >= level)
    if not len(reached):
        return math.inf
    i = reached[0]
    if i == 0:
        return float(x[0])
    return float(x[i - 1] + (level - y[i - 1]) / (y[i] - y[i - 1]) * (x[i] - x[i - 1]))


@claim("wedges/connectors", "D2", paper=_PAPER, grade="robust", times=10.0,
       words="minima that a high barrier separates on the straight line are joined by low-loss "
             "paths, and sets of them by low-loss subspaces",
       test="probe connector, training loss: log10 of the largest on the straight path over "
            "(1) the largest on the bent path, (2) with three runs or more, that of the centre "
            "after its optimisation, each above 1; a probe's mean over its pairs is the unit")
def connectors(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Probes that share a run count once: the mean of those is one unit."""
    rows = selection.probe_curves(sweep, "connector", ["connector_loss", "connector_centre_loss"])
    found = []
    for probe_id, part in rows.groupby("subject_id"):
        paths = part[(part["quantity"] == "connector_loss") & part["series"].str.endswith("_train")]
        top = np.log10(paths.groupby("series")["value"].max().clip(lower=1e-300))
        linear = top[top.index.str.startswith("linear")].mean()
        bent = top[top.index.str.startswith("bent")].mean()
        centre = part[(part["quantity"] == "connector_centre_loss") & (part["series"] == "train")
                      & (part["x"] == 1)]["value"]
        found.append({"probe_id": probe_id, "run_ids": part["run_ids"].iloc[0],
                      "log10_linear": linear, "log10_bent": bent,
                      "log10_centre": math.log10(max(centre.iloc[0], 1e-300))
                      if len(centre) else math.nan})
    frame = pd.DataFrame(found)
    frame = frame.assign(seed=_apart(frame["run_ids"]),
                         bend=frame["log10_linear"] - frame["log10_bent"],
                         middle=frame["log10_linear"] - frame["log10_centre"])
    bound, effects = math.log10(options["times"]), []
    for column, name in (("bend", "the bent path"), ("middle", "the centre")):
        if frame[column].notna().any():
            interval, units = replicates.over_seeds(frame, lambda one, c=column: one[c].mean())
            effects.append(Effect(f"log10(straight / {name})", interval, bound, "above", units,
                                  "group"))
    said = [f"{number(10 ** e.interval.value)} times that of {name}"
            for e, name in zip(effects, ("the bent path", "the centre"), strict=False)]
    return Judgement(
        tuple(effects), "the largest loss on the straight path is " + listed(said),
        "at the ends of runs, after the probe's steps",
        frame.drop(columns="run_ids").rename(columns={"seed": "set"}).to_dict("records"),
        "permutations of units explain a part of the straight path's barrier")


def _apart(run_ids: pd.Series) -> list[int]:
    """The number of the set to which each probe belongs: those that share a run are in one."""
    sets: list[set[str]] = []
    for ids in run_ids:
        own, rest = set(ids), []
        for other in sets:
            if own & other:
                own |= other
            else:
                rest.append(other)
        sets = [*rest, own]
    return [next(i for i, s in enumerate(sets) if set(ids) <= s) for ids in run_ids]


@claim("wedges/tunnels_widen", "D3", paper=_PAPER, grade="robust", bound=0.0,
       words="learning rate, L2 regularisation and batch size affect the region of the optimum in "
             "similar ways: a larger η or L2, or a smaller S, makes the tunnel around it wider",
       test="probe tunnels, median angular width along plain directions: Spearman correlation with "
            "η, with 1/S and with L2, each over the runs of a seed that differ in it alone (at "
            "least 3 levels), at fixed epochs: each above 0. Those of the three that vary are "
            "tested")
def tunnels_widen(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Averaged over groups of runs that differ in the axis and the seed alone."""
    sweep = selection.plain(sweep)
    rows = _of_runs(sweep, selection.probe_curves(sweep, "tunnels", ["tunnel_width"]))
    rows = rows[(rows["series"] == "angular_plain") & (rows["x"] == 0.5) & rows["value"].notna()]
    runs = sweep.finished.merge(rows.groupby("run_id")["value"].mean().reset_index(), on="run_id")
    effects, said = [], []
    for axis, (name, sign) in _AXES.items():
        groups = runs.assign(group=runs["run_id"].map(selection.alike(sweep, axis)))
        enough = groups.groupby(["group", "seed"])[axis].transform("nunique") >= 3
        if not enough.any():
            continue
        interval, seeds = replicates.rank_correlation(
            groups[enough].assign(along=sign * groups[axis]), "group", "along", "value")
        effects.append(Effect(f"Spearman({name}, angular width)", interval, options["bound"],
                              "above", seeds))
        said.append(f"{fixed(interval.value)} with {name}")
    if not effects:
        raise NotTested("the probe tunnels of runs that differ in η, S or L2 alone, at 3 levels")
    cells = runs.groupby(["cell", "lr", "batch_size", "weight_decay"])[
        ["value", "final_train_loss"]].mean()
    return Judgement(
        tuple(effects), f"the tunnel's angular width has rank correlation {listed(said)}",
        "at equal epochs", cells.rename(columns={"value": "angular_width"}).reset_index().to_dict(
            "records"), "at equal epochs the training loss differs too, and explains a part")


@claim("wedges/toy_threshold", "D4", paper=_PAPER, grade="robust", tolerance=5.0,
       words="in the toy model of n-wedges in D dimensions, a random cut of d dimensions reaches "
             "zero loss where d + n is at least D",
       test="probe wedge: the smallest d with a loss below the tolerance less D − n, for each n: "
            "of the exact loss, and of the one found by descent, each within ±5")
def toy_threshold(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """A unit is one n of one probe. An n that no cut settles counts as D − n off."""
    rows = selection.probe_curves(sweep, "wedge", ["wedge_threshold"])
    rows = rows.assign(size=[json.loads(o)["dimension"] for o in rows["options"]])
    table = rows.pivot_table(index=["subject_id", "size", "x"], columns="series",
                             values="value").reset_index()
    for name in ("least", "found", "theory"):
        table[name] = table[name].fillna(table["size"]) if name in table else table["size"]
    effects = []
    for name, words in (("least", "exact"), ("found", "by descent")):
        interval = replicates.interval((table[name] - table["theory"]).tolist())
        effects.append(Effect(f"threshold ({words}) − (D − n)", interval, options["tolerance"],
                              "within", len(table), "toy"))
    exact, descent = (e.interval.value for e in effects)
    return Judgement(
        tuple(effects),
        f"the threshold lies {fixed(exact)} dimensions from D − n exactly, {fixed(descent)} by "
        f"descent (means over {len(table)} toys)", "after the probe's steps",
        table.rename(columns={"x": "n"}).to_dict("records"))


def _of_runs(sweep: Sweep, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of probes of one run, with its ``run_id`` and ``run_seed``; those of runs of this sweep.
    """
    rows = rows.assign(run_id=[ids[0] if len(ids) else "" for ids in rows["run_ids"]])
    seeds = sweep.finished.set_index("run_id")["seed"]
    rows = rows.assign(run_seed=rows["run_id"].map(seeds))
    return selection.where(rows, rows["run_seed"].notna(), "probes of finished runs")
