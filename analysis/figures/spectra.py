"""Spectra over time: the top eigenvalues of the Hessian, and its spectral density."""

import pandas as pd

from analysis.figures import theme
from analysis.figures.cells import moments, run_curves, spaced
from analysis.figures.chart import Axis, Look, by_moment, panel
from analysis.figures.extremes import Extreme, Seen, at_extremes
from analysis.figures.theme import Figure
from analysis.frames import Sweep
from analysis.labels import EPOCH, number, significant

_AXES = ["run_id", "lr", "batch_size", "ratio_group", "seed", "setting", "cell", "train_size"]
_KEPT = ["run_id", "lr", "batch_size", "ratio_group", "epoch"]
_FLOOR = 1e-5


def eigenvalue_figure(sweep: Sweep) -> Figure | None:
    """The largest eigenvalues of H against epoch, of a run of the smallest and of the largest η/S.
    None with fewer than two eigenvalues a snapshot."""
    if not sweep.measures("hessian_lambda_max"):
        return None
    rows = sweep.spectra
    rows = rows[(rows["operator"] == "hessian") & (rows["step"] > 0) & (rows["value"] > 0)]
    rows = rows.merge(sweep.finished[_AXES], on="run_id")
    if rows.empty or rows["index"].nunique() < 2:
        return None
    rows = rows.assign(epoch=rows["step"] / (rows["train_size"] // rows["batch_size"]))
    shown = spaced(sorted(rows["index"].unique()), 6)
    tones = dict(zip(shown, theme.ramp(len(shown)), strict=True))
    look = Look("index", tones, lambda i: f"λ_{i}")

    def draw(at: Extreme) -> Seen:
        frame = at.run(rows)
        frame = frame.loc[frame["index"].isin(shown), [*_KEPT, "index", "value"]]
        last = frame[frame["epoch"] == frame["epoch"].max()].set_index("index")["value"]
        drawn = panel(f"eigenvalues-{at.side}", f"Eigenvalues at {at.words}", frame,
                      Axis("epoch", EPOCH.tex, log=True),
                      Axis("value", "eigenvalues of the Hessian", log=True), look,
                      heading=at.words)
        apart = significant(last.iloc[0] / last.iloc[-1])
        return Seen(drawn, look.keys, f"λ_{last.index[0]} ends {apart} times as large as "
                                      f"λ_{last.index[-1]}")

    note = "One run each, the first seed; positive eigenvalues only."
    return at_extremes(rows, "eigenvalues", "The top of the spectrum over time", draw, note)


def density_figure(sweep: Sweep) -> Figure | None:
    """The spectral density of H at several moments, of a run of the smallest and the largest η/S.
    """
    rows = run_curves(sweep, "hessian_density")
    rows = rows[rows["value"] > 0]
    if rows.empty:
        return None

    def draw(at: Extreme) -> Seen:
        run = at.run(rows)
        frame = _cut(run[run["step"].isin(moments(run["step"]))])[[*_KEPT, "x", "value"]]
        look = by_moment(frame["epoch"])
        drawn = panel(f"density-{at.side}", f"Spectral density at {at.words}", frame,
                      Axis("x", "eigenvalue of the Hessian"),
                      Axis("value", "spectral density", log=True), look, heading=at.words)
        ends = frame.groupby("epoch")["x"].max()
        return Seen(drawn, look.keys,
                    f"the spectrum reaches up to {significant(ends.iloc[0])} at epoch "
                    f"{number(ends.index[0])} and {significant(ends.iloc[-1])} at epoch "
                    f"{number(ends.index[-1])}")

    note = (
        "Stochastic Lanczos quadrature, smoothed; densities below 1e-5 of the largest are drawn "
        "as that. One run each, the first seed; early moments dark, late ones light."
    )
    return at_extremes(rows, "density", "Spectral density of the Hessian over time", draw, note)


def _cut(run: pd.DataFrame) -> pd.DataFrame:
    """From the first to the last point of each moment that is above the floor; points between that
    are below it lie on it."""
    floor = _FLOOR * run["value"].max()
    above = run[run["value"] > floor].groupby("epoch")["x"].agg(["min", "max"])
    ends = [run["epoch"].map(above[name]) for name in ("min", "max")]
    return run[run["x"].between(*ends)].assign(value=run["value"].clip(lower=floor))
