"""SIGKILL at any moment, then the same command: the same tables, bit for bit, each row once.

Real processes, killed from outside. The tests write some ``pack.json`` themselves, through the
ledger and before the sweep trains, so that short packs commit in several segments: a pack takes
up the borders that were fixed for it.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import orchestrator
from analysis.schema import TABLES, VOLATILE
from analysis.tables import read
from orchestrator import costs, session
from orchestrator.ledger import SCHEMA_PART, Ledger
from orchestrator.packrun import order
from orchestrator.stores.local import LocalStore

TINY = {
    "name": "tiny",
    "data": {"name": "digits", "train_size": 256},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "train": {"epochs": 6},
    "sweep": {"axes": {"lr": [0.05, 0.2], "batch_size": [16, 32], "seed": {"count": 2}}},
    "measure": {"when": {"every_epochs": 1}, "set_size": 64,
                "monitors": [{"spectrum": {"k": 2, "tolerance": 1e-2}}]},
    "probes": [{"interpolation": {"points": 9}}, {"tunnels": {"directions": 8, "points": 17}}],
}
PROBES = 12  # four pairs of seeds, eight runs
NEW_LR = 0.1
PATIENCE = 120.0  # seconds for a tiny command on a busy machine
SORTED_BY = {"runs": ["run_id"], "snapshots": ["run_id", "step"],
             "spectra": ["run_id", "step", "operator", "index"],
             "curves": ["subject_id", "step", "quantity", "series", "index"]}


# a command, and its end

# The command without its analysis, which takes seconds and comes after all that is killed here.
UNREPORTED = """
import sys
from types import SimpleNamespace

told = SimpleNamespace(path="", verdict="", lines=[""])
sys.modules["analysis.report"] = SimpleNamespace(write=lambda *_: told)
from orchestrator.cli import main

main()
"""


@dataclass
class Command:
    """A `run` command in a session of its own, with its output in ``log``."""

    arguments: Sequence[str]
    log: Path
    scratch: Path | None = None
    program: Sequence[str] = ("-m", "orchestrator.cli")
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        places = {n: str(self.scratch) for n in ("TMPDIR", "RAY_TMPDIR") if self.scratch}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.program, "run", *self.arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | places)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def ended(self, limit: float) -> None:
        """Waits for the command's own, successful end."""
        try:
            code = self.process.wait(limit)
        finally:
            self.kill()
        assert code == 0, self.log.read_text()

    def kill_when(self, moment: Callable[[], bool], limit: float) -> None:
        """SIGKILL to all of it as soon as ``moment`` has come."""
        try:
            while not moment():
                code = self.process.poll()
                if code is not None or self.seconds > limit:
                    pytest.fail(f"the moment did not come; code {code}: {self.log.read_text()}")
                time.sleep(0.001)
        finally:
            self.kill()

    def kill(self) -> None:
        """Kills the group, and whatever of its session or descent is in other groups."""
        mine = self._alive({self.process.pid})
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        give_up = time.monotonic() + 20
        while mine:
            assert time.monotonic() < give_up, f"cannot be killed: {mine}"
            for pid in mine:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
            mine = self._alive(mine)

    def _alive(self, mine: set[int]) -> set[int]:
        """The processes of the session and the descendants of ``mine`` that are no zombies."""
        stats = dict(_processes())
        found = {p for p, (_, _, sid) in stats.items() if sid == self.process.pid} | mine
        size = -1
        while size != len(found):
            size = len(found)
            found |= {p for p, (_, parent, _) in stats.items() if parent in found}
        return {p for p in found if p in stats and stats[p][0] != "Z"} - {os.getpid()}


def _processes() -> Iterator[tuple[int, tuple[str, int, int]]]:
    """pid -> (state, parent, session)."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent, _, sid = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                yield int(folder.name), (state, int(parent), int(sid))


# what lies on the disk


def prepare(planned: Any, *, every: int = 1) -> None:
    """Fixes every ``every``-th pack of a plan with three segments, before it trains."""
    folder = session.open_folder(planned).folder
    for pack in planned.packs[::every]:
        steps = costs.lengths(pack)[0]
        wanted = {**order(pack, planned.spec, folder)["pack"],
                  "borders": [steps // 3, 2 * steps // 3, steps], "device_kind": "cpu"}
        assert Ledger(LocalStore(folder)).begin(wanted) == json.loads(json.dumps(wanted))


def parts(folder: Path) -> dict[str, tuple[bytes, int]]:
    """All published parts: their bytes and when they were written."""
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns)
            for p in folder.glob("tables/*/[!.]*") if p.name != SCHEMA_PART}


def published(folder: Path) -> int:
    """The number of published parts."""
    return sum(p.name != SCHEMA_PART for p in folder.glob("tables/*/[!.]*"))


def probe_parts(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The published parts of probes."""
    return {n: p for n, p in parts(folder).items() if n.startswith("tables/curves/")}


