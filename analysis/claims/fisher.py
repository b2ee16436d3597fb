"""Catastrophic Fisher Explosion (Jastrzębski et al. 2021, arXiv 2012.14193)."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.claims import replicates, selection
from analysis.claims.claim import Effect, Judgement, NotTested, claim
from analysis.claims.peaks import lacking, note, peaks
from analysis.frames import NOISES, Sweep
from analysis.labels import fixed, number
from analysis.levels import first_reading

_PAPER = "Jastrzębski et al. 2021, Catastrophic Fisher Explosion"
_PENALTY = "config_train_fisher_penalty"


@claim("fisher/early_trace_falls", "J1", paper=_PAPER, grade="likely", loss=0.5,
       words="with a small learning rate the trace of the Fisher information is large in the early "
             "phase of training; a larger one holds it down",
       test="runs without noise or penalty, at constant η and S: Spearman correlation of η/S and "
            "the peak of Tr F after step 0 until the train loss is first at most 0.5, over the "
            "cells of a setting, seed by seed: below 0")
def early_trace_falls(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Until a common train loss, not a common epoch: slow runs come to their peak later."""
    sweep = selection.plain(sweep)
    runs = sweep.runs
    bare = (runs[list(NOISES)] == 0).all(axis=1)
    if _PENALTY in runs:
        bare &= runs[_PENALTY].fillna(0.0) == 0
    runs = selection.where(runs, bare, "runs without noise or penalty")
    found = peaks(selection.only(sweep, runs["run_id"]), "fisher_trace", {
        "from_epoch": 0.0, "loss": options["loss"]})
    rows = selection.within(found.rows, "setting", "ratio_group", 3,
                            lacking("values of η/S in one setting", found))
    interval, seeds = replicates.rank_correlation(rows, "setting", "ratio_group", "value")
    cells = rows.groupby(["cell", "lr", "batch_size", "ratio_group"])[
        ["value", "epoch"]].mean().reset_index()
    ends = cells.groupby("ratio_group")["value"].mean()
    return Judgement(
        (Effect("Spearman(η/S, early peak of Tr F)", interval, 0.0, "below", seeds),),
        f"the early peak of Tr F goes from {number(ends.iloc[0])} at the smallest η/S to "
        f"{number(ends.iloc[-1])} at the largest", f"until train loss {number(options['loss'])}",
        cells.rename(columns={"ratio_group": "ratio", "value": "fisher_trace"}).to_dict("records"),
        note(found))


@claim("fisher/penalty_slows_noisy", "J2", paper=_PAPER, grade="likely", clean=0.9,
       words="penalising the trace of the Fisher information slows the learning of examples with "
             "noisy labels more than that of clean ones",
       test="accuracy on noisy examples when that on clean ones reaches 0.9, without the penalty "
            "less with the strongest one with which all runs reach it, seed by seed: above 0")
def penalty_slows_noisy(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """At equal clean accuracy, so that learning more slowly altogether is no effect."""
    if _PENALTY not in sweep.runs:
        raise NotTested("the scalar fisher_penalty")
    rows = selection.path(sweep, "corrupted_accuracy", "memorization")
    rows = selection.where(rows, (rows["label_noise"] > 0) & (rows["input_noise"] == 0),
                           "finished runs with label noise")
    strength = selection.config(sweep, _PENALTY)
    group = selection.alike(sweep, _PENALTY)
    noisy = first_reading(rows, ["corrupted_accuracy"], rows["clean_accuracy"],
                          rows["clean_accuracy"] >= options["clean"], options["clean"])
    found = rows.drop_duplicates("run_id")[["run_id", "seed"]]
    found = found.assign(group=found["run_id"].map(group), penalty=found["run_id"].map(strength),
                         noisy=found["run_id"].map(noisy["corrupted_accuracy"]))
    found = selection.within(found, "group", "penalty", 2, "values of fisher_penalty")
    gaps, chosen, slow = [], {}, 0
    for name, runs in found.groupby("group"):
        table = runs.pivot_table(index="seed", columns="penalty", values="noisy", dropna=False)
        whole = [p for p in table if table[p].notna().all()]
        slow += int(table.isna().to_numpy().sum())
        if 0.0 in whole and max(whole) > 0:
            chosen[name] = max(whole)
            gaps.append(pd.DataFrame({"seed": table.index, "group": name,
                                      "gap": (table[0.0] - table[max(whole)]).to_numpy()}))
    if not gaps:
        raise NotTested("a fisher_penalty of 0 and one above, in the same setting, with which all "
                        f"runs reach {options['clean']:g} on their clean examples")
    interval, seeds = replicates.over_seeds(pd.concat(gaps), lambda p: p["gap"].mean())
    mean = found.groupby("penalty")["noisy"].mean()
    strongest = sorted(set(chosen.values()))
    return Judgement(
        (Effect("noisy accuracy without − with the penalty", interval, 0.0, "above", seeds),),
        f"when {100 * options['clean']:.0f} % of the clean examples are fitted, the accuracy on "
        f"noisy ones is {fixed(mean[0.0], 3)} without the penalty and "
        f"{fixed(mean[strongest].mean(), 3)} with {' or '.join(map(number, strongest))}",
        f"at equal accuracy on clean examples, {options['clean']:g}",
        found.groupby(["group", "penalty"])["noisy"].agg(["mean", "count"]).reset_index().to_dict(
            "records"),
        f"{slow} runs did not reach that accuracy" if slow else "")
