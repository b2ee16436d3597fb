"""Real processes, killed or stopped by a real signal at a system call or a request of theirs."""

import os
import signal

import pytest

from orchestrator.stores import open_store, s3
from tests.faults import disk, packs
from tests.faults.nemesis import READS, WRITES, Killed, Kind, Nemesis, moment
from tests.faults.work import judged, sweep, unbroken
from tests.s3server import BUCKET, s3_server

pytestmark = pytest.mark.usefixtures("no_computing")
ORDERS = packs.orders("", packs=1)


@pytest.fixture(scope="module")
def whole():
    return unbroken(ORDERS)


def signalled(number):
    """In place of an error: this process's own signal; it may go on after it."""
    def strike(_):
        os.kill(os.getpid(), number)
        return Killed()

    return strike


class Stopped(Nemesis):
    """Stops its process at a call, and goes on with the call when the process goes on."""

    def around(self, call, path, effect, torn=None):  # noqa: ARG002
        self.seen += 1
        if self.seen == self.at + 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return effect()


def forked(root, nemesis):
    """A process that works on the sweep on a disk under a nemesis; its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        with disk.under(root, nemesis):
            sweep(ORDERS)(open_store(root))
        os._exit(0)
    except BaseException:  # noqa: BLE001  (a child must not return into pytest)
        os._exit(1)


def calls(root):
    """All system calls of a sweep on a disk."""
    nemesis = Nemesis()
    with disk.under(root, nemesis):
        sweep(ORDERS)(open_store(root))
    return nemesis.log


def goes_on(place, whole):
    store = open_store(place)
    assert judged(store, ORDERS, whole, ended=False) == []
    sweep(ORDERS)(store)
    assert judged(store, ORDERS, whole, ended=True) == []


def spread(found, count):
    """So many of them, evenly."""
    return [found[i * len(found) // count] for i in range(count)]


@pytest.mark.parametrize(("when", "count"), [
    ("before", 3), ("torn", 2), ("after", 2),
    pytest.param("before", 24, marks=pytest.mark.faults),
    pytest.param("torn", 12, marks=pytest.mark.faults),
    pytest.param("after", 12, marks=pytest.mark.faults)])
def test_sigkill_at_a_system_call(when, count, tmp_path, whole, told):
    wanted = {"before": WRITES | READS, "torn": frozenset({"write"}), "after": WRITES}[when]
    kind = Kind("SIGKILL", when, signalled(signal.SIGKILL), wanted)
    log = [c for c in calls(tmp_path / "unbroken") if c[0] in wanted]
    for n in spread(range(len(log)), count):
        _, status = os.waitpid(forked(tmp_path / str(n), Nemesis(kind, n)), 0)
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) == signal.SIGKILL
        goes_on(tmp_path / str(n), whole)
        told(f"SIGKILL, {when}", moment(*log[n]), "processes")


@pytest.mark.parametrize("count", [3, pytest.param(12, marks=pytest.mark.faults)])
def test_sigstop_while_another_process_ends_the_sweep_then_sigcont(count, tmp_path, whole, told):
    log = calls(tmp_path / "unbroken")
    for n in spread(range(len(log)), count):
        root = tmp_path / str(n)
        late = forked(root, Stopped(at=n))
        _, status = os.waitpid(late, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        _, status = os.waitpid(forked(root, Nemesis()), 0)
        assert status == 0
        os.kill(late, signal.SIGCONT)
        _, status = os.waitpid(late, 0)
        assert status == 0
        goes_on(root, whole)
        told("SIGSTOP, SIGCONT", moment(*log[n]), "processes")


@pytest.mark.faults
def test_sigkill_between_requests_to_a_real_server(whole, told, monkeypatch):
    """moto, in a process of its own, over HTTP."""
    with s3_server():
        for n in range(2, 122, 10):
            place = f"s3://{BUCKET}/processes/{n}"
            pid = os.fork()
            if not pid:
                _die_after(n, place, monkeypatch)
            _, status = os.waitpid(pid, 0)
            assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
            goes_on(place, whole)
            told("SIGKILL, before", "request", "moto")


def _die_after(requests, place, monkeypatch):
    """Works on the sweep until its client has made so many requests."""
    try:
        patiently, left = s3.S3Store._patiently, [requests]

        def counted(store, path, ask):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return patiently(store, path, ask)

        monkeypatch.setattr(s3.S3Store, "_patiently", counted)
        sweep(ORDERS)(open_store(place))
        os._exit(0)
    except BaseException:  # noqa: BLE001
        os._exit(1)
