"""Three hosts, and the cluster that we ship on them: made once, for all tests here."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.hosts.hosts import HEAD, Hosts, missing
from tests.hosts.rayup import FILE, fill_in, ray_up, tunnel


def pytest_collection_modifyitems(items):
    """Where hosts cannot be made, the tests are skipped with the reason."""
    ours = [i for i in items if Path(__file__).parent in i.path.parents]
    reason = missing() if any(i.get_closest_marker("cluster") for i in ours) else ""
    for item in ours if reason else ():
        item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def hosts():
    """A control host and three others; gone afterwards, with all that ran on them."""
    folder = Path(tempfile.mkdtemp(prefix="hosts-"))
    made = Hosts(folder)
    try:
        made.up()
        yield made
    finally:
        made.down()
        shutil.rmtree(folder)
    assert made.left() == []


@pytest.fixture(scope="session")
def cluster(hosts):
    """The hosts after `ray up`, with a tunnel to the dashboard on the control host."""
    fill_in(hosts)
    ray_up(hosts)
    with tunnel(hosts):
        yield hosts
    down = hosts.run("ctl", "ray", "down", "-y", FILE)
    assert down.returncode == 0, down.stdout + down.stderr
    assert not [p for _, p, _ in hosts.listening(HEAD) if p != 22]
