"""Early steering: what of the end is decided by which epoch? Claims of our own, on sweeps in which
η switches between a large and a small value at many epochs, both ways.

With λ(t) at the end of a run that switched at epoch t, the share decided by t is (log λ(t) −
log λ(0)) / (log λ(T) − log λ(0)): 0 for a run at the second η from the start, 1 for one that keeps
the first to the end. If only the last phase mattered it would stay 0 until T; if all epochs counted
alike it would be t/T.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims import replicates, selection
from analysis.claims.claim import Effect, Judgement, NotTested, claim
from analysis.crossed import Interval
from analysis.edges import SHARPNESS
from analysis.frames import Sweep
from analysis.labels import fixed, number
from analysis.points import END, logit

_PAPER = "our own question, behind the six papers"
_SCHEDULE = "config_train_lr_schedule"
_WAYS = {"large first": "large η, then small", "small first": "small η, then large"}
_SAME = 1e-6
_LEAST = 3


@dataclass(frozen=True)
class Switched:
    """``runs``: a row a run that switches between two rates, with ``way`` (large or small first),
    ``share`` (the epoch of the switch over the length T), ``pair`` (runs with the same two rates
    and all else equal) and ``y``, the quantity at the end on the fitting scale."""

    runs: pd.DataFrame
    name: str


def switched(sweep: Sweep, metric: str = SHARPNESS) -> Switched:
    """The runs with ``lr_schedule: switch``; NotTested below three epochs of switching a way."""
    columns = {name: f"{_SCHEDULE}_{name}" for name in ("name", "at", "factor")}
    runs = sweep.finished
    if not set(columns.values()) <= set(runs.columns):
        raise NotTested("lr_schedule: switch at several epochs")
    runs = runs.assign(**{k: runs[v] for k, v in columns.items()})
    runs = selection.where(runs, runs["name"] == "switch", "lr_schedule: switch at several epochs")
    if metric == SHARPNESS:
        points = selection.at(sweep, SHARPNESS, END, "spectrum").frame
        y = points.set_index("run_id")["y"]
    else:
        rate = runs["final_test_accuracy"].to_numpy(float)
        y = pd.Series(logit(rate, runs["test_size"].to_numpy(float)), index=runs["run_id"])
    first, second = runs["lr"], runs["lr"] * runs["factor"]
    runs = runs.assign(
        y=runs["run_id"].map(y), share=(runs["at"] / runs["epochs"]).clip(upper=1.0),
        way=np.where(first > second, "large first", "small first"),
        large=_rounded(np.maximum(first, second)), small=_rounded(np.minimum(first, second)),
        alike=runs["run_id"].map(selection.alike(sweep, "lr", _SCHEDULE)))
    runs = runs[(runs["large"] > runs["small"] * (1 + _SAME)) & runs["y"].notna()]
    runs = runs.assign(pair=runs.groupby(["alike", "large", "small"]).ngroup())
    if runs.empty or runs.groupby(["pair", "way"])["share"].nunique().max() < _LEAST:
        raise NotTested(f"lr_schedule: switch at {_LEAST} epochs or more")
    return Switched(runs, "λ_max" if metric == SHARPNESS else "test accuracy")


def _rounded(values: pd.Series) -> list[float]:
    return [float(f"{v:.6g}") for v in values]


def decided(runs: pd.DataFrame) -> pd.DataFrame:
    """One seed's runs of one pair and way -> rows (share, decided), in order of the switch.

    Needs the runs that never leave the first rate and those that have the second from the start;
    empty without them or where they end alike.
    """
    y = runs.groupby("share")["y"].mean().sort_index()
    if len(y) < _LEAST or y.index[0] > 0 or y.index[-1] < 1 or y.iloc[-1] == y.iloc[0]:
        return pd.DataFrame(columns=["share", "decided"])
    return pd.DataFrame({"share": y.index,
                         "decided": (y / (y.iloc[-1] - y.iloc[0])).to_numpy()
                         - y.iloc[0] / (y.iloc[-1] - y.iloc[0])})


def half_time(found: pd.DataFrame) -> float:
    """The share of training by which half is decided: where the monotone curve nearest to
    ``decided`` (isotonic least squares) crosses ½, read linearly; NaN without a curve."""
    if found.empty:
        return math.nan
    return _half(found["share"].to_numpy(float), found["decided"].to_numpy(float))


def _half(share: np.ndarray, decided: np.ndarray) -> float:
    from scipy.optimize import isotonic_regression

    rising = isotonic_regression(decided).x
    reached = int(np.argmax(rising >= 0.5))
    if rising[reached] < 0.5:
        return 1.0
    if reached == 0:
        return 0.0
    step = rising[reached] - rising[reached - 1]
    return float(share[reached - 1] + (share[reached] - share[reached - 1])
                 * (0.5 - rising[reached - 1]) / step)


def _half_times(runs: pd.DataFrame) -> tuple[Interval, int]:
    """Of one way: seed by seed, averaged over pairs."""
    return replicates.over_seeds(runs, lambda one: replicates.over(
        one, "pair", lambda part: half_time(decided(part))), replicates.SHARE)


def _evidence(runs: pd.DataFrame) -> list[dict[str, Any]]:
    rows = [part.assign(pair=pair, way=way, seed=seed) for (pair, way, seed), one in runs.groupby(
        ["pair", "way", "seed"]) if len(part := decided(one))]
    if not rows:
        return []
    means = pd.concat(rows).groupby(["pair", "way", "share"])["decided"]
    return means.agg(["mean", "std", "count"]).reset_index().to_dict("records")


def _judged(switches: Switched, bound: float) -> tuple[list[Effect], list[str]]:
    effects, told = [], []
    for way in _WAYS:
        runs = switches.runs[switches.runs["way"] == way]
        interval, seeds = _half_times(runs)
        if not math.isfinite(interval.value):
            continue
        effects.append(Effect(f"share of training by which half is decided, {way}", interval,
                              bound, "below", seeds))
        epochs = float(runs["epochs"].median()) * interval.value
        told.append(f"{_WAYS[way]}: by epoch {number(epochs, 2)} "
                    f"({number(100 * interval.value, 2)} % of training)")
    if not effects:
        raise NotTested("runs that switch at epoch 0 and at the last, for each seed")
    return effects, told


@claim("early_steering/curvature_is_decided_early", "S1", paper=_PAPER, grade="open", half=0.5,
       words="the early phase decides: half of what a large and a small learning rate make of the "
             "curvature at the end is settled before half of training, whichever comes first",
       test="share of the final gap in log λ_max decided by the epoch of the switch, at equal "
            "epochs: the share of training by which it is ½, seed by seed, below 0.5 with the "
            "large rate first and with the small rate first")
def curvature_is_decided_early(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Half-times of both ways."""
    switches = switched(sweep)
    effects, told = _judged(switches, options["half"])
    said = f"half of the gap in log λ_max is decided with {'; '.join(told)}"
    return Judgement(tuple(effects), said, "at equal epochs", _evidence(switches.runs),
                     _progress(switches.runs))


