"""What a search has asked for: a file an ask, created only if absent, before its packs begin.

So a pack that was asked for is found again, with exactly its members, whatever happened since; its
results lie in the tables.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import Problem, UserError
from orchestrator.packing import PackPlan, Run
from orchestrator.search.proposer import Point
from orchestrator.stores import Store

FORMAT = 1


@dataclass(frozen=True)
class Record:
    """One ask: its points, the run_ids of each, and the packs that hold them."""

    points: tuple[Point, ...]
    runs: tuple[tuple[str, ...], ...]
    packs: tuple[PackPlan, ...]


class Journal:
    """The asks of one search, in ``search/<identity>/``."""

    def __init__(self, store: Store, identity: str):
        self._store, self._folder = store, f"search/{identity}"

    def records(self) -> list[Record]:
        """All asks, in their order. UserError for one that is damaged."""
        names = sorted(n for n in self._store.names(self._folder) if n.endswith(".json"))
        return [self._read(name) for name in names]

    @property
    def last(self) -> int:
        """The largest number of an ask; 0 before the first. Numbers may be lacking in between."""
        stems = (n.removesuffix(".json") for n in self._store.names(self._folder))
        return max((int(s) for s in stems if s.isdigit()), default=0)

    def add(self, index: int, record: Record) -> None:
        """Writes the ask number ``index``."""
        content = {
            "format": FORMAT,
            "points": [{"values": dict(p.values), "run_ids": list(ids)}
                       for p, ids in zip(record.points, record.runs, strict=True)],
            "packs": [{"pack_id": p.pack_id, "width": p.width, "engine": p.engine, "members": [
                {"run_id": m.run_id, "config": m.config} for m in p.members]}
                for p in record.packs]}
        path = f"{self._folder}/{index:06d}.json"
        if not self._store.create(path, json.dumps(content).encode() + b"\n"):
            raise UserError(Problem("another process goes on with this search",
                                    f"{self._store.where}/{path}", "wait until it has ended"))

    def _read(self, name: str) -> Record:
        path = f"{self._folder}/{name}"
        try:
            content = json.loads(self._store.read(path) or b"")
            return _record(content)
        except (ValueError, KeyError, TypeError):
            raise UserError(Problem("damaged, or not an ask of a search",
                                    f"{self._store.where}/{path}",
                                    "move it away: its runs stay, and are known")) from None


def _record(content: Mapping[str, Any]) -> Record:
    points: Sequence[Mapping[str, Any]] = content["points"]
    return Record(
        tuple(Point(p["values"]) for p in points), tuple(tuple(p["run_ids"]) for p in points),
        tuple(PackPlan(p["pack_id"], tuple(Run(m["run_id"], m["config"]) for m in p["members"]),
                       p["width"], p["engine"]) for p in content["packs"]))
