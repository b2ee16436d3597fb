"""Figures with a line a cell: trajectories at equal ratio, and sharpness against 2/η."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis import theme
from analysis.edges import SHARPNESS, products
from analysis.frames import Sweep
from analysis.labels import EPOCH, label, number
from analysis.theme import DASHES, INK, Figure, Key, Panel, Tone

_FAMILIES = 4
_CELLS = 6
_GRID = 80


def equal_ratio_figure(sweep: Sweep, quantities: Sequence[str]) -> Figure | None:
    """Quantities against epoch: one tone a ratio, one dash a batch size. None without a ratio
    that several batch sizes share."""
    rows = _shown_rows(sweep)
    families = _families(rows)
    if not families:
        return None
    rows = rows[rows["ratio_group"].isin(families)]
    batches = _spaced(sorted(rows["batch_size"].unique()), _CELLS)
    rows = rows[rows["batch_size"].isin(batches)]
    tones = dict(zip(families, theme.ramp(len(families), warm=True), strict=True))
    keys = [Key(f"η/S = {number(ratio)}", tone, dash="") for ratio, tone in tones.items()]
    keys += [Key(f"S = {batch}", INK, dash=DASHES[i]) for i, batch in enumerate(batches)]
    panels = tuple(_panel(rows, quantity, tones, batches, keys) for quantity in quantities)
    words = str(rows["setting_label"].iloc[0])
    caption = (
        "Where curves of one colour lie on each other, only η/S matters. A line is the geometric "
        "mean over a cell's seeds, its band their range"
        + (f" ({words})." if words else ".")
    )
    title = "Trajectories at equal η/S"
    return Figure("trajectories", title, caption, panels, tuple(keys))


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
    return _spaced(sorted(rich.index), _FAMILIES)


def _spaced(values: list[float], limit: int) -> list[float]:
    if len(values) <= limit:
        return values
    places = np.round(np.linspace(0, len(values) - 1, limit)).astype(int)
    return [values[place] for place in places]


def _panel(
    rows: pd.DataFrame,
    quantity: str,
    tones: dict[float, Tone],
    batches: list[int],
    keys: Sequence[Key],
) -> Panel:
    # few columns: a sweep of many runs is cut into a frame a run
    columns = ["run_id", "epoch", quantity, "ratio_group", "batch_size"]
    rows = rows.loc[rows[quantity] > 0, columns]
    title = f"{label(quantity).plain} against epoch at equal η/S"
    with theme.style():
        figure, axes = theme.canvas(EPOCH.tex, label(quantity).tex)
        theme.log_axis(axes.xaxis, *theme.padded(rows["epoch"], 0.02))
        theme.log_axis(axes.yaxis, *theme.padded(rows[quantity]))
        for (ratio, batch), cell in rows.groupby(["ratio_group", "batch_size"]):
            grid, low, middle, high = _band(cell, quantity)
            tone = tones[ratio].light
            axes.fill_between(grid, low, high, color=tone, alpha=0.1, linewidth=0)
            dash = theme.dashed(DASHES[batches.index(batch)])
            axes.plot(grid, middle, color=tone, linestyle=dash, linewidth=1.3)
        return theme.panel(f"trajectories-{quantity.replace('_', '-')}", title, figure, keys)


def _band(cell: pd.DataFrame, quantity: str) -> tuple[np.ndarray, ...]:
    """A common grid of epochs; least, geometric mean and greatest of the seeds' curves on it."""
    runs = [run[["epoch", quantity]].to_numpy(float).T for _, run in cell.groupby("run_id")]
    start = max(epochs[0] for epochs, _ in runs)
    end = max(start, min(epochs[-1] for epochs, _ in runs))
    grid = np.geomspace(start, end, _GRID)
    curves = [np.interp(np.log(grid), np.log(epochs), np.log(values)) for epochs, values in runs]
    low, middle, high = np.min(curves, 0), np.mean(curves, 0), np.max(curves, 0)
    return grid, np.exp(low), np.exp(middle), np.exp(high)


def edge_figure(sweep: Sweep) -> Figure | None:
    """Full-batch runs: λ_max against epoch with 2/η, and their product. None without such runs."""
    rows = products(sweep)
    rows = rows[rows["product"] > 0]
    if rows.empty:
        return None
    rates = _spaced(sorted(rows["run_lr"].unique()), 6)
    rows = rows[rows["run_lr"].isin(rates)]
    tones = dict(zip(rates, theme.ramp(len(rates)), strict=True))
    keys = [Key(f"η = {number(rate)}", tone, dash="") for rate, tone in tones.items()]
    keys.append(Key("edge, 2/η", INK, dash=DASHES[1]))
    bounds = rows.groupby("run_lr")["bound"].max()
    panels = (
        _edge_panel(rows, SHARPNESS, {rate: bounds[rate] / rate for rate in rates}, tones, keys),
        _edge_panel(rows, "product", dict(bounds), tones, keys),
    )
    caption = (
        "Full-batch runs, one line each. Dashed: where gradient descent becomes unstable on a "
        "quadratic, λ_max = 2/η (2(1 + μ)/η with heavy-ball momentum). Progressive sharpening to "
        "this edge is expected under squared error; under cross-entropy λ_max falls late in "
        "training as margins grow."
    )
    title = "Sharpness against the edge of stability"
    return Figure("edge", title, caption, panels, tuple(keys))


def _edge_panel(
    rows: pd.DataFrame,
    quantity: str,
    bounds: dict[float, float],
    tones: dict[float, Tone],
    keys: Sequence[Key],
) -> Panel:
    product = quantity == "product"
    tex = r"$\eta\,\lambda_{\max}$" if product else label(quantity).tex
    title = f"{'η·' if product else ''}λ_max against epoch, with the edge of stability"
    with theme.style():
        figure, axes = theme.canvas(EPOCH.tex, tex)
        theme.log_axis(axes.xaxis, *theme.padded(rows["epoch"], 0.02))
        if product:
            top = max(bounds.values())
            axes.set_ylim(0, min(3 * top, max(1.1 * top, 1.05 * rows[quantity].max())))
        else:
            theme.log_axis(axes.yaxis, *theme.padded([*rows[quantity], *bounds.values()]))
        for rate, bound in bounds.items():
            tone = INK.light if product else tones[rate].light
            axes.axhline(bound, color=tone, linewidth=1.0, linestyle=theme.dashed(DASHES[1]))
        for (rate, _), run in rows.groupby(["run_lr", "run_id"]):
            axes.plot(run["epoch"], run[quantity], color=tones[rate].light, linewidth=1.1)
        return theme.panel(f"edge-{quantity.replace('_', '-')}", title, figure, keys)
