"""The clusters we ship: valid by Ray's own check, safe, of equal versions, quick to see a loss."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import orchestrator

ROOT = Path(__file__).parents[1]
LAUNCHED = [ROOT / "cluster.yaml", ROOT / "clusters" / "aws.yaml", ROOT / "clusters" / "gcp.yaml"]
KUBERAY = ROOT / "clusters" / "kuberay.yaml"
ALL = [*LAUNCHED, KUBERAY, ROOT / "clusters" / "Dockerfile"]
WHEEL = f"sgdscope-{orchestrator.__version__}-py3-none-any.whl"
HEALTH = ("RAY_health_check_initial_delay_ms", "RAY_health_check_period_ms",
          "RAY_health_check_timeout_ms", "RAY_health_check_failure_threshold")


def _name(path):
    return path.name


@pytest.fixture(params=LAUNCHED, ids=_name)
def config(request):
    return yaml.safe_load(request.param.read_text(encoding="utf-8"))


def _starts(config, who):
    (start,) = [c for c in config[f"{who}_start_ray_commands"] if "ray start" in c]
    return start


def test_ray_accepts_it(config):
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(config))


@pytest.mark.parametrize("key", ["head_nodes", "storage"])
def test_rays_check_has_teeth(config, key):
    """A key that Ray does not know is refused: what it accepts above, it knows."""
    from jsonschema.exceptions import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(ValidationError):
        validate_config(prepare_config({**config, key: "x"}))


def test_every_node_asks_for_the_token(config):
    for who in ("head", "worker"):
        assert "RAY_AUTH_MODE=token " in _starts(config, who)
        assert "--disable-usage-stats" in _starts(config, who)
    assert [p for p in config["file_mounts"] if p.endswith("/.ray/auth_token")]
    assert any("RAY_AUTH_MODE=token" in c and "grep -q" in c for c in config["setup_commands"])


def test_what_can_listen_on_loopback_does(config):
    assert "--dashboard-host=127.0.0.1" in _starts(config, "head")


def test_what_listens_has_a_known_port(config):
    """So that a firewall can be told; all but the workers' own, which are 10002 to 19999."""
    for who in ("head", "worker"):
        ports = re.findall(r"--([a-z-]+)-port=(\d+)", _starts(config, who))
        assert {n for n, _ in ports} == {"node-manager", "object-manager", "dashboard-agent-grpc",
                                         "runtime-env-agent", "metrics-export",
                                         "dashboard-agent-listen"}
        assert sorted(p for _, p in ports) == ["52365", "6380", "6381", "6382", "6383", "6384"]


def test_nothing_of_a_token_stands_in_the_files():
    for path in ALL:
        assert not re.search(r"\b[0-9a-f]{32,}\b|RAY_AUTH_TOKEN=", path.read_text()), path


def test_a_dead_node_is_noticed_in_seconds(config):
    start = _starts(config, "head")
    _, period, timeout, times = (int(re.search(rf"{n}=(\d+)", start).group(1)) for n in HEALTH)
    assert times * (period + timeout) <= 20_000
    assert "RAY_gcs_rpc_server_reconnect_timeout_s=20 " in _starts(config, "worker")


def test_versions_are_equal_everywhere():
    """On all nodes of all clusters, and such as our own requirements allow."""
    pins = {"torch": set(), "torchvision": set(), "ray": set()}
    for path in ALL:
        text = path.read_text()
        for name, pattern in (("torch", r'"torch==([^"]+)"'),
                              ("torchvision", r'"torchvision==([^"]+)"'),
                              ("ray", r'"ray\[default,tune\]==([^"]+)"'),
                              ("ray", r"rayproject/ray:([0-9.]+)-"),
                              ("ray", r'rayVersion: "([^"]+)"')):
            pins[name] |= set(re.findall(pattern, text))
        named = set(re.findall(r"sgdscope-[0-9][^/\" ]*?\.whl", text))
        assert named == ({WHEEL} if path != KUBERAY else set())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    for name, versions in pins.items():
        (version,) = versions
        assert version in allowed[name]


def test_the_wheel_is_the_one_that_make_builds():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version == orchestrator.__version__
    assert "\nwheel:" in (ROOT / "Makefile").read_text()


def test_storage_is_named_once(config):
    assert config["metadata"]["storage"].startswith(("/mnt/", "s3://"))


def test_setup_can_run_again(config):
    """`ray up` runs it again: nothing is appended twice, a new wheel replaces the old one."""
    setup = config["setup_commands"]
    assert all("grep -q" in c for c in setup if ">>" in c)
    assert any("--force-reinstall" in c and WHEEL in c for c in setup)


@pytest.mark.parametrize("path", LAUNCHED[1:], ids=_name)
def test_workers_are_on_the_spot_market_and_the_head_is_not(path):
    types = yaml.safe_load(path.read_text())["available_node_types"]
    spot = {n: "spot" in str(t) or "'preemptible': True" in str(t) for n, t in types.items()}
    assert spot == {"head": False, "worker": True}
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["worker"]["min_workers"] == 1  # else no node has room for a trial at the start
    assert types["worker"]["max_workers"] == yaml.safe_load(path.read_text())["max_workers"]


def test_aws_lets_in_ssh_from_one_address():
    """Ray's default lets in ssh from everywhere."""
    config = yaml.safe_load((ROOT / "clusters" / "aws.yaml").read_text())
    (rule,) = config["provider"]["security_group"]["IpPermissions"]
    assert (rule["FromPort"], rule["ToPort"]) == (22, 22)
    assert [r["CidrIp"].endswith("/32") for r in rule["IpRanges"]] == [True]


def test_the_form_of_kuberay():
    """Ray ships no schema of it; these are the fields of ray.io/v1 RayCluster that it needs."""
    tree = yaml.safe_load(KUBERAY.read_text())
    assert (tree["apiVersion"], tree["kind"]) == ("ray.io/v1", "RayCluster")
    spec = tree["spec"]
    assert set(spec) == {"rayVersion", "authOptions", "enableInTreeAutoscaling",
                         "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"}
    assert spec["authOptions"] == {"mode": "token"}  # needs rayVersion
    head, (workers,) = spec["headGroupSpec"], spec["workerGroupSpecs"]
    assert all(isinstance(v, str) for g in (head, workers) for v in g["rayStartParams"].values())
    assert 1 <= workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    pods = [g["template"]["spec"] for g in (head, workers)]
    (image,) = {c["image"] for p in pods for c in p["containers"]}
    assert image.endswith(f":{orchestrator.__version__}")
    for pod in pods:
        (container,) = pod["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert all(isinstance(e["value"], str) for e in container["env"])
    names = [{e["name"] for e in p["containers"][0]["env"]} for p in pods]
    assert names == [set(HEALTH), {"RAY_gcs_rpc_server_reconnect_timeout_s"}]
    assert "nodeSelector" not in pods[0]  # spot is for workers
