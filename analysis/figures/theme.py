"""How figures look: tones readable on white and on black, axes, and byte-identical SVG and PDF.

A figure is drawn in its light tones. In the report every tone becomes a CSS variable, so that the
same SVG serves in light, in dark and in print; the PDF keeps the light tones.
"""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import escape

from analysis.labels import number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Canvas

_STEPS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), tuple(range(1, 10)),
          tuple(range(10, 100, 2)))
WIDE, NARROW = (4.5, 3.4), (3.5, 3.1)
_LEGEND = "own-legend"
_SUBSCRIPT = re.compile(r"\b(λ|e)_(\w+)")
_DIGITS = re.compile(r"(\.\d\d)\d+")


@dataclass(frozen=True)
class Tone:
    """One colour, for white and for black paper."""

    light: str
    dark: str

    @property
    def css(self) -> str:
        """As a CSS value."""
        return f"var(--c{self.light[1:]}, {self.light})"


INK = Tone("#1b1b1f", "#ececf1")
FAINT = Tone("#d9d9de", "#3c3c44")
# Okabe & Ito (2008); the dark twins are lifted where black would swallow them
KINDS = (
    Tone("#0072b2", "#56b4e9"),
    Tone("#d55e00", "#f08a3c"),
    Tone("#009e73", "#2fc79d"),
    Tone("#cc79a7", "#dd9cc0"),
    Tone("#e69f00", "#f0b93a"),
    Tone("#7a7a80", "#a5a5ad"),
)
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("", "6 2", "2 1.6", "8 2 2 2", "4 1.2", "1 1.2")


@dataclass(frozen=True)
class Key:
    """An entry of a legend: a line (``dash``), a marker, or both."""

    text: str
    tone: Tone
    marker: str = ""
    dash: str | None = None


@dataclass(frozen=True)
class Panel:
    """One set of axes: ``inline`` SVG for the page, SVG and PDF with a legend for a paper, and
    what is drawn as CSV."""

    name: str
    title: str
    inline: str
    svg: bytes
    pdf: bytes
    csv: bytes


@dataclass(frozen=True)
class Figure:
    """Panels side by side with one legend. ``caption``: what is seen, in a sentence with numbers;
    ``note``: how it is drawn."""

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    keys: tuple[Key, ...]
    note: str = ""


def ramp(n: int, *, warm: bool = False) -> list[Tone]:
    """``n`` ordered tones: viridis (plasma if ``warm``) without the end that the paper swallows."""
    import matplotlib
    from matplotlib.colors import to_hex

    colours = matplotlib.colormaps["plasma" if warm else "viridis"]
    spots = [i / (n - 1) if n > 1 else 0.5 for i in range(n)]
    top = 0.8 if warm else 0.78
    return [
        Tone(to_hex(colours(0.02 + (top - 0.02) * t)), to_hex(colours(0.36 + 0.62 * t)))
        for t in spots
    ]


def canvas(xlabel: str, ylabel: str, panels: int = 2) -> "tuple[Canvas, Axes]":
    """An empty panel of a figure with that many ``panels``. Draw on it within ``style()``."""
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=WIDE if panels < 3 else NARROW, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    return figure, axes


def style() -> "object":
    """The context in which panels are drawn and written."""
    import matplotlib

    ink = INK.light
    return matplotlib.rc_context(
        {
            "font.family": "STIXGeneral",
            "mathtext.fontset": "stix",
            "font.size": 10.5,
            "axes.titlesize": 10.5,
            "axes.labelsize": 12,
            "text.color": ink,
            "axes.labelcolor": ink,
            "axes.edgecolor": ink,
            "xtick.color": ink,
            "ytick.color": ink,
            "axes.linewidth": 0.7,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": FAINT.light,
            "grid.linewidth": 0.5,
            "axes.axisbelow": True,
            "lines.linewidth": 1.4,
            "svg.fonttype": "path",
            "svg.hashsalt": "sgdscope",
            "pdf.fonttype": 42,
        }
    )


def log_axis(axis: "Axis", low: float, high: float) -> None:
    """A logarithmic axis with plain numbers: decades, or 1-2-5 steps where there are few."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (low, high)})
    ticks = _ticks(low, high)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda x, _: _power(x, ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def plain_axis(axis: "Axis") -> None:
    """Few round ticks on a linear axis, with a true minus sign."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda x, _: number(round(x, 12), 4)))


