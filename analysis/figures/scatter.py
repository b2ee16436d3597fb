"""Figures with a point a run or a cell: the collapse on η/S, matched loss, test accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.figures import theme
from analysis.figures.cells import short
from analysis.figures.chart import thinned
from analysis.figures.theme import DASHES, INK, KINDS, MARKERS, Figure, Key, Panel, Tone
from analysis.frames import NOISES
from analysis.labels import (
    EFFECTIVE_LR,
    EFFECTIVE_RATIO,
    LR,
    RATIO,
    Label,
    count,
    label,
    listed,
    number,
    significant,
)
from analysis.laws import Fit
from analysis.points import Points, is_rate, logit
from analysis.verdicts import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 2000
_RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
_SHOWN = ("run_id", "cell", "setting_label", "lr", "batch_size", "ratio", "effective_ratio",
          "momentum", *NOISES, "seed", "epoch", "value", "y", "y_low", "y_high")


@dataclass(frozen=True)
class Axis:
    """What points and a law are drawn against."""

    law: str
    column: str
    label: Label


@dataclass(frozen=True)
class Look:
    """Tones by ``column``; markers and dashes by noise. Lines are ink, or of their noise's tone."""

    column: str
    tones: dict[object, Tone]
    noises: tuple[str, ...]

    def place(self, noise: str) -> int:
        """Where the noise stands in the order of markers and dashes."""
        return self.noises.index(noise) % len(MARKERS)

    def line(self, noise: str) -> str:
        """The tone of a law's line."""
        return (self.tones[noise] if self.column == "noise" else INK).light

    @property
    def keys(self) -> tuple[Key, ...]:
        """The legend."""
        if self.column == "noise":
            return tuple(
                Key(n or "no noise", tone, MARKERS[self.place(n)], DASHES[self.place(n)])
                for n, tone in self.tones.items()
            )
        batches = [Key(f"S = {batch}", tone, "o") for batch, tone in self.tones.items()]
        several = self.noises if len(self.noises) > 1 else ()
        noises = [
            Key(n or "no noise", INK, MARKERS[self.place(n)], DASHES[self.place(n)])
            for n in several
        ]
        return (*batches, *noises)


def against_ratio(fit: Fit) -> Axis:
    """η/S, or η/(S(1 − μ)) where momentum varies."""
    if fit.effective:
        return Axis("ratio", "effective_ratio", EFFECTIVE_RATIO)
    return Axis("ratio", "ratio", RATIO)


def against_lr(fit: Fit) -> Axis:
    """η alone, or η/(1 − μ)."""
    return Axis("lr", "eta", EFFECTIVE_LR if fit.effective else LR)


def collapse_figure(fit: Fit, chosen: Points) -> Figure:
    """Every run against η/S, and beside it against η alone: what collapses, and what does not."""
    frame = _prepared(chosen.frame, fit)
    frame = frame.assign(y_low=frame["y"], y_high=frame["y"])
    look = _by_batch(frame)
    panels = [
        _panel(f"collapse-{axis.law}", fit, frame, axis, look, frame, heading="")
        for axis in (against_ratio(fit), against_lr(fit))
    ]
    ratio, lr = against_ratio(fit).label.plain, against_lr(fit).label.plain
    note = f"A point is a run, (a) against {ratio}, (b) against {lr} alone."
    if len(frame) > _POINTS:
        note += f" About {_POINTS:,} of {len(frame):,} are drawn; the CSV has all."
    if fit.laws["ratio"].beta is not None:
        note += " Line and band: the fitted law with its 95 % interval."
    title = f"{label(fit.metric).plain} {fit.at}, on η/S and on η alone"
    return Figure("collapse", title, _scatter(fit, ratio, lr), tuple(panels), look.keys, note)


def _scatter(fit: Fit, ratio: str, lr: str) -> str:
    spreads = [fit.laws[law].spread for law in ("ratio", "lr")]
    if not np.isfinite(spreads).all():
        return f"{label(fit.metric).plain} {fit.at} over {count(fit.cells, 'cell')}."
    one, other = (significant(s) for s in spreads)
    return (
        f"About the law on {ratio} the cells scatter by {one} (residual sd of the logarithm), "
        f"about that on {lr} alone by {other}."
    )


