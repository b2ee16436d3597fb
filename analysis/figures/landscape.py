"""The landscape around finished runs: lines between them, bent paths, and tunnels."""

from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.figures import theme
from analysis.figures.cells import spaced
from analysis.figures.chart import Axis, Look, by_ratio, panel
from analysis.figures.probes import probe_curves
from analysis.figures.theme import KINDS, Figure, Key, Panel
from analysis.frames import Sweep
from analysis.labels import count, listed, number, significant

_SHOWN = 6
_SIDES = {"train": "training", "test": "test"}
_COLUMNS = ["probe", "words", "series", "index", "x", "value"]


def interpolation_figure(sweep: Sweep) -> Figure | None:
    """Loss and accuracy on the line through two runs, one tone a probe. None without such probes.
    """
    panels, keys, said = [], (), ""
    for quantity, name, tex in (("interpolation_loss", "loss", "loss"),
                                ("interpolation_accuracy", "accuracy", "accuracy")):
        rows = probe_curves(sweep, "interpolation", quantity)
        rows = rows[rows["series"].isin(list(_SIDES))]
        if rows.empty:
            continue
        shown = spaced(sorted(rows["words"].unique()), _SHOWN)
        frame = _first(rows[rows["words"].isin(shown)])
        look = Look("words", dict(zip(shown, KINDS, strict=False)), str, dash="series",
                    dashes=list(_SIDES), dash_words=lambda s: _SIDES[str(s)])
        keys = look.keys
        loss = name == "loss"
        low = frame["value"].clip(lower=1e-8)
        panels.append(panel(
            f"interpolation-{name}", f"{tex} on the line between two runs",
            frame.assign(value=low) if loss else frame, Axis("x", r"$\alpha$"),
            Axis("value", tex, log=loss), look, line=["probe"]))
        if loss:
            said = _barriers(frame, len(rows["probe"].unique()))
    if not panels:
        return None
    note = ("L((1 − α)a + αb): α = 0 is the first run, 1 the second; in the legend what they "
            "differ in, then what they share.")
    return Figure("interpolation", "The line between two runs", said, tuple(panels), keys, note)


def _first(rows: pd.DataFrame) -> pd.DataFrame:
    """One probe for each set of words: the first."""
    kept = rows.groupby("words")["probe"].transform("min")
    return rows[rows["probe"] == kept][_COLUMNS].reset_index(drop=True)


def _barriers(frame: pd.DataFrame, probes: int) -> str:
    train = frame[(frame["series"] == "train") & frame["x"].between(0, 1)]
    heights = []
    for _, line in train.groupby("probe"):
        y = line.sort_values("x")["value"].to_numpy(float)
        heights.append(max(0.0, y.max() - max(y[0], y[-1])))
    if not heights:
        return f"{count(probes, 'line')} between runs."
    of = f" shown of {probes}" if probes > len(heights) else ""
    low, high = significant(min(heights)), significant(max(heights))
    among = low if low == high else f"between {low} and {high}"
    return (f"Between the runs the training loss rises by {among} above the larger of its ends "
            f"({count(len(heights), 'line')}{of}).")


def connector_figure(sweep: Sweep) -> Figure | None:
    """Training loss on the straight and on the bent path between runs. None without connectors."""
    rows = probe_curves(sweep, "connector", "connector_loss")
    if rows.empty:
        return None
    parts = rows["series"].str.extract(r"^(linear|bent)_(.+)_(train|test)$")
    rows = rows.assign(path=parts[0], pair=parts[1], side=parts[2])
    probe = min(rows["probe"])
    frame = rows[(rows["probe"] == probe) & (rows["side"] == "train")]
    frame = frame[["probe", "words", "path", "pair", "x", "value"]].reset_index(drop=True)
    frame["value"] = frame["value"].clip(lower=1e-8)
    words = {"linear": "straight", "bent": "one learned bend"}
    look = Look("path", {"linear": KINDS[1], "bent": KINDS[0]}, lambda p: words[str(p)])
    tops = rows[rows["side"] == "train"].groupby(["probe", "pair", "path"])["value"].max()
    tops = tops.groupby("path").median()
    caption = (
        f"The highest training loss on the straight path is {significant(tops.get('linear'))}, on "
        f"the bent one {significant(tops.get('bent'))} (medians over "
        f"{count(rows.groupby('probe')['pair'].nunique().sum(), 'pair')} of runs)."
    )
    drawn = panel("connector", "Training loss on paths between runs", frame,
                  Axis("x", "position on the path"), Axis("value", "training loss", log=True),
                  look, line=["pair"])
    note = (f"All pairs of one probe ({frame['words'].iloc[0]}). Bends are trained with Adam "
            "(Fort & Jastrzębski 2019; Garipov et al. 2018): an upper bound.")
    return Figure("connector", "Connectors: straight and bent paths", caption, (drawn,), look.keys,
                  note)