def _ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in _STEPS:
        scale = 10 if steps[0] == 10 else 1
        ticks = [s * 10.0**d / scale for d in decades for s in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 3:
            break
    stride = math.ceil(len(inside) / 7)
    return inside[::stride]


def _power(x: float, ticks: Sequence[float]) -> str:
    if all(1e-4 <= tick < 1e5 for tick in ticks):
        return number(x)
    exponent = math.floor(math.log10(x) + 1e-9)
    head = x / 10.0**exponent
    return (f"{number(head, 2)}·" if abs(head - 1) > 1e-6 else "") + f"$10^{{{exponent}}}$"


def padded(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
    """Limits around positive ``values`` with room on a logarithmic axis."""
    low, high = math.log(min(values)), math.log(max(values))
    room = max(share * (high - low), 0.08)
    return math.exp(low - room), math.exp(high + room)


def panel(
    name: str, title: str, figure: "Canvas", keys: Sequence[Key], data: "pd.DataFrame"
) -> Panel:
    """Writes the panel and the ``data`` that it shows. The page has one legend for all panels of a
    figure, so there the panel's own is left out."""
    width, height = _with_legend(figure, keys)
    svg, pdf = io.StringIO(), io.BytesIO()
    figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Title": title})
    figure.savefig(pdf, format="pdf", metadata={"CreationDate": None, "Title": title})
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", svg.getvalue(), flags=re.S)
    box = f"0 0 {72 * width:g} {72 * height:g}"
    csv = data.to_csv(index=False, lineterminator="\n")
    return Panel(
        name, title, _inline(name, title, text, box), text.encode(), pdf.getvalue(), csv.encode()
    )


def _with_legend(figure: "Canvas", keys: Sequence[Key]) -> tuple[float, float]:
    """Widens the figure by its legend, the axes where they were; returns its size before."""
    width, height = (float(x) for x in figure.get_size_inches())
    figure.draw_without_rendering()  # places the axes
    figure.set_layout_engine(None)
    if keys:
        legend = figure.legend(
            handles=[_handle(key) for key in keys],
            loc="upper left",
            bbox_to_anchor=(width, height - 0.05),
            bbox_transform=figure.dpi_scale_trans,
            frameon=False,
            fontsize=10,
            borderaxespad=0,
        )
        legend.set_gid(_LEGEND)
        wide = width + legend.get_window_extent().width / figure.dpi + 0.1
        places = [(axes, axes.get_position()) for axes in figure.axes]
        figure.set_size_inches(wide, height)
        for axes, place in places:
            axes.set_position(
                (place.x0 * width / wide, place.y0, place.width * width / wide, place.height)
            )
    return width, height


def _handle(key: Key) -> object:
    from matplotlib.lines import Line2D

    return Line2D(
        [],
        [],
        color=key.tone.light,
        marker=key.marker or None,
        markersize=5,
        label=_SUBSCRIPT.sub(r"$\1_{\2}$", key.text),
        linestyle="none" if key.dash is None else dashed(key.dash),
    )


def dashed(dash: str) -> "str | tuple[float, tuple[float, ...]]":
    """A dash pattern in matplotlib's words."""
    return (0, tuple(map(float, dash.split()))) if dash else "-"


def _inline(name: str, title: str, svg: str, box: str) -> str:
    """The <svg> element alone, without its legend: own ids, tones as variables, as wide as its
    place, with a name."""
    svg = _without_legend(svg[svg.index("<svg") :])
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.S)
    svg = re.sub(r"<title>.*?</title>\s*", "", svg, flags=re.S)
    open_tag = f'<svg viewBox="{box}" role="img" aria-label="{escape(title)}">'
    svg = re.sub(r"<svg[^>]*>", lambda _: open_tag, svg, count=1)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'\b(?:d|x|y)="[^"]*"', lambda m: _DIGITS.sub(r"\1", m[0]), svg)
    return re.sub(r"#([0-9a-f]{6})\b", r"var(--c\1, #\1)", svg).strip()


def _without_legend(svg: str) -> str:
    """Cuts the group of the legend, which is drawn last: no glyph of it is used elsewhere."""
    start = svg.find(f'<g id="{_LEGEND}">')
    if start < 0:
        return svg
    depth = 0
    for tag in re.finditer(r"<g\b[^>]*(?<!/)>|</g>", svg[start:]):
        depth += -1 if tag[0] == "</g>" else 1
        if depth == 0:
            return svg[:start] + svg[start + tag.end() :]
    raise ValueError("an open group in the SVG")
