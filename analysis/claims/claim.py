"""A claim of the field: its words, a test that was fixed beforehand, and the verdict on a sweep.

A test names one or more effects, each with a bound and the side of it on which the claim puts the
effect. An effect's 95 % interval decides: wholly on the claimed side it holds, wholly on the other
it fails, else it is undecided. A claim holds if all its effects do, and fails if one fails.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from analysis.crossed import MIN_SEEDS, Interval
from analysis.frames import STATUS_WORDS, Sweep
from analysis.labels import listed

Side: TypeAlias = Literal["above", "below", "within", "outside"]
Grade: TypeAlias = Literal["robust", "likely", "open"]
_MOST = 50


class Verdict(StrEnum):
    """What a sweep says of a claim."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"
    UNTESTED = "not tested"


class NotTested(Exception):
    """The sweep lacks what a test needs; the message says what, such as ``the monitor stiffness``.
    ``of_runs``: whether it is lacking in its runs, and not in probes that need none."""

    def __init__(self, needs: str, *, of_runs: bool = True) -> None:
        super().__init__(needs)
        self.of_runs = of_runs


@dataclass(frozen=True)
class Effect:
    """A number with its 95 % interval against a bound.

    ``side``: where the claim puts it: above or below ``bound``, within (−bound, bound), or outside.
    ``units``: how many independent units (seeds, unless said) the interval rests on; ``unit`` is
    their name.
    """

    name: str
    interval: Interval
    bound: float
    side: Side
    units: int
    unit: str = "seed"

    @property
    def verdict(self) -> Verdict:
        """Of this effect alone."""
        low, high, bound = self.interval.low, self.interval.high, self.bound
        if not (math.isfinite(low) and math.isfinite(high)) or self.tied:
            return Verdict.UNDECIDED
        inside = {"above": low > bound, "below": high < bound,
                  "within": -bound < low and high < bound, "outside": low > bound or high < -bound}
        beyond = {"above": high < bound, "below": low > bound,
                  "within": low > bound or high < -bound, "outside": -bound < low and high < bound}
        if inside[self.side]:
            return Verdict.HOLDS
        return Verdict.FAILS if beyond[self.side] else Verdict.UNDECIDED

    @property
    def tied(self) -> bool:
        """Whether fewer than five seeds gave one and the same value, as ranks and shares of few
        cells do: then their spread says nothing of chance, and they decide nothing."""
        still = self.interval.low == self.interval.high
        return still and self.unit == "seed" and self.units < MIN_SEEDS

    @property
    def decides(self) -> str:
        """What would decide it, in words; empty unless it is undecided. More than fifty units, and
        more than twice those there are, are no advice: the effect lies near its bound."""
        if self.verdict is not Verdict.UNDECIDED:
            return ""
        value, low, high = self.interval.value, self.interval.low, self.interval.high
        if not math.isfinite(value):
            return f"runs in which {self.name} can be measured"
        if not (math.isfinite(low) and math.isfinite(high)):
            return f"more {self.unit}s: there is no interval from {self.units}"
        if self.tied:
            return f"{MIN_SEEDS} seeds: all {self.units} gave the same value"
        edge = abs(value) if self.side in ("within", "outside") else value
        gap = abs(edge - self.bound)
        half = max(value - low, high - value)  # one end may be cut at that of the range
        needed = self.units * (half / gap) ** 2 if gap > 0 else math.inf
        if needed > max(_MOST, 2 * self.units):
            return f"hardly anything: {self.name} lies near the bound"
        return f"about {max(math.ceil(needed), self.units + 1)} {self.unit}s"


@dataclass(frozen=True)
class Judgement:
    """What a test found. ``effects`` decide; ``said`` is one sentence with the numbers.

    ``evidence``: plain rows (one a cell, or whatever the test compared) that go into
    analysis/claims_evidence.parquet. ``stop_rule``: at which point of the runs it compares, such as
    "at equal epochs" or "at train loss 0.1". ``note``: what a reader must know, such as runs that
    were left out.
    """

    effects: tuple[Effect, ...]
    said: str
    stop_rule: str
    evidence: Sequence[Mapping[str, Any]] = ()
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """Holds if all effects do; fails if one fails."""
        found = [effect.verdict for effect in self.effects]
        if Verdict.FAILS in found:
            return Verdict.FAILS
        done = bool(found) and all(v is Verdict.HOLDS for v in found)
        return Verdict.HOLDS if done else Verdict.UNDECIDED

    @property
    def decides(self) -> str:
        """What would decide an undecided one."""
        if self.verdict is not Verdict.UNDECIDED:
            return ""
        return "; ".join(dict.fromkeys(filter(None, (e.decides for e in self.effects))))


Judge: TypeAlias = Callable[[Sweep, Mapping[str, Any]], Judgement]


@dataclass(frozen=True)
class Claim:
    """One claim. ``id``: paper/name. ``number``: its row in docs/claims.md.

    ``words``: the paper's assertion. ``test``: the test in words, with its bounds. ``grade``: how
    far it can be expected at small scale: robust, likely, or open (recorded two-sided).
    ``options``: name -> default, what a spec may set, such as a margin; all are numbers.
    """

    id: str
    number: str
    paper: str
    words: str
    test: str
    grade: Grade
    judge: Judge
    options: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """A claim with what a sweep says of it. ``needs``: what the sweep lacks, if it was not tested.
    ``listed``: whether the sweep's spec names it, so that the sweep was made to judge it.
    """

    claim: Claim
    sweep: str
    judgement: Judgement | None
    needs: str = ""
    listed: bool = False

    @property
    def verdict(self) -> Verdict:
        """Not tested where the sweep lacks what the test needs."""
        return self.judgement.verdict if self.judgement else Verdict.UNTESTED

    @property
    def decides(self) -> str:
        """What would decide it: nothing if it is decided."""
        return self.judgement.decides if self.judgement else self.needs


def claim(id: str, number: str, *, paper: str, words: str, test: str, grade: Grade,
          **options: float) -> Callable[[Judge], Claim]:
    """Makes a Claim of its test: a decorator."""

    def made(judge: Judge) -> Claim:
        return Claim(id, number, paper, words, test, grade, judge, options)

    return made


def judge(claim: Claim, sweep: Sweep, options: Mapping[str, float] | None = None) -> Judged:
    """The claim on the sweep. Of what runs lack, that none has finished comes first."""
    try:
        return Judged(claim, sweep.name, claim.judge(sweep, {**claim.options, **(options or {})}))
    except NotTested as lacking:
        unfinished = lacking.of_runs and sweep.finished.empty
        return Judged(claim, sweep.name, None, _finished(sweep) if unfinished else str(lacking))


def _finished(sweep: Sweep) -> str:
    """``a run that has finished (all 8 diverged)``."""
    ended = sweep.runs["status"].value_counts()
    parts = [f"{n} {STATUS_WORDS[status]}" for status, n in ended.items()]
    told = f"all {parts[0]}" if len(parts) == 1 else listed(parts) or "none has ended"
    return f"a run that has finished ({told})"
