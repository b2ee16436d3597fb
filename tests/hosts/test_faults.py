"""What happens to clusters happens here: each sweep ends, with the rows of an unbroken one.

Bit for bit, outside the columns that tell time and host. `-s` shows how long each recovery took.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import orchestrator
from tests.hosts.hosts import HEAD
from tests.hosts.rayup import NODES, alive, ray_up, wait_for_nodes
from tests.hosts.test_cluster import sgdscope, spec
from tests.test_kills import assert_same_tables, prepare

pytestmark = pytest.mark.cluster
# Nine packs of three segments each, on three nodes.
LONG = {"train": {"epochs": 150}, "sweep": {"axes": {
    "lr": [0.05, 0.1], "batch_size": [8, 10, 12, 14, 16, 18, 20, 22, 24]}}}
PATIENCE = 400.0


@pytest.fixture(scope="module")
def unbroken(cluster):
    """The folder of the same sweep, run in one process."""
    storage = cluster.shared / "unbroken"
    done = sgdscope(cluster, f"run {spec(cluster, **LONG)} --inline --storage {storage}", 500)
    assert done.returncode == 0, done.stdout + done.stderr
    return storage / "law"


class Submitted:
    """A sweep of its own storage, whose packs have three segments, submitted and followed."""

    def __init__(self, hosts, name: str):
        self.hosts, self.storage = hosts, hosts.shared / name
        self.folder, self.log = self.storage / "law", hosts.folder / f"{name}.log"
        self.spec = spec(hosts, **LONG)
        here = Path(str(hosts.folder / "ctl" / "home") + self.spec.removeprefix("~"))
        prepare(orchestrator.plan(here, storage=self.storage))
        self.submit()

    def submit(self) -> None:
        self.process = self.hosts.start(
            "ctl", "bash", "-c", f"sgdscope submit {self.spec} --storage {self.storage}",
            log=self.log)

    def wait_for(self, true: Callable[[], object], limit: float = PATIENCE) -> float:
        """Seconds until something is so, while the sweep is under way."""
        start = time.monotonic()
        while not true():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() - start < limit, self.log.read_text()
            time.sleep(0.1)
        return time.monotonic() - start

    def wait_for_a_commit(self) -> None:
        """Until a pack has a state to go on from, and others run."""
        self.wait_for(lambda: any(self.folder.glob("packs/*/state-*.bin")))

    def ends(self, code: int) -> None:
        """Waits for the end of `submit`, and for its exit code."""
        try:
            found = self.process.wait(PATIENCE)
        finally:
            with suppress(ProcessLookupError):
                self.process.kill()
        assert found == code, self.log.read_text()


def _tell(what: str, seconds: float) -> None:
    print(f"\n{what}: {seconds:.1f} s")  # noqa: T201


def test_a_workers_raylet_is_killed(cluster, unbroken):
    """A node that vanishes: its packs go on elsewhere, and it comes back."""
    sweep = Submitted(cluster, "raylet")
    sweep.wait_for_a_commit()
    assert cluster.kill("h3", "raylet/raylet") > 0
    _tell("node noticed to be gone", sweep.wait_for(lambda: alive(cluster) < NODES, 30))
    start = time.monotonic()
    sweep.ends(0)
    _tell("sweep ended after that", time.monotonic() - start)
    assert_same_tables(sweep.folder, unbroken)
    wait_for_nodes(cluster, NODES)


def test_a_link_is_down_for_a_minute(cluster, unbroken):
    """The cut node works on meanwhile: what two then commit is there once."""
    sweep = Submitted(cluster, "link")
    sweep.wait_for_a_commit()
    cluster.cut("h2")
    start = time.monotonic()
    try:
        _tell("cut node noticed", sweep.wait_for(lambda: alive(cluster) < NODES, 45))
        time.sleep(max(0.0, start + 60 - time.monotonic()))
    finally:
        cluster.mend("h2")
    sweep.ends(0)
    _tell("sweep ended after the cut", time.monotonic() - start)
    assert_same_tables(sweep.folder, unbroken)
    wait_for_nodes(cluster, NODES)


def test_the_driver_is_killed(cluster, unbroken):
    """The job fails; the same command goes on."""
    sweep = Submitted(cluster, "driver")
    sweep.wait_for_a_commit()
    assert cluster.kill(HEAD, "sgdscope run") > 0
    sweep.ends(1)
    start = time.monotonic()
    sweep.submit()
    sweep.ends(0)
    _tell("sweep ended after it was submitted again", time.monotonic() - start)
    assert_same_tables(sweep.folder, unbroken)


def test_the_head_is_killed(cluster, unbroken):
    """`ray up`, then the same command."""
    sweep = Submitted(cluster, "head")
    sweep.wait_for_a_commit()
    assert cluster.kill(HEAD, "gcs_server", "raylet", "ray::", "ray-dashboard", "/ray/",
                        "ray.util.client", "sgdscope run") > 0
    start = time.monotonic()
    ray_up(cluster)
    _tell("all nodes are back after", time.monotonic() - start)
    sweep.ends(1)
    said = sweep.log.read_text()
    assert "the connection is lost" in said
    assert "submit again" in said
    sweep.submit()
    sweep.ends(0)
    _tell("sweep ended after the head was killed", time.monotonic() - start)
    assert_same_tables(sweep.folder, unbroken)
