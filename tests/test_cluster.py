"""cluster.yaml is a valid form by Ray's own schema, and keeps the rules of a safe cluster."""

from pathlib import Path

import pytest
import yaml

PATH = Path(__file__).parents[1] / "cluster.yaml"


@pytest.fixture
def text():
    return PATH.read_text(encoding="utf-8")


def test_ray_accepts_it(text):
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(yaml.safe_load(text)))


def test_token_authentication_is_on_and_the_dashboard_on_loopback(text):
    starts = [line for line in text.splitlines() if "ray start" in line]
    assert starts
    assert all("--disable-usage-stats" in line for line in starts)
    assert any("--dashboard-host=127.0.0.1" in line for line in starts if "--head" in line)
    assert "RAY_AUTH_MODE=token" in text
