"""Edges of stability: λ_max of full-batch runs, Adam's too, and batch sharpness of all."""

from dataclasses import dataclass

import pandas as pd

from analysis.edges import SCALED, SHARPNESS, adam_products, products
from analysis.figures import theme
from analysis.figures.cells import bands, path, spaced
from analysis.figures.chart import Axis, Look, panel
from analysis.figures.theme import DASHES, INK, Figure, Key, Panel
from analysis.frames import Sweep
from analysis.labels import EPOCH, count, fixed, label, number

_RATES = 6
_LATE = 0.75
_EDGE = DASHES[3]


def edge_figure(sweep: Sweep) -> Figure | None:
    """Full-batch runs: λ_max against epoch with 2/η, and their product. None without such runs."""
    note = (
        "Full-batch runs, one line each. Dashed: λ_max = 2/η (2(1 + μ)/η with heavy-ball "
        "momentum). Progressive sharpening to this edge is expected under squared error; under "
        "cross-entropy λ_max falls late in training as margins grow."
    )
    return _hovering(products(sweep), Edge("edge", SHARPNESS, "η·λ_max", r"$\eta\,\lambda_{\max}$",
                                           "gradient descent on a quadratic", "edge, 2/η",
                                           "Sharpness against the edge of stability", note))


def adam_edge_figure(sweep: Sweep) -> Figure | None:
    """The same of Adam's preconditioned curvature, with its own edge. None without such runs."""
    note = (
        "Full-batch Adam, one line a run. P is its preconditioner, with both bias corrections. "
        "Dashed: (2 + 2β₁)/((1 − β₁)η), which is 38/η at β₁ = 0.9 (Cohen et al. 2022)."
    )
    return _hovering(adam_products(sweep), Edge(
        "adam-edge", SCALED, "η·λ_max(P⁻¹H)", r"$\eta\,\lambda_{\max}(P^{-1}H)$",
        "Adam with a frozen preconditioner", "Adam's edge",
        "Adam's preconditioned sharpness against its edge of stability", note))


@dataclass(frozen=True)
class Edge:
    """An edge in words: ``quantity`` is the column of the curvature, ``product`` η times it;
    ``who`` is unstable above the edge."""

    name: str
    quantity: str
    product: str
    tex: str
    who: str
    key: str
    title: str
    note: str


def _hovering(rows: pd.DataFrame, edge: Edge) -> Figure | None:
    rows = rows[rows["product"] > 0]
    if rows.empty:
        return None
    rates = spaced(sorted(rows["run_lr"].unique()), _RATES)
    columns = ["run_id", "run_lr", "seed", "step", "epoch", edge.quantity, "product", "bound"]
    rows = rows.loc[rows["run_lr"].isin(rates), columns]
    tones = dict(zip(rates, theme.ramp(len(rates)), strict=True))
    look = Look("run_lr", tones, lambda rate: f"η = {number(rate)}")
    bounds = rows.groupby("run_lr")["bound"].max()
    at = {rate: bounds[rate] / rate for rate in rates}
    panels = (_panel(rows, edge, edge.quantity, at, look),
              _panel(rows, edge, "product", dict(bounds), look))
    late = rows[rows["epoch"] >= _LATE * rows.groupby("run_id")["epoch"].transform("max")]
    means = late.groupby("run_lr")["product"].mean()
    caption = (
        f"In the last quarter of training {edge.product} of "
        f"{count(rows['run_id'].nunique(), 'run')} is {_range(means)} in the mean by η; {edge.who} "
        f"is unstable above {number(float(bounds.max()))}."
    )
    return Figure(edge.name, edge.title, caption, panels, _keys(look, edge.key), edge.note)


def _range(values: pd.Series) -> str:
    low, high = fixed(values.min()), fixed(values.max())
    return low if low == high else f"{low} to {high}"


def _keys(look: Look, words: str) -> tuple[Key, ...]:
    return (*look.keys, Key(words, INK, dash=_EDGE))


def _panel(rows: pd.DataFrame, edge: Edge, quantity: str, bounds: dict[float, float], look: Look
           ) -> Panel:
    product = quantity == "product"
    top = max(bounds.values())
    if product:
        limits = (0.0, min(3 * top, max(1.1 * top, 1.05 * rows[quantity].max())))
    else:
        limits = theme.padded([*rows[quantity], *bounds.values()])
    y = Axis(quantity, edge.tex if product else label(quantity).tex, log=not product, limits=limits)

    def edges(axes: object) -> None:
        for rate, bound in bounds.items():
            tone = INK if product else look.tones[rate]
            axes.axhline(bound, color=tone.light, linewidth=1.0, linestyle=theme.dashed(_EDGE))

    title = f"{edge.product if product else label(quantity).plain} against epoch, with its edge"
    x = Axis("epoch", EPOCH.tex, log=True)
    return panel(f"{edge.name}-{quantity.replace('_', '-')}", title, rows, x, y, look,
                 line=["run_id"], keys=_keys(look, edge.key), more=edges)


def stochastic_figure(sweep: Sweep) -> Figure | None:
    """η·(batch sharpness) and η·λ_max along the path at every batch size, with the edge at 2. None
    where batch sharpness was not measured."""
    rows = path(sweep, "batch_sharpness")
    if rows.empty:
        return None
    rates, batches = (spaced(sorted(rows[axis].unique()), most)
                      for axis, most in (("run_lr", 3), ("batch_size", 8)))
    rows = rows[rows["run_lr"].isin(rates) & rows["batch_size"].isin(batches)]
    by = ["batch_size", "run_lr"]
    columns = {"batch_sharpness": r"$\eta\,\times$ batch sharpness"}
    if sweep.measures(SHARPNESS):
        columns[SHARPNESS] = r"$\eta\,\lambda_{\max}$"
    tones = dict(zip(batches, theme.ramp(len(batches)), strict=True))
    look = Look("batch_size", tones, lambda s: f"S = {s}", dash="run_lr", dashes=rates,
                dash_words=lambda rate: f"η = {number(rate)}")
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
