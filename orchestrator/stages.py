"""The stages of a sweep: first its packs, then the probes of the runs that these finished."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TextIO

from orchestrator import costs, packrun, proberun
from orchestrator.ledger import Ledger
from orchestrator.planner import Plan, make_plan
from orchestrator.probeplan import hopeless, unmet
from orchestrator.progress import ProbeProgress, Progress, SearchProgress
from orchestrator.stores import Place, open_store


@dataclass(frozen=True)
class Stage:
    """Orders that may be worked off in any order and at once; the id of each; who is told.

    ``mark(id)`` changes with every commit of an order.
    """

    orders: Sequence[Mapping[str, Any]]
    ids: Sequence[str]
    listener: Any
    mark: Callable[[str], Any] = lambda _: None

    def __iter__(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(id, order) of each."""
        return zip(self.ids, self.orders, strict=True)


@dataclass(frozen=True)
class GuidedStage:
    """Orders that follow from what came of the ones before: packs of a search."""

    searching: Any  # search.searching.Searching
    plan: Plan
    folder: Place
    listener: SearchProgress

    def next(self) -> tuple[str, Mapping[str, Any]] | None:
        """The next id and order; None where there is none before another has ended, or ever."""
        pack = self.searching.next()
        if pack is None:
            return None
        order = packrun.order(pack, self.plan.spec, self.folder)
        open_store(self.folder).delete(f"packs/{pack.pack_id}/error.txt")
        self.listener.add(order)
        return pack.pack_id, order

    def ended(self, pack_id: str) -> None:
        """A pack has ended or failed."""
        self.searching.ended(pack_id)
        self.listener.found = self.searching.findings.headline()

    def mark(self, pack_id: str) -> Any:
        """Changes with every commit of a pack."""
        return Ledger(open_store(self.folder)).mark(pack_id)

    def __iter__(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """One at a time: each follows when the one before has ended."""
        while (one := self.next()) is not None:
            yield one
            self.ended(one[0])


@dataclass
class Stages:
    """Hands out a plan's stages one after the other, and keeps what failed in each.

    ``failures``: pack_id -> traceback. ``probe_failures``: probe_id -> traceback. ``skipped``:
    probe_id -> why a probe was not made, in words. ``found``: what a search has found, in lines.
    """

    plan: Plan
    folder: Place
    out: TextIO
    failures: Mapping[str, str] = field(default_factory=dict)
    probe_failures: Mapping[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    found: Sequence[str] = ()

    def all(self) -> Iterator[Stage]:
        """The packs, then the probes."""
        yield from self.packs()
        if self.plan.search is not None and self.plan.spec.probes:
            self._plan_again()
        yield from self.probes()

    def packs(self) -> Iterator[Stage]:
        """The packs, longest first; none where there is nothing to train."""
        if self.plan.search is not None:
            yield from self._searched()
            return
        if not self.plan.packs:
            return
        packs = sorted(self.plan.packs, key=costs.weight, reverse=True)
        orders = [packrun.order(p, self.plan.spec, self.folder) for p in packs]
        progress = Progress(orders, [costs.weight(p) for p in packs], self.out)
        yield from self._stage(orders, [p.pack_id for p in packs], progress, "packs/{}/error.txt")
        self.failures = progress.failures

    def _searched(self) -> Iterator[GuidedStage]:
        from orchestrator.search.searching import Searching  # imports numpy, and what it asks

        with closing(Searching(self.plan, self.folder)) as searching:
            progress = SearchProgress([], [], self.out, budget=self.plan.search.search.runs,
                                      before=searching.findings.told)
            if not searching.over:
                stage = GuidedStage(searching, self.plan, self.folder, progress)
                yield from self._closing(stage, progress, "packs/{}/error.txt")
            self.failures, self.found = progress.failures, searching.lines()

    def _plan_again(self) -> None:
        """Probes of a search are of the runs that it has asked for."""
        self.plan = make_plan(self.plan.spec)
        content = "".join(f"{i}\n" for i in self.plan.probe_ids).encode()
        open_store(self.folder).replace("planned_probes.txt", content)

    def probes(self) -> Iterator[Stage]:
        """The probes whose runs have ended by now; none where there are none."""
        orders = self._ready()
        if not orders:
            return
        ids = [o["probe"]["probe_id"] for o in orders]
        cost = {p.probe_id: p.cost for p in self.plan.probes}
        progress = ProbeProgress(orders, [max(cost[i], 1.0) for i in ids], self.out)
        yield from self._stage(orders, ids, progress, "probes/{}.error.txt")
        self.probe_failures = progress.failures

    def _ready(self) -> list[dict[str, Any]]:
        """The orders of the probes that can be made, dearest first; the others are ``skipped``."""
        orders, outcomes = [], Ledger(open_store(self.folder)).outcomes()
        for probe in sorted(self.plan.probes, key=lambda p: p.cost, reverse=True):
            step = max((outcomes.get(r.run_id, ("", 0))[1] for r in probe.runs), default=0)
            order = proberun.order(probe, self.plan.spec, self.folder, step)
            never, not_yet = hopeless(probe, outcomes), unmet(probe, outcomes)
            if never:
                proberun.skip(order, never)
            if never or not_yet:
                self.skipped[probe.probe_id] = f"{probe.kind}: {never or not_yet}"
            else:
                orders.append(order)
        return orders

    def _stage(self, orders: Sequence[Mapping[str, Any]], ids: Sequence[str], progress: Progress,
               log: str) -> Iterator[Stage]:
        store = open_store(self.folder)
        for one in ids:
            store.delete(log.format(one))
        mark = Ledger(store).mark
        yield from self._closing(Stage(orders, ids, progress, mark), progress, log)

    def _closing(self, stage: Any, progress: Progress, log: str) -> Iterator[Any]:
        store = open_store(self.folder)
        try:
            yield stage
        finally:
            progress.close()
        for one, reason in progress.failures.items():
            store.replace(log.format(one), reason.encode())
