"""Ray in a thread of its own: begun once, waited for, stopped, whatever happens meanwhile."""

import gc
import signal
import threading
import weakref

import pytest
import ray

from orchestrator import cluster as module
from orchestrator.cluster import Cluster


@pytest.fixture
def calls(monkeypatch):
    """What Ray is asked to do, in order, with the thread that asks; the start waits for a word."""
    said, go = [], threading.Event()

    def init(**options):
        assert go.wait(10)
        said.append(("init", options["address"], threading.current_thread().name))

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: said.append(
        ("shutdown", threading.current_thread().name)))
    return said, go


def test_one_thread_starts_and_stops_ray(calls):
    """The kernel ends Ray's processes with the thread that made them: it must outlive the sweep."""
    said, go = calls
    cluster = Cluster()
    cluster.start()
    cluster.start()  # begun only once
    assert said == []
    go.set()
    cluster.wait()
    assert said == [("init", "local", "ray")]
    cluster.release()
    cluster.close()
    assert said == [("init", "local", "ray"), ("shutdown", "ray")]


def test_closed_while_it_starts_it_stops(calls):
    """A plan that is refused leaves no Ray behind."""
    said, go = calls
    cluster = Cluster()
    cluster.start()
    cluster.release()
    go.set()
    cluster.close()
    assert [call[0] for call in said] == ["init", "shutdown"]


def test_nothing_is_collected_while_ray_stops(calls, monkeypatch):
    """Ray ends the process that drops a reference to one of its objects then."""
    said, go = calls
    go.set()
    cycle = [weakref.WeakSet()]
    cycle.append(cycle)
    dropped = weakref.ref(cycle[0])
    monkeypatch.setattr(ray, "shutdown", lambda: said.append((gc.isenabled(), dropped() is None)))
    cluster = Cluster()
    cluster.wait()
    del cycle
    cluster.release()
    cluster.close()
    assert said[-1] == (False, True)
    assert gc.isenabled()
    Cluster().close()
    assert gc.isenabled()


def test_what_was_never_begun_is_closed_at_once(calls):
    Cluster().close()
    assert calls[0] == []


def test_why_ray_did_not_start_is_told_by_whoever_waits(monkeypatch):
    def init(**_):
        raise RuntimeError("no shared memory")

    monkeypatch.setattr(ray, "init", init)
    cluster = Cluster()
    with pytest.raises(RuntimeError, match="no shared memory"):
        cluster.wait()
    cluster.close()


def test_terminate_means_what_it_meant(calls, monkeypatch):
    """Ray's C++ core installs a handler that dumps the stack; it is put back by who waits."""
    before, installed = signal.getsignal(signal.SIGTERM), []
    monkeypatch.setattr(module.signal, "signal", lambda *call: installed.append(call))
    calls[1].set()
    cluster = Cluster()
    cluster.wait()
    cluster.close()
    assert installed == [(signal.SIGTERM, before)]
