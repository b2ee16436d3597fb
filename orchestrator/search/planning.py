"""The plan of a search: the runs asked for so far, and what it is expected to ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.labels import count
from orchestrator.choosing import FLOOR, choices_of, packs_of
from orchestrator.errors import UserError
from orchestrator.packing import PackPlan, Run, group
from orchestrator.planner import Plan, against, data_of, folder_of, runs_of, suits_of
from orchestrator.search.journal import Journal
from orchestrator.search.section import SAMPLERS, Search
from orchestrator.search.space import Space, identity
from orchestrator.stores import open_store


@dataclass(frozen=True)
class SearchPlan:
    """A search as far as it is known before it goes on.

    ``width``: runs a pack. ``star``: runs that have every end and choice of the space. ``drawn``:
    packs as it may ask for. ``suits``: choosing.Suits.
    """

    space: Space
    identity: str
    width: int
    asked: int  # runs, of the budget
    star: tuple[Run, ...]
    drawn: tuple[PackPlan, ...]
    suits: Any

    @property
    def search(self) -> Search:
        return self.space.search

    @property
    def remaining(self) -> int:
        """Runs of the budget that were not yet asked for."""
        return max(0, self.search.runs - self.asked)

    def __str__(self) -> str:
        """In one line: how far it is."""
        done = f", {self.asked} of them asked for" if self.asked else ""
        return f"a search ({self.search.sampler}) over {count(self.search.runs, 'run')}{done}"

    def lines(self, packs: int, done: int) -> list[str]:
        """What is searched for, where, and how many packs are expected."""
        search, names = self.search, sorted(self.space.shared())
        goals = ", ".join(f"{d} {n}" for n, d in search.objectives.items())
        seeds = f", {search.seeds} seeds a point" if search.seeds > 1 else ""
        common = f"; the runs of a pack have {' and '.join(names)} in common" if names else ""
        return [
            f"search   {search.sampler}, {SAMPLERS[search.sampler].words}",
            *([f"goal     {goals}"] if goals else []),
            *(f"space    {name}: {dimension}" for name, dimension in search.space.items()),
            f"runs     {search.runs} at most{seeds}: {done} done",
            f"packs    about {packs} to do, up to {self.width} runs in each{common}"]

    def facts(self) -> dict[str, Any]:
        """For programs."""
        return {"sampler": self.search.sampler, "budget": self.search.runs, "asked": self.asked,
                "width": self.width, "seeds": self.search.seeds,
                "objectives": dict(self.search.objectives),
                "space": {n: str(d) for n, d in self.search.space.items()}}

    def expected(self, plan: Plan) -> Plan:
        """The plan with the packs that the rest of the budget is expected to make."""
        more = -(-self.remaining // self.width)
        packs = [self.drawn[i % len(self.drawn)] for i in range(more)]
        runs = (*plan.runs, *(m for p in packs for m in p.members))
        return replace(plan, runs=runs, packs=(*plan.packs, *packs), search=None)

    def packs(self, spec: Any, info: Any, points: Sequence[Sequence[Mapping[str, Any]]]
              ) -> tuple[list[list[Run]], list[PackPlan]]:
        """The runs of points, given as configs, and the packs that hold them."""
        runs = [list(runs_of(spec, info, configs)) for configs in points]
        each = {r.run_id: r for some in runs for r in some}
        return runs, _packs(spec, list(each.values()), self.suits, self.width)


def plan_search(spec: Any) -> Plan:
    """The plan of a search against what its folder already holds. Reads only; writes nothing."""
    info = data_of(spec)
    space = Space(spec, info.train_size)
    star = runs_of(spec, info, space.star())
    suits = suits_of(spec, info, star)
    width = spec.compute.pack if spec.compute.pack != "auto" else FLOOR
    name = identity(spec)
    records = Journal(open_store(folder_of(spec)), name).records()
    asked = {r.run_id: r for record in records for pack in record.packs for r in pack.members}
    plan = _begun(against(spec, info, tuple(asked.values()), suits), records)
    known = SearchPlan(space, name, width, len(asked), star, (), suits)
    drawn = [p for configs in space.sample(-(-known.remaining // width), width)
             for p in _packs(spec, runs_of(spec, info, configs), suits, width)]
    if known.remaining and not drawn:
        raise UserError(spec.problem("keep leaves next to nothing of the space", "sweep.keep",
                                     "widen the space, or loosen keep"))
    return replace(plan, search=replace(known, drawn=tuple(drawn)))


def _begun(plan: Plan, records: Sequence[Any]) -> Plan:
    """The plan with the packs that were asked for and have not ended, as they were asked for."""
    taken = {m.run_id for p in plan.packs if p.pack_id in plan.begun for m in p.members}
    packs = [p for p in plan.packs if p.pack_id in plan.begun]
    for pack in (p for record in records for p in record.packs):
        missing = [m for m in pack.members if m.run_id not in plan.ended]
        if missing and pack.pack_id not in {p.pack_id for p in packs} and not (
                {m.run_id for m in missing} <= taken):
            packs.append(pack)
    return replace(plan, packs=tuple(packs))


def _packs(spec: Any, runs: Sequence[Run], suits: Any, width: int) -> list[PackPlan]:
    groups = group(runs)
    choices = choices_of(groups, suits, replace(spec.compute, pack=width), {})
    return packs_of(groups, {r.run_id for r in runs}, choices)
