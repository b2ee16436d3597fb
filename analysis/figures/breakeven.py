"""The break-even point: curvature and gradient noise along the path, and where they peak."""

import pandas as pd

from analysis.edges import SHARPNESS
from analysis.figures import theme
from analysis.figures.cells import bands, path, some_cells
from analysis.figures.chart import Axis, Look, by_ratio, mark, panel
from analysis.figures.theme import DASHES, INK, Figure, Key, Panel
from analysis.frames import Sweep
from analysis.labels import EPOCH, capital, label, number, significant

_NOISE = "k_lambda_max"
_BY = ["ratio_group", "batch_size", "run_lr"]
_REACH = 4.0


def break_even_figure(sweep: Sweep) -> Figure | None:
    """λ_max of H and of K against epoch, one tone a ratio, with 2/η and the break-even point, where
    λ_max of K peaks. None unless both were measured."""
    rows = path(sweep, _NOISE)
    if rows.empty or not sweep.measures(SHARPNESS):
        return None
    rows = some_cells(rows[rows[SHARPNESS] > 0])
    if rows.empty:
        return None
    batches = sorted(rows["batch_size"].unique())
    look = by_ratio(rows, dash="batch_size", dashes=batches, dash_words=lambda s: f"S = {s}")
    keys = (*look.keys, Key("2/η", INK, dash=DASHES[3]), Key("break-even point", INK, marker="o"))
    curves = {quantity: bands(rows, quantity, _BY) for quantity in (_NOISE, SHARPNESS)}
    noise = curves[_NOISE]
    peaks = noise.loc[noise.groupby(_BY)["middle"].idxmax()].sort_values(_BY)
    panels = tuple(_panel(curves[q], q, peaks, look, keys) for q in (_NOISE, SHARPNESS))
    note = (
        "A line is the geometric mean over a cell's seeds, its band their range; ○ the break-even "
        "point, where λ_max of K peaks (Jastrzębski et al. 2020); dashed 2/η, where it is within "
        "reach, in the tone of its ratio."
    )
    title = "Curvature and gradient noise along the path"
    return Figure("break-even", title, _seen(curves, peaks), panels, keys, note)


def _seen(curves: dict[str, pd.DataFrame], peaks: pd.DataFrame) -> str:
    ratios = sorted(peaks["ratio_group"].unique())
    said = []
    for quantity, frame in curves.items():
        tops = frame.groupby(_BY)["middle"].max().groupby("ratio_group").mean()
        first, last = significant(tops[ratios[0]]), significant(tops[ratios[-1]])
        said.append(
            f"the peak of {label(quantity).plain} goes from {first} to {last}"
            if len(ratios) > 1 else f"{label(quantity).plain} peaks at {first}"
        )
    span = f" from η/S = {number(ratios[0])} to {number(ratios[-1])}" if len(ratios) > 1 else ""
    low, high = number(peaks["epoch"].min(), 2), number(peaks["epoch"].max(), 2)
    when = f"at epoch {low}" if low == high else f"between epochs {low} and {high}"
    return capital(f"{said[0]} and {said[1]}{span}; λ_max of K peaks {when}.")


def _panel(frame: pd.DataFrame, quantity: str, peaks: pd.DataFrame, look: Look,
           keys: tuple[Key, ...]) -> Panel:
    edges = {}
    if quantity == SHARPNESS:
        top, bottom = _REACH * frame["high"].max(), frame["low"].min() / _REACH
        rates = frame.drop_duplicates("ratio_group").set_index("ratio_group")["run_lr"]
        edges = {r: 2 / lr for r, lr in rates.items() if bottom < 2 / lr < top}
    limits = theme.padded([frame["low"].min(), frame["high"].max(), *edges.values()])

    def more(axes: object) -> None:
        for ratio, edge in edges.items():
            axes.axhline(edge, color=look.tones[ratio].light, linewidth=0.9,
                         linestyle=theme.dashed(DASHES[3]))
        for _, at in peaks.iterrows():
            same = frame[(frame[_BY] == at[_BY]).all(axis=1)]
            nearest = same.loc[(same["epoch"] - at["epoch"]).abs().idxmin()]
            mark(axes, nearest["epoch"], nearest["middle"], look.tones[at["ratio_group"]])

    name = "break-even-noise" if quantity == _NOISE else "break-even-curvature"
    return panel(name, f"{label(quantity).plain} along the path", frame,
                 Axis("epoch", EPOCH.tex, log=True),
                 Axis("middle", label(quantity).tex, log=True, limits=limits), look,
                 line=["run_lr"], keys=keys, more=more)
