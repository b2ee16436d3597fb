"""An Empirical Model of Large-Batch Training (McCandlish et al. 2018, arXiv 1812.06162)."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims import replicates, selection
from analysis.claims.claim import Effect, Judgement, NotTested, claim
from analysis.crossed import Interval
from analysis.frames import Sweep
from analysis.labels import count, fixed, number
from analysis.levels import first_reading

_PAPER = "McCandlish et al. 2018, An Empirical Model of Large-Batch Training"
_SCALE = "noise_scale_simple"
_TINY = 1e-12


@claim("noise_scale/two_batches_are_unbiased", "H1", paper=_PAPER, grade="robust", bound=3.0,
       words="two gradients, of a small and of a big batch, give unbiased estimates of Tr Σ and of "
             "the squared norm of the true gradient",
       test="mean of each estimator over many draws less its exact value, in standard errors, for "
            "Tr Σ and |G|², each pair of batch sizes, drawn with and without replacement: the "
            "largest of them all within what chance exceeds as rarely as ±3 with one (Bonferroni)")
def two_batches_are_unbiased(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """The largest z-score of the probe noise_estimators. The ratio of the two is not unbiased."""
    rows = selection.probe_curves(sweep, "noise_estimators", ["noise_estimator_z"])
    rows = selection.where(rows, rows["value"].notna(), "z-scores of the probe noise_estimators")
    worst = rows.loc[rows["value"].abs().idxmax()]
    z = float(worst["value"])
    return Judgement(
        (Effect("largest z-score", Interval(z, z, z), of_largest(options["bound"], len(rows)),
                "within", len(rows), "comparison"),),
        f"of {count(len(rows), 'comparison')} of an estimator's mean with its exact value the "
        f"largest difference is {fixed(z)} standard errors", "no training",
        rows[["subject_id", "series", "x", "value"]].to_dict("records"))


def of_largest(bound: float, count: int) -> float:
    """What the largest of ``count`` normal scores, by size, exceeds by chance at most as often as
    one of them exceeds ``bound`` (Bonferroni: exact for one, an upper bound if they depend)."""
    from scipy.special import ndtr, ndtri

    return float(-ndtri(ndtr(-bound) / count))


@claim("noise_scale/grows", "H2", paper=_PAPER, grade="robust", factor=5.0, epoch=1.0,
       words="the noise scale grows, by an order of magnitude or more, while the loss falls",
       test="B_simple at the end over that at epoch 1, geometric mean over cells, seed by seed: "
            "above 5; at constant η and S, from the Tr Σ and |G|² of the full measurement set")
def grows(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Log ratio of each run's last known B_simple to that of its snapshot nearest to epoch 1."""
    rows = selection.path(selection.plain(sweep), _SCALE, "gradient_noise")
    rows = selection.where(rows, (rows["step"] > 0) & (rows[_SCALE] > 0),
                           "snapshots after step 0 with a noise scale")
    found = _growth(rows, options["epoch"])
    found = selection.where(found, found["epochs"] >= 2 * options["epoch"],
                            f"runs of {number(2 * options['epoch'])} epochs or more with the "
                            f"noise scale at epoch {number(options['epoch'])}")
    interval, seeds = replicates.over_seeds(
        found, lambda runs: replicates.over(runs, "cell", lambda p: p["log_factor"].mean()))
    low, high = math.exp(found["early"].mean()), math.exp(found["late"].mean())
    return Judgement(
        (Effect("log of B_simple at the end over epoch 1", interval, math.log(options["factor"]),
                "above", seeds),),
        f"B_simple goes from {number(low)} at epoch {number(options['epoch'])} to {number(high)} "
        f"at the end: {number(math.exp(interval.value))} times", "at the end of each run",
        found.groupby(["cell", "lr", "batch_size"])[["early", "late", "log_factor"]].mean()
        .reset_index().to_dict("records"))


def _growth(rows: pd.DataFrame, epoch: float) -> pd.DataFrame:
    """A row a run: log B_simple at the snapshot nearest to the epoch and at the last, and
    ``epochs``: where the run ends, 0 if no snapshot lies within half of the epoch."""
    off = (rows["epoch"] - epoch).abs()
    early = off.groupby(rows["run_id"]).idxmin()
    end = rows.drop_duplicates("run_id", keep="last").set_index("run_id").loc[early.index]
    found = pd.DataFrame({
        "cell": end["cell"], "seed": end["seed"], "lr": end["run_lr"],
        "batch_size": end["batch_size"],
        "epochs": end["epoch"].where(off.loc[early].to_numpy() <= 0.5 * epoch, 0.0),
        "early": np.log(rows.loc[early, _SCALE].to_numpy()), "late": np.log(end[_SCALE])})
    return found.assign(log_factor=found["late"] - found["early"])


@claim("noise_scale/steps_and_examples_trade", "H3", paper=_PAPER, grade="likely", loss=0.0,
       bound=0.9,
       words="steps and examples to a target trade as (S/S_min − 1)(E/E_min − 1) = 1: perfect "
             "scaling below the critical batch size, no gain above it",
       test="steps to a train loss at the best η of each batch size, seed by seed: log S = log "
            "S_min + log(1 + B_crit/B) explains more than 0.9 of the variance, and the slope of "
            "log S on log B is higher at the upper end than at the lower. The loss is the lowest "
            "that every batch size reaches, or as given")
