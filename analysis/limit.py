"""Where training is lost: the η above which most runs diverge, or end no better than they began."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.labels import number

LEARNED = 0.9  # a run that ends above this share of its first training loss has learned nothing


@dataclass(frozen=True)
class Limit:
    """Per batch size: the largest η below all that were lost, and the smallest that was lost in at
    least half of its runs. Batch sizes at which none was lost are in neither."""

    largest_kept: Mapping[int, float]
    smallest_lost: Mapping[int, float]

    def at(self, batch_size: int) -> tuple[float, float]:
        """Both at a batch size: between those known, on straight lines of the logarithms; beyond
        them, as at the nearest."""
        place = math.log(batch_size)
        sizes = np.log(list(self.smallest_lost))
        kept, lost = (np.interp(place, sizes, np.log(list(of.values())))
                      for of in (self.largest_kept, self.smallest_lost))
        return float(np.exp(kept)), float(np.exp(lost))

    def said(self, batch_size: int) -> str:
        """``at S = 256 runs were lost from η = 1.6 on``."""
        size = min(self.smallest_lost, key=lambda s: abs(math.log(s / batch_size)))
        return f"at S = {size} runs were lost from η = {number(self.smallest_lost[size])} on"


def limit(
    runs: pd.DataFrame, snapshots: pd.DataFrame, best: Mapping[int, float]
) -> Limit | None:
    """The limit of one setting's ``runs``; None where none was lost. ``best``: the best η of each
    batch size: only above it is a run lost that learned nothing; below it is a slow one."""
    first = snapshots[snapshots["step"] == 0].set_index("run_id")["train_loss"]
    begun = runs["run_id"].map(first)
    above = runs["lr"] > runs["batch_size"].map(best).fillna(math.inf)
    idle = above & (runs["final_train_loss"] > LEARNED * begun)
    lost = (runs["status"] == "diverged") | ((runs["status"] == "finished") & idle)
    judged = runs.assign(_lost=lost)[runs["status"].isin(["diverged", "finished"])]
    share = judged.groupby(["batch_size", "lr"])["_lost"].mean().reset_index()
    kept, gone = {}, {}
    for size, part in share.groupby("batch_size"):
        bad = part.loc[part["_lost"] >= 0.5, "lr"]
        if len(bad):
            gone[int(size)] = float(bad.min())
            good = part.loc[part["lr"] < bad.min(), "lr"]
            kept[int(size)] = float(good.max()) if len(good) else float(bad.min())
    return Limit(kept, gone) if gone else None
