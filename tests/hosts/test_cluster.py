"""From nothing to a finished sweep on three hosts, as docs/cluster.md has it; then refused."""

import json
import re

import pandas as pd
import pytest

from tests.hosts.hosts import HEAD, NAMES, WORKERS

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


# What another host reaches, without the token and with it.

ASK = """
import sys
from ray._raylet import GcsClient
try:
    print("nodes", len(GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10)))
except Exception as error:
    print(type(error).__name__)
"""
CONNECT = """
import sys, logging
import ray
try:
    ray.init(address=sys.argv[1], logging_level=logging.CRITICAL)
    print("nodes", len(ray.nodes()))
except BaseException as error:
    print(type(error).__name__)
"""
CHANNEL = """
import sys, grpc
from ray.core.generated import node_manager_pb2 as messages, node_manager_pb2_grpc as services
stub = services.NodeManagerServiceStub(grpc.insecure_channel(sys.argv[1]))
try:
    stub.GetNodeStats(messages.GetNodeStatsRequest(), timeout=10)
    print("nodes")
except grpc.RpcError as error:
    print(error.code().name)
"""


def _python(hosts, code, *words, token):
    settings = {} if token else {"RAY_AUTH_TOKEN_PATH": "/nowhere", "RAY_AUTH_MODE": "disabled"}
    done = hosts.run("ctl", "python", "-c", code, *words, limit=90,
                     environment={"RAY_AUTH_MODE": "token", **settings})
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-500:]


def test_the_head_answers_other_hosts_only_with_the_token(cluster):
    gcs, client = f"{NAMES[HEAD]}:6379", f"ray://{NAMES[HEAD]}:10001"
    assert _python(cluster, ASK, gcs, token=True) == "nodes 3"
    assert _python(cluster, ASK, gcs, token=False) == "AuthenticationError"
    assert "nodes" not in _python(cluster, CONNECT, client, token=False)


def test_raylets_answer_other_hosts_only_with_the_token(cluster):
    for name in (HEAD, *WORKERS):
        assert _python(cluster, CHANNEL, f"{NAMES[name]}:6380", token=False) == "UNAUTHENTICATED"


def test_agents_answer_other_hosts_only_with_the_token(cluster):
    """An agent starts jobs and hands out logs."""
    for name in (HEAD, *WORKERS):
        for method, path in (("POST", "/api/job_agent/jobs/"), ("GET", "/api/v0/logs")):
            assert _code(cluster, method, f"http://{NAMES[name]}:52365{path}") == "401"


def test_the_dashboard_is_on_loopback_alone(cluster):
    listening = cluster.listening(HEAD)
    assert {a for a, p, _ in listening if p == 8265} == {"127.0.0.1"}


def test_nothing_else_listens_than_is_documented(cluster):
    """docs/cluster.md and SECURITY.md name these ports; workers' own are 10002 to 19999."""
    known = {6379, 6380, 6381, 6382, 6383, 6384, 10001, 52365, 44217, 44227, 8265}
    for name in (HEAD, *WORKERS):
        ports = {p for a, p, _ in cluster.listening(name) if not a.startswith("127.")}
        assert {p for p in ports if not 10002 <= p <= 19999} <= known, (name, ports)


def test_the_tunnel_wants_the_token_too(cluster):
    assert _code(cluster, "GET", "http://127.0.0.1:8265/api/jobs/") == "401"


def _code(hosts, method, url):
    """What HTTP says to a request without a token from the control host."""
    code = ("import sys, urllib.request, urllib.error\n"
            "request = urllib.request.Request(sys.argv[2], method=sys.argv[1], data=b'{}')\n"
            "try: print(urllib.request.urlopen(request, timeout=20).status)\n"
            "except urllib.error.HTTPError as error: print(error.code)")
    return hosts.run("ctl", "python", "-c", code, method, url).stdout.strip()