def matched_figure(fits: Sequence[Fit], chosen: Sequence[Points]) -> Figure:
    """One metric at several points of the trajectory: equal epochs beside equal train loss."""
    frames = [_cell_means(_prepared(c.frame, f)) for f, c in zip(fits, chosen, strict=True)]
    everything = pd.concat(frames)
    look = _by_batch(everything)
    panels = _beside("matched", fits, frames, look)
    note = (
        "A point is a cell, its bar the range of its seeds. Equal epochs favour runs that learn "
        "fast; so the same where all runs have the same training loss. Line and band: the ratio "
        "law, its exponent above each panel."
    )
    title = f"{label(fits[0].metric).plain}: equal epochs beside equal training loss"
    return Figure("matched", title, _exponents(fits), panels, look.keys, note)


def _exponents(fits: Sequence[Fit]) -> str:
    """The exponent of the ratio law at each point."""
    found = [(fit, fit.laws["ratio"].exponents["a"]) for fit in fits]
    said = [f"{written(a)} {fit.at}" for fit, a in found if np.isfinite(a.value)]
    subject = f"{label(fits[0].metric).plain} over {against_ratio(fits[0]).label.plain}"
    return f"Exponent of {subject}: {listed(said)}." if said else f"{subject}: no law is fitted."


def accuracy_figure(fits: Sequence[Fit], chosen: Sequence[Points]) -> Figure:
    """Test accuracy against η/S, by noise; on the logit scale of the fits."""
    frames = [_cell_means(_prepared(c.frame, f)) for f, c in zip(fits, chosen, strict=True)]
    noises = _noises(pd.concat(frames))
    look = Look("noise", {n: KINDS[i % len(KINDS)] for i, n in enumerate(noises)}, noises)
    panels = _beside("accuracy", fits, frames, look)
    note = (
        "A point is a cell, its bar the range of its seeds. The axis is "
        "logit((count + ½)/(n + 1)), labelled as accuracy. Line and band: the ratio "
        "law, its exponent above each panel."
    )
    best = max((frame.loc[frame["value"].idxmax()] for frame in frames), key=lambda r: r["value"])
    caption = (
        f"The best cell reaches {number(100 * best['value'])} % at η/S = {number(best['ratio'])}; "
        f"{_exponents(fits)[0].lower()}{_exponents(fits)[1:]}"
    )
    return Figure("accuracy", "Test accuracy against η/S", caption, panels, look.keys, note)


def _beside(
    name: str, fits: Sequence[Fit], frames: Sequence[pd.DataFrame], look: Look
) -> tuple[Panel, ...]:
    everything = pd.concat(frames)
    draw = partial(_panel, look=look, everything=everything, panels=len(fits))
    return tuple(
        draw(f"{name}-{fit.at.kind}", fit, frame, against_ratio(fit), heading=_heading(fit))
        for fit, frame in zip(fits, frames, strict=True)
    )


def _panel(
    name: str,
    fit: Fit,
    frame: pd.DataFrame,
    axis: Axis,
    look: Look,
    everything: pd.DataFrame,
    heading: str,
    panels: int = 2,
) -> Panel:
    """Points and law of ``frame``; both axes wide enough for ``everything``."""
    title = f"{label(fit.metric).plain} {fit.at} against {axis.label.plain}"
    rate = is_rate(fit.metric)
    low, high = everything["y_low"].min(), everything["y_high"].max()
    with theme.style():
        figure, axes = theme.canvas(axis.label.tex, label(fit.metric).tex, panels)
        theme.log_axis(axes.xaxis, *theme.padded(everything[axis.column]))
        if rate:
            _rate_axis(axes, low, high)
        else:
            theme.log_axis(axes.yaxis, *theme.padded(np.exp([low, high])))
        axes.set_title(heading, loc="left")
        _draw_law(axes, fit, frame, axis, look)
        _draw_points(axes, frame, axis, look, logarithmic=not rate)
        return theme.panel(name, title, figure, look.keys, short(frame, _SHOWN))


