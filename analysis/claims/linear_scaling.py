"""Linear scaling of the learning rate with the batch size, and where it ends.

Smith & Le 2018 (arXiv 1710.06451): the noise scale η N/(S(1−μ)). Jastrzębski et al. 2018 (arXiv
1711.04623): schedules of one ratio, and the largest batch for which the ratio alone matters.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from analysis.bootstrap import expanded
from analysis.claims import curves, replicates, selection
from analysis.claims.claim import Effect, Judgement, NotTested, claim
from analysis.crossed import MIN_SEEDS, Interval
from analysis.frames import Sweep
from analysis.labels import fixed, listed, number

_THREE_FACTORS = "Jastrzębski et al. 2018, Three Factors Influencing Minima in SGD"
_SMITH_LE = "Smith & Le 2018, A Bayesian Perspective on Generalization and SGD"
_LR, _BATCH = "config_train_lr_schedule", "config_train_batch_schedule"
_SAME = 1e-6
_DRAWS = 500


def _same(x: float, y: float, tolerance: float = _SAME) -> bool:
    return abs(x - y) <= tolerance * max(abs(x), abs(y))


@dataclass(frozen=True, eq=False)
class Curve:
    """``factors``: log2 β, ascending from 0. ``accuracy``: (``seeds``, factors) at the end."""

    factors: np.ndarray
    accuracy: np.ndarray
    seeds: tuple[int, ...]

    def of(self, seeds: Sequence[int]) -> "Curve":
        """On those seeds."""
        places = [self.seeds.index(seed) for seed in seeds]
        return Curve(self.factors, self.accuracy[places], tuple(seeds))

    @property
    def deviation(self) -> float:
        """Between seeds at β = 1; not below 0.2 % (an accuracy is a count)."""
        first = self.accuracy[:, 0]
        return max(float(first.std(ddof=1)) if len(first) > 1 else 0.0, 2e-3)


Families: TypeAlias = dict[tuple[int, float], dict[int, Curve]]


@claim("linear_scaling/critical_factor_grows", "B4", paper=_THREE_FACTORS, grade="likely",
       bound=0.0, deviations=2.0,
       words="the invariance to simultaneous scaling of learning rate and batch size breaks for "
             "smaller factors when the data set is smaller",
       test="critical factor: the β at which the mean test accuracy of (βη, βS) falls two "
            "deviations between seeds below that of β = 1 (monotone fit, read between the β on a "
            "logarithmic scale), or the largest β that all training sets have, if it lies beyond; "
            "by how many doublings it moves with a doubling of the training set: above 0, five "
            "seeds or more resampled jointly; SGD, not Adam")
def critical_factor_grows(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Slope of log2 min(critical factor, largest shared β) on log2 N, averaged over the ratios and
    settings in which any N breaks.

    Of an N that does not break within the grid it is known only that its critical factor lies
    beyond, and S ≤ N ends the grid of a small N first. So all N are cut to the factors that all
    have: a factor beyond counts as the last of them, whatever N is. That shrinks the slope towards
    0 and keeps its sign if the critical factor moves one way with N; how fast it moves is then not
    identified. Where no N breaks, nothing is.

    The ratios and settings are compared on seeds that all of them have (``balanced``): a seed that
    is drawn is drawn in all. Below five seeds there is no interval.
    """
    sweep = selection.of_sgd(sweep)
    selection.levels(sweep.runs, "train_size", 2, "sizes of the training set")
    families = _families(sweep)
    if not families:
        raise NotTested("several batch sizes at one η/S that several sizes of the training set "
                        "share")
    largest = max(2.0 ** c.factors[-1] for by_size in families.values() for c in by_size.values())
    breaking = {key: by_size for key, by_size in families.items() if any(
        _critical(c, options["deviations"] * c.deviation) < c.factors[-1]
        for c in by_size.values())}
    if not breaking:
        raise NotTested(f"larger factors: accuracy holds for every N up to {number(largest)}, the "
                        "largest that all N have (a smaller smallest batch leaves room for more)")
    families, lost = _balanced(breaking)
    limits = {key: {n: options["deviations"] * c.deviation for n, c in by_size.items()}
              for key, by_size in families.items()}
    count = len(next(iter(next(iter(families.values())).values())).seeds)
    interval = _resampled(lambda picked: float(np.mean([replicates.slope(
        np.log2(list(by_size)), [_critical(c, limits[key][n], picked) for n, c in by_size.items()])
        for key, by_size in families.items()])), count)
    rows = [{"train_size": n, "ratio": ratio, "critical_factor": 2.0 ** _critical(
        c, limits[group, ratio][n]), "largest_factor": 2.0 ** float(c.factors[-1]),
        "accuracy_at_1": float(c.accuracy[:, 0].mean()), "limit": limits[group, ratio][n]}
        for (group, ratio), by_size in families.items() for n, c in by_size.items()]
    inside = [row["critical_factor"] < row["largest_factor"] for row in rows]
    told = ", ".join(f"{'' if breaks else 'at least '}{number(row['critical_factor'])} at N = "
                     f"{row['train_size']}" for row, breaks in zip(rows[:6], inside, strict=False))
    beyond = ("what lies beyond the largest factor that all N have counts as there: the slope is "
              "nearer to 0 than it would be on a longer grid")
    return Judgement(
        (Effect("doublings of the critical factor a doubling of N", interval, options["bound"],
                "above", count),), f"accuracy holds up to a factor of {told}", "at equal epochs",
        rows, "; ".join(filter(None, (lost, "" if all(inside) else beyond))))


