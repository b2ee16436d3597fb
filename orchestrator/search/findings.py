"""What a search has found: the best point, or the Pareto front of several objectives."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.search.proposer import Outcome, Point
from orchestrator.search.section import SAMPLERS, Search

_SHOWN = 12  # points of a front, in words


@dataclass(frozen=True)
class Found:
    """A point with its objectives; ``run_ids``: empty where it is known from elsewhere."""

    point: Point
    values: Mapping[str, float]
    run_ids: tuple[str, ...]

    def __str__(self) -> str:
        where = ", ".join(f"{n} = {_shown(v)}" for n, v in self.point.values.items())
        what = ", ".join(f"{n} {_shown(v)}" for n, v in self.values.items())
        own = "run" if len(self.run_ids) == 1 else f"{len(self.run_ids)} runs, first"
        whose = f"{own} {self.run_ids[0]}" if self.run_ids else "known from other runs"
        return f"{what} at {where} ({whose})"


class Findings:
    """Collects outcomes; of equal points the last counts."""

    def __init__(self, search: Search):
        self._search = search
        self._found: dict[Point, Found] = {}
        self._told: dict[Point, tuple[str, int]] = {}
        self._known = 0

    def add(self, point: Point, outcome: Outcome, run_ids: Sequence[str], known: int = 0) -> None:
        """An outcome; ``known`` counts the rows of a point that was not asked for."""
        self._known += known
        if not known:
            self._told[point] = outcome.status, len(run_ids)
        whole = len(outcome.values) == len(self._search.objectives)
        if outcome.status in ("finished", "stopped") and whole:
            self._found[point] = Found(point, outcome.values, tuple(run_ids))
        else:
            self._found.pop(point, None)

    @property
    def told(self) -> int:
        """Runs whose outcome is known, of those asked for."""
        return sum(count for status, count in self._told.values() if status != "failed")

    @property
    def best(self) -> list[Found]:
        """The best point; of several objectives those of which no other is as good in all and
        better in one, by the first objective. Cost: n² for n points."""
        signs = [1.0 if d == "minimize" else -1.0 for d in self._search.objectives.values()]
        costs = {p: tuple(s * f.values[n] for s, n in zip(
            signs, self._search.objectives, strict=True)) for p, f in self._found.items()}
        if not signs or not costs:
            return []
        if len(signs) == 1:
            return [self._found[min(costs, key=lambda p: costs[p])]]
        front = {c for c in set(costs.values()) if not any(
            o != c and all(a <= b for a, b in zip(o, c, strict=True)) for o in costs.values())}
        chosen = sorted((c, i) for i, c in enumerate(costs.values()) if c in front)
        points = list(costs)
        return [self._found[points[i]] for _, i in chosen]

    def headline(self) -> str:
        """In few words: the best value, or how large the front is; empty before there is any."""
        best = self.best if SAMPLERS[self._search.sampler].optimises else []
        if not best:
            return ""
        if len(self._search.objectives) > 1:
            return f"Pareto front of {len(best)}"
        ((name, value),) = best[0].values.items()
        return f"best {name} {_shown(value)}"

    def lines(self) -> list[str]:
        """What was found, whole; a long front by its first points."""
        best, beside = self.best, self.known_lines()
        if len(self._search.objectives) < 2:
            return [*beside, *(f"best: {found}" for found in best)]
        more = len(best) - _SHOWN
        return [*beside, f"Pareto front of {len(best)} points:" if best else "no point of a front",
                *(f"  {found}" for found in best[:_SHOWN]),
                *([f"  … and {more} more (search/found.json)"] if more > 0 else [])]

    def known_lines(self) -> list[str]:
        """How much was known beforehand; empty where nothing was."""
        known = self._known
        return [f"{known} runs of other sweeps, or of earlier ones, were known"] if known else []

    def facts(self) -> dict[str, Any]:
        """For programs, as plain values."""
        statuses: dict[str, int] = {}
        for status, count in self._told.values():
            statuses[status] = statuses.get(status, 0) + count
        return json.loads(json.dumps({
            "sampler": self._search.sampler, "budget": self._search.runs, "told": self.told,
            "known": self._known, "points": len(self._told), "by_status": statuses,
            "headline": self.headline(), "objectives": dict(self._search.objectives),
            "best": [{"values": dict(f.point.values), "objectives": dict(f.values),
                      "run_ids": list(f.run_ids)} for f in self.best]}))


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
