"""A config as columns."""

from pathlib import Path

import pytest

from orchestrator.columns import config_types, identity_columns, monitor_columns
from tests.orchestrator.test_packing import CONFIG


def test_every_value_has_one_column():
    model = {"name": "mlp", "widths": [3, 4], "width": None}
    columns = identity_columns({**CONFIG, "model": model})
    assert columns["lr"] == 0.1
    assert columns["label_noise"] == 0.0
    assert columns["config_model_widths"] == "[3, 4]"
    assert columns["config_model_width"] is None
    assert columns["config_train_epochs"] == 2


def test_ratios():
    columns = identity_columns({**CONFIG, "train": {**CONFIG["train"], "momentum": 0.9}})
    assert columns["ratio"] == 0.1 / 8
    assert columns["effective_ratio"] == pytest.approx(0.1 / 8 / 0.1)


def test_types_over_all_runs():
    one = {**CONFIG, "model": {"name": "m", "gain": 1, "depth": 2, "flag": True, "none": None}}
    two = {**CONFIG, "model": {"name": "m", "gain": 1.5, "depth": 3, "flag": True, "none": None}}
    types = config_types([one, two])
    assert {k.removeprefix("config_model_"): v for k, v in types.items() if "model" in k} == {
        "name": "str", "gain": "float", "depth": "int", "flag": "bool", "none": "str"}


def test_monitor_columns():
    assert "hessian_lambda_max" in monitor_columns([("spectrum", {})], Path())
