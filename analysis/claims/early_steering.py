"""Early steering: what of the end is decided by which epoch? Claims of our own, on sweeps in which
η switches between a large and a small value at many epochs, both ways.

With λ(t) at the end of a run that switched at epoch t, the share decided by t is (log λ(t) −
log λ(0)) / (log λ(T) − log λ(0)): 0 for a run at the second η from the start, 1 for one that keeps
the first to the end. If only the last phase mattered it would stay 0 until T; if all epochs counted
alike it would be t/T.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.bootstrap import expanded
from analysis.claims import replicates
from analysis.claims.claim import Effect, Judgement, NotTested, claim
from analysis.claims.switches import LEAST, WAYS, Switched, complete, omitted, switched, wide
from analysis.crossed import MIN_SEEDS, Interval
from analysis.frames import Sweep
from analysis.labels import fixed, number

_PAPER = "our own question, behind the six papers"
_ENDS = (f"{LEAST} moments of switching, the first epoch and the last among them, at which the "
         "runs of all seeds finish")


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


def _half_times(tables: Iterable[pd.DataFrame]) -> tuple[float, ...]:
    """Of one way, a seed each: averaged over pairs."""
    times = pd.DataFrame([t.apply(lambda y: half_time(decided(y)), axis=1) for t in tables])
    return tuple(times.mean().dropna())


def _evidence(switches: Switched) -> list[dict[str, Any]]:
    return [{"pair": pair, "way": way, "share": share, "mean": column.mean(), "std": column.std(),
             "count": column.count()}
            for way in WAYS for pair, table in switches.of(way).items()
            for share, column in table.apply(decided, axis=1).items()]


def _judged(switches: Switched, bound: float) -> tuple[list[Effect], list[str]]:
    effects, told = [], []
    for way, words in WAYS.items():
        times = _half_times(switches.of(way).values())
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
            "large rate first and with the small rate first; without moments at which a run "
            "diverged and seeds that lack a run")
def curvature_is_decided_early(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Half-times of both ways."""
    switches = switched(sweep)
    effects, told = _judged(switches, options["half"])
    said = f"half of the gap in log λ_max is decided with {'; '.join(told)}"
    return Judgement(tuple(effects), said, "at equal epochs", _evidence(switches),
                     "; ".join(filter(None, (switches.omitted, _progress(switches)))))


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
            "rate (hence equal total of η over steps), averaged over the moments of the "
            "switch, without those at which a run diverged and seeds that lack a run, seed by "
            "seed: above 0")
