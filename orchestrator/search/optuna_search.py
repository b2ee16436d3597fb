"""Optuna: the only file that imports it. Points are trials of a study in the sweep's
``search/journal.log``.

A diverged run is a trial of state PRUNED without a value: TPE ranks those below all others and so
stays away, NSGA-II never breeds from them. A Gaussian process sees values alone: there the trial
is COMPLETE with the worst value seen so far, and says so (user attribute ``stands_for``). A point
that failed, or was asked for by a session that was killed before it was written down, is FAIL.
"""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.trial import TrialState, create_trial

from orchestrator.search.given import check_private_names, fixing
from orchestrator.search.journalfile import JournalFile
from orchestrator.search.proposer import Outcome, Point, Setup
from orchestrator.search.section import Range, Search
from orchestrator.search.startup import (
    MOST_LISTED,
    first_look,
    population,
    random_runs,
    unseen,
)

TRIES = 100  # for a point that is inside the space and new
FINITE_TRIES = 5  # where the points are few, one that is left is taken soon
_ALONE = ("nsga2", "random")
_PLAIN = str | int | float | bool | None


def build(setup: Setup) -> "OptunaProposer":
    """The proposer of a search, with all that its journal knows."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    check_private_names()
    return OptunaProposer(setup, JournalFile(setup.store))


class OptunaProposer:
    """TPE, NSGA-II, a Gaussian process or random draws, a pack at a time.

    Packs of TPE whose points have a value in common are narrower where it is not sure of it:
    measured by bench.search, see docs/search.md.
    """

    def __init__(self, setup: Setup, journal: JournalFile):
        self._journal = journal
        self._search, self._shared, self._inside = setup.search, setup.shared, setup.inside
        self._distributions = {n: _distribution(d) for n, d in setup.search.space.items()}
        self._objectives = list(setup.search.objectives)
        self._study = optuna.create_study(
            storage=JournalStorage(journal), study_name=setup.identity, load_if_exists=True,
            directions=[setup.search.objectives[n] for n in self._objectives])
        self._running: dict[str, int] = {}  # key of the point -> trial id
        self._left: dict[str, int] = {}     # asked for in an earlier session, not yet adopted
        self._ended: set[str] = set()
        self._empty: list[dict[str, Any]] = []  # shared values with which nothing is inside
        for trial in self._study.get_trials(deepcopy=False):
            key = self._key(trial.params)
            if trial.state == TrialState.RUNNING:
                self._left[key] = trial._trial_id
            elif trial.state != TrialState.FAIL:
                self._ended.add(key)
        journal.flush()

    def ask(self, width: int) -> list[Point]:
        """See Proposer. Those that nobody adopted by now were never written down: they are FAIL."""
        for trial in self._left.values():
            self._finish(trial, TrialState.FAIL, {"why": "its session ended before it began"})
        self._left.clear()
        found: list[Point] = []
        fixed = looking = self._unseen()
        sampler = self._draws(width, even=bool(looking))
        while len(found) < width:
            self._study.sampler = fixing(fixed, sampler)
            point = self._new()
            if point is None and looking and not found:  # nothing with these values is inside
                self._empty.append(looking)
                fixed = looking = self._unseen()
                sampler = self._draws(width, even=bool(looking))
                continue
            if point is None:
                break
            found.append(point)
            fixed = {n: self._inner(n, point.values[n]) for n in sorted(self._shared)}
            if len(found) == 1 and fixed and width > 1 and self._search.sampler == "tpe":
                width = self._narrowed(width, sampler, fixed, looking=bool(looking))
            # what NSGA-II and random draws ask for does not hang on what is under way: with draws
            # of its own each point is the same as if it were asked for alone
            if self._search.sampler in _ALONE:
                sampler = self._draws(width, even=bool(looking))
        self._journal.flush()
        return found

    def adopt(self, points: Sequence[Point]) -> None:
        """See Proposer. A point that the journal has lost is told of later as one from elsewhere.
        """
        for point in points:
            key = self._key(point.values, outer=True)
            if key in self._left:
                self._running[key] = self._left.pop(key)

    def tell(self, point: Point, outcome: Outcome) -> None:
        """See Proposer. A point that has ended is not told again."""
        key = self._key(point.values, outer=True)
        trial = self._running.pop(key, self._left.pop(key, None))
        state, values, facts = self._told(outcome)
        if trial is not None:
            self._finish(trial, state, facts, values)
        elif key in self._ended or state == TrialState.FAIL or not self._contains(point):
            return
        else:
            self._study.add_trial(create_trial(
                state=state, values=values, params=self._params(point),
                distributions=self._distributions, user_attrs={**facts, "known": True}))
        if state != TrialState.FAIL:
            self._ended.add(key)
        self._journal.flush()

    def _draws(self, width: int, *, even: bool) -> Any:
        """The sampler of the next draws; where ``even``, random ones for what would be modelled:
        a model of the first values would look at another only where these were good."""
        model = "random" if even and self._search.sampler != "nsga2" else self._search.sampler
        return _sampler(replace(self._search, sampler=model), self._seed(), width)

    def _narrowed(
        self, width: int, sampler: Any, fixed: Mapping[str, Any], *, looking: bool
    ) -> int:
        """Points of a pack whose first has the values ``fixed``, which all have: as many as agree
        in them of ``width`` that TPE draws freely, and at least half. Where TPE is not sure of the
        values, another pack looks elsewhere."""
        if looking:
            lists = (d.choices for n in fixed
                     if isinstance(d := self._distributions[n], CategoricalDistribution))
            return first_look(width, math.prod(map(len, lists)))
        space = sampler.infer_relative_search_space(self._study, None)
        others = (sampler.sample_relative(self._study, None, space) for _ in range(width - 1))
        agree = sum(all(o.get(n, v) == v for n, v in fixed.items()) for o in others)
        return max(1 + agree, width // 2)

    def _unseen(self) -> dict[str, Any]:
        """What the next pack has in common, where lists have values that no run has had yet."""
        lists = {n: d.choices for n in sorted(self._shared)
                 if isinstance(d := self._distributions[n], CategoricalDistribution)}
        seen = [t.params for t in self._study.get_trials(deepcopy=False)
                if t.state != TrialState.FAIL]
        return unseen(lists, seen, self._search, self._seed(), self._empty)

    def _new(self) -> Point | None:
        """A trial that is neither outside nor known; None where none is found."""
        fixed = getattr(self._study.sampler, "_fixed_params", {})
        for attempt in range(2 * TRIES):
            if attempt == TRIES or (attempt == FINITE_TRIES and self._finite):
                if self._finite and not (fixed := self._left_over(fixed)):
                    return None
                # what the sampler likes is known, or outside
                even = optuna.samplers.RandomSampler(seed=self._seed())
                self._study.sampler = fixing(fixed, even)
            trial = self._study.ask(self._distributions)
            values = {n: self._outer(n, v) for n, v in trial.params.items()}
            key = self._key(trial.params)
            if key in self._running or key in self._ended:
                self._finish(trial._trial_id, TrialState.FAIL, {"why": "the point is known"})
            elif not self._inside(values):
                self._finish(trial._trial_id, TrialState.FAIL, {"why": "outside of the space"})
            else:
                self._running[key] = trial._trial_id
                return Point(values)
        return None

    @property
    def _finite(self) -> bool:
        """Whether the space is a list of points that is short enough to go through."""
        sizes = [len(d.choices) if isinstance(d, CategoricalDistribution) else math.inf
                 for d in self._distributions.values()]
        return math.prod(sizes) <= MOST_LISTED

    def _left_over(self, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """Of a finite space, any point that is new and inside; empty where there is none."""
        lists = [[fixed[n]] if n in fixed else d.choices for n, d in self._distributions.items()]
        points = [dict(zip(self._distributions, row, strict=True))
                  for row in itertools.product(*lists)]
        known = self._running.keys() | self._ended
        new = [p for p in points if self._key(p) not in known
               and self._inside({n: self._outer(n, v) for n, v in p.items()})]
        return new[self._seed() % len(new)] if new else {}

    def _seed(self) -> int:
        """Of the next draws: from the search's own seed and how far it is."""
        count = len(self._study.get_trials(deepcopy=False))
        return int(np.random.SeedSequence([self._search.seed, count]).generate_state(1)[0])

    def _told(self, outcome: Outcome) -> tuple[TrialState, list[float] | None, dict[str, Any]]:
        facts: dict[str, Any] = {"status": outcome.status}
        values = [outcome.values.get(n, math.nan) for n in self._objectives]
        if outcome.status == "diverged":
            worst = self._worst() if self._search.sampler == "gp" else None
            if worst is None:
                return TrialState.PRUNED, None, facts
            return TrialState.COMPLETE, worst, {**facts, "stands_for": "worse than any seen"}
        if outcome.status == "failed" or not all(map(math.isfinite, values)):
            return TrialState.FAIL, None, facts
        return TrialState.COMPLETE, values, facts

    def _worst(self) -> list[float] | None:
        """The worst value of each objective so far; None before there is any."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        columns = list(zip(*(t.values for t in trials), strict=True))
        directions = [self._search.objectives[n] for n in self._objectives]
        return [min(c) if d == "maximize" else max(c)
                for c, d in zip(columns, directions, strict=True)] or None

    def _finish(self, trial: int, state: TrialState, facts: Mapping[str, Any],
                values: Sequence[float] | None = None) -> None:
        one = optuna.trial.Trial(self._study, trial)
        for name, value in facts.items():
            one.set_user_attr(name, value)
        self._study.tell(one, values, state=state)

    def _contains(self, point: Point) -> bool:
        """Whether the point, known from elsewhere, is of this space."""
        if point.values.keys() < self._distributions.keys():
            return False
        try:
            return all(d._contains(d.to_internal_repr(self._inner(n, point.values[n])))
                       for n, d in self._distributions.items())
        except (ValueError, TypeError):
            return False

    def _params(self, point: Point) -> dict[str, Any]:
        return {n: self._inner(n, point.values[n]) for n in self._distributions}

    def _key(self, values: Mapping[str, Any], *, outer: bool = False) -> str:
        """Equal for equal points; ``values`` are Optuna's own, unless ``outer``."""
        inner = {n: self._inner(n, v) if outer else v for n, v in values.items()
                 if n in self._distributions}
        return json.dumps({n: f"{v:.12g}" if isinstance(v, float) else v
                           for n, v in sorted(inner.items())})

    def _inner(self, name: str, value: Any) -> Any:
        """A value as Optuna's; choices that are maps or lists are their JSON."""
        if isinstance(self._search.space[name], Range) or isinstance(value, _PLAIN):
            return value
        return json.dumps(value, sort_keys=True)

    def _outer(self, name: str, value: Any) -> Any:
        dimension = self._search.space[name]
        if isinstance(dimension, Range):
            return value if dimension.whole else float(f"{value:.12g}")
        return next(v for v in dimension.values if self._inner(name, v) == value)


def _sampler(search: Search, seed: int, width: int) -> Any:
    samplers, options = optuna.samplers, search.options
    if search.sampler == "tpe":
        # Its own draws keep a pack apart, without a constant liar. Chosen on Hartmann's function of
        # six (bench.search) together with the number of random runs: of the two changes none was
        # measured alone.
        return samplers.TPESampler(
            seed=seed, n_startup_trials=options["startup"] or random_runs(width),
            constant_liar=width == 1, multivariate=True)
    if search.sampler == "nsga2":
        return samplers.NSGAIISampler(
            seed=seed, population_size=options["population"] or population(search, width))
    if search.sampler == "gp":
        return samplers.GPSampler(seed=seed, n_startup_trials=options["startup"] or 10)
    return samplers.RandomSampler(seed=seed)


def _distribution(dimension: Any) -> BaseDistribution:
    if not isinstance(dimension, Range):
        return CategoricalDistribution([v if isinstance(v, _PLAIN) else json.dumps(
            v, sort_keys=True) for v in dimension.values])
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
