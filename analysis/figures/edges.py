"""Edges of stability: λ_max of full-batch runs, and batch sharpness of all, against 2/η."""

import pandas as pd

from analysis.edges import SHARPNESS, products
from analysis.figures import theme
from analysis.figures.cells import bands, path, some_cells, spaced
from analysis.figures.chart import Axis, Look, by_ratio, panel
from analysis.figures.theme import DASHES, INK, Figure, Key, Panel
from analysis.frames import Sweep
from analysis.labels import EPOCH, count, fixed, label, number

_RATES = 6
_LATE = 0.75
_EDGE = DASHES[3]


def edge_figure(sweep: Sweep) -> Figure | None:
    """Full-batch runs: λ_max against epoch with 2/η, and their product. None without such runs."""
    rows = products(sweep)
    rows = rows[rows["product"] > 0]
    if rows.empty:
        return None
    rates = spaced(sorted(rows["run_lr"].unique()), _RATES)
    columns = ["run_id", "run_lr", "seed", "step", "epoch", SHARPNESS, "product", "bound"]
    rows = rows.loc[rows["run_lr"].isin(rates), columns]
    tones = dict(zip(rates, theme.ramp(len(rates)), strict=True))
    look = Look("run_lr", tones, lambda rate: f"η = {number(rate)}")
    bounds = rows.groupby("run_lr")["bound"].max()
    edges = {rate: bounds[rate] / rate for rate in rates}
    panels = (_panel(rows, SHARPNESS, edges, look), _panel(rows, "product", dict(bounds), look))
    late = rows[rows["epoch"] >= _LATE * rows.groupby("run_id")["epoch"].transform("max")]
    means = late.groupby("run_lr")["product"].mean()
    caption = (
        f"In the last quarter of training η·λ_max of {count(rows['run_id'].nunique(), 'run')} is "
        f"{fixed(means.min())} to {fixed(means.max())} in the mean by η; gradient descent on a "
        f"quadratic is unstable above {number(float(bounds.max()))}."
    )
    note = (
        "Full-batch runs, one line each. Dashed: λ_max = 2/η (2(1 + μ)/η with heavy-ball "
        "momentum). Progressive sharpening to this edge is expected under squared error; under "
        "cross-entropy λ_max falls late in training as margins grow."
    )
    title = "Sharpness against the edge of stability"
    return Figure("edge", title, caption, panels, _keys(look), note)


def _keys(look: Look, words: str = "edge, 2/η") -> tuple[Key, ...]:
    return (*look.keys, Key(words, INK, dash=_EDGE))


def _panel(rows: pd.DataFrame, quantity: str, bounds: dict[float, float], look: Look) -> Panel:
    product = quantity == "product"
    tex = r"$\eta\,\lambda_{\max}$" if product else label(quantity).tex
    title = f"{'η·' if product else ''}λ_max against epoch, with the edge of stability"
    top = max(bounds.values())
    if product:
        limits = (0.0, min(3 * top, max(1.1 * top, 1.05 * rows[quantity].max())))
    else:
        limits = theme.padded([*rows[quantity], *bounds.values()])
    y = Axis(quantity, tex, log=not product, limits=limits)

    def edges(axes: object) -> None:
        for rate, bound in bounds.items():
            tone = INK if product else look.tones[rate]
            axes.axhline(bound, color=tone.light, linewidth=1.0, linestyle=theme.dashed(_EDGE))

    x = Axis("epoch", EPOCH.tex, log=True)
    return panel(f"edge-{quantity.replace('_', '-')}", title, rows, x, y, look,
                 line=["run_id"], keys=_keys(look), more=edges)


def stochastic_figure(sweep: Sweep) -> Figure | None:
    """η·(batch sharpness) and η·λ_max along the path, with the edge at 2. None where batch
    sharpness was not measured."""
    rows = path(sweep, "batch_sharpness")
    if rows.empty:
        return None
    rows = some_cells(rows)
    by = ["ratio_group", "batch_size"]
    columns = {"batch_sharpness": r"$\eta\,\times$ batch sharpness"}
    if sweep.measures(SHARPNESS):
        columns[SHARPNESS] = r"$\eta\,\lambda_{\max}$"
    batches = sorted(rows["batch_size"].unique())
    look = by_ratio(rows, dash="batch_size", dashes=batches, dash_words=lambda s: f"S = {s}")
    panels, last = [], {}
    for quantity, tex in columns.items():
        scaled = rows.assign(product=rows["lr"] * rows[quantity])
        frame = bands(scaled[scaled["product"] > 0], "product", by)
        if frame.empty:
            continue
        last[quantity] = frame.groupby(by)["middle"].last()
        top = max(2.4, 1.05 * frame["high"].quantile(0.98))
        panels.append(panel(
            f"stochastic-edge-{quantity.replace('_', '-')}",
            f"η × {label(quantity).plain} against epoch", frame, Axis("epoch", EPOCH.tex, log=True),
            Axis("middle", tex, limits=(0, top)), look, keys=_keys(look, "2"), more=_two))
    ends = last["batch_sharpness"]
    caption = (
        f"At the end η × batch sharpness lies between {fixed(ends.min())} and {fixed(ends.max())}; "
        "at the edge of stochastic stability it would be 2"
    )
    if SHARPNESS in last:
        caption += (
            f", while η·λ_max is {fixed(last[SHARPNESS].min())} to {fixed(last[SHARPNESS].max())}"
        )
    note = (
        "A line is the geometric mean over a cell's seeds, its band their range. Dashed: 2. Batch "
        "sharpness is the curvature along each batch's own gradient (Andreyev & Beneventano 2024)."
    )
    title = "Batch sharpness and the edge of stochastic stability"
    return Figure("stochastic-edge", title, f"{caption}.", tuple(panels), _keys(look, "2"), note)


def _two(axes: object) -> None:
    axes.axhline(2.0, color=INK.light, linewidth=1.0, linestyle=theme.dashed(_EDGE))
