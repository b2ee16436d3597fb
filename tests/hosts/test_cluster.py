"""From nothing to a finished sweep on three hosts, as docs/cluster.md has it; then refused."""

import json
import re

import pandas as pd
import pytest

from tests.hosts.hosts import HEAD, WORKERS

pytestmark = pytest.mark.cluster
SPREAD = {HEAD, *WORKERS}
# A model of the user's own, which has to travel to the workers; packs of some seconds each.
MODEL = """
from torch import nn


def net(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, classes))
"""
SPEC = {
    "name": "law", "data": {"name": "digits", "train_size": 512}, "model": {"name": "mine:net"},
    "train": {"epochs": 40}, "compute": {"pack": 2, "compile": False},
    "sweep": {"axes": {"lr": [0.05, 0.1], "batch_size": [8, 12, 16, 20, 24, 32]}},
    "measure": {"when": {"every_epochs": 10}, "set_size": 64},
}


def spec(hosts, name="law", **changes):
    """A spec beside its code on the control host, which alone sees that folder in this test."""
    folder = hosts.folder / "ctl" / "home" / name
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(MODEL)
    tree = {**SPEC, "name": name, "storage": str(hosts.shared / "sweeps"), **changes}
    (folder / "law.yaml").write_text(json.dumps(tree))
    return f"~/{name}/law.yaml"


def sgdscope(hosts, words, limit=240, **environment):
    """A command of ours on the control host."""
    return hosts.run("ctl", "bash", "-c", f"sgdscope {words}", limit=limit,
                     environment=environment)


def test_doctor_finds_three_good_nodes(cluster):
    said = sgdscope(cluster, f"doctor --address http://127.0.0.1:8265 --storage {cluster.shared}")
    assert said.returncode == 0, said.stdout + said.stderr
    rows = re.findall(r"^(h\d) .* 2\.60\.\S+ .*  shared +\d+ GB  on$", said.stdout, re.MULTILINE)
    assert set(rows) == SPREAD
    assert "all is well" in said.stdout
    left = [p.name for p in cluster.shared.iterdir() if p.name.endswith(".trial")]
    assert left == []


def test_doctor_tells_what_is_not_shared(cluster):
    """Each host has a home of its own, at the same path."""
    said = sgdscope(cluster, "doctor --address http://127.0.0.1:8265 --storage '~'")
    assert said.returncode == 1
    assert "not the same folder on all nodes: h2, h3 do not see" in said.stdout


def test_a_sweep_is_submitted_and_trains_on_all_hosts(cluster):
    said = sgdscope(cluster, f"submit {spec(cluster)}")
    assert said.returncode == 0, said.stdout + said.stderr
    assert "ray job submit --address http://127.0.0.1:8265" in said.stderr
    folder = cluster.shared / "sweeps" / "law"  # read from outside, without Ray
    runs = pd.read_parquet(folder / "tables" / "runs")
    assert len(runs) == len(set(runs.run_id)) == 12
    assert set(runs.status) == {"finished"}
    assert set(runs.host_name) == SPREAD
    assert (folder / "report.html").exists()
    again = sgdscope(cluster, f"submit {spec(cluster)}")  # nothing to do
    assert again.returncode == 0, again.stdout + again.stderr
    assert "0 packs to do" in again.stdout + again.stderr


def test_bad_input_is_told_before_anything_is_sent(cluster):
    said = sgdscope(cluster, f"submit {spec(cluster, 'bad')} -s train.epoch=3 --address http://x:1")
    assert said.returncode == 2
    assert "epoch" in said.stderr


def test_a_storage_that_is_not_shared_is_refused_on_the_cluster(cluster):
    said = sgdscope(cluster, f"submit {spec(cluster, 'alone')} --storage '~/alone'")
    assert said.returncode == 2, said.stdout + said.stderr
    assert "not the same folder on all nodes" in said.stdout + said.stderr


def test_a_job_is_found_again_and_stopped(cluster):
    """No second driver beside it; its exit code tells that it was stopped."""
    name = "long"
    long = spec(cluster, name, train={"epochs": 4000})
    assert sgdscope(cluster, f"submit {long} --no-wait").returncode == 0
    second = sgdscope(cluster, f"submit {long}")
    assert second.returncode == 2
    assert "already works on" in second.stderr
    seen = sgdscope(cluster, f"status {cluster.shared}/sweeps/{name} --address "
                    "http://127.0.0.1:8265")
    assert f"job {name}-" in seen.stdout
    assert sgdscope(cluster, f"stop {name}").returncode == 0
    followed = sgdscope(cluster, f"logs {name}")
    assert followed.returncode == 130, followed.stdout + followed.stderr
    assert "stopped" in followed.stderr


@pytest.mark.parametrize(("environment", "words"), [
    ({"RAY_AUTH_TOKEN_PATH": "/nowhere"}, "wants a token, and there is none here"),
    ({"RAY_AUTH_TOKEN": "0" * 64}, "does not know this token"),
    ({"RAY_AUTH_MODE": "disabled"}, "RAY_AUTH_MODE is 'disabled' here"),
])
def test_without_the_token_it_is_refused(cluster, environment, words):
    said = sgdscope(cluster, f"submit {spec(cluster, 'refused')}", **environment)
    assert said.returncode == 2, said.stdout + said.stderr
    assert words in said.stderr
    assert not (cluster.shared / "sweeps" / "refused").exists()


def test_without_a_tunnel_the_way_is_told(cluster):
    said = sgdscope(cluster, f"submit {spec(cluster, 'astray')} --address http://127.0.0.1:1",
                    limit=30)
    assert said.returncode == 2
    assert "ray dashboard cluster.yaml" in said.stderr
