"""Every preset loads, and plans where its data is there."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from orchestrator import plan
from orchestrator.cli import main
from orchestrator.errors import UserError
from orchestrator.presets import SCALES, find_preset, list_presets
from orchestrator.spec import load_spec

NAMES = [p.name for p in list_presets()]
BUILT_IN = [n for n in NAMES if load_spec(n).data["name"] == "digits"]
FROM_FILES = [n for n in NAMES if load_spec(n).data["name"] in ("npz", "parquet")]


def test_all_kinds_are_there():
    assert BUILT_IN
    assert FROM_FILES
    assert "digits-ratio" in BUILT_IN


@pytest.mark.parametrize("name", NAMES)
def test_headers_say_how_to_run_it_and_what_to_expect(name):
    header = [line for line in find_preset(name).path.read_text().splitlines() if line[:1] == "#"]
    assert any(f"sgdscope run {name}" in line for line in header)
    assert any("Cost:" in line for line in header)
    assert any("Expect:" in line for line in header)
    assert load_spec(name).name == name


@pytest.mark.parametrize("name", BUILT_IN)
def test_presets_on_built_in_data_plan(name, tmp_path):
    planned = plan(name, storage=tmp_path)
    assert planned.folder == tmp_path / name
    assert len(planned.runs) >= 2
    assert {m.run_id for p in planned.packs for m in p.members} == {
        r.run_id for r in planned.runs}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FROM_FILES)
def test_presets_on_files_name_what_is_missing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"there is no file .*\.(npz|parquet)"):
        plan(name)
    assert list(tmp_path.iterdir()) == []


def test_a_preset_on_files_plans_where_they_are(tmp_path):
    draw = np.random.default_rng(0)
    arrays = {f"{kind}_{part}": draw.integers(0, 256, (n, 28, 28), np.uint8) if kind == "x"
              else np.arange(n) % 10
              for part, n in (("train", 3000), ("test", 1500)) for kind in "xy"}
    np.savez(tmp_path / "mnist.npz", **arrays)
    planned = plan("linear-scaling-small", storage=tmp_path, overrides=[
        f"data.name=npz:{tmp_path}/mnist.npz", "sweep.axes.train_size=[1000, 3000]"])
    assert {run.config["data"]["train_size"] for run in planned.runs} == {1000, 3000}
    assert planned.data.input_shape == (1, 28, 28)
    assert planned.packs


def test_the_command_lists_and_shows_them():
    listed = CliRunner().invoke(main, ["presets"]).output.splitlines()
    assert [line.split()[0] for line in listed] == NAMES
    found = json.loads(CliRunner().invoke(main, ["presets", "--json"]).output)
    assert [p["name"] for p in found] == NAMES
    shown = CliRunner().invoke(main, ["presets", NAMES[0]])
    assert shown.output == find_preset(NAMES[0]).path.read_text()
    unknown = CliRunner().invoke(main, ["presets", "digits-ratoi"])
    assert unknown.exit_code == 2
    assert "digits-ratio" in unknown.output


@pytest.mark.parametrize("scale", SCALES)
def test_the_presets_of_a_scale_by_name_alone(scale):
    told = CliRunner().invoke(main, ["presets", "--scale", scale, "--names"])
    assert told.exit_code == 0
    names = told.output.split()
    assert set(names) == {n for n in NAMES if n.endswith(f"-{scale}")}
