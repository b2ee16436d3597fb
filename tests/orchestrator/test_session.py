"""A sweep from plan to report: what is written, what is kept, what is refused."""

import dataclasses
import io
import os
import shutil

import pandas as pd
import pytest

from orchestrator import plan, preflight, session
from orchestrator.choosing import read_choices
from orchestrator.errors import UserError
from orchestrator.planner import make_plan
from orchestrator.session import check, open_folder, planned_runs, read_resolved, run_sweep
from orchestrator.spec import load_folder, load_spec
from tests.orchestrator.specs import failing, tiny, tree

pytestmark = pytest.mark.usefixtures("no_report")


def run(path, *overrides):
    """The sweep's outcome and what was said."""
    out = io.StringIO()
    return run_sweep(plan(path, overrides=overrides), inline=True, out=out), out.getvalue()


def parts(folder):
    return {k: v for k, v in tree(folder).items() if k.startswith("tables/")}


def test_what_a_folder_begins_with(tmp_path):
    planned = plan(tiny(tmp_path))
    folder = open_folder(planned).folder
    assert set(tree(folder)) == {"spec.yaml", "resolved.yaml", "engines.json", "planned.txt", *(
        f"tables/{t}/0000-schema.parquet" for t in ("runs", "snapshots", "spectra", "curves"))}
    assert (folder / "spec.yaml").read_text() == (tmp_path / "spec.yaml").read_text()
    assert planned_runs(folder) == {r.run_id for r in planned.runs}
    assert read_resolved(folder)["data_sha256"] == planned.data.sha256
    assert read_resolved(tmp_path) is None
    assert planned_runs(tmp_path) == set()
    before = tree(folder)
    open_folder(planned)
    assert tree(folder) == before


def test_two_that_plan_a_new_sweep_at_once_on_unlike_machines_make_the_same_packs(
        tmp_path, monkeypatch):
    """Else every run would be in a pack of each, and be trained twice."""
    axes = {"lr": [0.1], "seed": {"count": 64}}
    path, plans = tiny(tmp_path, sweep={"axes": axes}), []
    for cores in (1, 64):
        monkeypatch.setattr(os, "cpu_count", lambda n=cores: n)
        plans.append(plan(path))
    assert plans[0].packs != plans[1].packs  # or the test shows nothing
    first, second = map(open_folder, plans)
    assert first.packs == second.packs == plans[0].packs
    kept = (first.folder / "engines.json").read_bytes()
    assert open_folder(plan(path)).packs == first.packs
    assert (first.folder / "engines.json").read_bytes() == kept


def test_later_groups_join_the_folders_choices_and_what_is_asked_for_replaces_them(tmp_path):
    path = tiny(tmp_path)
    first = open_folder(plan(path))
    more = open_folder(plan(path, overrides=["sweep.axes.batch_size=[10, 20]"]))
    assert len(first.choices) == 1
    assert first.choices.items() < more.choices.items()
    asked = open_folder(plan(path, overrides=["compute.pack=1"]))
    assert len(asked.packs) == 2
    held = read_choices((first.folder / "engines.json").read_bytes())
    assert held == asked.choices
    assert open_folder(plan(path)).packs == asked.packs  # kept, though no longer asked for


def test_a_folder_gives_its_spec_back(tmp_path):
    """Runs and probes keep their ids, whatever the resolved spec filled in, and where it lies."""
    made = plan(tiny(
        tmp_path, measure={"budget": 500, "set_size": 50}, probes=[
            {"interpolation": {"between": ["batch_size"]}}, {"tunnels": {"runs": "lr < 1"}}],
        train={"epochs": 2, "lr_schedule": "cosine", "optimizer": "nudged_sgd", "lr": 0.1},
        sweep={"axes": {"batch_size": [10, 20], "optimizer.gamma": [0.1, 1]},
               "keep": "batch_size < 99"}), overrides=["train.epochs=3"])
    moved = open_folder(made).folder.rename(tmp_path / "moved")
    again = make_plan(load_folder(moved))
    assert again.folder == moved
    assert [r.run_id for r in again.runs] == [r.run_id for r in made.runs]
    assert again.probe_ids == made.probe_ids
    assert again.spec.text == made.spec.text
    check(again)


def test_a_second_run_trains_nothing(tmp_path, monkeypatch):
    first, said = run(tiny(tmp_path))
    assert first.failures == {}
    assert "100%" in said
    before = tree(first.folder)
    monkeypatch.setattr(session, "run_pack", None)
    second, said = run(tiny(tmp_path))
    assert second.failures == {}
    assert "100%" not in said
    assert tree(first.folder) == before


def test_one_more_value_runs_one_more_cell(tmp_path):
    first, _ = run(tiny(tmp_path))
    before = parts(first.folder)
    run(tiny(tmp_path), "sweep.axes.lr=[0.01, 0.1, 0.2]")
    after = parts(first.folder)
    assert {k: after[k] for k in before} == before
    runs = pd.read_parquet(first.folder / "tables" / "runs")
    assert sorted(runs.lr) == [0.01, 0.1, 0.2]
    assert len(planned_runs(first.folder)) == 3