def curvature_remembers_the_start(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Hysteresis: pairs of runs with t epochs at the large rate, first or last."""
    switches = switched(sweep)
    rows = _orders(switches.runs)
    interval, seeds = replicates.over_seeds(rows, lambda r: r["difference"].mean())
    lost = omitted(switches.runs, dict(list(rows.set_index("seed").groupby("pair"))))
    by = rows.groupby("large_share")["difference"].mean()
    word = "flatter" if interval.value > 0 else "sharper"
    return Judgement(
        (Effect("log λ_max, large rate last less large rate first", interval, options["bound"],
                "above", seeds),),
        f"with the large η first nets end {word}, by a factor of "
        f"{number(math.exp(abs(interval.value)))} in λ_max, at equal total of η", "at equal epochs",
        rows.to_dict("records"), "by share of training at the large η: " + ", ".join(
            f"{number(share, 2)}: {fixed(value)}" for share, value in by.items())
        + "; " + "; ".join(filter(None, (lost, _progress(switches)))))


def _orders(runs: pd.DataFrame) -> pd.DataFrame:
    """Rows (pair, seed, large_share, difference): y of the large rate last less that of the large
    rate first, both with that share of training at the large rate; balanced over seeds."""
    inner = runs[(runs["share"] > 0) & (runs["share"] < 1)]
    large = np.where(inner["way"] == "large first", inner["share"], 1 - inner["share"])
    inner = inner.assign(share=np.round(large, 6))
    if set(inner["way"]) != set(WAYS):
        raise NotTested("switches both from the large to the small rate and back")
    tables = {pair: complete(wide(part[part["way"] == "small first"]) - wide(
        part[part["way"] == "large first"]), part) for pair, part in inner.groupby("pair")}
    kept = replicates.balanced(tables)
    if not kept:
        raise NotTested("switches at epochs t and T − t, so that both orders have equal shares, at "
                        "which the runs of all seeds finish")
    return pd.concat([
        t.rename_axis(columns="large_share").stack().rename("difference").reset_index().assign(
            pair=pair) for pair, t in kept.items()])


@claim("early_steering/accuracy_is_decided_early", "S3", paper=_PAPER, grade="open", half=0.5,
       words="the early phase decides the accuracy too: half of what a large and a small learning "
             "rate make of test accuracy is settled before half of training",
       test="(1) the logit of test accuracy at the end differs between the constant rates: its "
            "interval excludes 0; (2) the share of training by which half of that gap is decided, "
            "of the mean curve over seeds, with five seeds or more resampled: below 0.5 both ways; "
            "without moments at which a run diverged and seeds that lack a run")
def accuracy_is_decided_early(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """As S1; single seeds' gaps are too noisy to divide by, so seeds are averaged first."""
    switches = switched(sweep, "test_accuracy")
    tables = {way: switches.of(way) for way in WAYS}
    tables = {way: found for way, found in tables.items() if found}
    if not tables:
        raise NotTested(_ENDS)
    gaps = pd.concat([(t.iloc[:, -1] - t.iloc[:, 0]) * (1 if way == "large first" else -1)
                      for way, found in tables.items() for t in found.values()])
    gaps = gaps.groupby(level=0).mean()
    effects = [Effect("logit of test accuracy, large η less small η", replicates.interval(gaps),
                      0.0, "outside", len(gaps))]
    told = []
    for way, found in tables.items():
        interval = resampled(list(found.values()))
        effects.append(Effect(f"share of training by which half is decided, {way}", interval,
                              options["half"], "below", len(next(iter(found.values())))))
        told.append(f"{WAYS[way]}: by {number(100 * interval.value, 2)} % of training")
    runs = switches.runs[switches.runs["y"].notna()]
    cells = runs.groupby(["pair", "way", "share"])["final_test_accuracy"]
    accuracy = cells.agg(["mean", "count"]).reset_index()
    whole = accuracy[accuracy["count"] == accuracy["count"].max()]
    best = whole.loc[whole["mean"].idxmax()]
    return Judgement(
        tuple(effects), f"half of the gap in test accuracy is decided with {'; '.join(told)}; the "
        f"best accuracy, {fixed(100 * best['mean'], 1)} %, is that of "
        f"{WAYS[best['way']]} with the switch at {number(100 * best['share'], 2)} % of training",
        "at equal epochs", accuracy.rename(columns={"mean": "test_accuracy"}).to_dict("records"),
        "; ".join(filter(None, (switches.omitted, switches.diverged))))


def resampled(tables: Sequence[pd.DataFrame], draws: int = 500, seed: int = 0) -> Interval:
    """Half-time of the mean curve over seeds, averaged over pairs, a table (seeds, shares) each;
    ``expanded`` percentiles over samples of seeds, within [0, 1]. NaN ends below five seeds."""
    arrays = [(t.columns.to_numpy(float), t.to_numpy(float)) for t in tables]
    rng, count = np.random.default_rng(seed), len(tables[0])

    def value(picked: np.ndarray) -> float:
        means = [(share, y[picked].mean(0)) for share, y in arrays]
        times = [_half(share, (y - y[0]) / (y[-1] - y[0])) for share, y in means if y[-1] != y[0]]
        return float(np.mean(times)) if times else math.nan

    middle = value(np.arange(count))
    found = np.array([value(rng.integers(0, count, count)) for _ in range(draws)])
    found = found[np.isfinite(found)]
    if count < MIN_SEEDS or not len(found):
        return Interval(middle, math.nan, math.nan)
    wide = expanded(found, middle, count - 1)
    return Interval(middle, max(wide.low, 0.0), min(wide.high, 1.0))
