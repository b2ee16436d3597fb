"""Packs that do not fit into memory: by halves, each row once, whoever dies or comes when."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from orchestrator import building, packrun, plan, session
from orchestrator.compaction import compact
from orchestrator.halving import HalvesFailed
from orchestrator.ledger import Halved, Ledger
from orchestrator.packrun import order, run_pack
from orchestrator.session import open_folder
from orchestrator.status import status_of
from orchestrator.stores.local import LocalStore
from tests.orchestrator.specs import tiny

TORCHS = ("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
          "memory: you tried to allocate 144181248 bytes. Error code 12 (Cannot allocate memory)")
BORDERS = [3, 11, 20]
SPEC = {"sweep": {"axes": {"lr": [0.01, 0.1], "seed": {"count": 3}}},  # six runs in a pack of 8
        "compute": {"pack": 8, "compile": False}}


def an_order(folder, **sections):
    """The order of the only pack of an opened sweep, as it reaches a worker."""
    folder.mkdir(exist_ok=True)
    planned = plan(tiny(folder, **{**SPEC, **sections}))
    open_folder(planned)
    (pack,) = planned.packs
    return json.loads(json.dumps(order(pack, planned.spec, planned.folder)))


def again(folder):
    return plan(folder / "spec.yaml")


def ledger_of(one):
    return Ledger(LocalStore(one["folder"]))


def tables(one):
    """The measured tables, each run's row once, without what may differ between executions."""
    found = {}
    for name in ("runs", "snapshots", "spectra"):
        table = pd.read_parquet(f"{one['folder']}/tables/{name}")
        keys = [c for c in ("run_id", "step", "operator", "index") if c in table]
        assert not table.duplicated(keys).any()
        own = [c for c in table.columns if c.startswith(("time_", "host_"))]
        found[name] = table.drop(columns=own).sort_values(keys).reset_index(drop=True)
    return found


def assert_equal(mine, true):
    for name, table in mine.items():
        pd.testing.assert_frame_equal(table, true[name])


@pytest.fixture
def roomy(monkeypatch):
    """Sets the widest pack that this machine's memory is to hold, and where it runs out."""
    build = building.build

    def limit(most, *, at="build"):
        def scarce(*args):
            width = args[0]["width"] if at == "build" else args[0].width
            if width > most:
                raise RuntimeError(TORCHS)
            return build(*args) if at == "build" else BORDERS

        monkeypatch.setattr(building, "build", build)
        monkeypatch.setattr(packrun, "_borders", lambda _: BORDERS)
        monkeypatch.setattr(building if at == "build" else packrun, at, scarce)

    return limit


@pytest.fixture
def halves(tmp_path, roomy):
    """What the tables hold when nothing happens but that no more than two runs fit."""
    roomy(2)
    one = an_order(tmp_path / "halves")
    for _ in run_pack(one):
        pass
    return tables(one)


@pytest.mark.parametrize("at", ["build", "_borders"])  # while it is built, and while it is timed
def test_a_pack_that_does_not_fit_goes_on_as_its_halves(tmp_path, roomy, at):
    roomy(2, at=at)
    one = an_order(tmp_path)
    facts = list(run_pack(one))
    assert facts[-1] == {"step": 20, "steps": 20, "running": 0, "finished": 6, "diverged": 0}
    assert all(f["running"] + f["finished"] == 6 for f in facts)
    assert [f["step"] for f in facts] == sorted(f["step"] for f in facts)
    runs = tables(one)["runs"]
    assert set(runs.run_id) == {m["run_id"] for m in one["pack"]["members"]}
    assert Counter(runs.width) == {2: 6}
    assert runs.pack_id.nunique() == 3
    ended = again(tmp_path)
    assert (ended.packs, len(ended.ended)) == ((), 6)
    assert status_of(ended.folder).complete
    assert status_of(ended.folder).packs_begun == 0
    compact(LocalStore(ended.folder))
    assert len(again(tmp_path).ended) == 6


def test_rows_that_were_moved_away_are_made_anew_by_the_half_that_they_are_of(tmp_path, roomy):
    roomy(2)
    one = an_order(tmp_path)
    for _ in run_pack(one):
        pass
    before, gone = tables(one), sorted(Path(one["folder"]).glob("tables/runs/*-2.parquet"))[0]
    gone.unlink()
    planned = again(tmp_path)
    (pack,) = planned.packs
    assert gone.name == f"{pack.pack_id}-2.parquet"
    for _ in run_pack(order(pack, planned.spec, planned.folder)):
        pass
    assert_equal(tables(one), before)


def test_the_halves_are_packs_like_any_other(tmp_path, halves, roomy):
    """The same bits as packs of those members and that width by themselves."""
    roomy(8)
    folder = tmp_path / "alone"
    whole = an_order(folder)
    members = {m["run_id"]: m for m in whole["pack"]["members"]}
    for pack_id, rows in halves["runs"].groupby("pack_id"):
        inside = [m for i, m in members.items() if i in set(rows.run_id)]
        wanted = {**whole["pack"], "pack_id": pack_id, "width": 2, "members": inside}
        for _ in run_pack({**whole, "pack": wanted}):
            pass
    assert_equal(tables(whole), halves)