def _draw_law(axes: "Axes", fit: Fit, frame: pd.DataFrame, axis: Axis, look: Look) -> None:
    """The law of ``axis`` for every noise and stratum, over the range of its cells."""
    for (noise, _), part in frame.groupby(["noise", "stratum"]):
        x = np.geomspace(part[axis.column].min(), part[axis.column].max(), 40)
        cells = part.iloc[:1].loc[part.index[:1].repeat(len(x))]
        eta = x * (1 - cells["momentum"]) if fit.effective else x
        band = fit.predict(axis.law, cells.assign(lr=eta, batch_size=1.0))
        if band is None:
            return
        y, half = band
        low, middle, high = y - half, y, y + half
        if not is_rate(fit.metric):
            low, middle, high = np.exp([low, middle, high])
        tone, dash = look.line(noise), theme.dashed(DASHES[look.place(noise)])
        axes.fill_between(x, low, high, color=tone, alpha=0.12, linewidth=0)
        axes.plot(x, middle, color=tone, linewidth=1.1, linestyle=dash)


def _draw_points(
    axes: "Axes", frame: pd.DataFrame, axis: Axis, look: Look, *, logarithmic: bool
) -> None:
    undo = np.exp if logarithmic else np.asarray
    groups = frame.groupby([look.column, frame["noise"].rename("_noise")])
    for (_, noise), part in groups:
        tone = look.tones[part[look.column].iloc[0]].light
        part = thinned(part, _POINTS // groups.ngroups)
        x = part[axis.column]
        bars = part[part["y_low"] < part["y_high"]]  # a run has none, and there may be thousands
        low, high = undo(bars["y_low"]), undo(bars["y_high"])
        axes.vlines(bars[axis.column], low, high, color=tone, linewidth=0.9)
        axes.plot(
            x,
            undo(part["y"]),
            linestyle="none",
            marker=MARKERS[look.place(noise)],
            markersize=4.8,
            markeredgewidth=0.9,
            markeredgecolor=tone,
            markerfacecolor=(tone, 0.35),
        )


def _rate_axis(axes: "Axes", low: float, high: float) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter

    room = max(0.06 * (high - low), 0.1)
    axes.set_ylim(low - room, high + room)
    fine = [np.arange(step, 1, step) for step in (0.05, 0.02, 0.01, 0.005, 0.002, 0.001)]
    for rates in (np.array(_RATES), *fine):
        ticks = logit(rates, 1e9)
        ticks = ticks[(ticks > low - room) & (ticks < high + room)]
        if len(ticks) >= 4:
            break
    axes.yaxis.set_major_locator(FixedLocator(ticks[:: -(-len(ticks) // 9) or 1]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: number(1 / (1 + np.exp(-y)))))


def _heading(fit: Fit) -> str:
    exponent = fit.laws["ratio"].exponents["a"]
    if not np.isfinite(exponent.value):
        return str(fit.at)
    return f"{fit.at}: {written(exponent)}"


def _prepared(frame: pd.DataFrame, fit: Fit) -> pd.DataFrame:
    """With ``eta`` (effective where the fit is) and ``noise`` in words, empty without any."""
    eta = frame["lr"] / (1 - frame["momentum"]) if fit.effective else frame["lr"]
    noise = pd.Series("", index=frame.index)
    for name in NOISES:
        if frame[name].nunique() > 1:
            words = name.replace("_", " ")
            here = frame[name].map(lambda p, w=words: f"{w} {number(p)}" if p else "")
            noise = noise.str.cat(here, sep=", ").str.strip(", ")
    return frame.assign(eta=eta, noise=noise)


def _noises(frame: pd.DataFrame) -> tuple[str, ...]:
    return tuple(dict.fromkeys(frame.sort_values(list(NOISES), kind="stable")["noise"]))


def _by_batch(frame: pd.DataFrame) -> Look:
    batches = sorted(frame["batch_size"].unique())
    tones = dict(zip(batches, theme.ramp(len(batches)), strict=True))
    return Look("batch_size", tones, _noises(frame))


def _cell_means(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a cell: ``y`` averaged over its seeds, and their range."""
    by_cell = frame.groupby("cell")
    cells = frame.drop_duplicates("cell").drop(columns="run_id").set_index("cell")
    y = by_cell["y"]
    ends = {"y": y.mean(), "y_low": y.min(), "y_high": y.max()}
    return cells.assign(value=by_cell["value"].mean(), **ends).reset_index()
