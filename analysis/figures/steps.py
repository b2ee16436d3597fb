"""Steps along the sharpest directions: the loss along e_1, and what a step there does to it."""

import pandas as pd

from analysis.figures.cells import extremes, moments, run_curves
from analysis.figures.chart import Axis, Look, by_moment, panel
from analysis.figures.theme import FAINT, INK, KINDS, Figure
from analysis.frames import Sweep
from analysis.labels import capital, count, listed, number, significant

_STEP = 4.0  # the monitor looks as far as four steps
_DIRECTIONS = {"e1": "along e_1", "random": "along a random direction", "step": "the whole step"}


def sharpest_figure(sweep: Sweep) -> Figure | None:
    """The loss along e_1 at several moments of a run of the smallest and of the largest η/S."""
    rows = run_curves(sweep, "loss_along_e1")
    rows = rows[rows["series"] == "step"]
    if rows.empty:
        return None
    panels, seen, keys = [], [], ()
    for place, (ratio, _, run_id) in enumerate(extremes(rows)):
        run = rows[rows["run_id"] == run_id]
        run = run[run["step"].isin(moments(run["step"]))]
        frame = _in_steps(run)
        look = by_moment(frame["epoch"])
        keys = keys or look.keys
        minimum = frame.loc[frame.groupby("epoch")["rise"].idxmin()]
        seen.append(f"at η/S = {number(ratio)} the lowest of the points along e_1 lies "
                    f"{_shift(minimum)}")
        panels.append(panel(
            f"sharpest-{('low', 'high')[place]}", f"Loss along e_1 at η/S = {number(ratio)}", frame,
            Axis("steps", r"distance along $e_1$ in mean SGD steps"),
            Axis("rise", r"$L(\theta + c\,e_1) - L(\theta)$"), look, line=["run_id"],
            heading=f"η/S = {number(ratio)}", more=_zero))
    note = (
        "One run each (the first seed). e_1 is the top eigenvector of the Hessian, turned so that "
        "the loss rises to the right; the unit is the root mean square length of a step's part "
        "along it (Jastrzębski et al. 2019). Legend: epochs of the first panel; the second goes "
        "from dark to light alike."
    )
    title = "The loss along the sharpest direction"
    return Figure("sharpest", title, capital(f"{listed(seen)}."), tuple(panels),
                  keys, note if len(panels) > 1 else note.partition(" Legend:")[0])


def _in_steps(run: pd.DataFrame) -> pd.DataFrame:
    """With ``steps`` (x over the length of a step) and ``rise`` of the loss over that at x = 0."""
    by_step = run.groupby("step")
    unit = by_step["x"].transform(lambda x: x.abs().max()) / _STEP
    here = run[run["x"] == 0].set_index("step")["value"]
    frame = run.assign(steps=run["x"] / unit, rise=run["value"] - run["step"].map(here))
    columns = ["run_id", "ratio_group", "lr", "batch_size", "epoch", "step", "x", "steps", "value",
               "rise"]
    return frame[frame["rise"].notna()][columns].reset_index(drop=True)


def _shift(minimum: pd.DataFrame) -> str:
    first, last = minimum["steps"].iloc[0], minimum["steps"].iloc[-1]
    where = [f"at {number(x)} steps" if x else "here" for x in (first, last)]
    if where[0] == where[1]:
        return f"{where[0]} first and last"
    return f"{where[0]} first and {where[1]} at the end"


def _zero(axes: object) -> None:
    axes.axhline(0.0, color=INK.light, linewidth=0.7)
    axes.axvline(0.0, color=FAINT.light, linewidth=0.9)


def one_direction_figure(sweep: Sweep) -> Figure | None:
    """Mean change of the loss by γ times a step along e_1, a random direction, and the whole step,
    late in training, at the smallest and the largest η/S."""
    rows = run_curves(sweep, "step_loss_change")
    rows = rows[rows["series"].isin(list(_DIRECTIONS)) & (rows["step"] > 0)]
    if rows.empty:
        return None
    last = rows.groupby("run_id")["epoch"].transform("max")
    rows = rows[rows["epoch"] >= 0.5 * last]
    directions = [d for d in _DIRECTIONS if d in set(rows["series"])]
    tones = {d: KINDS[i] for i, d in enumerate(directions)}
    look = Look("series", tones, lambda d: _DIRECTIONS[str(d)])
    panels, seen = [], []
    for place, (ratio, batch, _) in enumerate(extremes(rows)):
        cell = rows[(rows["ratio_group"] == ratio) & (rows["batch_size"] == batch)]
        frame = cell.groupby(["series", "x"])["value"].agg(
            value="median", low=lambda v: v.quantile(0.25), high=lambda v: v.quantile(0.75),
            snapshots="size").reset_index().assign(ratio_group=ratio, batch_size=batch)
        seen.append(_change(frame, ratio))
        panels.append(panel(
            f"one-direction-{('low', 'high')[place]}",
            f"Change of the loss by a part of a step, η/S = {number(ratio)}", frame,
            Axis("x", r"multiple $\gamma$ of the learning rate", log=True),
            Axis("value", "change of the loss"), look, heading=f"η/S = {number(ratio)}",
            more=lambda axes: axes.axhline(0.0, color=INK.light, linewidth=0.7)))
    note = (
        f"Median and quartiles over the snapshots of the second half of training of "
        f"{count(int(rows['seed'].nunique()), 'seed')}, each a mean over minibatches."
    )
    caption = capital(f"{listed(seen)}.")
    title = "What a step along one direction does to the loss"
    return Figure("one-direction", title, caption, tuple(panels), look.keys, note)


def _change(frame: pd.DataFrame, ratio: float) -> str:
    along = frame[frame["series"] == "e1"]
    if along.empty:
        return f"at η/S = {number(ratio)} e_1 was not looked at"
    at_one = along.loc[(along["x"] - 1).abs().idxmin()]
    least = along.loc[along["value"].idxmin()]
    return (
        f"at η/S = {number(ratio)} the step's part along e_1 changes the loss by "
        f"{significant(at_one['value'])}, least at γ = {number(least['x'])} "
        f"({significant(least['value'])})"
    )
