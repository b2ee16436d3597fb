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
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Canvas

WIDE, NARROW = (4.5, 3.4), (3.5, 3.1)
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
    """One set of axes, as SVG for the page and PDF for a paper."""

    name: str
    title: str
    svg: str
    pdf: bytes


@dataclass(frozen=True)
class Figure:
    """Panels side by side with one legend and one caption."""

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    keys: tuple[Key, ...]


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


def _ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), tuple(range(10, 100, 2))):
        scale = 10 if steps[0] == 10 else 1
        ticks = [s * 10.0**d / scale for d in decades for s in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 4:
            break
    stride = math.ceil(len(inside) / 8)
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


def panel(name: str, title: str, figure: "Canvas", keys: Sequence[Key]) -> Panel:
    """Writes the panel: SVG without a legend (the page has one for all panels), PDF with it."""
    svg = io.StringIO()
    figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
    if keys:
        figure.legend(
            handles=[_handle(key) for key in keys], loc="outside right upper", frameon=False
        )
        width, height = figure.get_size_inches()
        figure.set_size_inches(width + 1.5, height)
    pdf = io.BytesIO()
    figure.savefig(pdf, format="pdf", metadata={"CreationDate": None, "Title": title})
    return Panel(name, title, _inline(name, title, svg.getvalue()), pdf.getvalue())


def _handle(key: Key) -> object:
    from matplotlib.lines import Line2D

    return Line2D(
        [],
        [],
        color=key.tone.light,
        marker=key.marker or None,
        markersize=5,
        label=key.text,
        linestyle="none" if key.dash is None else dashed(key.dash),
    )


def dashed(dash: str) -> "str | tuple[float, tuple[float, ...]]":
    """A dash pattern in matplotlib's words."""
    return (0, tuple(map(float, dash.split()))) if dash else "-"


def _inline(name: str, title: str, svg: str) -> str:
    """The <svg> element alone: own ids, tones as variables, as wide as its place, with a name."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.S)
    box = re.search(r'viewBox="[^"]*"', svg)
    open_tag = f'<svg {box[0] if box else ""} role="img" aria-label="{escape(title)}">'
    svg = re.sub(r"<svg[^>]*>", lambda _: open_tag, svg, count=1)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'\b(?:d|x|y)="[^"]*"', lambda m: _DIGITS.sub(r"\1", m[0]), svg)
    return re.sub(r"#([0-9a-f]{6})\b", r"var(--c\1, #\1)", svg).strip()
