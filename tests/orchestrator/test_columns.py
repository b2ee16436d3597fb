"""A config as columns."""

from pathlib import Path

import pytest

from analysis.schema import base_columns
from orchestrator.columns import config_types, identity_columns, monitor_columns
from tests.orchestrator.test_packing import CONFIG
from trainables.errors import InputError
from trainables.monitors import FAMILIES


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


def test_each_option_of_a_choice_has_a_column_whichever_run_has_it():
    trains = [{"name": "constant"}, {"name": "switch", "at": 4.0, "factor": 10.0},
              {"name": "cyclic", "period": 2.0, "factor": 3.0, "by": "step"}]
    configs = [{**CONFIG, "train": {**CONFIG["train"], "lr_schedule": t}} for t in trains]
    types = config_types(configs)
    assert {k.removeprefix("config_train_lr_schedule_"): v for k, v in types.items()
            if "lr_schedule" in k} == {"name": "str", "at": "float", "factor": "float",
                                       "period": "float", "by": "str"}
    assert "config_train_lr_schedule_at" not in identity_columns(configs[0])


def test_monitor_columns():
    assert "hessian_lambda_max" in monitor_columns([("spectrum", {})], Path())


def test_ours_can_all_be_chosen_at_once():
    """No two write the same column, operator or curve, and none a column of every snapshot."""
    columns = monitor_columns([(n, {}) for n in FAMILIES], Path())
    assert not columns.keys() & base_columns("snapshots")


@pytest.mark.parametrize(("attribute", "name", "owner"), [
    ("columns", "grad_norm", "every snapshot"), ("columns", "hessian_trace", "spectrum"),
    ("spectra", "hessian", "spectrum"),
])
def test_a_users_name_that_is_taken(tmp_path, attribute, name, owner):
    (tmp_path / "mine.py").write_text(
        "def mon(probe, options):\n    return {}\n\n\nmon.columns = {'a': '1'}\n"
        f"mon.{attribute} = {{{name!r}: '1'}}\n")
    with pytest.raises(InputError) as caught:
        monitor_columns([("spectrum", {}), ("mine:mon", {})], tmp_path)
    assert caught.value.what == f"mine:mon measures `{name}`, and so does {owner}"
    assert caught.value.key == "measure.monitors.1"
