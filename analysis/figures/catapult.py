"""The catapult: loss and curvature of gradient descent from the first step on, by η·λ₀."""

import pandas as pd

from analysis.edges import SHARPNESS, descends
from analysis.figures import theme
from analysis.figures.cells import bands, spaced
from analysis.figures.chart import Axis, Look, panel
from analysis.figures.theme import DASHES, INK, Figure, Key, Panel
from analysis.frames import Sweep
from analysis.labels import count, number, significant

_RATES = 7
_TWO = DASHES[3]


def catapult_figure(sweep: Sweep) -> Figure | None:
    """Training loss over that of step 0, and η·λ_max, against the step, one tone a learning rate.

    Of full-batch gradient descent with the squared loss and without momentum, measured at step 0.
    None unless an η lies above 2/λ₀ there.
    """
    rows = _rows(sweep)
    if rows.empty or rows["start"].max() <= 2:
        return None
    starts = rows.groupby("run_lr")["start"].mean()
    rates = spaced(sorted(starts.index), _RATES)
    rows = rows[rows["run_lr"].isin(rates)]
    lost = rows.drop_duplicates("run_id")["status"].eq("diverged").sum()
    whole = rows.groupby("run_lr")["status"].transform(lambda s: (s == "finished").any())
    rows = rows[(rows["status"] == "finished") | ~whole]
    look = Look("run_lr", dict(zip(rates, theme.ramp(len(rates)), strict=True)),
                lambda rate: f"η·λ_0 = {number(starts[rate], 2)}")
    loss, sharp = (bands(rows, quantity, ["run_lr"]) for quantity in ("growth", "product"))
    keys = (*look.keys, Key("η·λ = 2", INK, dash=_TWO))
    panels = (_panel("loss", loss, "loss / loss at the start", look, keys, 1.0),
              _panel("curvature", sharp, r"$\eta\,\lambda_{\max}$", look, keys, 2.0))
    note = (
        "A line is the geometric mean over seeds, its band their range; runs that diverged are "
        "drawn only where all of a rate did. λ₀ is the curvature at step 0, η·λ₀ the mean of a "
        "rate. On a quadratic gradient descent diverges above 2 (Lewkowycz et al. 2020)."
    )
    title = "Through the catapult: loss and curvature from the first step"
    return Figure("catapult", title, _said(loss, sharp, starts[rates], int(lost)), panels, keys,
                  note)


def _rows(sweep: Sweep) -> pd.DataFrame:
    """Snapshots with ``start`` = η·λ₀, ``growth`` of the loss, ``product`` = η·λ_max, and an
    ``epoch`` that counts steps from 1, for a logarithmic axis."""
    rows = sweep.snapshots
    if not sweep.measures(SHARPNESS) or "config_train_loss" not in sweep.runs:
        return rows.iloc[:0].assign(start=0.0)
    squared = sweep.runs.set_index("run_id")["config_train_loss"] == "mse"
    rows = rows[(rows["batch_size"] == rows["train_size"]) & (rows["momentum"] == 0)
                & rows["run_id"].map(squared).fillna(False).astype(bool)
                & descends(sweep, rows) & (rows[SHARPNESS] > 0) & (rows["train_loss"] > 0)]
    first = rows.groupby("run_id").head(1).set_index("run_id")
    first = first[first["step"] == 0]
    rows = rows[rows["run_id"].isin(first.index)]
    if rows.empty:
        return rows.assign(start=0.0)
    return rows.assign(
        start=rows["run_id"].map(first["run_lr"] * first[SHARPNESS]),
        growth=rows["train_loss"] / rows["run_id"].map(first["train_loss"]),
        product=rows["lr"] * rows[SHARPNESS], epoch=rows["step"] + 1.0)


def _panel(name: str, frame: pd.DataFrame, text: str, look: Look, keys: tuple[Key, ...],
           line: float) -> Panel:
    limits = theme.padded([*frame["low"], *frame["high"], line])
    dash = _TWO if name == "curvature" else ""

    def more(axes: object) -> None:
        axes.axhline(line, color=INK.light, linewidth=0.9, linestyle=theme.dashed(dash))

    return panel(f"catapult-{name}", f"Catapult: {name} against the step", frame,
                 Axis("epoch", "step + 1", log=True), Axis("middle", text, log=True, limits=limits),
                 look, keys=keys, more=more)


def _said(loss: pd.DataFrame, sharp: pd.DataFrame, starts: pd.Series, lost: int) -> str:
    above = starts[starts > 2].index
    have = "has" if len(above) == 1 else "have"
    tops = loss[loss["run_lr"].isin(above)].groupby("run_lr")["middle"].max()
    ends = sharp[sharp["run_lr"].isin(above)].groupby("run_lr")["middle"].last()
    blown = f"; {count(lost, 'run')} diverged" if lost else ""
    return (
        f"Of {count(len(starts), 'learning rate')}, {len(above)} {have} η·λ₀ above 2: there the "
        f"loss peaks at {_range(tops)} times that of the start, and η·λ_max ends at "
        f"{_range(ends)}{blown}."
    )


def _range(values: pd.Series) -> str:
    low, high = significant(values.min()), significant(values.max())
    return low if low == high else f"{low} to {high}"
