"""A search at work: asks its proposer for packs, tells it what became of their runs.

Whatever ends it, the same command goes on: what was asked for is in the journal, what came of it in
the tables, and the proposer is told of both before it is asked again.
"""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.columns import identity_columns
from orchestrator.errors import Problem, UserError
from orchestrator.ledger import Ledger
from orchestrator.packing import PackPlan
from orchestrator.planner import Plan, contents_of
from orchestrator.search import knowledge
from orchestrator.search.edge import plain
from orchestrator.search.findings import Findings
from orchestrator.search.journal import Journal, Record
from orchestrator.search.proposer import Outcome, Point, Setup, build
from orchestrator.search.section import SAMPLERS
from orchestrator.stores import Held, Place, Store, open_store

_TRIES = 100  # asks in a row that may bring nothing to run


class Searching:
    """Hands out packs until the budget is spent or the proposer has nothing more to ask."""

    def __init__(self, plan: Plan, folder: Place):
        self._plan, self._known = plan, plan.search
        self._search, self._space = plan.search.search, plan.search.space
        self._ledger = Ledger(open_store(folder))
        self._journal = Journal(self._ledger.store, plan.search.identity)
        self._lock = _locked(self._ledger.store)
        self._queue: deque[PackPlan] = deque(plan.packs)
        self._open: dict[str, set[Point]] = {}  # pack_id -> points that wait for it
        self._runs: dict[Point, tuple[str, ...]] = {}
        self._rows: dict[str, knowledge.Row] = {}
        self._asked, self._count, self._exhausted = plan.search.asked, 0, False
        self.findings = Findings(self._search)
        self._proposer = build(Setup(
            self._search, self._space.shared(), self._space.inside, self._ledger.store,
            plan.search.identity))
        self._resume()

    # what goes on from earlier sessions

    def _resume(self) -> None:
        records = self._journal.records()
        self._count = self._journal.last
        mine = {i for record in records for ids in record.runs for i in ids}
        here = knowledge.rows_of(self._ledger.store)
        self._rows = {r["run_id"]: r for r in here}
        for record in records:
            self._take(record)
        others = [r for r in here if r["run_id"] not in mine]
        for name in self._search.know:
            others += _elsewhere(name, self._plan)
        for point, rows in knowledge.known(self._space, others, _constants(self._plan)):
            if point not in self._runs:
                self._told(point, knowledge.outcome(rows, self._search), [], known=len(rows))
        self._write()

    def _take(self, record: Record) -> None:
        """Adopts a record as it was asked for, then tells what has ended of it."""
        waiting = {p.pack_id: {m.run_id for m in p.members} for p in self._queue}
        self._proposer.adopt(record.points)
        for point, ids in zip(record.points, record.runs, strict=True):
            self._runs[point] = ids
            packs = [p for p, members in waiting.items() if members & set(ids)]
            for pack in packs:
                self._open.setdefault(pack, set()).add(point)
            if not packs:
                self._tell(point)

    # asking

    def next(self) -> PackPlan | None:
        """The pack to train next; None where there is none before another has ended, or ever."""
        if not self._queue and not self._exhausted:
            self._ask()
        return self._queue.popleft() if self._queue else None

    @property
    def over(self) -> bool:
        """Whether no pack will follow."""
        return not self._queue and not self._open and (self._exhausted or not self._affordable())

    def _affordable(self) -> int:
        """Points that the rest of the budget pays for."""
        return max(0, self._search.runs - self._asked) // self._each

    @property
    def _each(self) -> int:
        """Runs a point."""
        own = SAMPLERS[self._search.sampler].own_seeds
        return 1 if own else self._search.seeds

    def _ask(self) -> None:
        for _ in range(_TRIES):
            width = min(max(1, self._known.width // self._each), self._affordable())
            points = self._proposer.ask(width) if width else []
            if not points:
                self._exhausted = not self._open and width > 0
                return
            if self._asked_for([p for p in points if self._is_new(p)]):
                return
        self._exhausted = not self._open

    def _is_new(self, point: Point) -> bool:
        """Whether a point is to be run; what is known of it, or that it is outside, is told."""
        if point in self._runs:
            self._tell(point)
        elif not self._space.inside(point.values):
            self._proposer.tell(point, Outcome("failed"))
        else:
            return True
        return False

    def _asked_for(self, points: Sequence[Point]) -> bool:
        """Writes an ask down and puts its packs in the queue; whether there are any."""
        configs = [self._space.configs(p) for p in points]
        runs, packs = self._known.packs(self._plan.spec, self._plan.data, configs)
        if not packs:
            return False
        ids = tuple(tuple(r.run_id for r in some) for some in runs)
        self._count += 1
        self._journal.add(self._count, Record(tuple(points), ids, tuple(packs)))
        for point, some in zip(points, ids, strict=True):
            self._runs[point] = some
            for pack in packs:
                if {m.run_id for m in pack.members} & set(some):
                    self._open.setdefault(pack.pack_id, set()).add(point)
        self._asked += sum(map(len, ids))
        self._queue.extend(packs)
        self._write()
        return True

    # telling

    def ended(self, pack_id: str) -> None:
        """A pack has ended, or was given up: its points are told, of which no other pack is open.
        """
        points = self._open.pop(pack_id, set())
        self._rows |= {r["run_id"]: r for r in self._ledger.final_rows(pack_id)}
        still = set().union(*self._open.values())
        for point in sorted(points - still, key=lambda p: self._runs[p]):
            self._tell(point)
        self._write()

    def _tell(self, point: Point) -> None:
        ids = self._runs[point]
        rows = [self._rows[i] for i in ids if i in self._rows]
        self._told(point, knowledge.outcome(rows, self._search), ids)

    def _told(self, point: Point, outcome: Outcome, ids: Sequence[str], known: int = 0) -> None:
        self._proposer.tell(point, outcome)
        self.findings.add(point, outcome, ids, known)

    def _write(self) -> None:
        """What status and the analysis look at: the runs so far, and what was found."""
        ids = dict.fromkeys(i for some in self._runs.values() for i in some)
        store = self._ledger.store
        store.replace("planned.txt", "".join(f"{i}\n" for i in ids).encode())
        edges = [plain(edge) for edge in getattr(self._proposer, "edges", ())]
        facts = {**self.findings.facts(), "asked": self._asked, "over": self.over,
                 "lines": self.lines(), "edges": edges}
        store.replace("search/found.json", json.dumps(facts, indent=1).encode() + b"\n")

    def lines(self) -> list[str]:
        """What was found, for a person; last of all."""
        if SAMPLERS[self._search.sampler].optimises:
            return self.findings.lines()
        return [*self.findings.known_lines(), *getattr(self._proposer, "told", ()),
                *(str(edge) for edge in getattr(self._proposer, "edges", ()))]

    def close(self) -> None:
        """Lets another process go on."""
        self._write()
        self._lock.close()


def _locked(store: Store) -> Any:
    """Until it is closed no other process goes on with the search. Where a store has no locks, one
    that does is told when both write the same ask: see ``Journal.add``."""
    try:
        return store.hold("search/lock")
    except Held:
        raise UserError(Problem("another process goes on with this search", store.where,
                                "wait until it has ended, or follow it: sgdscope watch")) from None


def _elsewhere(name: str, plan: Plan) -> list[knowledge.Row]:
    """The rows of another sweep of the same data: their content is compared, at the rows' size."""
    rows = knowledge.rows_of(open_store(name))
    contents = {plan.data.train_size: plan.data.sha256}
    if "config_data_train_size" not in _constants(plan):  # the space has several sizes
        sizes = {r["config_data_train_size"] for r in rows}
        contents |= contents_of(plan.spec, sizes, plan.data)
    return [r for r in rows if r["data_sha256"] == contents.get(r["config_data_train_size"])]


def _constants(plan: Plan) -> Mapping[str, Any]:
    """Config columns that planning fills in: sizes of the data and of the measurement set."""
    columns = [identity_columns(r.config) for r in plan.search.star]
    return {n: v for n, v in columns[0].items() if n.startswith(("config_data_", "config_measure_"))
            and all(c[n] == v for c in columns)}
