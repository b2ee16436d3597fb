"""What is committed of a sweep. The state is the commit; the table part is its publication.

At border k a pack's state, with the rows of segment k in it, is created only if absent; then the
rows are published from the state's bytes as ``tables/<table>/<pack_id>-<k>.parquet``, ``runs``
last. Whoever comes after a crash finds the newest state, publishes it, and goes on from it. So a
part has one content for ever, and any reader sees each row exactly once at every moment.

A probe is committed likewise, whole: its record and rows as ``probes/<probe_id>.commit``, published
as ``tables/curves/<probe_id>-0.parquet``, then ``probes/<probe_id>.json``, by which it has ended.

A pack that is given up for its halves has those in place of its first state, without rows and for
ever, and ends with the empty part ``tables/runs/<pack_id>-halved.parquet``.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.errors import TableError
from analysis.schema import TABLES
from analysis.tables import read
from orchestrator import commits, records
from orchestrator.commits import Commit, CorruptCommit, decode, encode, probe_path, state_path
from orchestrator.errors import Problem, UserError
from orchestrator.stores import Store

SCHEMA_PART = "0000-schema.parquet"
_PUBLISHING_ORDER = ("snapshots", "spectra", "curves", "runs")


class Halved(Exception):
    """The pack was given up before its first commit; ``halves`` hold its runs."""

    def __init__(self, halves: Sequence[Mapping[str, Any]]):
        super().__init__("the pack goes on as its halves")
        self.halves = halves


class Ledger:
    """The committed part of one sweep's folder."""

    def __init__(self, store: Store):
        self.store = store
        self._schemas: dict[str, pa.Schema] = {}

    # the sweep

    def create_tables(self, schemas: Mapping[str, pa.Schema]) -> None:
        """Fixes the sweep's schemas as empty parts; refuses where others are fixed already."""
        for table in TABLES:
            path = f"tables/{table}/{SCHEMA_PART}"
            if not self.store.create(path, _parquet(schemas[table].empty_table())):
                fixed = self.schema(table)
                if not fixed.equals(schemas[table]):
                    raise UserError(_schema_problem(table, fixed, schemas[table]))

    def schema(self, table: str) -> pa.Schema:
        """The table's schema as fixed when the sweep was first written."""
        if table not in self._schemas:
            content = self.store.read(f"tables/{table}/{SCHEMA_PART}")
            if content is None:
                raise records.damaged(self.store, f"tables/{table}/{SCHEMA_PART}", (
                    "move it away: running the sweep again writes it anew"))
            self._schemas[table] = _schema_of(content, f"{self.store.where}/tables/{table}")
        return self._schemas[table]

    def ended_runs(self) -> set[str]:
        """The ids of the runs whose final row is published."""
        return {row["run_id"] for row in self._final_rows(["run_id"])}

    def outcomes(self) -> dict[str, tuple[str, int]]:
        """run_id -> (status, steps) of the runs whose final row is published."""
        return {row["run_id"]: (row["status"], row["steps"])
                for row in self._final_rows(["run_id", "status", "steps"])}

    def _final_rows(self, columns: list[str]) -> Iterator[dict[str, Any]]:
        if self.ended_packs():
            try:
                yield from read(self.store.folder, "runs", columns).to_pylist()
            except TableError as error:
                raise UserError(Problem(error.what, error.where, error.fix)) from error

    def ended_packs(self) -> set[str]:
        """The packs whose last segment is published."""
        return {n.rsplit("-", 1)[0] for n in self.store.names("tables/runs") if n != SCHEMA_PART}

    def open_packs(self) -> Iterator[dict[str, Any]]:
        """The packs that were begun and have not ended; halves belong to the pack they are of."""
        ended = self.ended_packs()
        for pack_id in self.store.names("packs"):
            pack = None if pack_id in ended else self.fixed(pack_id)
            if pack and ("of" not in pack or pack["of"] in ended):
                yield pack

    # a pack

    def begin(self, pack: Mapping[str, Any]) -> dict[str, Any]:
        """Fixes a pack before its first step; the one fixed earlier, if there is one."""
        path = f"packs/{pack['pack_id']}/pack.json"
        self.store.create(path, commits.seal(pack))
        return self._pack(pack["pack_id"], self.store.read(path))

    def fixed(self, pack_id: str) -> dict[str, Any] | None:
        """The pack as fixed before its first step, or None. UserError where it is damaged."""
        content = self.store.read(f"packs/{pack_id}/pack.json")
        return None if content is None else self._pack(pack_id, content)

    def _pack(self, pack_id: str, content: bytes | None) -> dict[str, Any]:
        path = f"packs/{pack_id}/pack.json"
        try:
            return commits.unseal(content, path)
        except CorruptCommit:
            raise records.damaged(self.store, path, (
                f"move packs/{pack_id} away, and tables/*/{pack_id}-*: running the sweep again "
                "then trains its runs anew")) from None

    def commit(self, pack_id: str, facts: Mapping[str, Any], state: bytes,
               rows: Mapping[str, Sequence[Mapping]]) -> None:
        """Commits and publishes one segment; adopts it where another writer was first.

        Halved where another has given the pack up.
        """
        parts = {t: _parquet(pa.Table.from_pylist(list(rows[t]), self.schema(t)))
                 for t in TABLES if rows[t]}
        path = state_path(pack_id, facts["segment"])
        mine = Commit({**facts, "pack_id": pack_id}, state, parts)
        committed = mine if self.store.create(path, encode(mine)) else self._load(path) or mine
        if "halves" in committed.facts:
            self.newest(pack_id)  # raises, unless whoever gave the pack up came too late
            committed = mine
        self.publish(pack_id, committed)

    def publish(self, pack_id: str, commit: Commit) -> None:
        """Makes a commit's rows visible and drops the states that nobody needs any more."""
        segment = commit.facts["segment"]
        for table in _PUBLISHING_ORDER:
            if table in commit.parts:
                part = f"tables/{table}/{pack_id}-{segment}.parquet"
                self.store.create(part, commit.parts[table])
        keep = set() if commit.facts["last"] else {segment, segment - 1}
        for k in self._segments(pack_id):
            if k not in keep and (commit.facts["last"] or k < segment):
                self.store.delete(state_path(pack_id, k))

    def newest(self, pack_id: str) -> Commit | None:
        """The newest whole commit of a pack: a damaged one falls back to the one before.

        Halved where the pack was given up instead.
        """
        for k in sorted(self._segments(pack_id), reverse=True):
            commit = self._load(state_path(pack_id, k))
            if commit is not None and "halves" not in commit.facts:
                return commit
            # States go when what follows them is there: looked for in this order, one is found.
            if commit is not None and self._segments(pack_id) == [0] and not self._parts(pack_id):
                raise Halved(commit.facts["halves"])
            self.store.delete(state_path(pack_id, k))
        return None

    def halve(self, pack_id: str, halves: Sequence[Mapping]) -> Sequence[Mapping] | None:
        """Gives a pack up for its halves; those that hold, or None where it has a commit."""
        try:
            if self.newest(pack_id) is None and not self._parts(pack_id):
                facts = {"segment": 0, "step": 0, "last": False, "halves": list(halves),
                         "pack_id": pack_id}
                self.store.create(state_path(pack_id, 0), encode(Commit(facts, b"", {})))
                self.newest(pack_id)
        except Halved as found:
            return found.halves
        return None

    def halves(self, pack_id: str) -> Sequence[Mapping[str, Any]] | None:
        """The halves for which a pack was given up, or None."""
        try:
            if self._segments(pack_id) == [0]:
                self.newest(pack_id)
        except Halved as found:
            return found.halves
        return None

    def mark(self, pack_id: str) -> tuple[Any, ...]:
        """What changes with every commit of a pack or of its halves."""
        halves = self.halves(pack_id) or ()
        return (*self._segments(pack_id), *(self.mark(h["pack_id"]) for h in halves))

    def end_halved(self, pack_id: str) -> None:
        """A pack of which all halves have ended has ended: an empty part says so."""
        content = _parquet(self.schema("runs").empty_table())
        self.store.create(f"tables/runs/{pack_id}-halved.parquet", content)

    def counts(self, pack_id: str) -> dict[str, Any] | None:
        """How the runs of a pack ended, as its last progress; None where it has no final rows."""
        rows = self._own_rows(pack_id, ["status", "steps"])
        steps = max((r["steps"] for r in rows), default=1)
        diverged = sum(r["status"] == "diverged" for r in rows)
        return {"step": steps, "steps": steps, "running": 0, "finished": len(rows) - diverged,
                "diverged": diverged} if rows else None

    def final_rows(self, pack_id: str) -> list[dict[str, Any]]:
        """The rows of ``runs`` of a pack, or of its halves; those that are published by now."""
        halves = self.halves(pack_id) or ()
        return [*self._own_rows(pack_id), *(r for h in halves for r in self.final_rows(
            h["pack_id"]))]

    def _own_rows(self, pack_id: str, columns: list[str] | None = None) -> list[dict[str, Any]]:
        parts = self.store.names("tables/runs", f"{pack_id}-")
        return [row for n in parts for row in pq.read_table(io.BytesIO(self.store.read(
            f"tables/runs/{n}")), columns=columns).to_pylist()]

    # a probe

    def ended_probes(self) -> set[str]:
        """The probes whose record is published, with their rows where they have some."""
        parts = set(self.store.names("tables/curves"))
        ended = set()
        for name in self.store.names("probes"):
            if name.endswith(".json") and (
                    not self._record(name).get("rows") or f"{name[:-5]}-0.parquet" in parts):
                ended.add(name[:-5])
        return ended

    def _record(self, name: str) -> dict[str, Any]:
        path, fix = f"probes/{name}", "move it away: the same command then makes its probe anew"
        found = records.record(self.store, path, (), fix)
        if found is None:  # a folder
            raise records.damaged(self.store, path, fix)
        return found

    def committed_probe(self, probe_id: str) -> Commit | None:
        """A probe's commit that was left unpublished; a damaged one is dropped."""
        commit = self._load(probe_path(probe_id))
        if commit is None:
            self.store.delete(probe_path(probe_id))
        return commit

    def commit_probe(self, record: Mapping[str, Any], rows: Sequence[Mapping]) -> None:
        """Commits and publishes a probe; adopts what another writer committed first."""
        parts = {"curves": _parquet(pa.Table.from_pylist(list(rows), self.schema("curves")))}
        mine = Commit({**record, "rows": len(rows)}, b"", parts if rows else {})
        path = probe_path(record["probe_id"])
        self.publish_probe(mine if self.store.create(path, encode(mine))
                           else self._load(path) or mine)

    def publish_probe(self, commit: Commit) -> None:
        """Makes a probe's rows visible, then its record."""
        probe_id = commit.facts["probe_id"]
        for table, part in commit.parts.items():
            self.store.create(f"tables/{table}/{probe_id}-0.parquet", part)
        record = json.dumps(dict(commit.facts), indent=1, sort_keys=True).encode() + b"\n"
        self.store.create(f"probes/{probe_id}.json", record)
        self.store.delete(probe_path(probe_id))

    def _parts(self, pack_id: str) -> bool:
        """Whether rows of a pack are published, those of its halves aside."""
        return any(n[len(pack_id) + 1 : -8].isdigit() for table in TABLES
                   for n in self.store.names(f"tables/{table}", f"{pack_id}-"))

    def _segments(self, pack_id: str) -> list[int]:
        names = self.store.names(f"packs/{pack_id}", "state-")
        return [int(n[6:-4]) for n in names if n[6:-4].isdigit()]

    def _load(self, path: str) -> Commit | None:
        content = self.store.read(path)
        try:
            return None if content is None else decode(content, path)
        except CorruptCommit:
            return None


def _schema_of(content: bytes, folder: str) -> pa.Schema:
    try:
        return pq.read_schema(io.BytesIO(content))
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise UserError(Problem("damaged, or not Parquet", f"{folder}/{SCHEMA_PART}", (
            "move the sweep's folder away, or choose another name"))) from error


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def _schema_problem(table: str, fixed: pa.Schema, wanted: pa.Schema) -> Problem:
    gone = sorted(set(fixed.names) - set(wanted.names))
    new = sorted(set(wanted.names) - set(fixed.names))
    changed = sorted(n for n in set(fixed.names) & set(wanted.names)
                     if fixed.field(n).type != wanted.field(n).type)
    parts = [f"{what} {', '.join(names)}" for what, names in
             (("no longer has", gone), ("gains", new), ("changes the type of", changed)) if names]
    return Problem(f"the sweep's table `{table}` {'; '.join(parts) or 'changes its metadata'}",
                   f"tables/{table}/{SCHEMA_PART}",
                   "a sweep's columns are fixed when it is first written: choose another name")
