"""Accuracy against sharpness, and the runs that no other beats in both."""

import numpy as np
import pandas as pd

from analysis.edges import SHARPNESS
from analysis.figures.cells import short
from analysis.figures.chart import Axis, by_ratio, panel, thinned
from analysis.figures.theme import INK, Figure, Key
from analysis.frames import NOISES, Sweep
from analysis.labels import RATIO, count, label, number, significant
from analysis.points import END, points

_LEAST = 8
_TONES = 8


def pareto_figure(sweep: Sweep) -> Figure | None:
    """Test accuracy against λ_max at the end, a point a run, with the front of highest accuracy and
    lowest sharpness. None with fewer than eight runs that have both."""
    if not (sweep.measures(SHARPNESS) and sweep.measures("test_accuracy")):
        return None
    sharp = points(sweep, SHARPNESS, END).frame.rename(columns={"value": "sharpness"})
    accuracy = points(sweep, "test_accuracy", END).frame[["run_id", "value"]]
    frame = sharp.merge(accuracy.rename(columns={"value": "accuracy"}), on="run_id")
    if len(frame) < _LEAST:
        return None
    frame = frame.assign(on_front=front(frame["accuracy"].to_numpy(),
                                        -frame["sharpness"].to_numpy()))
    edge = frame[frame["on_front"]].sort_values("sharpness")
    best, flattest = edge.iloc[-1], edge.iloc[0]
    caption = (
        f"{count(len(edge), 'run')} of {len(frame):,} on the front: from {_run(flattest)} to "
        f"{_run(best)}." if len(edge) > 1 else
        f"One of {len(frame):,} runs is both the flattest and the most accurate: {_run(best)}."
    )
    look = by_ratio(_binned(frame))
    look = type(look)("tone", look.tones, look.tone_words, points=True)
    shown = _binned(frame).assign(tone=lambda f: f["ratio_group"])
    keys = (*look.keys, Key("Pareto front", INK, marker="o", dash=""))

    def more(axes: object) -> None:
        axes.plot(edge["sharpness"], edge["accuracy"], color=INK.light, linewidth=1.1,
                  drawstyle="steps-post")
        axes.plot(edge["sharpness"], edge["accuracy"], linestyle="none", marker="o", markersize=7,
                  markeredgecolor=INK.light, markerfacecolor="none", markeredgewidth=1.2)

    columns = ("run_id", "lr", "batch_size", "ratio", *NOISES, "seed", "sharpness", "accuracy",
               "on_front", "tone")
    drawn = panel("pareto", "Test accuracy against sharpness", short(shown, columns),
                  Axis("sharpness", f"{label(SHARPNESS).tex} at the end", log=True),
                  Axis("accuracy", "test accuracy at the end"), look, keys=keys, more=more)
    few = len(thinned(frame)) < len(frame)
    note = ("A point is a finished run; rings are those that no other beats in both."
            + (" Some points are left out for legibility, none of the front." if few else ""))
    return Figure("pareto", "Accuracy and sharpness", caption, (drawn,), keys, note)


def front(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which points no other exceeds in one value without falling short in the other: (n,) bool."""
    order = np.lexsort((-second, -first))
    found, best, at = np.zeros(len(first), bool), -np.inf, None
    for i in order:
        if second[i] > best or (at is not None and first[i] == at and second[i] == best):
            found[i], best, at = True, second[i], first[i]
    return found


def _binned(frame: pd.DataFrame) -> pd.DataFrame:
    """At most eight tones: ratios rounded to the nearest of as many, spread over their order."""
    ratios = np.sort(frame["ratio_group"].unique())
    if len(ratios) <= _TONES:
        return frame
    places = np.round(np.linspace(0, len(ratios) - 1, _TONES)).astype(int)
    levels = ratios[places]
    off = np.abs(np.log(frame["ratio_group"].to_numpy()[:, None]) - np.log(levels)[None])
    return frame.assign(ratio_group=levels[off.argmin(axis=1)])


def _run(row: pd.Series) -> str:
    return (
        f"{number(100 * row['accuracy'])} % at λ_max = {significant(row['sharpness'])} "
        f"({RATIO.plain} = {number(row['ratio'])})"
    )
