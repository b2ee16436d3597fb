"""Plans of data that are not on this machine: sizes by their name, time by counted operations."""

import json

import pytest
from click.testing import CliRunner

import orchestrator
from orchestrator import costs, session
from orchestrator.cli import main
from orchestrator.errors import UserError
from orchestrator.presets import list_presets
from orchestrator.presumed import Presumed
from tests.orchestrator.specs import tiny

NAMES = [p.name for p in list_presets()]
# one of each source, cheap to build
SOME = ["break-even-small", "three-factors-small", "stiffness-paper", "linear-scaling-small"]


@pytest.fixture(autouse=True)
def _bare(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", [
    n if n in SOME else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_every_preset_tells_what_it_costs(name, tmp_path):
    told = CliRunner().invoke(main, ["plan", name, "--storage", str(tmp_path / "s")])
    assert told.exit_code == 0, told.output
    lines = {line.split()[0]: line for line in told.output.splitlines()}
    assert {"data", "runs", "packs", "time"} <= set(lines)
    if not name.endswith("-digits") and name != "digits-ratio":
        assert "core-hours, or " in told.output
        assert "taken to be like " in told.output
    assert not (tmp_path / "s").exists()


def linear(tmp_path, **data):
    return tiny(tmp_path, data={"name": "mnist", "root": str(tmp_path / "none"), **data},
                train={"epochs": 10, "batch_size": 100},
                measure={"when": {"early": None, "initial": False}, "set_size": 100,
                         "monitors": []})


def test_operations_are_counted(tmp_path):
    plan = orchestrator.plan(linear(tmp_path, train_size=50_000, test_size=100), presume=True)
    found = costs.estimate(plan)
    # a gradient is three forward passes, of 2·784·10 operations an example
    work = 3 * 2 * 784 * 10 * 50_000 * 10 * 2
    steps = 500 * 10  # both runs in one pack; a last look at the loss is the rest
    assert found.compute_s == pytest.approx(work / 15e9 + 1e-3 * steps, rel=0.03)
    assert found.gpu_s == pytest.approx(work / 1e12 + 1e-3 * steps, rel=0.03)
    assert "counted operations" in found.source


def test_sizes_are_those_of_the_spec_else_of_the_set(tmp_path):
    whole = orchestrator.plan(linear(tmp_path), presume=True).data
    assert isinstance(whole, Presumed)
    assert (whole.train_size, whole.test_size, whole.input_shape) == (60_000, 10_000, (1, 28, 28))
    part = orchestrator.plan(linear(tmp_path, train_size=300, test_size=200), presume=True).data
    assert (part.train_size, part.test_size) == (300, 200)


@pytest.mark.parametrize("download", [False, True])
def test_nothing_is_downloaded_and_the_way_is_told(tmp_path, monkeypatch, download):
    monkeypatch.setattr("trainables.sources.torchvision_sets._open", _no_network)
    told = CliRunner().invoke(main, ["plan", str(linear(tmp_path, download=download)), "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.output)["gpu_s"] > 0
    words = CliRunner().invoke(main, ["plan", str(linear(tmp_path))]).output
    assert "get it with -s data.download=true" in words


def _no_network(name, root, *, download, **part):
    assert not download
    raise RuntimeError("Dataset not found")


@pytest.mark.parametrize(("name", "said"), [
    ("npz:own.npz", "there is no file"),  # nothing is known of it
    ("parquet:own.parquet", "there is no file"),
])
def test_of_other_files_nothing_is_presumed(tmp_path, name, said):
    with pytest.raises(UserError, match=said):
        orchestrator.plan(tiny(tmp_path, data={"name": name}), presume=True)


def test_what_is_wrong_with_data_that_are_here_is_told(tmp_path):
    (tmp_path / "mnist.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"mnist\.npz is not an \.npz archive"):
        orchestrator.plan(tiny(tmp_path, data={"name": f"npz:{tmp_path}/mnist.npz"}), presume=True)


def test_a_presumed_plan_cannot_be_run(tmp_path):
    plan = orchestrator.plan(linear(tmp_path), presume=True)
    with pytest.raises(UserError, match="mnist is not in"):
        session.run_sweep(plan, inline=True)
    assert not plan.folder.exists()