def rows(folder: Path, table: str) -> int:
    """The rows of a table, as plain pandas sees them."""
    return len(pd.read_parquet(folder / "tables" / table))


def compared(folder: Path, table: str) -> pa.Table:
    """A table sorted, without the columns that may differ between two executions."""
    whole = read(folder, table)
    assert len(pd.read_parquet(folder / "tables" / table)) == whole.num_rows
    whole = whole.sort_by([(name, "ascending") for name in SORTED_BY[table]])
    keys = whole.select(SORTED_BY[table])
    assert keys.group_by(SORTED_BY[table]).aggregate([]).num_rows == whole.num_rows
    return whole.select([n for n in whole.column_names if not n.startswith(VOLATILE)])


def assert_same_tables(one: Path, other: Path) -> None:
    """The same rows, each once, with the same bits in every column, nulls and NaN included."""
    for table in TABLES:
        left, right = compared(one, table), compared(other, table)
        assert left.num_rows == right.num_rows, table
        assert left.schema.equals(right.schema, check_metadata=True), table
        different = [n for n in left.column_names if bits(left[n]) != bits(right[n])]
        assert not different, f"{table}: {different}"


def bits(column: pa.ChunkedArray) -> tuple[list, Any]:
    nulls = pc.is_null(column).to_pylist()
    if pa.types.is_floating(column.type):
        return nulls, column.fill_null(0.0).to_numpy().tobytes()
    return nulls, column.to_pylist()


def pack_ids(folder: Path) -> set[str]:
    return {p.name for p in (folder / "packs").iterdir()}


# a tiny sweep, in one process


@dataclass
class Told:
    """What was seen on the way."""

    folder: Path
    at_kills: list[tuple[int, int]] = field(default_factory=list)  # rows of runs, of snapshots
    before: dict[str, Any] = field(default_factory=dict)
    extended: dict[str, Any] = field(default_factory=dict)
    again: dict[str, Any] = field(default_factory=dict)
    probes_at_kill: dict[str, Any] = field(default_factory=dict)


def _spec(folder: Path, lrs: Sequence[float]) -> Path:
    axes = {**TINY["sweep"]["axes"], "lr": list(lrs)}
    path = folder / f"{len(lrs)}.yaml"
    path.write_text(json.dumps({**TINY, "sweep": {"axes": axes}}))
    return path


def _killed(base: Path) -> Told:
    """Killed before the first row, at the first part, at a state not yet published, and between
    two probes."""
    told, arguments = Told(base / TINY["name"]), _tiny(base, TINY["sweep"]["axes"]["lr"])

    def kill_when(moment: Callable[[], bool]) -> None:
        _unreported(arguments, base).kill_when(moment, PATIENCE)
        told.at_kills.append((rows(told.folder, "runs"), rows(told.folder, "snapshots")))

    kill_when((told.folder / "planned.txt").exists)  # the last of what a folder begins with
    prepare(orchestrator.plan(arguments[0], storage=base))
    kill_when(lambda: published(told.folder) > 0)
    kill_when(lambda: _second_pack_commits(told.folder))
    kill_when(lambda: len(probe_parts(told.folder)) > 1)
    told.probes_at_kill = probe_parts(told.folder)
    _unreported(arguments, base).ended(PATIENCE)
    return told


def _second_pack_commits(folder: Path) -> bool:
    ended = {p.name.rpartition("-")[0] for p in folder.glob("tables/runs/*-2.parquet")}
    begun = {p.parent.name for p in folder.glob("packs/*/state-1.bin")}
    return bool(ended and begun - ended)


