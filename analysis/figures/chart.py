"""Panels of lines and points from a tidy frame, which is also what their CSV holds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.figures import theme
from analysis.figures.theme import DASHES, INK, MARKERS, Key, Panel, Tone

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 2000


@dataclass(frozen=True)
class Axis:
    """A column, what is written beside the axis, and whether it is logarithmic."""

    column: str
    text: str
    log: bool = False
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Look:
    """Tones by the values of one column, dashes (and markers) by those of another."""

    tone: str
    tones: Mapping[object, Tone]
    tone_words: Callable[[object], str] = str
    dash: str = ""
    dashes: Sequence[object] = field(default_factory=tuple)
    dash_words: Callable[[object], str] = str
    points: bool = False

    def of(self, row: Mapping[str, object]) -> tuple[str, str, str]:
        """The colour, the dash and the marker of a row."""
        place = list(self.dashes).index(row[self.dash]) if self.dash else 0
        colour = self.tones[row[self.tone]].light
        return colour, DASHES[place % len(DASHES)], MARKERS[place % len(MARKERS)]

    @property
    def keys(self) -> tuple[Key, ...]:
        """The legend."""
        several = self.dashes if len(self.dashes) > 1 else ()
        style = (lambda i: {"marker": MARKERS[i % len(MARKERS)]}) if self.points else (
            lambda i: {"dash": DASHES[i % len(DASHES)]})
        return (
            *(Key(self.tone_words(v), t, **style(0)) for v, t in self.tones.items()),
            *(Key(self.dash_words(v), INK, **style(i)) for i, v in enumerate(several)),
        )


def by_ratio(rows: pd.DataFrame, **dashes: object) -> Look:
    """Tones by η/S, ordered."""
    from analysis.labels import number

    ratios = sorted(rows["ratio_group"].unique())
    tones = dict(zip(ratios, theme.ramp(len(ratios), warm=True), strict=True))
    return Look("ratio_group", tones, lambda r: f"η/S = {number(r)}", **dashes)


def by_moment(epochs: Sequence[float]) -> Look:
    """Tones by epoch, from early to late."""
    from analysis.labels import number

    ordered = sorted(set(epochs))
    tones = dict(zip(ordered, theme.ramp(len(ordered)), strict=True))
    return Look("epoch", tones, lambda e: f"epoch {number(e)}")


def panel(
    name: str,
    title: str,
    frame: pd.DataFrame,
    x: Axis,
    y: Axis,
    look: Look,
    *,
    line: Sequence[str] = (),
    keys: Sequence[Key] | None = None,
    panels: int = 2,
    heading: str = "",
    more: "Callable[[Axes], None] | None" = None,
) -> Panel:
    """Lines (one a group of ``line`` and the look's columns) with a band where the frame has
    ``low`` and ``high``, or points with such bars. ``more`` draws on top."""
    with theme.style():
        figure, axes = theme.canvas(x.text, y.text, panels)
        scale(axes, x, frame[x.column])
        ends = [frame[c] for c in (y.column, "low", "high") if c in frame]
        scale(axes, y, pd.concat(ends), vertical=True)
        if heading:
            axes.set_title(heading, loc="left")
        (_points if look.points else _lines)(axes, frame, x, y, look, line)
        if more is not None:
            more(axes)
        return theme.panel(name, title, figure, look.keys if keys is None else keys, frame)


def scale(axes: "Axes", axis: Axis, values: pd.Series, *, vertical: bool = False) -> None:
    """Limits and ticks of an axis for the values."""
    values = values.to_numpy(float)
    values = values[np.isfinite(values)]
    side = axes.yaxis if vertical else axes.xaxis
    if axis.log:
        values = values[values > 0]
        low, high = axis.limits or theme.padded(values if len(values) else [1.0], 0.04)
        theme.log_axis(side, low, high)
    elif axis.limits or len(values):
        low, high = axis.limits or (values.min(), values.max())
        room = 0 if axis.limits else 0.05 * (high - low) or 0.05 * abs(high) or 0.5
        axes.set(**{f"{side.axis_name}lim": (low - room, high + room)})
        theme.plain_axis(side)


def _groups(frame: pd.DataFrame, look: Look, line: Sequence[str]) -> list[pd.DataFrame]:
    columns = list(dict.fromkeys((*filter(None, (look.tone, look.dash)), *line)))
    return [part for _, part in frame.groupby(columns, sort=True)]


def _lines(axes: "Axes", frame: pd.DataFrame, x: Axis, y: Axis, look: Look,
           line: Sequence[str]) -> None:
    for part in _groups(frame, look, line):
        colour, dash, _ = look.of(part.iloc[0])
        part = part.sort_values(x.column, kind="stable")
        if "low" in part:
            axes.fill_between(
                part[x.column], part["low"], part["high"], color=colour, alpha=0.1, linewidth=0)
        alone = {"marker": "o", "markersize": 3.5} if len(part) == 1 else {}
        axes.plot(part[x.column], part[y.column], color=colour, linewidth=1.3,
                  linestyle=theme.dashed(dash), **alone)


def _points(axes: "Axes", frame: pd.DataFrame, x: Axis, y: Axis, look: Look,
            line: Sequence[str]) -> None:
    groups = _groups(frame, look, line)
    for part in groups:
        colour, _, marker = look.of(part.iloc[0])
        part = thinned(part, _POINTS // len(groups))
        if "low" in part:
            axes.vlines(part[x.column], part["low"], part["high"], color=colour, linewidth=0.9)
        axes.plot(part[x.column], part[y.column], linestyle="none", marker=marker, markersize=4.8,
                  markeredgewidth=0.9, markeredgecolor=colour, markerfacecolor=(colour, 0.35))


def thinned(frame: pd.DataFrame, limit: int = _POINTS) -> pd.DataFrame:
    """Every k-th row, so that at most ``limit`` are left: a figure cannot show more."""
    return frame.iloc[:: -(-len(frame) // max(limit, 1)) or 1]


def mark(axes: "Axes", x: float, y: float, tone: Tone) -> None:
    """A ring around a point of interest."""
    axes.plot([x], [y], linestyle="none", marker="o", markersize=7.5, markeredgewidth=1.4,
              markeredgecolor=tone.light, markerfacecolor="none")
