"""Where training is lost: the η above which most runs diverge, or end no better than they began."""

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.labels import number

LEARNED = 0.9  # a run that ends above this share of its first training loss has learned nothing


@dataclass(frozen=True)
class Limit:
    """Per batch size: the largest η below all that were lost, and the smallest that was lost in at
    least half of its runs; ∞ where none was lost."""

    largest_kept: Mapping[int, float]
    smallest_lost: Mapping[int, float]

    @property
    def lost_from(self) -> Mapping[int, float]:
        """The smallest η that was lost, of the batch sizes at which any was."""
        return {s: lr for s, lr in self.smallest_lost.items() if math.isfinite(lr)}

    def at(self, batch_size: int) -> tuple[float, float]:
        """Both at a batch size: between those run, on straight lines of the logarithms; beyond
        them, as at the nearest. Nothing is known to be lost next to an S at which none was."""
        sizes = sorted(self.smallest_lost)
        place = bisect.bisect_left(sizes, batch_size)
        low, high = sizes[max(place - 1, 0)], sizes[min(place, len(sizes) - 1)]
        if batch_size == high or low == high:
            return self.largest_kept[high], self.smallest_lost[high]
        share = math.log(batch_size / low) / math.log(high / low)
        kept, lost = ((1 - share) * math.log(of[low]) + share * math.log(of[high])
                      for of in (self.largest_kept, self.smallest_lost))
        return math.exp(kept), math.exp(lost)

    def said(self, batch_size: int) -> str:
        """``at S = 256 runs were lost from η = 1.6 on``, of the nearest S that was run."""
        size = min(self.smallest_lost, key=lambda s: abs(math.log(s / batch_size)))
        lost = self.smallest_lost[size]
        if math.isfinite(lost):
            return f"at S = {size} runs were lost from η = {number(lost)} on"
        return f"at S = {size} none was lost up to η = {number(self.largest_kept[size])}"


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
        lowest = float(bad.min()) if len(bad) else math.inf
        good = part.loc[part["lr"] < lowest, "lr"]
        gone[int(size)] = lowest
        kept[int(size)] = float(good.max()) if len(good) else lowest
    found = Limit(kept, gone)
    return found if found.lost_from else None