def _progress(runs: pd.DataFrame) -> str:
    """How far apart the runs are in training at their end, which is part of any gap."""
    loss = runs.groupby(["pair", "way", "share"])["final_train_loss"].mean()
    return (f"runs end at train losses from {number(loss.min())} to {number(loss.max())}: a gap at "
            "equal epochs is in part one of progress")


@claim("early_steering/curvature_remembers_the_start", "S2", paper=_PAPER, grade="open", bound=0.0,
       words="the order matters: with the same epochs at a large and at a small learning rate, "
             "nets that begin with the large one end flatter than nets that end with it",
       test="log λ_max of small-then-large less that of large-then-small at equal epochs at each "
            "rate (hence equal total of η over steps), averaged over the moments of the switch, "
            "seed by seed: above 0")
def curvature_remembers_the_start(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Hysteresis: pairs of runs with t epochs at the large rate, first or last."""
    switches = switched(sweep)
    rows = _orders(switches.runs)
    interval, seeds = replicates.over_seeds(rows, lambda r: r["difference"].mean())
    by = rows.groupby("large_share")["difference"].mean()
    word = "flatter" if interval.value > 0 else "sharper"
    return Judgement(
        (Effect("log λ_max, large rate last less large rate first", interval, options["bound"],
                "above", seeds),),
        f"with the large η first nets end {word}, by a factor of "
        f"{number(math.exp(abs(interval.value)))} in λ_max, at equal total of η", "at equal epochs",
        rows.to_dict("records"), "by share of training at the large η: " + ", ".join(
            f"{number(share, 2)}: {fixed(value)}" for share, value in by.items())
        + "; " + _progress(switches.runs))


def _orders(runs: pd.DataFrame) -> pd.DataFrame:
    """Rows (pair, seed, large_share, difference): y of the large rate last less that of the large
    rate first, both with that share of training at the large rate."""
    inner = runs[(runs["share"] > 0) & (runs["share"] < 1)]
    large = np.where(inner["way"] == "large first", inner["share"], 1 - inner["share"])
    inner = inner.assign(large_share=np.round(large, 6))
    wide = inner.pivot_table(index=["pair", "seed", "large_share"], columns="way", values="y")
    if not set(_WAYS) <= set(wide.columns):
        raise NotTested("switches both from the large to the small rate and back")
    difference = (wide["small first"] - wide["large first"]).dropna()
    if difference.empty:
        raise NotTested("switches at epochs t and T − t, so that both orders have equal shares")
    return difference.rename("difference").reset_index()


@claim("early_steering/accuracy_is_decided_early", "S3", paper=_PAPER, grade="open", half=0.5,
       words="the early phase decides the accuracy too: half of what a large and a small learning "
             "rate make of test accuracy is settled before half of training",
       test="(1) the logit of test accuracy at the end differs between the constant rates: its "
            "interval excludes 0; (2) the share of training by which half of that gap is decided, "
            "of the mean curve over seeds, with seeds resampled: below 0.5 both ways")
def accuracy_is_decided_early(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """As S1; single seeds' gaps are too noisy to divide by, so seeds are averaged first."""
    switches = switched(sweep, "test_accuracy")
    runs = switches.runs
    gap, seeds = replicates.over_seeds(runs, _gap)
    if not math.isfinite(gap.value):
        raise NotTested("runs that switch at epoch 0 and at the last, for each seed")
    effects = [Effect("logit of test accuracy, large η less small η", gap, 0.0, "outside", seeds)]
    told = []
    for way in _WAYS:
        one = runs[runs["way"] == way]
        interval = resampled(one)
        effects.append(Effect(f"share of training by which half is decided, {way}", interval,
                              options["half"], "below", one["seed"].nunique()))
        told.append(f"{_WAYS[way]}: by {number(100 * interval.value, 2)} % of training")
    accuracy = runs.groupby(["pair", "way", "share"])["final_test_accuracy"].mean().reset_index()
    best = accuracy.loc[accuracy["final_test_accuracy"].idxmax()]
    return Judgement(
        tuple(effects), f"half of the gap in test accuracy is decided with {'; '.join(told)}; the "
        f"best accuracy, {fixed(100 * best['final_test_accuracy'], 1)} %, is that of "
        f"{_WAYS[best['way']]} with the switch at {number(100 * best['share'], 2)} % of training",
        "at equal epochs",
        accuracy.to_dict("records"))


def _gap(runs: pd.DataFrame) -> float:
    """One seed's large constant rate less its small one."""
    ends = runs[(runs["share"] == 0) | (runs["share"] >= 1)]
    is_large = (ends["way"] == "large first") == (ends["share"] >= 1)
    return float(ends.loc[is_large, "y"].mean() - ends.loc[~is_large, "y"].mean())


def resampled(runs: pd.DataFrame, draws: int = 500, seed: int = 0) -> Interval:
    """Half-time of the mean curve over seeds, averaged over pairs; percentiles over samples of
    seeds, widened for few of them by √(n/(n − 1)), within [0, 1]. NaN ends below two seeds."""
    tables = [part.pivot_table(index="seed", columns="share", values="y").dropna()
              for _, part in runs.groupby("pair")]
    arrays = [(t.columns.to_numpy(float), t.to_numpy(float)) for t in tables
              if len(t) and t.shape[1] >= _LEAST and t.columns[0] == 0 and t.columns[-1] >= 1]
    if not arrays:
        return Interval(math.nan, math.nan, math.nan)
    rng, count = np.random.default_rng(seed), min(len(y) for _, y in arrays)

    def value(picked: np.ndarray) -> float:
        means = [(share, y[picked].mean(0)) for share, y in arrays]
        return float(np.mean([_half(share, (y - y[0]) / (y[-1] - y[0])) for share, y in means
                              if y[-1] != y[0]] or [math.nan]))

    middle = value(np.arange(count))
    if count < 2:
        return Interval(middle, math.nan, math.nan)
    found = np.array([value(rng.integers(0, count, count)) for _ in range(draws)])
    if not np.isfinite(found).any():
        return Interval(middle, math.nan, math.nan)
    low, high = np.nanquantile(found, [0.025, 0.975])
    wider = math.sqrt(count / (count - 1))
    low, high = middle - (middle - low) * wider, middle + (high - middle) * wider
    return Interval(middle, max(low, 0.0), min(high, 1.0))