def _balanced(families: Families) -> tuple[Families, str]:
    """The families that share seeds, on these, and in words what is left out."""
    tables = {key: pd.DataFrame(c.accuracy, c.seeds) for key, by_size in families.items()
              for c in list(by_size.values())[:1]}  # all N of a family have the same seeds
    kept = {key: list(table.index) for key, table in replicates.balanced(tables).items()}
    told = [f"η/S = {number(ratio)}" for group, ratio in families if (group, ratio) not in kept]
    there = {seed for key in kept for seed in tables[key].index}
    told += [f"seed {seed}" for seed in sorted(there - {s for some in kept.values() for s in some})]
    found = {key: {n: c.of(seeds) for n, c in families[key].items()}
             for key, seeds in kept.items()}
    return found, (f"left out, as not all ratios have the same seeds: {listed(told)}" if told
                   else "")


def _resampled(statistic: Callable[[np.ndarray], float], count: int) -> Interval:
    """Of a statistic of ``count`` seeds, by their places; NaN ends below five: then percentiles
    are the least and the greatest of a handful of draws."""
    value, rng = statistic(np.arange(count)), np.random.default_rng(0)
    if count < MIN_SEEDS:
        return Interval(value, math.nan, math.nan)
    draws = [statistic(rng.integers(0, count, count)) for _ in range(_DRAWS)]
    return expanded(np.array(draws), value, count - 1)


def _families(sweep: Sweep) -> Families:
    """(group, η/S) -> N -> curve of accuracy, on the factors and seeds that all N of it have; a
    diverged run has accuracy 0."""
    runs = sweep.runs[sweep.runs["status"].isin(["finished", "diverged"])]
    runs = runs.assign(accuracy=runs["final_test_accuracy"].fillna(0.0), group=runs["run_id"].map(
        selection.alike(sweep, "lr", "batch_size", "train_size", "data_sha256",
                        "config_data_train_size", "config_measure_set_size")))
    found = {}
    for key, family in runs.groupby(["group", "ratio_group"]):
        smallest = family["batch_size"].min()
        tables = {int(n): part.pivot_table(index="seed", columns=part["batch_size"] / smallest,
                                           values="accuracy")
                  for n, part in family.groupby("train_size")}
        tables = {n: t for n, t in tables.items() if t.shape[1] > 1 and t.columns[0] == 1}
        if len(tables) < 2:
            continue
        factors = sorted(set.intersection(*(set(t.columns) for t in tables.values())))
        tables = {n: t[factors].dropna() for n, t in tables.items()}
        seeds = sorted(set.intersection(*(set(t.index) for t in tables.values())))
        if len(factors) > 1 and seeds:
            found[key] = {n: Curve(np.log2(factors), t.loc[seeds].to_numpy(float), tuple(seeds))
                          for n, t in tables.items()}
    return found


