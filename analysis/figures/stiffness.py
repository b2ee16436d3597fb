"""Stiffness: how alike examples' gradients are, over time and against their distance."""

from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.figures.cells import bands, moments, path, run_curves, some_cells
from analysis.figures.chart import Axis, Look, by_moment, by_ratio, panel
from analysis.figures.extremes import extremes
from analysis.figures.theme import INK, Figure, Key, Panel
from analysis.frames import Sweep
from analysis.labels import EPOCH, capital, count, fixed

_KINDS = ("within", "between")
_WORDS = {"within": "within a class", "between": "between classes"}


def stiffness_figure(sweep: Sweep) -> Figure | None:
    """Cosines within and between classes over epochs, and against the inputs' distance. None where
    the monitor did not measure."""
    panels, said, keys = [], [], []
    over = _over_time(sweep)
    if over is not None:
        panels.append(over[0])
        said.append(over[1])
        keys += over[2]
    by_distance = _by_distance(sweep)
    if by_distance is not None:
        panels.append(by_distance[0])
        said.append(by_distance[1])
        known = {key.text for key in keys}
        keys += [replace(k, text=f"b: {k.text}" if known else k.text)
                 for k in by_distance[2] if k.text not in known]
    if not panels:
        return None
    note = (
        "Stiffness is the mean cosine of two examples' gradients (Fort et al. 2019). Over time: "
        "mean over a cell's seeds, the band their range. Against distance: one run, the first seed "
        "of the largest η/S; distance is 1 − cos of the standardised inputs."
    )
    caption = capital(f"{'; '.join(said)}.")
    title = "Stiffness within and between classes"
    return Figure("stiffness", title, caption, tuple(panels), tuple(keys), note)


def _over_time(sweep: Sweep) -> tuple[Panel, str, tuple[Key, ...]] | None:
    columns = {kind: f"stiffness_cos_{kind}" for kind in _KINDS}
    if not all(sweep.measures(column) for column in columns.values()):
        return None
    rows = some_cells(path(sweep, columns["within"], positive=False), batches=1)
    frames = [bands(rows[rows[column].notna()], column, ["ratio_group", "batch_size"], log=False)
              .assign(pairs=kind) for kind, column in columns.items()]
    frame = pd.concat([f for f in frames if len(f)])
    if frame.empty:
        return None
    look = by_ratio(frame, dash="pairs", dashes=_KINDS, dash_words=lambda k: _WORDS[str(k)])
    first, last = ({k: f["middle"].iloc[i] for k, f in frame.sort_values("epoch").groupby("pairs")}
                   for i in (0, -1))
    said = (
        f"cosines within a class go from {fixed(first['within'])} to {fixed(last['within'])}, "
        f"between classes from {fixed(first['between'])} to {fixed(last['between'])}"
    )
    drawn = panel("stiffness-time", "Stiffness over epochs", frame,
                  Axis("epoch", EPOCH.tex, log=True), Axis("middle", "mean cosine of gradients"),
                  look, more=_zero)
    return drawn, said, look.keys


def _by_distance(sweep: Sweep) -> tuple[Panel, str, tuple[Key, ...]] | None:
    rows = run_curves(sweep, "stiffness_distance")
    rows = rows[rows["series"].isin(_KINDS)]
    if rows.empty:
        return None
    largest = extremes(rows)[-1]
    run = largest.run(rows)
    run = run[run["step"].isin(moments(run["step"], 3))]
    columns = ["run_id", "ratio_group", "epoch", "series", "index", "x", "value"]
    frame = run[columns].reset_index(drop=True)
    tones = by_moment(frame["epoch"])
    look = Look("epoch", tones.tones, tones.tone_words, dash="series", dashes=_KINDS,
                dash_words=lambda k: _WORDS[str(k)])
    last = frame[(frame["epoch"] == frame["epoch"].max()) & (frame["series"] == "within")]
    said = f"at {largest.words} they were measured in {count(len(last), 'bin')} of distance"
    if len(last) > 1:
        slope = np.polyfit(last["x"], last["value"], 1)[0]
        way = "fall" if slope < 0 else "rise"
        said = (
            f"at the end those within a class {way} with the inputs' distance, by "
            f"{fixed(abs(slope))} per unit at {largest.words}"
        )
    drawn = panel("stiffness-distance", "Stiffness against the distance of inputs", frame,
                  Axis("x", "distance of inputs, 1 − cos"),
                  Axis("value", "mean cosine of gradients"), look, more=_zero)
    return drawn, said, look.keys


def _zero(axes: object) -> None:
    axes.axhline(0.0, color=INK.light, linewidth=0.7)
