"""What a sweep's folder says of itself: read from the tables alone, without Ray or torch."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator import records
from orchestrator.errors import Problem, UserError
from orchestrator.ledger import Ledger
from orchestrator.stores import Place, Store, open_store, reach


@dataclass(frozen=True)
class Status:
    """Counts of one sweep."""

    folder: str
    planned: int
    ended: int
    by_status: dict[str, int]
    packs_begun: int
    failures: dict[str, str]  # pack_id -> last line of its traceback
    probes_planned: int
    probes_ended: int
    probe_failures: dict[str, str]  # probe_id -> last line of its traceback
    search: dict[str, Any] | None = None  # search/found.json

    @property
    def complete(self) -> bool:
        if self.search is not None and not self.search.get("over"):
            return False
        return self.ended >= self.planned and self.probes_ended >= self.probes_planned

    @property
    def failed(self) -> bool:
        return bool(self.failures or self.probe_failures)

    def lines(self) -> list[str]:
        """What a person reads."""
        share = self.ended / self.planned if self.planned else 1.0
        planned = self.planned
        if self.search is not None:
            planned = self.search["budget"]
            share = 1.0 if self.search["over"] else self.ended / planned
        counts = ", ".join(f"{n} {s}" for s, n in sorted(self.by_status.items())) or "none yet"
        text = [f"{self.folder}", f"{share:4.0%}  runs {self.ended}/{planned} ({counts})"
                + (f"  packs under way {self.packs_begun}" if self.packs_begun else "")
                + (f"  probes {self.probes_ended}/{self.probes_planned}"
                   if self.probes_planned else "")
                + (f"  {self.search['sampler']}: {self.search['told']} told"
                   if self.search else "")]
        if self.search and self.search["headline"]:
            text[-1] += f", {self.search['headline']}"
        if self.search and self.search["over"]:
            text += self.search["lines"]
        return [*text, *(f"pack {p} failed: {why}" for p, why in self.failures.items()),
                *(f"probe {p} failed: {why}" for p, why in self.probe_failures.items())]

    def json(self) -> str:
        return json.dumps({**asdict(self), "complete": self.complete})


def status_of(folder: Place, *, again: bool = False) -> Status:
    """The status of a sweep's folder; UserError where it is none.

    ``again``: it was there before, so that a store that does not answer is waited for.
    """
    from analysis.tables import read

    if not again:
        reach(folder)
    store = open_store(folder)
    if store.read("resolved.yaml") is None:
        raise UserError(Problem(f"{folder} holds no sweep", str(folder),
                                "give <storage>/<name>, the folder that `run` printed"))
    wanted = set(records.ids(store, "planned.txt"))
    table = read(store.folder, "runs", ["run_id", "status"]).to_pydict()
    ended = {i: s for i, s in zip(table["run_id"], table["status"], strict=True) if i in wanted}
    begun = sum(1 for _ in Ledger(store).open_packs())
    probes = set(records.ids(store, "planned_probes.txt"))
    made = Ledger(store).ended_probes()
    return Status(str(folder), len(wanted), len(ended), dict(Counter(ended.values())), begun,
                  _failures(store), len(probes), len(probes & made), _probe_failures(store, made),
                  _search(store))


def _search(store: Store) -> dict[str, Any] | None:
    """What a search has found so far, where the newest spec is one."""
    section = (records.resolved(store) or {}).get("sweep", {}).get("search")
    if section is None:
        return None
    empty = {"told": 0, "headline": "", "over": False, "lines": []}
    try:
        found = records.record(store, "search/found.json", (), "") or {}
    except UserError:  # it is written anew as the search goes on
        found = {}
    found = {k: v for k, v in found.items() if isinstance(v, type(empty.get(k, v)))}
    return {**empty, **found, "budget": section["runs"], "sampler": section["sampler"]}


def _failures(store: Store) -> dict[str, str]:
    """The packs that failed, before or after their first step, and have not ended since."""
    ended = Ledger(store).ended_packs()
    reasons = {p: store.read(f"packs/{p}/error.txt") for p in store.names("packs")
               if p not in ended}
    return {p: last_line(content.decode(errors="replace"))
            for p, content in reasons.items() if content and content.strip()}


def _probe_failures(store: Store, made: set[str]) -> dict[str, str]:
    """The probes that failed and have not been made since."""
    end = ".error.txt"
    failed = [n.removesuffix(end) for n in store.names("probes") if n.endswith(end)]
    return {p: last_line((store.read(f"probes/{p}{end}") or b"").decode(errors="replace"))
            for p in failed if p not in made}


def last_line(why: str) -> str:
    """Of a traceback, the line that says what went wrong."""
    return (why.strip().splitlines() or ["no reason given"])[-1]
