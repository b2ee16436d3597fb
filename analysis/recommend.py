"""η for a wanted batch size, from a finished sweep: its interval, whence, how far to trust it.

Two answers, for two aims. ``best``: the η that scores best, from the law of the optima over the
batch sizes that were run. ``equal ratio``: the η whose curves match those of the best run at the
smallest batch size, as long as runs of equal η/S coincide. Both are held below the η at which
training was lost.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import refusals
from analysis.collapse import Break, breaks
from analysis.crossed import Interval
from analysis.frames import Sweep
from analysis.labels import count, label, listed, number
from analysis.limit import Limit, limit
from analysis.optimum import Kind, Optimum, optimum
from analysis.points import END, points
from analysis.scaling import Scaling, scaling

METRIC = "test_accuracy"


@dataclass(frozen=True)
class Advice:
    """One η. ``source``: where from; ``validity``: how far to trust it; ``sound``: whether nothing
    speaks against it: neither extrapolated nor cut nor beyond a break point."""

    lr: Interval
    source: str
    validity: str
    sound: bool


@dataclass(frozen=True, eq=False)
class Recommendation:
    """For one setting of the sweep (``setting_label``; empty where there is only one).

    ``best``, ``equal_ratio``: None where the sweep cannot tell, for the reasons in ``cautions``.
    A setting that the question does not fit, or of which no run finished, has one caution only.
    ``axes``: a line for the spec whose runs would tell more, or most; why, if that is not plain.
    """

    sweep: str
    setting_label: str
    metric: str
    batch_size: int
    best: Advice | None
    equal_ratio: Advice | None
    optima: tuple[Optimum, ...]
    scaling: Scaling | None
    limit: Limit | None
    cautions: tuple[str, ...]
    axes: str


def recommend(
    sweep: Sweep, batch_size: int, *, noise: float | None = None, metric: str = METRIC
) -> tuple[Recommendation, ...]:
    """η for ``batch_size``, for each setting of the sweep with that ``label_noise``.

    ``noise``: by default 0, or the only one there is. ``metric``: an accuracy (more is better) or
    a loss (less is better), at the end of training. TableError, one sentence, where the sweep holds
    nothing to recommend from.
    """
    refusals.check(sweep, batch_size, metric)
    label_noise = refusals.noise(sweep, noise)
    chosen = points(sweep, metric, END).frame
    if not metric.endswith("accuracy"):
        chosen = chosen.assign(y=-chosen["y"])
    parted = breaks(sweep, "train_loss")
    found = []
    for _, runs in sweep.runs[sweep.runs["label_noise"] == label_noise].groupby("setting"):
        words = str(runs["setting_label"].iloc[0])
        frame = chosen[chosen["run_id"].isin(runs["run_id"])]
        mine = [b for b in parted if b.setting_label == words]
        why = refusals.unanswered(runs, batch_size) or (
            "" if len(frame) else f"no η: no run that finished has a {label(metric).plain}")
        found.append(
            _silent(sweep, metric, batch_size, words, why) if why
            else _one(sweep, runs, frame, mine, batch_size, metric, words))
    return tuple(found)


def _silent(
    sweep: Sweep, metric: str, batch_size: int, words: str, why: str, lost: Limit | None = None
) -> Recommendation:
    return Recommendation(
        sweep.name, words, metric, batch_size, None, None, (), None, lost, (why,), "")


def _one(
    sweep: Sweep, runs: pd.DataFrame, frame: pd.DataFrame, parted: Sequence[Break],
    batch_size: int, metric: str, words: str,
) -> Recommendation:
    optima = tuple(_optimum(int(size), part) for size, part in frame.groupby("batch_size"))
    lost = limit(runs, sweep.snapshots, {o.batch_size: o.best for o in optima})
    if lost is not None:
        above = frame["batch_size"].map(lost.smallest_lost).fillna(math.inf)
        optima = tuple(_optimum(int(size), part, lost.lost_from.get(int(size)))
                       for size, part in frame[frame["lr"] < above].groupby("batch_size"))
    if not optima:
        lowest = number(float(runs["lr"].min()))
        why = f"no η: most runs were lost at every η; run smaller learning rates than {lowest}"
        return _silent(sweep, metric, batch_size, words, why, lost)
    known = [o for o in optima if o.kind is not Kind.EDGE]
    law = scaling(known)
    best = _best(known, law, lost, batch_size)
    return Recommendation(
        sweep.name, words, metric, batch_size, best, _equal_ratio(optima, parted, lost, batch_size),
        optima, law, lost, _cautions(optima, known, lost),
        _axes(optima, best, lost, batch_size))


def _optimum(size: int, frame: pd.DataFrame, above: float | None = None) -> Optimum:
    """``above``: the smallest η at which training was lost, above those of ``frame``: a cell of
    the grid without a score."""
    wide = frame.pivot_table(index="lr", columns="seed", values="y", aggfunc="mean")
    if above is not None:
        wide.loc[above] = np.nan
    return optimum(size, wide.index.to_numpy(float), wide.to_numpy(float))


def _best(
    known: Sequence[Optimum], law: Scaling | None, lost: Limit | None, batch_size: int
) -> Advice | None:
    if not known:
        return None
    own = next((o for o in known if o.batch_size == batch_size), None)
    sizes = listed([str(o.batch_size) for o in known], 8)
    if law is not None:
        lr, inside = law.predict(batch_size), law.inside(batch_size)
        source = (f"law of the optima at S = {sizes}: η ∝ S^{number(law.exponent.value, 2)} "
                  f"[{number(law.exponent.low, 2)}, {number(law.exponent.high, 2)}]")
        validity = "" if inside else _beyond(known, batch_size)
    else:
        near = min(known, key=lambda o: abs(math.log(o.batch_size / batch_size)))
        k = batch_size / near.batch_size
        lr = Interval(near.lr.value * math.sqrt(k), near.lr.low * min(k, 1.0),
                      near.lr.high * max(k, 1.0))
        source = (f"the optimum at S = {near.batch_size}, scaled by √S; the interval reaches from "
                  "a constant η to linear scaling")
        validity = f"{count(len(known), 'batch size')} only: no law could be fitted"
    if own is not None and (law is None or own.lr.low * lr.high > own.lr.high * lr.low):
        lr, validity = own.lr, ""
        source = f"the runs at S = {batch_size} themselves ({own.kind})"
    if lr.value >= _all_lost_from(lost, batch_size):
        return None
    lr, cut = _held(lr, lost, batch_size)
    return Advice(lr, source, "; ".join(filter(None, (validity, cut))), not (validity or cut))


def _beyond(known: Sequence[Optimum], batch_size: int) -> str:
    low, high = known[0].batch_size, known[-1].batch_size
    return f"S = {batch_size} lies outside of the batch sizes run ({low} to {high}): extrapolated"


def _all_lost_from(lost: Limit | None, batch_size: int) -> float:
    """The smallest η run at that batch size where it was lost: none is known to train; else ∞."""
    stable, gone = lost.at(batch_size) if lost is not None else (0.0, math.inf)
    return gone if stable >= gone else math.inf


def _held(lr: Interval, lost: Limit | None, batch_size: int) -> tuple[Interval, str]:
    """``lr`` below the limit, and a sentence where that changes the value; nothing is cut where no
    η is known to be lost."""
    if lost is None:
        return lr, ""
    stable, gone = lost.at(batch_size)
    if math.isinf(gone):
        return lr, _above(lr, lost, batch_size)
    held = Interval(min(lr.value, stable), min(lr.low, stable), min(lr.high, gone))
    if lr.value <= stable:
        return held, ""
    return held, (f"cut from {number(lr.value)} to the largest η that trained "
                  f"({lost.said(batch_size)})")


def _above(lr: Interval, lost: Limit | None, batch_size: int) -> str:
    """A sentence where ``lr`` lies above what is known to train."""
    stable, gone = lost.at(batch_size) if lost is not None else (math.inf, math.inf)
    if lost is None or lr.value <= stable:
        return ""
    where = "training was lost at such η" if lr.value >= gone else \
        "above the largest η known to train"
    return f"{where} ({lost.said(batch_size)})"


def _equal_ratio(
    optima: Sequence[Optimum], parted: Sequence[Break], lost: Limit | None, batch_size: int
) -> Advice | None:
    """None where the best η at the reference is a bound only: so would be the answer."""
    first = optima[0]
    if first.kind is Kind.EDGE:
        return None
    k = batch_size / first.batch_size
    lr = Interval(*(k * v for v in (first.lr.value, first.lr.low, first.lr.high)))
    ratio = first.lr.value / first.batch_size
    source = f"η/S = {number(ratio)} of the best η at S = {first.batch_size}"
    validity, sound = coincide(parted, ratio, first.batch_size, batch_size)
    above = _above(lr, lost, batch_size)
    return Advice(lr, source, "; ".join(filter(None, (validity, above))), sound and not above)


def coincide(
    parted: Sequence[Break], ratio: float, reference: int, batch_size: int
) -> tuple[str, bool]:
    """Whether runs of about that ratio coincide up to ``batch_size``."""
    judged = [b for b in parted if math.isfinite(b.last.value)]
    if not judged or batch_size < reference:
        return "no runs of equal η/S to compare", False
    near = min(judged, key=lambda b: abs(math.log(b.ratio / ratio)))
    up_to = int(near.last.value * near.reference)
    at = f"at η/S = {number(near.ratio)}"
    if batch_size <= up_to:
        return f"train-loss curves of equal η/S coincide up to S = {up_to} {at}", True
    broken = near.first_broken
    if broken is not None and batch_size >= broken.batch_size:
        words = "part" if near.established else "seem to part"
        return f"beyond the break point: curves of equal η/S {words} from S = {broken.batch_size} "\
            f"on {at}", False
    if broken is not None:
        return f"curves of equal η/S part between S = {up_to} and {broken.batch_size} {at}", False
    return f"curves of equal η/S coincide up to S = {up_to} {at}, the end of the grid: " \
        "extrapolated", False


def _cautions(
    optima: Sequence[Optimum], known: Sequence[Optimum], lost: Limit | None
) -> tuple[str, ...]:
    found = []
    edge = [str(o.batch_size) for o in optima if o.kind is Kind.EDGE]
    single = [str(o.batch_size) for o in optima if o.cells == 1]
    if single:
        found.append(f"at S = {listed(single, 8)} a single η was run to its end: no optimum there")
    edge = [size for size in edge if size not in single]
    if edge:
        none = "" if known else ", so that no optimum is known"
        found.append(f"at S = {listed(edge, 8)} the best η lies at the edge of those run{none}: "
                     "only a bound, left out of the law")
    if optima[0].kind is Kind.EDGE and str(optima[0].batch_size) not in single:
        found.append("equal ratio needs the best η at the smallest batch size, "
                     f"S = {optima[0].batch_size}: it lies at the edge of those run")
    if all(o.seeds == 1 for o in optima):
        found.append("one seed: chance cannot be told from η; each optimum is known to its "
                     "neighbours on the grid only")
    elif any(o.seeds < 5 for o in optima):
        found.append(f"{min(o.seeds for o in optima)} seeds: intervals below five are rough")
    cliff = [str(o.batch_size) for o in known if o.kind is Kind.BRACKETED]
    if cliff and any(o.seeds > 1 for o in optima):
        found.append(f"at S = {listed(cliff, 8)} the score drops steeply beside its best η, which "
                     "is known to its neighbours on the grid only")
    if lost is not None and (gone := sorted(set(lost.lost_from) - {o.batch_size for o in optima})):
        found.append(f"at S = {listed([str(s) for s in gone], 8)} most runs were lost from the "
                     "smallest η on: no optimum there")
    if lost is None:
        found.append("no run diverged: where training is lost is not known")
    return tuple(found)


def _axes(
    optima: Sequence[Optimum], best: Advice | None, lost: Limit | None, batch_size: int
) -> str:
    """The axes whose runs would tell more; in a comment, why those of another batch size."""
    why = ""
    if best is not None:
        low, high = max(best.lr.low, best.lr.value / 8), min(best.lr.high, best.lr.value * 8)
        low, high, size = low / 1.5, high * 1.5, batch_size
    elif math.isfinite(high := _all_lost_from(lost, batch_size)):
        low, size = high / 16, batch_size
    else:
        edge = optima[0]
        low, high, size = edge.best / 8, edge.best * 8, edge.batch_size
        if size != batch_size:
            why = (f"  # S = {size} first: no best η is known yet, and that at S = {size} tells "
                   f"where to look at S = {batch_size}")
    n = max(5, math.ceil(math.log(high / low) / math.log(1.5)) + 1)
    seeds = max(5, *(o.seeds for o in optima))
    return (f"axes: {{lr: {{log: [{low:.2g}, {high:.2g}], n: {n}}}, batch_size: [{size}], "
            f"seed: {{count: {seeds}}}}}{why}")


def label_of(metric: str) -> str:
    """``test accuracy at the end``."""
    return f"{label(metric).plain} {END}"
