"""What listens on a cluster, and what of it answers another host without the token.

SECURITY.md holds this as a table; here it is measured.
"""

import re

import pytest

from tests.hosts.hosts import HEAD, NAMES, ROOT, WORKERS
from tests.hosts.test_cluster import sgdscope, spec

pytestmark = pytest.mark.cluster
ALL = (HEAD, *WORKERS)
HEADS = {6379, 10001, 44217, 44227}                 # beside those of every node
EVERYWHERE = {6380, 6381, 6382, 6383, 6384, 52365}
WORKERS_OWN = range(10002, 20000)

# A call over gRPC or HTTP as any stranger makes it, with Ray's token left out.
ASK = """
import sys, urllib.error, urllib.request
import grpc
where, call = sys.argv[1:]
if call.startswith("/"):
    method = grpc.insecure_channel(where).unary_unary(
        call, request_serializer=bytes, response_deserializer=bytes)
    try:
        method(b"", timeout=20)
        print("answers")
    except grpc.RpcError as error:
        print(error.code().name)
else:
    verb, path = call.split()
    request = urllib.request.Request(f"http://{where}{path}", method=verb, data=b"{}")
    try:
        print(urllib.request.urlopen(request, timeout=20).status)
    except urllib.error.HTTPError as error:
        print(error.code)
"""
GUARDED = {  # port -> calls that start work, change something or tell of it
    6379: ("/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
           "/ray.rpc.InternalKVGcsService/InternalKVKeys"),
    6380: ("/ray.rpc.NodeManagerService/RequestWorkerLease",
           "/ray.rpc.NodeManagerService/GetNodeStats"),
    6381: ("/ray.rpc.ObjectManagerService/Pull",),
    6382: ("/ray.rpc.LogService/ListLogs", "/ray.rpc.ReporterService/ReportOCMetrics"),
    6383: ("POST /get_or_create_runtime_env",),
    10001: ("/ray.rpc.RayletDriver/Init", "/ray.rpc.RayletDriver/ClusterInfo"),
    52365: ("POST /api/job_agent/jobs/", "GET /api/v0/logs"),
}
OPEN = {6384: "GET /metrics", 44217: "GET /metrics", 44227: "GET /metrics",  # numbers alone
        52365: "GET /api/local_raylet_healthz"}


def _ask(hosts, where, call):
    """What a stranger on the control host is told."""
    done = hosts.run("ctl", "python", "-c", ASK, where, call, limit=90,
                     environment={"RAY_AUTH_TOKEN_PATH": "/nowhere"})
    return done.stdout.strip() or done.stderr[-300:]


def _ports(hosts, name):
    return {p for a, p, _ in hosts.listening(name) if "127.0.0.1" not in a and a != "[::1]"}


def test_what_listens_is_what_is_documented(cluster):
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for name in ALL:
        wanted = EVERYWHERE | (HEADS if name == HEAD else set())
        found = {p for p in _ports(cluster, name) if p not in WORKERS_OWN}
        assert found == wanted, name
    assert {int(p) for p in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)} == (
        HEADS | EVERYWHERE | {8265})


def test_the_dashboard_is_on_loopback_alone(cluster):
    assert {a for a, p, _ in cluster.listening(HEAD) if p == 8265} == {"127.0.0.1"}


@pytest.mark.parametrize(("port", "call"), [(p, c) for p, calls in GUARDED.items() for c in calls])
def test_nothing_is_done_without_the_token(cluster, port, call):
    for name in (HEAD,) if port in HEADS else (HEAD, WORKERS[0]):
        assert _ask(cluster, f"{NAMES[name]}:{port}", call) in ("UNAUTHENTICATED", "401")


@pytest.mark.parametrize(("port", "call"), OPEN.items())
def test_what_answers_anybody_is_known(cluster, port, call):
    """Should Ray begin to guard these too, the table is to be changed."""
    assert _ask(cluster, f"{NAMES[HEAD]}:{port}", call) == "200"


def test_workers_ask_for_the_token_too(cluster):
    """The processes that train, and the driver."""
    long = spec(cluster, "workers", train={"epochs": 4000})
    assert sgdscope(cluster, f"submit {long} --no-wait").returncode == 0
    try:
        for name in ALL:
            for port in sorted(_ports(cluster, name) & set(WORKERS_OWN)):
                said = _ask(cluster, f"{NAMES[name]}:{port}",
                            "/ray.rpc.CoreWorkerService/GetCoreWorkerStats")
                assert said in ("UNAUTHENTICATED", "UNAVAILABLE")  # or gone meanwhile
    finally:
        assert sgdscope(cluster, "stop workers").returncode == 0


def test_the_tunnel_wants_the_token_too(cluster):
    assert _ask(cluster, "127.0.0.1:8265", "GET /api/jobs/") == "401"


def test_with_the_token_the_same_calls_are_heard(cluster):
    """So that what is refused above is refused for the want of it."""
    token = (cluster.folder / "ctl" / "home" / ".ray" / "auth_token").read_text()
    code = ("import sys, grpc\n"
            "call = grpc.insecure_channel(sys.argv[1]).unary_unary(sys.argv[2],"
            " request_serializer=bytes, response_deserializer=bytes)\n"
            "call(b'', timeout=20, metadata=(('authorization', f'Bearer {sys.argv[3]}'),))\n"
            "print('answers')")
    done = cluster.run("ctl", "python", "-c", code, f"{NAMES[HEAD]}:6379",
                       "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo", token)
    assert done.stdout.strip() == "answers", done.stderr