def test_cells_taken_away_stay_in_the_tables(tmp_path):
    first, _ = run(tiny(tmp_path))
    before = parts(first.folder)
    run(tiny(tmp_path), "sweep.axes.lr=[0.1]")
    assert parts(first.folder) == before
    assert len(planned_runs(first.folder)) == 1


def test_a_changed_section_is_refused_and_nothing_written(tmp_path):
    first, _ = run(tiny(tmp_path))
    before = tree(tmp_path)
    with pytest.raises(UserError, match=r"`train.epochs` was 2 and is now 3"):
        run(tiny(tmp_path), "train.epochs=3")
    assert tree(tmp_path) == before
    assert first.folder.exists()


def test_a_pack_that_raises_does_not_stop_the_others(tmp_path):
    path = failing(tmp_path)
    ended, _ = run(path)
    ((pack_id, why),) = ended.failures.items()
    assert why.rstrip().endswith("sixteen is too many")
    assert (ended.folder / "packs" / pack_id / "error.txt").read_text() == why
    assert pd.read_parquet(ended.folder / "tables" / "runs").batch_size.tolist() == [20]
    before = parts(ended.folder)
    again, _ = run(path)  # tried again, under the same id
    assert list(again.failures) == [pack_id]
    assert parts(ended.folder) == before


def test_a_moved_storage_goes_on(tmp_path):
    first, _ = run(tiny(tmp_path))
    shutil.move(tmp_path / "sweeps", tmp_path / "elsewhere")
    planned = plan(tiny(tmp_path), storage=tmp_path / "elsewhere")
    assert planned.packs == ()
    assert not first.folder.exists()
    check(planned)


def test_an_interrupt_keeps_what_is_committed(tmp_path, monkeypatch):
    path = tiny(tmp_path, sweep={"axes": {"lr": [0.1], "batch_size": [10, 20]}},
                train={"epochs": 2})
    real, begun = session.run_pack, []

    def stopped_in_the_second(order):
        begun.append(order)
        for facts in real(order):
            if len(begun) == 2:
                raise KeyboardInterrupt
            yield facts

    with monkeypatch.context() as patch:
        patch.setattr(session, "run_pack", stopped_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            run(path)
    before = parts(tmp_path / "sweeps" / "tiny")
    ended, _ = run(path)
    assert {k: parts(ended.folder)[k] for k in before} == before
    assert sorted(pd.read_parquet(ended.folder / "tables" / "runs").batch_size) == [10, 20]


def test_all_that_would_go_wrong_is_told_at_once(tmp_path, monkeypatch):
    planned = plan(tiny(tmp_path))
    monkeypatch.setattr(preflight, "gpu_count", lambda: 0)
    compute = dataclasses.replace(planned.spec.compute, cpus=4000.0, gpus=3.0)
    broken = dataclasses.replace(planned, spec=dataclasses.replace(planned.spec, compute=compute))
    (tmp_path / "sweeps" / "tiny").mkdir(parents=True)
    (tmp_path / "sweeps" / "tiny" / "thesis.tex").write_text("x")
    with pytest.raises(UserError) as caught:
        run_sweep(broken, inline=True, out=io.StringIO())
    assert len(caught.value.problems) == 3
    with pytest.raises(UserError) as caught:  # a cluster has its own machines
        check(broken, on_cluster=True)
    assert len(caught.value.problems) == 1
    assert [p.name for p in (tmp_path / "sweeps" / "tiny").iterdir()] == ["thesis.tex"]


def test_a_full_disk_is_told_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(UserError, match="the sweep needs about"):
        run(tiny(tmp_path))
    assert not (tmp_path / "sweeps").exists()


@pytest.fixture
def begun(monkeypatch):
    """The moments at which Ray is started and the plan is made; neither happens."""
    told = []

    def refuse(*_, **__):
        told.append("plan")
        raise UserError()

    monkeypatch.setattr(session.Cluster, "start", lambda _: told.append("ray"))
    monkeypatch.setattr(session, "make_plan", refuse)
    return told


@pytest.mark.parametrize(("changed", "options", "order"), [
    ({}, {}, ["ray", "plan"]),
    ({}, {"inline": True}, ["plan"]),
    ({"model": {"name": "mine:net"}}, {}, ["plan"]),                     # may not be importable
    ({"data": {"name": "npz:nowhere.npz"}}, {}, ["plan"]),               # cannot be read
    ({"compute": {"cpus": 4000}}, {}, ["plan"]),                         # more than there are
    ({"storage": "/dev/null/sweeps"}, {}, ["plan"]),                     # not a folder
], ids=lambda v: "" if isinstance(v, list) else str(v))
def test_ray_starts_before_the_plan_where_that_is_sure_to_train(
        tmp_path, begun, changed, options, order):
    """Bad input is refused without waiting for Ray to start and stop."""
    with pytest.raises(UserError):
        session.run(tiny(tmp_path, **changed), **options)
    assert begun == order


def test_ray_waits_for_the_plan_of_a_sweep_that_was_begun(tmp_path, begun):
    """All its runs may have ended: then nothing is to be started."""
    path = tiny(tmp_path)
    (tmp_path / "sweeps" / "tiny" / "tables").mkdir(parents=True)
    with pytest.raises(UserError):
        session.run(path)
    assert begun == ["plan"]
    assert not session._is_fresh(load_spec(path))
