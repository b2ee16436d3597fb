"""The cluster that we ship, `ray up` on the three hosts: addresses filled in, made small."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.hosts.hosts import BIN, HEAD, NAMES, ROOT, WORKERS, Hosts

DASHBOARD = "http://127.0.0.1:8265"
FILE = "cluster.yaml"
NODES = 1 + len(WORKERS)


def fill_in(hosts: Hosts) -> Path:
    """Writes cluster.yaml as a user would, but for an environment that is there already."""
    config = yaml.safe_load((ROOT / FILE).read_text(encoding="utf-8"))
    config["provider"] |= {"head_ip": NAMES[HEAD], "worker_ips": [NAMES[w] for w in WORKERS]}
    config["auth"] |= {"ssh_user": "root", "ssh_private_key": hosts.key}
    config["metadata"]["storage"] = str(hosts.shared / "sweeps")
    (hosts.shared / "dist").mkdir()
    for wheel in (p for p in config["file_mounts"].values() if p.endswith(".whl")):
        (hosts.shared / wheel).write_text("the environment of the tests serves")
    config["setup_commands"] = [
        c.replace("~/sgdscope-env/bin", str(BIN)) for c in config["setup_commands"]
        if "pip" not in c]
    for who in ("head", "worker"):  # three nodes share this machine
        config[f"{who}_start_ray_commands"] = [
            f"{c} --num-cpus=1 --object-store-memory=100000000" if "ray start" in c else c
            for c in config[f"{who}_start_ray_commands"]]
    path = hosts.shared / FILE
    path.write_text(yaml.safe_dump(config))
    return path


def ray_up(hosts: Hosts) -> None:
    """`ray up`, and the tunnel to the dashboard; returns when all nodes are there."""
    done = hosts.run("ctl", "ray", "up", "-y", "--no-config-cache", FILE, limit=240)
    assert done.returncode == 0, done.stdout + done.stderr
    wait_for_nodes(hosts, NODES)


def alive(hosts: Hosts) -> int:
    """Nodes that the head takes to be alive; 0 where there is no head."""
    code = ("from ray._raylet import GcsClient\n"
            f"nodes = GcsClient(address='{NAMES[HEAD]}:6379').get_all_node_info(timeout=5)\n"
            "print(sum(n.state == 0 for n in nodes.values()))")
    with contextlib.suppress(subprocess.TimeoutExpired):
        said = hosts.run(HEAD, "python", "-c", code, limit=60,
                         environment={"RAY_AUTH_MODE": "token"})
        if said.returncode == 0:
            return int(said.stdout.split()[-1])
    return 0


def wait_for_nodes(hosts: Hosts, count: int, limit: float = 400) -> float:
    """Seconds until the head knows of so many living nodes."""
    start = time.monotonic()
    while alive(hosts) != count:
        assert time.monotonic() - start < limit, f"not {count} nodes within {limit:g} s"
        time.sleep(0.5)
    return time.monotonic() - start


@contextlib.contextmanager
def tunnel(hosts: Hosts) -> Iterator[None]:
    """`ray dashboard cluster.yaml`, as a user keeps it open in another terminal."""
    log = hosts.folder / "tunnel.log"
    process = hosts.start("ctl", "ray", "dashboard", "--no-config-cache", FILE, log=log)
    try:
        end = time.monotonic() + 60
        while not any(p == 8265 for _, p, _ in hosts.listening("ctl")):
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        process.kill()
        hosts.kill("ctl", "ssh ", "ray dashboard")
