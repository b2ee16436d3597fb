"""Early steering: what of the end is decided by which epoch? Claims of our own, on sweeps in which
η switches between a large and a small value at many epochs, both ways.

With λ(t) at the end of a run that switched at epoch t, the share decided by t is (log λ(t) −
log λ(0)) / (log λ(T) − log λ(0)): 0 for a run at the second η from the start, 1 for one that keeps
the first to the end. If only the last phase mattered it would stay 0 until T; if all epochs counted
alike it would be t/T.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims import replicates, selection
from analysis.claims.claim import Effect, Judgement, NotTested, claim
from analysis.crossed import Interval
from analysis.edges import SHARPNESS
from analysis.frames import Sweep
from analysis.labels import fixed, listed, number
from analysis.points import END, logit

_PAPER = "our own question, behind the six papers"
_SCHEDULE = "config_train_lr_schedule"
_WAYS = {"large first": "large η, then small", "small first": "small η, then large"}
_SAME = 1e-6
_LEAST = 3
_ENDS = (f"{_LEAST} moments of switching, the first epoch and the last among them, at which the "
         "runs of all seeds finish")


@dataclass(frozen=True)
class Switched:
    """``runs``: a row a run that switches between two rates, with ``way`` (large or small first),
    ``share`` (the epoch of the switch over the length T), ``pair`` (runs with the same two rates
    and all else equal) and ``y``, the quantity at the end on the fitting scale: NaN where the run
    diverged or was not measured."""

    runs: pd.DataFrame

    def of(self, way: str) -> list[pd.DataFrame]:
        """Of one way, y as (seeds, shares): a table a pair that has both constant rates, on the
        seeds whose constant runs finished and the moments at which all of these did."""
        runs = self.runs[self.runs["way"] == way]
        tables = [_wide(part) for _, part in runs.groupby("pair")]
        tables = [t[t[[t.columns[0], t.columns[-1]]].notna().all(axis=1)] for t in tables
                  if t.shape[1] and t.columns[0] == 0 and t.columns[-1] >= 1]
        return [t for t in balanced(tables) if t.shape[1] >= _LEAST]

    @property
    def diverged(self) -> str:
        """In words, which runs diverged; empty if none did."""
        told = []
        for way, runs in self.runs.groupby("way"):
            gone = (runs["status"] == "diverged").groupby(runs["share"]).agg(["sum", "size"])
            cells = [f"{n} of {of} at {number(100 * share, 2)} %"
                     for share, (n, of) in gone[gone["sum"] > 0].iterrows()]
            told += [f"with {_WAYS[way]}, {listed(cells)} of training"] if cells else []
        return (f"runs that diverged, by the moment of the switch: {'; '.join(told)}; these "
                "moments are left out for all seeds") if told else ""


def switched(sweep: Sweep, metric: str = SHARPNESS) -> Switched:
    """The runs with ``lr_schedule: switch``; NotTested below three epochs of switching a way."""
    columns = {name: f"{_SCHEDULE}_{name}" for name in ("name", "at", "factor")}
    runs = sweep.runs[sweep.runs["status"].isin(["finished", "diverged"])]
    if not set(columns.values()) <= set(runs.columns):
        raise NotTested("lr_schedule: switch at several epochs")
    runs = runs.assign(**{k: runs[v] for k, v in columns.items()})
    runs = selection.where(runs, runs["name"] == "switch", "lr_schedule: switch at several epochs")
    if metric == SHARPNESS:
        points = selection.at(sweep, SHARPNESS, END, "spectrum").frame
        y = points.set_index("run_id")["y"]
    else:
        done = runs[runs["status"] == "finished"]
        rate, size = (done[c].to_numpy(float) for c in ("final_test_accuracy", "test_size"))
        y = pd.Series(logit(rate, size), index=done["run_id"])
    first, second = runs["lr"], runs["lr"] * runs["factor"]
    alike = runs["run_id"].map(selection.alike(sweep, "lr", _SCHEDULE))
    whole = runs.groupby(alike)["epochs"].transform("max")  # one that diverged made fewer
    runs = runs.assign(
        alike=alike, y=runs["run_id"].map(y), share=(runs["at"] / whole).clip(upper=1.0),
        way=np.where(first > second, "large first", "small first"),
        large=_rounded(np.maximum(first, second)), small=_rounded(np.minimum(first, second)))
    runs = runs[runs["large"] > runs["small"] * (1 + _SAME)]
    runs = runs.assign(pair=runs.groupby(["alike", "large", "small"]).ngroup())
    if runs.empty or runs.groupby(["pair", "way"])["share"].nunique().max() < _LEAST:
        raise NotTested(f"lr_schedule: switch at {_LEAST} epochs or more")
    return Switched(runs)


def _rounded(values: pd.Series) -> list[float]:
    return [float(f"{v:.6g}") for v in values]


def _wide(runs: pd.DataFrame) -> pd.DataFrame:
    return runs.pivot_table(index="seed", columns="share", values="y")


def balanced(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Tables (seeds, moments) on the seeds that all of them have, and each on the moments that all
    these seeds have: a seed that lacks a moment would else be compared at others. Those without
    any such moment are left out."""
    tables = [t.dropna(how="all") for t in tables]
    seeds = sorted(set.intersection(*(set(t.index) for t in tables))) if tables else []
    return [kept for t in tables if (kept := t.loc[seeds].dropna(axis=1)).size]


