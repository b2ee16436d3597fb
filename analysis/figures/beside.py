"""One metric of several sweeps on common axes."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.figures.chart import Axis, Look, panel
from analysis.figures.theme import KINDS, Figure, Key
from analysis.labels import RATIO, label, listed
from analysis.laws import Fit
from analysis.points import Points, is_rate
from analysis.verdicts import written

_MOST = len(KINDS)


def beside_figure(
    name: str, fits: Mapping[str, Fit], chosen: Mapping[str, Points]
) -> Figure | None:
    """Cells of the sweeps (name -> its fit and its points, all of one metric at one kind of point)
    against η/S, one tone a sweep, each with its law. None where no sweep has a cell."""
    shown = [s for s in list(fits)[:_MOST] if len(chosen[s].frame)]
    if not shown:
        return None
    first = fits[shown[0]]
    rate = is_rate(first.metric)
    frame = pd.concat([_cells(chosen[s], rate=rate).assign(sweep=s) for s in shown],
                      ignore_index=True)
    tones = {s: KINDS[i] for i, s in enumerate(shown)}
    look = Look("sweep", tones, str, points=True)
    laws = {s: _line(fits[s], frame[frame["sweep"] == s], rate=rate) for s in shown}

    def more(axes: object) -> None:
        for sweep, line in laws.items():
            if line is not None:
                axes.plot(*line, color=tones[sweep].light, linewidth=1.1)

    title = f"{label(first.metric).plain} {first.at} on common axes"
    drawn = panel(f"beside-{name}", title, frame, Axis("ratio", RATIO.tex, log=True),
                  Axis("value", label(first.metric).tex, log=not rate), look, more=more)
    exponents = {s: fits[s].laws["ratio"].exponents["a"] for s in shown}
    said = [f"{written(a)} in {s}" if np.isfinite(a.value) else f"no law in {s}"
            for s, a in exponents.items()]
    caption = f"Exponent over η/S: {listed(said, 8)}."
    note = ("A point is a cell, the mean over its seeds (geometric but for accuracies), its bar "
            "their range; lines are the ratio laws of sweeps without varying noise.")
    keys = tuple(Key(s, tone, "o", "") for s, tone in tones.items())
    return Figure(f"beside-{name}", title, caption, (drawn,), keys, note)


def _cells(chosen: Points, *, rate: bool) -> pd.DataFrame:
    by_cell = chosen.frame.groupby("cell")
    axes = by_cell[["lr", "batch_size", "ratio"]].first()
    y = by_cell["value"] if rate else by_cell["y"]
    back = np.asarray if rate else np.exp
    return axes.assign(value=back(y.mean()), low=back(y.min()), high=back(y.max()),
                       seeds=by_cell.size()).reset_index(drop=True)


def _line(fit: Fit, cells: pd.DataFrame, *, rate: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """The ratio law over the range of the cells; None without one, or where strata have their own.
    """
    law = fit.laws["ratio"]
    table = fit.crossing.cells if law.beta is not None else None
    if table is None or fit.effective or table["setting"].nunique() > 1:
        return None
    x = np.geomspace(cells["ratio"].min(), cells["ratio"].max(), 40)
    rows = table.iloc[:1].loc[table.index[:1].repeat(len(x))].assign(lr=x, batch_size=1.0)
    band = fit.predict("ratio", rows)
    if band is None:
        return None
    return x, 1 / (1 + np.exp(-band[0])) if rate else np.exp(band[0])