def _unbroken(base: Path) -> Told:
    """Run whole; then with one more learning rate; then the same again."""
    told, arguments = Told(base / TINY["name"]), _tiny(base, TINY["sweep"]["axes"]["lr"])
    prepare(orchestrator.plan(arguments[0], storage=base))
    _unreported(arguments, base).ended(PATIENCE)
    shutil.copytree(told.folder, base / "whole" / TINY["name"])
    told.before = parts(told.folder)
    more = _tiny(base, [*TINY["sweep"]["axes"]["lr"], NEW_LR])
    _unreported(more, base).ended(PATIENCE)
    told.extended = parts(told.folder)
    _unreported(more, base).ended(PATIENCE)
    told.again = parts(told.folder)
    return told


def _tiny(base: Path, lrs: Sequence[float]) -> list[str]:
    return [str(_spec(base, lrs)), "--storage", str(base), "--inline"]


def _unreported(arguments: Sequence[str], base: Path) -> Command:
    return Command(arguments, base / "log", program=("-c", UNREPORTED))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """Both sweeps side by side, one a core."""
    orchestrator.plan(_spec(tmp_path_factory.mktemp("plan"), [0.1]))  # imports, in one thread
    with ThreadPoolExecutor(2) as pool:
        started = {f: pool.submit(f, tmp_path_factory.mktemp("tiny"))
                   for f in (_killed, _unbroken)}
        return {f.__name__: s.result() for f, s in started.items()}


def test_a_sweep_killed_four_times_has_the_tables_of_an_unbroken_one(tiny):
    killed, whole = tiny["_killed"].folder, tiny["_unbroken"].folder.parent / "whole" / "tiny"
    assert_same_tables(killed, whole)
    assert rows(killed, "runs") == 8
    assert set(Counter(read(killed, "snapshots")["run_id"].to_pylist()).values()) == {10, 11}
    assert pack_ids(killed) == pack_ids(whole)
    segments = {p.name.rsplit("-", 1)[1] for p in killed.glob("tables/snapshots/*-?.parquet")}
    assert segments == {"0.parquet", "1.parquet", "2.parquet"}


def test_the_kills_came_before_the_first_row_at_the_first_part_and_between(tiny):
    (_, none), (early, first), (between, more), (ended, _) = tiny["_killed"].at_kills
    assert none == 0
    assert early == 0
    assert first > 0
    assert 0 < between < 8
    assert more > first
    assert ended == 8


def test_probes_that_were_made_before_a_kill_are_not_made_again(tiny):
    told = tiny["_killed"]
    after = probe_parts(told.folder)
    assert 1 < len(told.probes_at_kill) < len(after) == PROBES
    assert {n: after[n] for n in told.probes_at_kill} == told.probes_at_kill
    records = [json.loads(p.read_text())  # a killed writer may leave a commit beside a record
               for p in (told.folder / "probes").glob("[!.]*.json")]
    curves = Counter(read(told.folder, "curves")["subject_id"].to_pylist())
    assert {r["probe_id"]: r["rows"] for r in records} == curves
    runs = set(read(told.folder, "runs")["run_id"].to_pylist())
    assert set().union(*(r["run_ids"] for r in records)) == runs


class Killed(BaseException):
    """In place of a kill that no clock could time."""


def test_a_folder_left_while_it_was_being_opened_is_taken_up(tmp_path, monkeypatch):
    """Four empty tables, then five files: whichever of them was the last."""
    path = _spec(tmp_path, [0.1])
    planned = orchestrator.plan(path, storage=tmp_path)
    for writes in range(8):
        left = [writes]
        with monkeypatch.context() as patch:
            patch.setattr(LocalStore, "create", _until_none_is_left(LocalStore.create, left))
            patch.setattr(LocalStore, "replace", _until_none_is_left(LocalStore.replace, left))
            with pytest.raises(Killed):
                session.open_folder(planned)
        session.check(planned)
        shutil.rmtree(planned.folder, ignore_errors=writes == 0)


def _until_none_is_left(write: Callable, left: list[int]) -> Callable:
    def counted(*given: Any) -> Any:
        if not left[0]:
            raise Killed
        left[0] -= 1
        return write(*given)

    return counted


