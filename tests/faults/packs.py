"""A pack that computes nothing: rows that follow from the steps before them, in no time.

The real ``run_pack``, ledger and stores work on it. Its state is a hash chained over its steps, of
which every row is made: a row after a state that was lost, or is another's, is another row. What
may differ between two executions (``time_*``) differs in every one.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis.schema import sweep_schema
from orchestrator import building, packrun
from orchestrator.ledger import Ledger
from trainables import measure, snapshot, train
from trainables.train import Progress, Segment

STEPS, BORDERS = 6, (2, 4, 6)
_EXECUTION = itertools.count(1)


@dataclass
class State:
    """After ``step`` steps."""

    step: int
    digest: str


@dataclass(frozen=True)
class Member:
    """A run of a pack."""

    run_id: str
    config: Mapping[str, Any]


class Pack:
    """What run_pack asks of a pack. ``fits``: the widest one that memory takes."""

    engine = SimpleNamespace(name="loop", compiled=False)
    steps = STEPS

    def __init__(self, wanted: Mapping[str, Any], fits: int):
        self.fits = fits
        self.members = [Member(m["run_id"], m["config"]) for m in wanted["members"]]
        self.width = wanted["width"]

    def init(self) -> State:
        return State(0, "")


def train_(pack: Pack, state: State, borders: Sequence[int]) -> Iterator[Progress | Segment]:
    """As trainables.train.train: a segment at each border, the last at the end."""
    segment, execution = sum(b <= state.step for b in borders), next(_EXECUTION)
    rows: list[dict[str, Any]] = []
    while state.step < pack.steps:
        if pack.width > pack.fits:
            raise MemoryError("out of memory")
        state.step += 1
        state.digest = hashlib.sha256(f"{state.digest}{state.step}".encode()).hexdigest()
        rows += [{"run_id": m.run_id, "step": state.step, "train_loss": _value(m, state),
                  "time_measure_s": float(execution)} for m in pack.members]
        yield progress(pack, state)
        if state.step == borders[segment]:
            last = state.step == pack.steps
            final = [{"run_id": m.run_id, "status": "finished", "steps": state.step,
                      "final_train_loss": _value(m, state), "time_train_s": float(execution)}
                     for m in pack.members if last]
            tables = {"snapshots": rows, "runs": final, "spectra": [], "curves": []}
            yield Segment(segment, tables, replace(state), last)
            rows, segment = [], segment + 1


def progress(pack: Pack, state: State) -> Progress:
    """As trainables.train.progress."""
    ended = len(pack.members) if state.step == pack.steps else 0
    return Progress(state.step, pack.steps, len(pack.members) - ended, ended, 0)


def _value(member: Member, state: State) -> float:
    mixed = hashlib.sha256(f"{member.run_id}{state.digest}".encode()).digest()
    return int.from_bytes(mixed[:6], "big") / 2**48


def _built(wanted: Mapping[str, Any], base_dir: Path, _: Any) -> Pack:
    return Pack(wanted, int(base_dir.name))


@contextmanager
def instead() -> Iterator[None]:
    """run_pack trains these packs."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, stand_in in (
                (building, "build", _built), (building, "build_working", _built),
                (building, "check_works", lambda _: None),
                (train, "train", train_), (train, "progress", progress),
                (snapshot, "dump", lambda state: json.dumps(vars(state)).encode()),
                (snapshot, "load", lambda content, _: State(**json.loads(content))),
                (measure, "final_weights", lambda pack, _: {m.run_id: {} for m in pack.members}),
                (packrun, "_borders", lambda _: list(BORDERS)),
                (packrun, "_with_config", lambda _, rows, shared: [
                    {**row, **shared} for row in rows]),
                (packrun, "_provenance", lambda order, *_: {"name": order["name"]})):
            patch.setattr(owner, name, stand_in)
        yield


def orders(folder: str, packs: int = 2, runs: int = 2) -> list[dict[str, Any]]:
    """Of that many packs, as they reach a worker."""
    return [{"folder": folder, "name": "tiny", "base_dir": "/99", "weights": False, "device": "cpu",
             "pack": {"format": 1, "pack_id": f"{p:016x}", "width": runs, "engine": "loop",
                      "members": [{"run_id": f"{p:08x}{r:08x}", "config": {}}
                                  for r in range(runs)]}}
            for p in range(packs)]


def open_tables(store: Any, wanted: Sequence[Mapping[str, Any]]) -> None:
    """What a folder begins with."""
    Ledger(store).create_tables(sweep_schema())
    ids = [m["run_id"] for one in wanted for m in one["pack"]["members"]]
    store.replace("planned.txt", "".join(f"{i}\n" for i in ids).encode())


def missing(store: Any, wanted: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The orders of which final rows are missing, of a half perhaps: what a driver plans."""
    ended = Ledger(store).ended_runs()
    return [one for one in wanted
            if any(m["run_id"] not in ended for m in one["pack"]["members"])]