def _critical(curve: Curve, limit: float, picked: np.ndarray | slice = slice(None)) -> float:
    """log2 of the factor at which the mean accuracy has fallen by ``limit``; of the largest factor
    if it never does. ``picked``: the seeds that are meant, all by default."""
    from scipy.optimize import isotonic_regression

    factors, mean = curve.factors, curve.accuracy[picked].mean(0)
    fall = np.concatenate([[0.0], isotonic_regression(mean[0] - mean[1:]).x])
    if fall[-1] <= limit:
        return float(factors[-1])
    i = int(np.argmax(fall > limit))
    before = min(max(fall[i - 1], 0.0), limit)
    return float(factors[i - 1] + (factors[i] - factors[i - 1])
                 * (limit - before) / (fall[i] - before))


@claim("linear_scaling/momentum_enters_the_noise_scale", "K1", paper=_SMITH_LE, grade="robust",
       tolerance=2.0,
       words="with momentum the noise scale is εN/(B(1−m)): momentum m with learning rate ε(1−m) "
             "does as no momentum with ε",
       test="runs that differ in η and momentum alone, at equal η/(1−μ): distance of log train "
            "loss curves over the distance between seeds of a cell, seed by seed, below 2; the "
            "difference of test accuracy at the end over its deviation between seeds within ±1")
