"""Steps along the sharpest directions: the loss along e_1, and what a step there does to it."""

import pandas as pd

from analysis.figures.cells import moments, run_curves
from analysis.figures.chart import Axis, Look, by_moment, panel
from analysis.figures.extremes import Extreme, Seen, at_extremes
from analysis.figures.theme import FAINT, INK, KINDS, Figure
from analysis.frames import Sweep
from analysis.labels import count, number, significant

_STEP = 4.0  # the monitor looks as far as four steps
_DIRECTIONS = {"e1": "along e_1", "random": "along a random direction", "step": "the whole step"}


def sharpest_figure(sweep: Sweep) -> Figure | None:
    """The loss along e_1 at several moments of a run of the smallest and of the largest η/S."""
    rows = run_curves(sweep, "loss_along_e1")
    rows = rows[rows["series"] == "step"]
    if rows.empty:
        return None

    def draw(at: Extreme) -> Seen:
        run = at.run(rows)
        frame = _in_steps(run[run["step"].isin(moments(run["step"]))])
        look = by_moment(frame["epoch"])
        drawn = panel(f"sharpest-{at.side}", f"Loss along e_1 at {at.words}", frame,
                      Axis("steps", r"distance along $e_1$ in mean SGD steps"),
                      Axis("rise", r"$L(\theta + c\,e_1) - L(\theta)$"), look, line=["run_id"],
                      heading=at.words, more=_zero)
        minimum = frame.loc[frame.groupby("epoch")["rise"].idxmin()]
        return Seen(drawn, look.keys, "the lowest of the points along e_1 lies "
                                      f"{_shift(minimum)}")

    note = (
        "One run each (the first seed). e_1 is the top eigenvector of the Hessian, turned so that "
        "the loss rises to the right; the unit is the root mean square length of a step's part "
        "along it (Jastrzębski et al. 2019)."
    )
    if rows["ratio_group"].nunique() > 1:
        note += " Legend: epochs of the first panel; the second goes from dark to light alike."
    title = "The loss along the sharpest direction"
    return at_extremes(rows, "sharpest", title, draw, note)


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

    def draw(at: Extreme) -> Seen:
        frame = at.cell(rows).groupby(["series", "x"])["value"].agg(
            value="median", low=lambda v: v.quantile(0.25), high=lambda v: v.quantile(0.75),
            snapshots="size").reset_index()
        frame = frame.assign(ratio_group=at.ratio, batch_size=at.batch_size)
        drawn = panel(f"one-direction-{at.side}",
                      f"Change of the loss by a part of a step, {at.words}", frame,
                      Axis("x", r"multiple $\gamma$ of the learning rate", log=True),
                      Axis("value", "change of the loss"), look, heading=at.words,
                      more=lambda axes: axes.axhline(0.0, color=INK.light, linewidth=0.7))
        return Seen(drawn, look.keys, _change(frame))

    note = (
        f"Median and quartiles over the snapshots of the second half of training of "
        f"{count(int(rows['seed'].nunique()), 'seed')}, each a mean over minibatches."
    )
    title = "What a step along one direction does to the loss"
    return at_extremes(rows, "one-direction", title, draw, note)


def _change(frame: pd.DataFrame) -> str:
    along = frame[frame["series"] == "e1"]
    if along.empty:
        return "e_1 was not looked at"
    at_one = along.loc[(along["x"] - 1).abs().idxmin()]
    least = along.loc[along["value"].idxmin()]
    return (
        f"the step's part along e_1 changes the loss by {significant(at_one['value'])}, least at "
        f"γ = {number(least['x'])} ({significant(least['value'])})"
    )