def tunnel_figure(sweep: Sweep) -> Figure | None:
    """Loss along random directions, and how far it stays low, by η/S. None without tunnels."""
    rows = probe_curves(sweep, "tunnels", "tunnel_loss")
    rows = rows[rows["series"].str.startswith("angular_plain")]
    if rows.empty:
        return None
    rows = rows.assign(quartile=rows["series"].str.rpartition("_")[2])
    chosen = spaced(sorted(rows["ratio_group"].unique()), 5)
    wide = rows[rows["ratio_group"].isin(chosen)].pivot_table(
        index=["ratio_group", "batch_size", "probe", "x"], columns="quartile", values="value"
    ).reset_index().rename(columns={"lower": "low", "upper": "high"})
    first = wide.groupby("ratio_group")["probe"].transform("min")
    wide = wide[wide["probe"] == first].dropna(subset=["median"])
    if wide.empty:
        return None
    wide = wide.assign(**{c: wide[c].clip(lower=1e-8) for c in ("low", "median", "high") if c in
                          wide})
    look = by_ratio(wide)
    panels = [panel("tunnels-loss", "Training loss along random directions", wide,
                    Axis("x", r"angle from the weights $\varphi$"),
                    Axis("median", "training loss", log=True), look, line=["probe"])]
    widths = probe_curves(sweep, "tunnels", "tunnel_width")
    widths = widths[(widths["series"] == "angular_plain") & (widths["x"] == 0.5)]
    keys = look.keys
    caption = f"Loss along random directions from {count(rows['probe'].nunique(), 'run')}."
    if len(widths):
        sizes, drawn = _widths(widths)
        panels.append(drawn)
        keys = (*keys, *(replace(key, text=f"b: {key.text}") for key in sizes))
        caption = _wider(widths)
    note = ("Directions are random and orthogonal to the weights, turned into at equal norm: "
            "median and quartiles over directions of one run a ratio. The width is the smallest "
            "angle at which the loss is above half-way to that of step 0, or above the probe's "
            "threshold.")
    return Figure("tunnels", "Tunnels: how far random directions stay low", caption,
                  tuple(panels), keys, note)


def _widths(widths: pd.DataFrame) -> tuple[tuple[Key, ...], Panel]:
    batches = sorted(widths["batch_size"].unique())
    tones = dict(zip(batches, theme.ramp(len(batches)), strict=True))
    look = Look("batch_size", tones, lambda s: f"S = {number(float(s))}", points=True)
    columns = ["probe", "words", "lr", "batch_size", "ratio_group", "value"]
    drawn = panel("tunnels-width", "Median angular width against η/S",
                 widths[columns].reset_index(drop=True), Axis("ratio_group", r"$\eta/S$", log=True),
                 Axis("value", "median angular width"), look)
    return look.keys, drawn


def _wider(widths: pd.DataFrame) -> str:
    means = widths.groupby("ratio_group")["value"].mean()
    if len(means) < 2:
        return f"The median angular width is {significant(means.iloc[0])}."
    rho = np.corrcoef(widths["ratio_group"].rank(), widths["value"].rank())[0, 1]
    said = [f"{significant(means.iloc[i])} at η/S = {number(means.index[i])}" for i in (0, -1)]
    return (f"The median angular width is {listed(said)} (rank correlation with η/S over "
            f"{count(len(widths), 'run')}: {significant(float(rho))}).")

