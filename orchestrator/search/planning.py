"""The plan of a search: the runs asked for so far, and what it is expected to ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.choosing import FLOOR, choices_of, packs_of
from orchestrator.errors import UserError
from orchestrator.packing import PackPlan, Run, group
from orchestrator.planner import Plan, against, data_of, folder_of, runs_of, suits_of
from orchestrator.search.journal import Journal
from orchestrator.search.section import SAMPLERS, Search
from orchestrator.search.space import Space, identity
from orchestrator.store import LocalStore


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

    def expected(self, plan: Plan) -> Plan:
        """The plan with the packs that the rest of the budget is expected to make."""
        count = -(-self.remaining // self.width)
        packs = [self.drawn[i % len(self.drawn)] for i in range(count)]
        runs = {r.run_id: r for r in (*plan.runs, *self.star)}
        return replace(plan, runs=tuple(runs.values()), packs=(*plan.packs, *packs), search=None)

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
    records = Journal(LocalStore(folder_of(spec)), name).records()
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


def describe(search: Search) -> list[str]:
    """What is searched for, and where, in lines."""
    goals = ", ".join(f"{d} {n}" for n, d in search.objectives.items())
    kind = SAMPLERS[search.sampler]
    seeds = f", {search.seeds} seeds a point" if search.seeds > 1 else ""
    return [f"search   {search.sampler} ({kind.words}){': ' if goals else ''}{goals}",
            f"budget   {search.runs} runs{seeds}",
            *(f"space    {n}: {d}" for n, d in search.space.items())]