def decided(y: pd.Series) -> pd.Series:
    """One seed's y by the share at which it switched, from 0 to 1 -> the share decided by then;
    empty where both constant rates end alike."""
    if y.iloc[-1] == y.iloc[0]:
        return y.iloc[:0]
    return (y - y.iloc[0]) / (y.iloc[-1] - y.iloc[0])


def half_time(found: pd.Series) -> float:
    """The share of training by which half is decided: where the monotone curve nearest to
    ``decided`` (isotonic least squares) crosses ½, read linearly; NaN without a curve."""
    return _half(found.index.to_numpy(float), found.to_numpy(float)) if len(found) else math.nan


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


def _half_times(tables: Sequence[pd.DataFrame]) -> tuple[float, ...]:
    """Of one way, a seed each: averaged over pairs."""
    times = pd.DataFrame([t.apply(lambda y: half_time(decided(y)), axis=1) for t in tables])
    return tuple(times.mean().dropna())


def _evidence(switches: Switched) -> list[dict[str, Any]]:
    return [{"pair": pair, "way": way, "share": share, "mean": column.mean(), "std": column.std(),
             "count": column.count()}
            for way in _WAYS for pair, table in enumerate(switches.of(way))
            for share, column in table.apply(decided, axis=1).items()]


def _judged(switches: Switched, bound: float) -> tuple[list[Effect], list[str]]:
    effects, told = [], []
    for way, words in _WAYS.items():
        times = _half_times(switches.of(way))
        if not times:
            continue
        interval = replicates.interval(times, range=replicates.SHARE)
        effects.append(Effect(f"share of training by which half is decided, {way}", interval,
                              bound, "below", len(times)))
        told.append(f"{words}: by {number(100 * interval.value, 2)} % of training")
    if not effects:
        raise NotTested(_ENDS)
    return effects, told


@claim("early_steering/curvature_is_decided_early", "S1", paper=_PAPER, grade="open", half=0.5,
       words="the early phase decides: half of what a large and a small learning rate make of the "
             "curvature at the end is settled before half of training, whichever comes first",
       test="share of the final gap in log λ_max decided by the epoch of the switch, at equal "
            "epochs: the share of training by which it is ½, seed by seed, below 0.5 with the "
            "large rate first and with the small rate first; on the moments at which the runs of "
            "all seeds finish")
