"""Costs: lengths are exact, weights and bytes grow with the work, calibrations are made once."""

import dataclasses

import pytest

from orchestrator import costs, plan
from orchestrator.packing import PackPlan
from tests.orchestrator.specs import tiny, untraceable
from tests.orchestrator.test_planner import train


def pack_of(folder, *overrides):
    return plan(tiny(folder), overrides=overrides).packs[0]


@pytest.mark.parametrize(("overrides", "steps"), [
    ((), 20), (("train.batch_size=30",), 6), (("train.epochs=3",), 30),
    (("train.epochs=", "train.steps=7"), 7), (("train.batch_size=full",), 2),
    (("train.epochs=", "train.until={train_accuracy: 1.0, max_epochs: 5}"), 50),
])
def test_steps(tmp_path, overrides, steps):
    assert costs.lengths(pack_of(tmp_path, *overrides))[0] == steps


@pytest.mark.parametrize(("when", "snapshots"), [
    ("{}", 2), ("{initial: false}", 1), ("{every_steps: 5}", 5),  # 0, 5, 10, 15, 20
    ("{every_epochs: 1, initial: false}", 2), ("{steps: [0, 3, 20, 99]}", 3),
    ("{initial: false, final: false, steps: [4]}", 1),
])
def test_snapshots(tmp_path, when, snapshots):
    when = when.replace("{", "{early: null, ", 1)
    assert costs.lengths(pack_of(tmp_path, f"measure.when={when}"))[1] == snapshots


@pytest.mark.parametrize("more", [
    "train.epochs=20", "measure.set_size=100", "measure.when.every_steps=1",
    "sweep.axes.seed.count=4",
])
def test_more_work_weighs_more(tmp_path, more):
    assert costs.weight(pack_of(tmp_path, more)) > costs.weight(pack_of(tmp_path))


def test_bytes(tmp_path):
    path = tiny(tmp_path)
    planned = plan(path)
    plain = costs.disk_bytes(planned)
    assert plain > 0
    assert costs.disk_bytes(plan(path, overrides=["measure.when.every_steps=1"])) > plain
    weights = costs.disk_bytes(plan(path, overrides=["save.weights=final"]))
    assert weights - plain == 2 * 4 * planned.parameters
    assert costs.disk_bytes(dataclasses.replace(planned, packs=())) == 0


@pytest.mark.parametrize(("monitors", "spectra", "curves"), [
    ([], 0, 0),
    (["fisher", "batch_sharpness"], 0, 0),
    ([{"gradient_noise": {"batches": 7, "k": 3}}], 14, 0),      # two matrices of seven minibatches
    ([{"stiffness": {"bins": 6}}], 0, 100 + 12),                # ten classes; within and between
    ([{"step_geometry": {"multiples": [1, 2], "k": 3, "directions": 2}}], 0, 4 * 3 + 14),
    ([{"memorization": {"sensitivity": True, "sensitivity_class": True}}], 0, 100),
    ([{"kernel:mon": {"k": "rbf"}}], 20, 20),                   # its k is no number of eigenpairs
])
def test_bytes_of_spectra_and_curves(tmp_path, monitors, spectra, curves):
    (tmp_path / "kernel.py").write_text(
        "def mon(probe, options):\n    return {}\n\n\nmon.columns = {'a': '1'}\n"
        "mon.spectra, mon.curves, mon.options = {'s': '1'}, {'c': '1'}, {'k': 'linear'}\n")
    bare = costs.disk_bytes(plan(tiny(tmp_path, measure={"monitors": []})))
    more = plan(tiny(tmp_path, measure={"monitors": monitors}))
    snapshots = 2 * costs.lengths(more.packs[0])[1]
    assert costs.disk_bytes(more) - bare == snapshots * (
        spectra * costs.ROW_BYTES["spectra"] + curves * costs.ROW_BYTES["curves"])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of calibrations."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sgdscope" / "timings.json"


def test_a_calibration_is_made_once_a_machine(tmp_path, monkeypatch, cache):
    planned = plan(tiny(tmp_path))
    first = costs.estimate(planned)
    assert first.source == "a calibration"
    assert 0 < first.compute_s < first.wall_s
    assert cache.exists()
    monkeypatch.setattr(costs, "_calibrate", None)
    assert costs.estimate(planned) == first


@pytest.mark.usefixtures("cache")
def test_a_pack_whose_step_cannot_be_compiled_is_calibrated_as_it_will_run(tmp_path):
    planned = plan(untraceable(tmp_path))
    assert {p.engine for p in planned.packs} == {"vmap-compiled"}
    assert costs.estimate(planned).compute_s > 0


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", "\xff"])
def test_a_damaged_cache_is_made_again(tmp_path, cache, content):
    cache.parent.mkdir(parents=True)
    cache.write_bytes(content.encode("latin-1"))
    planned = plan(tiny(tmp_path))
    first = costs.estimate(planned)
    assert first.compute_s > 0
    assert costs.estimate(planned) == first


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, cache):
    cache.parent.parent.write_text("a file where the folder would be")
    assert costs.estimate(plan(tiny(tmp_path))).compute_s > 0


def test_earlier_runs_of_the_same_shape_go_before_a_calibration(tmp_path, monkeypatch):
    path = tiny(tmp_path)
    train(plan(path))
    monkeypatch.setattr(costs, "_calibrate", None)
    found = costs.estimate(plan(path, overrides=["sweep.axes.lr=[0.01, 0.1, 0.2, 0.3]"]))
    assert found.source == "earlier runs"
    assert found.compute_s > 0


def test_nothing_to_do_costs_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "_calibrate", None)
    planned = dataclasses.replace(plan(tiny(tmp_path)), packs=())
    assert costs.estimate(planned) == costs.Estimate(
        0, 0.0, costs.estimate(planned).slots, 0, "nothing")


def test_packs_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(costs.os, "cpu_count", lambda: 8)
    planned = dataclasses.replace(plan(tiny(tmp_path)), packs=())
    assert costs.estimate(planned).slots == 8
    compute = dataclasses.replace(planned.spec.compute, cpus=3.0)
    spec = dataclasses.replace(planned.spec, compute=compute)
    assert costs.estimate(dataclasses.replace(planned, spec=spec)).slots == 2


def test_the_engine_counts(tmp_path):
    pack = pack_of(tmp_path, "sweep.axes.seed.count=3")
    assert len(pack.members) == 6
    loop = PackPlan(pack.pack_id, pack.members, 8, "loop")  # no padding is computed
    padded = PackPlan(pack.pack_id, pack.members, 8, "vmap")
    assert costs.weight(loop) < costs.weight(padded)


def test_probes_need_room(tmp_path):
    bare = plan(tiny(tmp_path, save={"weights": "final"}))
    more = plan(tiny(tmp_path, save={"weights": "final"}, probes=["tunnels"]))
    assert costs.disk_bytes(more) - costs.disk_bytes(bare) == 2 * costs.PROBE_BYTES