def test_diverged_runs_are_counted_over_the_halves(tmp_path, roomy):
    roomy(2)
    one = an_order(tmp_path, sweep={"axes": {"lr": [0.01, 1e6], "seed": {"count": 2}}})
    last = list(run_pack(one))[-1]
    assert last == {"step": 20, "steps": 20, "running": 0, "finished": 2, "diverged": 2}


@pytest.mark.parametrize("memory", [2, 8])
@pytest.mark.parametrize("creations", [0, 1, 2, 3, 4, 5, 9, 13, 17, 22, 28, 34])
def test_killed_at_any_moment_and_run_again(
        tmp_path, halves, roomy, monkeypatch, creations, memory):
    """Killed before any file is created; run again where there is as much memory, or enough."""
    roomy(2)
    folder = tmp_path / "killed"
    one, create, left = an_order(folder), LocalStore.create, iter(range(creations))

    def dying(store, path, content):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return create(store, path, content)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "create", dying)
        with pytest.raises(KeyboardInterrupt):
            list(run_pack(one))
    planned = again(folder)
    (pack,) = planned.packs  # whole, whatever there is of its halves
    assert {m.run_id for m in pack.members} == {r.run_id for r in planned.runs}
    given_up = ledger_of(one).halves(pack.pack_id)
    roomy(memory)
    for _ in run_pack(order(pack, planned.spec, planned.folder)):
        pass
    widest = tables(one)["runs"].width.max()
    assert widest <= 4 if given_up else widest == memory  # for ever, however much memory there is
    if memory == 2:
        assert_equal(tables(one), halves)
    assert again(folder).packs == ()
    assert len(tables(one)["runs"]) == 6


def test_halves_that_have_ended_are_not_trained_again(tmp_path, roomy, monkeypatch):
    roomy(4)
    one = an_order(tmp_path)
    for facts in run_pack(one):
        if facts["finished"]:
            break
    built, plain = [], building.build
    monkeypatch.setattr(building, "build", lambda w, *at: built.append(w) or plain(w, *at))
    assert list(run_pack(one))[-1]["finished"] == 6
    assert [len(w["members"]) for w in built] == [2]


@pytest.mark.parametrize("first", ["whole", "halves"])
def test_of_two_at_once_whoever_is_first_decides(tmp_path, roomy, first):
    """One has the memory for the whole pack, the other has not: never are its runs in both."""
    roomy(8)
    one = an_order(tmp_path, save={"weights": "final"})
    rich = run_pack(one)
    next(rich)  # in training, before the first commit
    if first == "whole":
        while not list(Path(one["folder"]).glob("packs/*/state-0.bin")):
            next(rich)
        roomy(2)
        with pytest.raises(MemoryError, match="no longer be halved"):
            list(run_pack(one))
        widths = {8}
    else:
        roomy(2)
        poor = run_pack(one)
        while not list(Path(one["folder"]).glob("packs/*/state-0.bin")):
            next(poor)
        widths = {2}
        for _ in poor:
            pass
    for _ in rich:  # at its first commit it adopts what the other has decided
        pass
    assert set(tables(one)["runs"].width) == widths
    assert again(tmp_path).packs == ()
    assert len(list(Path(one["folder"]).glob("weights/*"))) == 6


def test_giving_up_comes_too_late_for_a_pack_that_went_on(tmp_path, roomy):
    """Its first state is gone when the one who could not even build it comes with the halves."""
    roomy(8)
    one = an_order(tmp_path)
    for _ in run_pack(one):
        pass
    ledger, before = ledger_of(one), tables(one)
    pack_id = one["pack"]["pack_id"]
    assert ledger.halve(pack_id, [{"pack_id": "h"}]) is None
    assert ledger.halves(pack_id) is None
    # a late one that dies between looking and looking again leaves its file: nobody believes it
    path = Path(one["folder"]) / f"packs/{pack_id}/state-0.bin"
    other = an_order(tmp_path / "other")
    assert ledger_of(other).halve(pack_id, [{"pack_id": "h"}])
    path.write_bytes((Path(other["folder"]) / f"packs/{pack_id}/state-0.bin").read_bytes())
    assert ledger.halves(pack_id) is None
    for _ in run_pack(one):
        pass
    assert_equal(tables(one), before)


def test_the_ledger_refuses_a_first_commit_of_a_pack_that_was_given_up(tmp_path, roomy):
    roomy(8)
    one = an_order(tmp_path)
    ledger, rows = ledger_of(one), {t: [] for t in ("runs", "snapshots", "spectra", "curves")}
    first = ledger.halve("p", [{"pack_id": "h"}])
    assert ledger.halve("p", [{"pack_id": "other"}]) == first == [{"pack_id": "h"}]
    with pytest.raises(Halved):
        ledger.commit("p", {"segment": 0, "step": 3, "last": False}, b"state", rows)
    with pytest.raises(Halved):
        ledger.newest("p")