def momentum_enters_the_noise_scale(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Pairs at equal effective ratio."""
    path, runs = selection.path(sweep, "train_loss"), sweep.finished
    runs = runs.assign(alike=runs["run_id"].map(selection.alike(sweep, "lr", "momentum")))
    if runs["momentum"].nunique() < 2:
        raise NotTested("runs with and without momentum")
    found, scores = [], []
    for _, group in runs.groupby("alike"):
        cells = [cell for _, cell in group.groupby("cell")]
        plain = [c for c in cells if (c["momentum"] == 0).all()]
        for second in (c for c in cells if (c["momentum"] > 0).all()):
            for first in plain:
                if _same(*(float(c["effective_ratio"].iloc[0]) for c in (first, second))):
                    both = pd.concat([first, second])
                    found.append(curves.distances(path, both, first, second)[0].assign(
                        lr=first["lr"].iloc[0], momentum=second["momentum"].iloc[0]))
                    scores.append(_scores(first, second))
    if not found:
        raise NotTested("runs with and without momentum at equal η/(1−μ) and batch size")
    rows = pd.concat(found)
    apart, seeds = replicates.over_seeds(rows, lambda r: r["distance"].mean())
    score, by = replicates.over_seeds(pd.concat(scores), lambda r: r["score"].mean())
    largest = rows.groupby("lr")["distance"].mean()
    return Judgement(
        (Effect("distance of loss curves / between seeds", apart, options["tolerance"], "below",
                seeds),
         Effect("difference of test accuracy / deviation between seeds", score, 1.0, "within",
                by)),
        f"with and without momentum, loss curves at equal η/(1−μ) lie {fixed(apart.value)} times "
        f"as far apart as seeds do (from {fixed(largest.min())} to {fixed(largest.max())} over η)",
        "at equal epochs", rows.to_dict("records"))


def _scores(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Rows (seed, score): the seed's difference of final test accuracy over the deviation of
    accuracy between seeds, pooled over both cells (not below one example of the test set)."""
    a, b = (c.set_index("seed")["final_test_accuracy"] for c in (first, second))
    least = 1 / float(first["test_size"].iloc[0])
    deviation = max(math.sqrt(np.nanmean([a.var(), b.var()])) if len(a) > 1 else math.nan, least)
    score = ((b - a) / deviation).dropna()
    return pd.DataFrame({"seed": score.index, "score": score.to_numpy()})


@claim("linear_scaling/schedules_interchange", "B5", paper=_THREE_FACTORS, grade="robust",
       tolerance=2.0,
       words="learning rate schedules can be replaced by batch size schedules of the same ratio",
       test="a cyclic batch size and a cyclic learning rate with the same η/S in every epoch: "
            "distance of log train loss curves over the distance between seeds of a cell below 2; "
            "difference of test accuracy at the end over its deviation between seeds within ±1; "
            "where a rate that follows √S is there too, its distance over the linear one's above 1")
def schedules_interchange(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Pairs (cyclic S, cyclic η), and (cyclic S, η following √S)."""
    sweep = selection.of_sgd(sweep)
    path, runs = selection.path(sweep, "train_loss"), sweep.finished
    names = {f"{_LR}_name", f"{_LR}_factor", f"{_BATCH}_name", f"{_BATCH}_factor"}
    if not names <= set(runs.columns):
        raise NotTested("cyclic schedules of the batch size and of the learning rate")
    runs = runs.assign(alike=runs["run_id"].map(
        selection.alike(sweep, "lr", "batch_size", _LR, _BATCH)))
    linear, root, scores = [], [], []
    for _, group in runs.groupby(["alike", "ratio_group"]):
        cells = [cell for _, cell in group.groupby("cell")]
        for sizes in (c for c in cells if _cyclic(c, _BATCH, _LR)):
            for rates in (c for c in cells if _cyclic(c, _LR, _BATCH)):
                power = _power(sizes, rates)
                if power in (1.0, 0.5):
                    both = pd.concat([sizes, rates])
                    found = curves.distances(path, both, sizes, rates)
                    if power == 1.0:
                        linear.append(found[0].assign(yard=found[1], schedule="linear"))
                        scores.append(_scores(sizes, rates))
                    else:
                        root.append(found[0].assign(yard=found[1], schedule="root"))
    if not linear:
        raise NotTested("a cyclic batch size and a cyclic learning rate (by epoch) of equal ratio")
    rows = pd.concat(linear)
    apart, seeds = replicates.over_seeds(rows, lambda r: r["distance"].mean())
    score, by = replicates.over_seeds(pd.concat(scores), lambda r: r["score"].mean())
    effects = [Effect("distance of loss curves / between seeds", apart, options["tolerance"],
                      "below", seeds),
               Effect("difference of test accuracy / deviation between seeds", score, 1.0,
                      "within", by)]
    said = (f"cyclic S and cyclic η of one ratio: loss curves lie {fixed(apart.value)} times as "
            "far apart as seeds do")
    if root:
        rows = pd.concat([rows, *root])
        more, by = replicates.over_seeds(rows, _root_over_linear)
        effects.append(Effect("distance of √S over distance of linear scaling", more, 1.0, "above",
                              by))
        said += f"; a rate that follows √S lies {number(more.value)} times as far from cyclic S"
    return Judgement(tuple(effects), said, "at equal epochs", rows.to_dict("records"))


def _root_over_linear(rows: pd.DataFrame) -> float:
    mean = (rows["distance"] * rows["yard"]).groupby(rows["schedule"]).mean()
    return float(mean["root"] / mean["linear"]) if {"root", "linear"} <= set(mean.index) else \
        math.nan


def _cyclic(cell: pd.DataFrame, own: str, other: str) -> bool:
    one = cell.iloc[0]
    by_epoch = own == _BATCH or one.get(f"{own}_by") == "epoch"
    return one[f"{own}_name"] == "cyclic" and one[f"{other}_name"] == "constant" and by_epoch


def _power(sizes: pd.DataFrame, rates: pd.DataFrame) -> float:
    """p with η ∝ 1/S^p over the cycle: 1 for equal ratios, ½ for η ∝ √S; NaN if neither."""
    s, r = sizes.iloc[0], rates.iloc[0]
    if not _same(s[f"{_BATCH}_period"], r[f"{_LR}_period"]):
        return math.nan
    grown, fallen = float(s[f"{_BATCH}_factor"]), float(r[f"{_LR}_factor"])
    return next((p for p in (1.0, 0.5) if _same(fallen, grown ** -p, 1e-2)), math.nan)