def steps_and_examples_trade(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """η is tuned for each batch size on the mean over seeds; runs without noise, constant η. A
    batch size whose best η is the smallest or largest that was tried is not tuned: left out."""
    rows, runs, tried = _paths(sweep)
    level = options["loss"] or _common(rows, runs)
    steps = runs["run_id"].map(_steps_to(rows, level)).fillna(math.inf)
    runs = runs.assign(steps=steps, log_steps=np.log(steps))
    reached = np.isfinite(steps).groupby([runs["batch_size"], runs["lr"]]).all()
    tuned = runs.groupby(["batch_size", "lr"])["log_steps"].mean()[reached]
    best = tuned.groupby("batch_size").idxmin().map(lambda pair: pair[1])
    if len(best) < 4:
        raise NotTested("at least four batch sizes that reach the same train loss")
    untuned = [b for b, lr in best.items() if lr in tried[b]]
    best = best.drop(untuned)
    if len(best) < 4:
        raise NotTested("at least four batch sizes whose best η lies inside its grid (at its end "
                        f"for {', '.join(map(str, untuned))})")
    used = runs[runs["lr"] == runs["batch_size"].map(best)]
    fits = {seed: _trade(part) for seed, part in used.groupby("seed")}
    fits = {seed: f for seed, f in fits.items() if f is not None}
    share = replicates.interval([f["explained"] for f in fits.values()], range=replicates.SHARE)
    bend = replicates.interval([f["bend"] for f in fits.values()])
    critical = float(np.exp(np.mean([math.log(f["critical"]) for f in fits.values()]))) if fits \
        else math.nan
    measured = _measured(sweep, used)
    return Judgement(
        (Effect("explained share of the variance of log steps", share, options["bound"], "above",
                len(fits)),
         Effect("upper less lower slope of log steps on log batch size", bend, 0.0, "above",
                len(fits))),
        f"steps to train loss {number(level)} follow the trade-off with B_crit = "
        f"{number(critical)} examples" + measured, f"at train loss {number(level)}, η tuned",
        used.groupby(["batch_size", "lr"])["steps"].mean().reset_index().to_dict("records"),
        "left out: the best η lies at the end of its grid for batch size "
        + ", ".join(map(str, untuned)) if untuned else "")


def _paths(sweep: Sweep) -> tuple[pd.DataFrame, pd.DataFrame, dict[int, tuple[float, float]]]:
    """Snapshots, those of a run in order, and the runs, of the setting with most batch sizes and
    several η each; and by batch size the smallest and largest η tried there, lost ones too."""
    sweep = selection.plain(sweep)
    clean = sweep.runs[(sweep.runs["label_noise"] == 0) & (sweep.runs["input_noise"] == 0)]
    runs = clean[clean["status"].isin(["finished", "stopped"])]
    if runs.empty:
        raise NotTested("finished runs without noise")
    tuned = runs.groupby(["setting", "batch_size"])["lr"].transform("nunique") >= 3
    runs = selection.within(runs[tuned], "setting", "batch_size", 4,
                            "batch sizes with at least three learning rates each")
    most = runs.groupby("setting")["batch_size"].nunique().idxmax()
    rates = clean[clean["setting"] == most].groupby("batch_size")["lr"]
    tried = {b: (r.min(), r.max()) for b, r in rates}
    runs = runs[runs["setting"] == most][["run_id", "seed", "lr", "batch_size"]]
    rows = sweep.snapshots[sweep.snapshots["run_id"].isin(runs["run_id"])
                           & sweep.snapshots["train_loss"].notna()]
    return rows, runs[runs["run_id"].isin(rows["run_id"])], tried


def _common(rows: pd.DataFrame, runs: pd.DataFrame) -> float:
    """The lowest loss that at some η all runs of each batch size reach, up by a tenth."""
    lowest = runs.assign(low=runs["run_id"].map(rows.groupby("run_id")["train_loss"].min()))
    return 1.1 * float(lowest.groupby(["batch_size", "lr"])["low"].max().groupby(
        "batch_size").min().max())


def _steps_to(rows: pd.DataFrame, level: float) -> pd.Series:
    """run_id -> where the loss first crosses the level, linearly in log loss; runs that never do
    are left out."""
    log = np.log(rows["train_loss"].clip(lower=_TINY))
    found = first_reading(rows, ["step"], log, rows["train_loss"] <= level,
                          math.log(max(level, _TINY)))
    return found["step"].where(~found["at_once"], found["step"].clip(lower=1.0))


def _trade(part: pd.DataFrame) -> dict[str, float] | None:
    """Least squares of log steps on log S_min + log(1 + B_crit/B); None below four batch sizes."""
    from scipy.optimize import minimize_scalar

    known = part[np.isfinite(part["steps"])].sort_values("batch_size")
    if known["batch_size"].nunique() < 4:
        return None
    size, y = known["batch_size"].to_numpy(float), np.log(known["steps"].to_numpy(float))

    def residual(log_critical: float) -> float:
        off = y - np.log1p(math.exp(log_critical) / size)
        return float(np.square(off - off.mean()).sum())

    ends = (math.log(size[0] / 100), math.log(size[-1] * 100))
    found = minimize_scalar(residual, bounds=ends, method="bounded")
    half = (len(size) + 1) // 2
    slopes = [replicates.slope(np.log(size[k]), y[k]) for k in (slice(None, half),
                                                                slice(len(size) - half, None))]
    return {"explained": 1 - found.fun / float(np.square(y - y.mean()).sum()),
            "bend": slopes[1] - slopes[0], "critical": math.exp(found.x)}


def _measured(sweep: Sweep, used: pd.DataFrame) -> str:
    """In words, the mean noise scale along the tuned paths, where it was measured."""
    if not sweep.measures(_SCALE):
        return ""
    rows = sweep.snapshots[sweep.snapshots["run_id"].isin(used["run_id"])
                           & (sweep.snapshots[_SCALE] > 0) & (sweep.snapshots["step"] > 0)]
    mean = float(np.exp(np.log(rows[_SCALE]).mean())) if len(rows) else math.nan
    return f"; B_simple along these paths is {number(mean)} in the mean" if len(rows) else ""