def test_one_more_learning_rate_runs_only_the_new_cells(tiny):
    told = tiny["_unbroken"]
    assert {n: p for n, p in told.extended.items() if n in told.before} == told.before
    ended = read(told.folder, "runs")
    assert Counter(ended["lr"].to_pylist()) == {0.05: 4, 0.2: 4, NEW_LR: 4}
    old = {n.rpartition("/")[2].rpartition("-")[0] for n in told.before}
    new = {n.rpartition("/")[2].rpartition("-")[0] for n in told.extended.keys() - told.before}
    assert not old & new
    fresh = ended.filter(pc.is_in(ended["pack_id"], pa.array(sorted(new))))
    assert fresh["lr"].to_pylist() == [NEW_LR] * 4


def test_the_same_command_after_the_end_runs_nothing(tiny):
    told = tiny["_unbroken"]
    assert told.again == told.extended
    log = (told.folder.parent / "log").read_text()
    assert "12 of them done; 0 packs to do" in log


# a preset on Ray

# Packs of four, so that many are left at any moment; each third of a pack has rows of its own.
PRESET, SLOW = "digits-ratio", ("train.epochs=9", "measure.when.every_epochs=3", "compute.pack=4")
SEED, EARLY, LATER = 20260, 2, 8


def _on_ray(storage: Path) -> list[str]:
    return [PRESET, "--storage", str(storage), *(a for s in SLOW for a in ("-s", s))]


def _after(wait: float, folder: Path, count: int) -> Callable[[], bool]:
    """Whether ``wait`` seconds have passed since ``count`` parts were first seen."""
    seen: list[float] = []

    def moment() -> bool:
        if not seen and published(folder) >= count:
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() - seen[0] >= wait

    return moment


def _plan(storage: Path) -> Any:
    return orchestrator.plan(PRESET, overrides=SLOW, storage=storage)


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """Where Ray and Tune put their files; short, for Ray's sockets are in it."""
    path = Path(tempfile.mkdtemp(prefix="kills-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def unbroken_preset(tmp_path_factory: pytest.TempPathFactory, scratch: Path) -> tuple[Path, float]:
    """The folder of the preset's sweep, never killed, and its seconds."""
    base = tmp_path_factory.mktemp("unbroken")
    prepare(_plan(base), every=2)
    command = Command(_on_ray(base), base / "log", scratch)
    command.ended(900)
    return base / PRESET, command.seconds


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_sweep_on_ray_killed_ten_times_has_the_tables_of_an_unbroken_one(
        tmp_path, scratch, unbroken_preset, capsys):
    whole, seconds = unbroken_preset
    drawn = random.Random(SEED)
    prepare(_plan(tmp_path), every=2)
    folder, lines, inside = tmp_path / PRESET, [f"unbroken: {seconds:.0f} s"], 0
    for k in range(EARLY + LATER):
        if k < EARLY:
            wait, since = drawn.uniform(1.0, 8.0), "its start"
            count = 0
        else:
            wait, since = drawn.uniform(0.0, 4.0), "its first part"
            count = published(folder) + 1
        command = Command(_on_ray(tmp_path), tmp_path / "log", scratch)
        command.kill_when(_after(wait, folder, count), 600)
        at, ended, measured = command.seconds, rows(folder, "runs"), rows(folder, "snapshots")
        inside += measured > 0 and ended < rows(whole, "runs")
        to_do = {p.pack_id for p in _plan(tmp_path).packs}
        assert to_do <= pack_ids(whole), "the packs that are left are not the reference's"
        lines.append(f"kill {k + 1}: {at:.2f} s in, {wait:.2f} s after {since}; {ended} rows of "
                     f"runs, {measured} of snapshots; {len(to_do)} packs to do")
    command = Command(_on_ray(tmp_path), tmp_path / "log", scratch)
    command.ended(900)
    lines.append(f"last: {command.seconds:.0f} s; {rows(folder, 'runs')} rows of runs, "
                 f"{rows(folder, 'snapshots')} of snapshots")
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")
    assert inside >= 5
    assert pack_ids(folder) == pack_ids(whole)
    assert_same_tables(folder, whole)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_finished_sweep_again_takes_seconds_and_trains_nothing(
        scratch, unbroken_preset, capsys):
    folder, _ = unbroken_preset
    before = parts(folder)
    command = Command(_on_ray(folder.parent), folder.parent / "log", scratch)
    command.ended(120)
    seconds = command.seconds
    with capsys.disabled():
        sys.stdout.write(f"\nthe finished sweep again: {seconds:.1f} s\n")
    assert parts(folder) == before
    assert seconds < 10
