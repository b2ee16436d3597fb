"""Ray in a thread of its own: begun once, waited for, stopped, whatever happens meanwhile."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import weakref
from contextlib import closing
from pathlib import Path

import pytest
import ray
from ray._private import ray_constants

from orchestrator import cluster as module
from orchestrator.cluster import Cluster
from orchestrator.errors import UserError


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


def test_versions_that_differ_are_told(monkeypatch):
    def init(**_):
        raise RuntimeError("Version mismatch: The cluster was started with:\n  Ray: 2.59.0\n …")

    monkeypatch.setattr(ray, "init", init)
    cluster = Cluster("auto")
    with pytest.raises(UserError, match=r"other versions: .* started with: Ray: 2\.59\.0"):
        cluster.wait()
    cluster.close()


def test_a_dashboard_is_no_node(monkeypatch):
    monkeypatch.setattr(ray, "init", None)
    cluster = Cluster("http://127.0.0.1:8265")
    with pytest.raises(UserError, match="sgdscope submit"):
        cluster.wait()
    cluster.close()


def test_of_what_ray_tells_of_its_nodes_the_first_lines_are_shown(calls, monkeypatch):
    """Not twenty lines of the log of each that died."""
    from ray._private import worker

    shown = []
    monkeypatch.setattr(worker, "print_to_stdstream", lambda data, **_: shown.append(data["lines"]))
    calls[1].set()
    for _ in range(2):
        with closing(Cluster()) as cluster:
            cluster.wait()
    worker.print_to_stdstream({"lines": ["a node died\n  its log", "\n"]}, ignore_prefix=False)
    assert shown == [["a node died", ""]]


def test_a_running_cluster_is_not_taken_for_our_own(calls, monkeypatch):
    """Its nodes reach one another by their addresses; its token is the user's affair."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    seen = []
    monkeypatch.setattr(ray, "init", lambda **_: seen.append(
        (ray_constants.ENABLE_RAY_CLUSTER, os.environ["RAY_AUTH_MODE"])))
    for address in ("auto", None, "auto"):
        with closing(Cluster(address)) as cluster:
            cluster.wait()
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    linux = not ray_constants.IS_WINDOWS_OR_OSX
    assert seen == [(linux, "disabled"), (False, "token"), (linux, "disabled")]


STRANGER = """
import sys
from ray._raylet import GcsClient
try:
    print(len(GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10)))
except Exception as error:
    print(type(error).__name__)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nobody_else_reaches_our_own_ray(monkeypatch):
    """It listens on loopback alone, and there with a token; even where the user's environment
    turns that off."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with closing(Cluster()) as cluster:
        cluster.wait()
        address = ray.get_runtime_context().gcs_address
        assert list(_beyond_loopback(os.getpid())) == []
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        said = subprocess.run([sys.executable, "-c", STRANGER, address], capture_output=True,
                              text=True, env={**environment, "RAY_AUTH_TOKEN_PATH": "/nowhere"},
                              check=True)
        assert said.stdout.split()[-1] == "AuthenticationError"


def _beyond_loopback(pid):
    """Sockets of a process and its descendants that other machines could reach."""
    sockets, processes = set(), [str(pid)]
    while processes:
        folder = Path("/proc", processes.pop())
        with contextlib.suppress(OSError):
            processes += [c for t in (folder / "task").iterdir()
                          for c in (t / "children").read_text().split()]
            sockets |= {str(f.readlink()) for f in (folder / "fd").iterdir()}
    assert len(sockets) > 20  # Ray's processes are among them
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            local, state, inode = (line.split()[i] for i in (1, 3, 9))
            if state == "0A" and f"socket:[{inode}]" in sockets and "0100007F" not in local:
                yield local


@pytest.mark.parametrize(("failures", "asked"), [(1, 2), (2, 2)])  # busy for a while; for good
def test_ray_that_does_not_start_in_time_is_asked_once_more(monkeypatch, failures, asked):
    """Ray gives its own processes 30 s, which a busy machine may not keep."""
    calls = []

    def init(**options):
        calls.append(options["address"])
        if len(calls) <= failures:
            raise Exception("The current node timed out during startup. This could happen")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with closing(Cluster()) as cluster:
        if failures == 1:
            cluster.wait()
        else:
            with pytest.raises(UserError, match="Ray did not start within 30 s"):
                cluster.wait()
    assert calls == ["local"] * asked