def curvature_is_decided_early(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Half-times of both ways."""
    switches = switched(sweep)
    effects, told = _judged(switches, options["half"])
    said = f"half of the gap in log λ_max is decided with {'; '.join(told)}"
    return Judgement(tuple(effects), said, "at equal epochs", _evidence(switches),
                     _progress(switches))


def _progress(switches: Switched) -> str:
    """How far apart the runs are in training at their end, which is part of any gap."""
    runs = switches.runs[switches.runs["status"] == "finished"]
    loss = runs.groupby(["pair", "way", "share"])["final_train_loss"].mean()
    told = (f"runs end at train losses from {number(loss.min())} to {number(loss.max())}: a gap at "
            "equal epochs is in part one of progress")
    return "; ".join(filter(None, (switches.diverged, told)))


@claim("early_steering/curvature_remembers_the_start", "S2", paper=_PAPER, grade="open", bound=0.0,
       words="the order matters: with the same epochs at a large and at a small learning rate, "
             "nets that begin with the large one end flatter than nets that end with it",
       test="log λ_max of small-then-large less that of large-then-small at equal epochs at each "
            "rate (hence equal total of η over steps), averaged over the moments of the switch at "
            "which the runs of all seeds finish in both orders, seed by seed: above 0")
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
        + "; " + _progress(switches))


def _orders(runs: pd.DataFrame) -> pd.DataFrame:
    """Rows (pair, seed, large_share, difference): y of the large rate last less that of the large
    rate first, both with that share of training at the large rate; balanced over seeds."""
    inner = runs[(runs["share"] > 0) & (runs["share"] < 1)]
    large = np.where(inner["way"] == "large first", inner["share"], 1 - inner["share"])
    inner = inner.assign(share=np.round(large, 6))
    if set(inner["way"]) != set(_WAYS):
        raise NotTested("switches both from the large to the small rate and back")
    tables = {pair: _wide(part[part["way"] == "small first"]) - _wide(
        part[part["way"] == "large first"]) for pair, part in inner.groupby("pair")}
    tables = {pair: t for pair, t in tables.items() if t.notna().any(axis=None)}
    kept = balanced(list(tables.values()))
    if not kept:
        raise NotTested("switches at epochs t and T − t, so that both orders have equal shares, at "
                        "which the runs of all seeds finish")
    return pd.concat([
        t.rename_axis(columns="large_share").stack().rename("difference").reset_index().assign(
            pair=pair) for pair, t in enumerate(kept)])


@claim("early_steering/accuracy_is_decided_early", "S3", paper=_PAPER, grade="open", half=0.5,
       words="the early phase decides the accuracy too: half of what a large and a small learning "
             "rate make of test accuracy is settled before half of training",
       test="(1) the logit of test accuracy at the end differs between the constant rates: its "
            "interval excludes 0; (2) the share of training by which half of that gap is decided, "
            "of the mean curve over seeds, with seeds resampled: below 0.5 both ways; on the "
            "moments at which the runs of all seeds finish")
def accuracy_is_decided_early(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """As S1; single seeds' gaps are too noisy to divide by, so seeds are averaged first."""
    switches = switched(sweep, "test_accuracy")
    tables = {way: switches.of(way) for way in _WAYS}
    tables = {way: found for way, found in tables.items() if found}
    if not tables:
        raise NotTested(_ENDS)
    gaps = pd.concat([(t.iloc[:, -1] - t.iloc[:, 0]) * (1 if way == "large first" else -1)
                      for way, found in tables.items() for t in found])
    gaps = gaps.groupby(level=0).mean()
    effects = [Effect("logit of test accuracy, large η less small η", replicates.interval(gaps),
                      0.0, "outside", len(gaps))]
    told = []
    for way, found in tables.items():
        interval = resampled(found)
        effects.append(Effect(f"share of training by which half is decided, {way}", interval,
                              options["half"], "below", len(found[0])))
        told.append(f"{_WAYS[way]}: by {number(100 * interval.value, 2)} % of training")
    runs = switches.runs[switches.runs["y"].notna()]
    cells = runs.groupby(["pair", "way", "share"])["final_test_accuracy"]
    accuracy = cells.agg(["mean", "count"]).reset_index()
    whole = accuracy[accuracy["count"] == accuracy["count"].max()]
    best = whole.loc[whole["mean"].idxmax()]
    return Judgement(
        tuple(effects), f"half of the gap in test accuracy is decided with {'; '.join(told)}; the "
        f"best accuracy, {fixed(100 * best['mean'], 1)} %, is that of "
        f"{_WAYS[best['way']]} with the switch at {number(100 * best['share'], 2)} % of training",
        "at equal epochs", accuracy.rename(columns={"mean": "test_accuracy"}).to_dict("records"),
        switches.diverged)


def resampled(tables: Sequence[pd.DataFrame], draws: int = 500, seed: int = 0) -> Interval:
    """Half-time of the mean curve over seeds, averaged over pairs, a table (seeds, shares) each;
    percentiles over samples of seeds, widened for few of them by √(n/(n − 1)), within [0, 1]. NaN
    ends below two seeds."""
    arrays = [(t.columns.to_numpy(float), t.to_numpy(float)) for t in tables]
    rng, count = np.random.default_rng(seed), len(tables[0])

    def value(picked: np.ndarray) -> float:
        means = [(share, y[picked].mean(0)) for share, y in arrays]
        times = [_half(share, (y - y[0]) / (y[-1] - y[0])) for share, y in means if y[-1] != y[0]]
        return float(np.mean(times)) if times else math.nan

    middle = value(np.arange(count))
    found = np.array([value(rng.integers(0, count, count)) for _ in range(draws)])
    if count < 2 or not np.isfinite(found).any():
        return Interval(middle, math.nan, math.nan)
    low, high = np.nanquantile(found, [0.025, 0.975])
    wider = math.sqrt(count / (count - 1))
    low, high = middle - (middle - low) * wider, middle + (high - middle) * wider
    return Interval(middle, max(low, 0.0), min(high, 1.0))
