"""One panel of the smallest and one of the largest η/S: what single runs look like at both ends."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from analysis.figures.theme import Figure, Key, Panel
from analysis.labels import capital, listed, number


@dataclass(frozen=True)
class Extreme:
    """An end of the range of η/S: the first seed of the cell there, and its axes."""

    side: str
    ratio: float
    batch_size: int
    run_id: str

    @property
    def words(self) -> str:
        """``η/S = 0.002``."""
        return f"η/S = {number(self.ratio)}"

    def run(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows of its run."""
        return rows[rows["run_id"] == self.run_id]

    def cell(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows of all runs of its ratio and batch size."""
        return rows[(rows["ratio_group"] == self.ratio) & (rows["batch_size"] == self.batch_size)]


@dataclass(frozen=True)
class Seen:
    """A panel, its legend, and what is seen on it: a clause that follows "at η/S = …"."""

    panel: Panel
    keys: tuple[Key, ...]
    clause: str


def extremes(rows: pd.DataFrame) -> list[Extreme]:
    """The smallest η/S and the largest; one where there is a single ratio."""
    firsts = rows.sort_values(["ratio_group", "batch_size", "seed"]).drop_duplicates("run_id")
    ends = [firsts.iloc[0], firsts[firsts["ratio_group"] == firsts["ratio_group"].max()].iloc[0]]
    found = {str(end["run_id"]): Extreme(side, float(end["ratio_group"]), int(end["batch_size"]),
                                         str(end["run_id"]))
             for side, end in reversed(list(zip(("low", "high"), ends, strict=True)))}
    return list(reversed(found.values()))


def at_extremes(rows: pd.DataFrame, name: str, title: str, draw: Callable[[Extreme], Seen],
                note: str) -> Figure:
    """The figure of ``draw`` at both ends, under the legend of the first."""
    ends = extremes(rows)
    seen = [draw(end) for end in ends]
    clauses = [f"at {end.words} {one.clause}" for end, one in zip(ends, seen, strict=True)]
    panels = tuple(one.panel for one in seen)
    return Figure(name, title, f"{capital(listed(clauses))}.", panels, seen[0].keys, note)
