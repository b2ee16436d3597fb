"""Early steering: what is decided when η is switched."""

import pandas as pd

from analysis.edges import SHARPNESS
from analysis.figures.chart import Axis, Look, panel
from analysis.figures.theme import DASHES, KINDS, Figure, Key, dashed
from analysis.frames import Sweep
from analysis.labels import capital, label, listed, number, significant
from analysis.points import END, points

_SCHEDULE = "config_train_lr_schedule"
_WORDS = {"down": "large η first, then small", "up": "small η first, then large"}
_STAYS = {"down": "small η throughout", "up": "large η throughout"}
_TONES = {"down": KINDS[1], "up": KINDS[0]}


def steering_figure(sweep: Sweep) -> Figure | None:
    """Final λ_max and test accuracy against the epoch of the switch, in both directions, with runs
    of constant η where there are such. None with fewer than two moments of switching."""
    runs = _switched(sweep)
    if runs.empty or runs["moment"].nunique() < 2:
        return None
    panels, said, constant = [], [], False
    ways = [w for w in _WORDS if (runs["way"] == w).any()]
    look = Look("way", {w: _TONES[w] for w in ways}, lambda w: _WORDS[str(w)])
    for quantity in (SHARPNESS, "test_accuracy"):
        if not sweep.measures(quantity):
            continue
        values = points(sweep, quantity, END).frame[["run_id", "value"]]
        rows = runs.merge(values, on="run_id")
        frame = rows.groupby(["way", "moment"])["value"].agg(
            value="mean", low="min", high="max", runs="size").reset_index()
        if frame.empty:
            continue
        stays = _constant(sweep, runs, values)
        constant = constant or bool(stays)
        said += [_goes(frame[frame["way"] == w], quantity, w) for w in ways]
        log = quantity == SHARPNESS

        def more(axes: object, stays: dict[str, float] = stays) -> None:
            for way, value in stays.items():
                axes.axhline(value, color=_TONES[way].light, linewidth=0.9,
                             linestyle=dashed(DASHES[2]))

        panels.append(panel(
            f"steering-{quantity.replace('_', '-')}",
            f"Final {label(quantity).plain} against the moment of switching", frame,
            Axis("moment", "epoch of the switch", log=bool((frame["moment"] > 0).all())),
            Axis("value", f"{label(quantity).tex} at the end", log=log), look, more=more))
    if not panels:
        return None
    keys = look.keys
    if constant:
        keys = (*keys, *(Key(_STAYS[w], _TONES[w], dash=DASHES[2]) for w in ways))
    text = listed([s for s in said if s], 8)
    note = ("Means over runs, the bands their range. The later the switch at which the final value "
            "still changes, the later it is decided.")
    return Figure("steering", "Early steering: when is the end decided?",
                  capital(f"{text}."), tuple(panels), keys, note)


def _switched(sweep: Sweep) -> pd.DataFrame:
    """Finished runs whose η is switched once, with ``moment`` and ``way``: down or up."""
    runs = sweep.finished
    names = [f"{_SCHEDULE}_{part}" for part in ("name", "at", "factor")]
    if not set(names) <= set(runs.columns):
        return runs.iloc[:0]
    name, at, factor = names
    runs = runs[(runs[name] == "switch") & runs[at].notna() & runs[factor].notna()]
    way = runs[factor].lt(1).map({True: "down", False: "up"})
    return runs[["run_id", "lr", factor]].assign(
        moment=runs[at].astype(float), way=way, other=runs["lr"] * runs[factor])


def _constant(sweep: Sweep, runs: pd.DataFrame, values: pd.DataFrame) -> dict[str, float]:
    """The mean end of runs of constant η at the rate that each way ends with."""
    plain = sweep.finished[sweep.finished[f"{_SCHEDULE}_name"] == "constant"]
    plain = plain.merge(values, on="run_id")
    found = {}
    for way, part in runs.groupby("way"):
        target = part["other"].median()
        same = plain[(plain["lr"] / target - 1).abs() < 1e-6]
        if len(same):
            found[str(way)] = float(same["value"].mean())
    return found


def _goes(frame: pd.DataFrame, quantity: str, way: str) -> str:
    if len(frame) < 2:
        return ""
    first, last = frame.iloc[0], frame.iloc[-1]
    return (
        f"with {_WORDS[way]} {label(quantity).plain} ends at {significant(first['value'], 3)} if "
        f"switched at epoch {number(first['moment'])} and at {significant(last['value'], 3)} if at "
        f"{number(last['moment'])}"
    )