def test_a_run_that_does_not_fit_fails_in_words_and_the_others_end(tmp_path, roomy, monkeypatch):
    one = an_order(tmp_path)
    alone, plain = one["pack"]["members"][3]["run_id"], building.build

    def scarce(wanted, *at):
        if len(wanted["members"]) > 1 or wanted["members"][0]["run_id"] == alone:
            raise MemoryError
        return plain(wanted, *at)

    monkeypatch.setattr(building, "build", scarce)
    with pytest.raises(HalvesFailed, match=f"run {alone} does not fit, alone in its pack"):
        list(run_pack(one))
    assert len(tables(one)["runs"]) == 5
    monkeypatch.setattr(building, "build", plain)  # there is more memory now
    (pack,) = again(tmp_path).packs
    assert len(pack.members) == 6  # a pack is held whole, and only what is missing is trained
    assert list(run_pack(one))[-1]["finished"] == 6
    assert Counter(tables(one)["runs"].width) == {1: 6}


def test_after_its_first_commit_a_pack_goes_on_with_caches_freed_or_fails(
        tmp_path, roomy, monkeypatch):
    from trainables import train

    roomy(8)
    one, short = an_order(tmp_path), [True]
    plain = train.update

    def scarce(pack, state):
        if state.step == 5 and short:
            short and short.pop()
            raise RuntimeError(TORCHS)
        plain(pack, state)

    monkeypatch.setattr(train, "update", scarce)
    assert list(run_pack(one))[-1]["finished"] == 6
    assert set(tables(one)["runs"].width) == {8}
    other = an_order(tmp_path / "other")
    short.extend([True] * 9)
    with pytest.raises(MemoryError, match="may no longer be halved") as caught:
        list(run_pack(other))
    assert TORCHS in str(caught.value)
    short.clear()
    assert list(run_pack(other))[-1]["finished"] == 6
    assert_equal(tables(other), tables(one))


def test_other_exceptions_halve_nothing(tmp_path, roomy, monkeypatch):
    roomy(8)
    one = an_order(tmp_path)
    monkeypatch.setattr(building, "build", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(run_pack(one))
    assert not (Path(one["folder"]) / "packs").exists()


def test_a_session_with_halved_packs(tmp_path, roomy, no_report):
    roomy(2)
    out = (tmp_path / "out").open("w+")
    ended = session.run(tiny(tmp_path, **SPEC), inline=True, out=out)
    assert not ended.failures
    out.seek(0)
    assert "runs 6/6 (6 finished, 0 diverged)  packs 1/1" in out.read()


LIMITED = """
import json, resource, sys
from pathlib import Path
from orchestrator.packrun import run_pack
warm, wanted = (json.loads(Path(p).read_text()) for p in sys.argv[2:])
for _ in run_pack(warm): pass  # all libraries are loaded
status = Path("/proc/self/status").read_text().splitlines()
size = 1024 * int(next(l for l in status if l.startswith("VmSize")).split()[1])
most = size + (int(sys.argv[1]) << 20)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
for facts in run_pack(wanted): pass
print(json.dumps(facts))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
def test_processes_that_really_have_too_little_memory(tmp_path):
    """One is killed once it has given the pack up; then two at once run the same order."""
    big = {"model": {"name": "mlp", "width": 1024, "depth": 2},
           "train": {"steps": 2, "batch_size": 25},
           "measure": {"when": {"initial": False}, "set_size": 50, "monitors": []},
           "sweep": {"axes": {"lr": [0.01, 0.02], "seed": {"count": 4}}}}
    big = an_order(tmp_path / "big", **big)
    (tmp_path / "big.json").write_text(json.dumps(big))
    ledger, pack_id = ledger_of(big), big["pack"]["pack_id"]

    def worker(name):
        (tmp_path / f"{name}.json").write_text(json.dumps(an_order(tmp_path / name)))
        return subprocess.Popen(
            [sys.executable, "-c", LIMITED, "450", tmp_path / f"{name}.json",
             tmp_path / "big.json"], cwd=Path(__file__).parents[2], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    first, start = worker("first"), time.monotonic()
    while not ledger.halves(pack_id) and first.poll() is None and time.monotonic() < start + 120:
        time.sleep(0.01)
    first.kill()
    first.communicate()
    halves = ledger.halves(pack_id)
    assert halves
    assert not ledger.ended_runs()
    both = [worker("second"), worker("third")]
    for one in both:
        said, errors = one.communicate(timeout=240)
        assert one.returncode == 0, errors
        assert json.loads(said)["finished"] == 8
    runs = tables(big)["runs"]
    assert len(runs) == 8
    assert runs.width.max() < 8
    assert ledger.halves(pack_id) == halves
    assert again(tmp_path / "big").packs == ()
