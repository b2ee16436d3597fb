"""The command that a user gives, on packs that train: faults for ever end in one clear sentence and
an exit code; clocks that jump, runs that diverge and stops at any step change no row."""

import os
import time

import pytest

from tests.faults.checker import KEYS, _rows, violations
from tests.faults.nemesis import FOR_EVER, KINDS, Nemesis, moment
from tests.faults.sweeps import Sweeps, quick

HOUR = 3600.0
STEPS = 8  # of the longer pack


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory):
    with quick():
        yield Sweeps(tmp_path_factory.mktemp("sweeps"))


@pytest.fixture(scope="module")
def whole(sweeps):
    """The files of the unbroken sweep."""
    place = sweeps.new("local")
    assert sweeps.run(place).code == 0
    return place.files()


CASES = [("local", "ENOSPC", 0.02), ("local", "EROFS", 0.5), ("local", "EACCES", 0.9),
         ("S3-like", "503", 0.5)]
MORE = [(storage, kind, share) for storage, kinds in KINDS.items() for kind in kinds
        for share in (0.02, 0.2, 0.5, 0.8) if not kinds[kind].kills
        if (storage, kind, share) not in CASES]


@pytest.mark.parametrize(("storage", "kind", "share"), [
    *CASES, *(pytest.param(*case, marks=pytest.mark.faults) for case in MORE)])
def test_a_fault_for_ever_is_told_and_mended_it_goes_on(
        sweeps, whole, storage, kind, share, told):
    kind, counting = KINDS[storage][kind], Nemesis()
    assert sweeps.run(sweeps.new(storage), counting).code == 0
    calls = sum(call in kind.calls for call, _ in counting.log)
    place, nemesis = sweeps.new(storage), Nemesis(kind, int(share * calls), FOR_EVER)
    ended = sweeps.run(place, nemesis)
    assert nemesis.struck
    assert ended.code in (1, 2), ended.said
    assert "Traceback" not in ended.said
    assert any(word in ended.said for word in kind.words), ended.said
    assert "tiny" in ended.said
    assert violations(place.files(), whole, ended=False) == []
    again = sweeps.run(place)
    assert again.code == 0, again.said
    assert violations(place.files(), whole, ended=True) == []
    told(f"{kind.name}, for ever", f"command, {moment(*nemesis.struck[0])}", storage)


@pytest.mark.parametrize("jump", [-HOUR, HOUR, 90.0])
def test_a_clock_that_jumps_while_a_sweep_is_stopped_or_differs_between_hosts(
        sweeps, whole, jump, monkeypatch, told):
    """Nothing is ordered by time: neither by the clock nor by the times of files."""
    place, now = sweeps.new("local"), time.time
    kill = Nemesis(KINDS["local"]["crash before"], 150)
    assert sweeps.run(place, kill).code is None
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    for folder, _, names in os.walk(place.place):
        for name in names:
            os.utime(f"{folder}/{name}", (now() - jump, now() - jump))
    assert sweeps.run(place).code == 0
    assert violations(place.files(), whole, ended=True) == []
    told("clock", f"{jump:+.0f} s", "local")


@pytest.mark.parametrize("storage", ["local", "S3-like"])
@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.faults)])
def test_stopped_after_each_progress_it_goes_on_to_the_same_rows(
        sweeps, whole, storage, stride, monkeypatch, told):
    """Between any two of its steps that are told, here in each of both packs."""
    from orchestrator import session
    from tests.faults.nemesis import Killed

    real = session.run_pack
    for stop in range(1, 40, stride):
        left, place = [stop], sweeps.new(storage)

        def stopping(order, left=left):
            for facts in real(order):
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                yield facts

        with monkeypatch.context() as patch:
            patch.setattr(session, "run_pack", stopping)
            if sweeps.run(place).code is not None:
                assert stop > 4
                return
        assert sweeps.run(place).code == 0
        assert violations(place.files(), whole, ended=True) == []
        told("stopped", f"after {stop}", storage)


@pytest.mark.parametrize("step", [0, 1, STEPS // 2, STEPS - 1])
def test_a_run_that_diverges_changes_nothing_for_the_others(sweeps, whole, step, monkeypatch, told):
    """The parameters of the first run of a pack become infinite after so many of its steps."""
    from trainables import train

    real = train.update

    def diverging(pack, state):
        real(pack, state)
        if state.step == step + 1 and pack.steps == STEPS:
            for tensor in state.params.values():
                tensor[0] = float("inf")

    monkeypatch.setattr(train, "update", diverging)
    place = sweeps.new("local")
    assert sweeps.run(place).code == 0
    monkeypatch.undo()
    found, statuses = rows(place.files()), []
    for table, wanted in rows(whole).items():
        differ = {key[0] for key in wanted if found[table].get(key) != wanted[key]}
        assert len(differ) <= 1, f"{table}: rows of {differ}"
        statuses.append(differ)
    assert statuses[0], "the run that diverged has the row of one that did not"
    told("diverged", f"step {step}", "local")


def rows(files):
    """Of runs and snapshots: key -> bits."""
    return {table: dict(_rows([b for p, b in files.items() if p.startswith(f"tables/{table}/")]))
            for table in list(KEYS)[:2]}
