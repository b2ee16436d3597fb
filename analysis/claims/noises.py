"""Runs by the noise in their training data, in the words of Arpit et al.: real data, randY (labels
redrawn), randX (inputs replaced)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims import replicates, selection
from analysis.claims.claim import Effect, NotTested, Side
from analysis.frames import Sweep
from analysis.labels import fixed, listed

KINDS = {"label_noise": "randY", "input_noise": "randX"}
ALL = 1 - 1e-9  # a fraction of noise from which on nothing is left as it was


def kind(rows: pd.DataFrame) -> pd.Series:
    """real, randY (all labels redrawn), randX (all inputs replaced); other rows have none."""
    label, inputs = rows["label_noise"], rows["input_noise"]
    return pd.Series(np.select(
        [(label == 0) & (inputs == 0), (label >= ALL) & (inputs == 0),
         (inputs >= ALL) & (label == 0)], ["real", "randY", "randX"], ""), rows.index)


def by_kind(sweep: Sweep, rows: pd.DataFrame, column: str, kinds: list[str]) -> pd.DataFrame:
    """(group, seed, step) with a column a kind of data; NotTested where one is lacking."""
    group = selection.alike(sweep, *KINDS)
    rows = rows.assign(kind=kind(rows), group=rows["run_id"].map(group))
    table = rows[rows["kind"] != ""].pivot_table(
        index=["group", "seed", "step"], columns="kind", values=column)
    if not set(kinds) <= set(table) or table.dropna(subset=kinds).empty:
        raise NotTested("finished runs on clean data and with input_noise: 1, alike in all else")
    return table.dropna(subset=kinds).reset_index()


def trends(sweep: Sweep, rows: pd.DataFrame, columns: Mapping[str, str], bound: float, side: Side
           ) -> tuple[tuple[Effect, ...], str, list[dict[str, Any]]]:
    """Rank correlations with the fraction of each kind of noise; what they go from and to; means by
    level."""
    rows = rows.assign(group=rows["run_id"].map(selection.alike(sweep, *KINDS)))
    effects, said, table = [], [], []
    for noise, name in KINDS.items():
        part = _one_noise(rows, noise)
        part = part[part.groupby("group")[noise].transform("nunique") >= 3]
        for word, column in columns.items() if len(part) else ():
            interval, seeds = replicates.rank_correlation(part, "group", noise, column)
            effects.append(Effect(f"Spearman({name}, {word})", interval, bound, side, seeds))
            mean = part.groupby(noise)[column].mean()
            said.append(f"{word} with {name} from {fixed(mean.iloc[0])} to {fixed(mean.iloc[-1])}")
            table += [{"noise": name, "fraction": x, "what": word, "mean": y}
                      for x, y in mean.items()]
    if not effects:
        raise NotTested("at least three levels of label_noise or of input_noise")
    return tuple(effects), listed(said), table


def _one_noise(rows: pd.DataFrame, noise: str) -> pd.DataFrame:
    """The rows whose only noise is that one, clean ones among them."""
    (other,) = set(KINDS) - {noise}
    return rows[rows[other] == 0]
