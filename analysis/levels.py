"""Where a run's path first reaches a level, and what else it reads there."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def first_reading(
    rows: pd.DataFrame,
    columns: Sequence[str],
    along: pd.Series,
    reached: "pd.Series[bool]",
    level: float,
) -> pd.DataFrame:
    """By run_id, ``columns`` where ``along`` first reaches ``level``, of the runs that ever do.

    Read linearly between the two snapshots around the level. ``at_once``: whether the run is there
    at its first snapshot; it is read there. ``rows``: snapshots, those of a run in order.
    ``reached``: in which of them ``along`` is at the level or beyond, from whichever side.
    """
    path = rows[list(columns)].assign(_along=along)
    follows = rows["run_id"] == rows["run_id"].shift()
    there = rows.loc[reached, "run_id"].drop_duplicates()
    here, before = path.loc[there.index], path.shift().loc[there.index]
    at_once = ~follows.loc[there.index]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (level - before["_along"]) / (here["_along"] - before["_along"])
    share = share.clip(0.0, 1.0).fillna(1.0)
    between = before.mul(1 - share, axis=0) + here.mul(share, axis=0)
    found = between.where(~at_once, here)[list(columns)].assign(at_once=at_once)
    return found.set_index(pd.Index(there, name="run_id"))
