"""Trajectories at equal ratio: do curves of one η/S lie on each other?"""

from collections.abc import Sequence

import pandas as pd

from analysis.figures import theme
from analysis.figures.cells import bands, spaced
from analysis.figures.chart import Axis, Look, by_ratio, panel
from analysis.figures.theme import Figure, Panel
from analysis.frames import Sweep
from analysis.labels import EPOCH, label, listed, significant

_FAMILIES = 4
_CELLS = len(theme.DASHES)


def equal_ratio_figure(sweep: Sweep, quantities: Sequence[str]) -> Figure | None:
    """Quantities against epoch: one tone a ratio, one dash a batch size. None without a ratio
    that several batch sizes share."""
    rows = _shown_rows(sweep)
    families = _families(rows)
    if not families:
        return None
    rows = rows[rows["ratio_group"].isin(families)]
    batches = spaced(sorted(rows["batch_size"].unique()), _CELLS)
    rows = rows[rows["batch_size"].isin(batches)]
    look = by_ratio(rows, dash="batch_size", dashes=batches, dash_words=lambda s: f"S = {s}")
    drawn = [(q, bands(rows[rows[q] > 0], q, ["ratio_group", "batch_size"])) for q in quantities]
    drawn = [(quantity, frame) for quantity, frame in drawn if len(frame)]
    words = str(rows["setting_label"].iloc[0])
    note = (
        "Where curves of one colour lie on each other, only η/S matters. A line is the geometric "
        "mean over a cell's seeds, its band their range" + (f" ({words})." if words else ".")
    )
    caption = f"At the end {listed([_seen(quantity, frame) for quantity, frame in drawn])}."
    panels = tuple(_panel(quantity, frame, look) for quantity, frame in drawn)
    if not panels:
        return None
    title = "Trajectories at equal η/S"
    return Figure("trajectories", title, caption, panels, look.keys, note)


def _seen(quantity: str, frame: pd.DataFrame) -> str:
    """By which factor curves of one ratio, and curves of all, differ at the end at most."""
    ends = frame.groupby(["ratio_group", "batch_size"]).tail(1)
    within = ends.groupby("ratio_group")["middle"].agg(lambda y: y.max() / y.min()).max()
    across = ends["middle"].max() / ends["middle"].min()
    return (
        f"{label(quantity).plain} differs by a factor of up to {significant(within)} at equal η/S, "
        f"of {significant(across)} among all"
    )


def _shown_rows(sweep: Sweep) -> pd.DataFrame:
    """Finished runs after step 0, in the setting that has most runs of shared ratios; the one with
    the least noise among equals."""
    rows = sweep.snapshots
    rows = rows[(rows["status"] == "finished") & (rows["step"] > 0)]
    shared = rows.groupby(["setting", "ratio_group"])["batch_size"].transform("nunique") > 1
    rows = rows[shared]
    if rows.empty:
        return rows
    size = rows.groupby("setting")["run_id"].nunique()
    return rows[rows["setting"] == size.idxmax()]


def _families(rows: pd.DataFrame) -> list[float]:
    """At most four ratios, spread over the range, those with most batch sizes first."""
    counts = rows.groupby("ratio_group")["batch_size"].nunique()
    if counts.empty:
        return []
    rich = counts[counts >= max(2, counts.max() - 1)]
    return spaced(sorted(rich.index), _FAMILIES)


def _panel(quantity: str, frame: pd.DataFrame, look: Look) -> Panel:
    title = f"{label(quantity).plain} against epoch at equal η/S"
    x, y = Axis("epoch", EPOCH.tex, log=True), Axis("middle", label(quantity).tex, log=True)
    return panel(f"trajectories-{quantity.replace('_', '-')}", title, frame, x, y, look)
