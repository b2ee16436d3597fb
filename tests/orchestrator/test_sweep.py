"""A sweep on a Ray of its own: packs end, and one that raises is told while the others end."""

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import ray

from orchestrator import plan, sweep
from orchestrator.cluster import Cluster
from orchestrator.errors import UserError
from orchestrator.session import run_sweep
from orchestrator.stages import Stage
from orchestrator.sweep import run_on_ray
from tests.orchestrator.specs import failing

PROBES = "probes=[{tunnels: {directions: 2, points: 5}}, {first_epoch: {seeds: 2, examples: 9}}]"


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A sweep of which one of two packs raises, and its probes, run on Ray."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.report.write", lambda *_: None)
        # One pack at a time: the second is taken up by the worker of the first.
        planned = plan(failing(tmp_path_factory.mktemp("ray")),
                       overrides=[f"compute.cpus={os.cpu_count()}", PROBES])
        out = io.StringIO()
        return planned, run_sweep(planned, out=out), out.getvalue()


def test_good_packs_end(ended):
    planned, outcome, _ = ended
    runs = pd.read_parquet(outcome.folder / "tables" / "runs")
    assert runs.batch_size.tolist() == [20]
    assert runs.status.tolist() == ["finished"]
    assert runs.run_id[0] in {r.run_id for r in planned.runs}
    assert not pd.read_parquet(outcome.folder / "tables" / "snapshots").duplicated(
        ["run_id", "step"]).any()


def test_a_pack_that_raises_is_told_with_its_traceback(ended):
    planned, outcome, said = ended
    (bad,) = [p for p in planned.packs if p.members[0].config["train"]["batch_size"] == 16]
    assert list(outcome.failures) == [bad.pack_id]
    assert outcome.failures[bad.pack_id].startswith("Traceback (most recent call last)")
    assert outcome.failures[bad.pack_id].rstrip().endswith("sixteen is too many")
    error = outcome.folder / "packs" / bad.pack_id / "error.txt"
    assert error.read_text() == outcome.failures[bad.pack_id]
    assert "failed" in said


def test_tune_saves_nothing(monkeypatch):
    """It would save into the driver's own folder, which other nodes do not have."""
    told = {}
    monkeypatch.setattr(sweep.tune, "with_parameters", lambda trainable, **_: trainable)
    monkeypatch.setattr(sweep.tune, "Tuner", lambda *_, **options: told.update(options) or (
        SimpleNamespace(fit=lambda: None)))
    sweep._run_stage(Stage([{}], ["pack"], None), {"cpu": 1.0}, lambda: None)
    assert told["run_config"].checkpoint_config.checkpoint_at_end is False
    assert told["run_config"].checkpoint_config.checkpoint_frequency == 0
    assert not ray.is_initialized()


def test_ray_is_gone_afterwards(ended):
    assert not ray.is_initialized()
    ours = {"spec.yaml", "resolved.yaml", "planned.txt", "planned_probes.txt", "tables", "packs",
            "weights", "probes", "engines.json"}
    assert {p.name for p in ended[1].folder.iterdir()} <= ours  # nothing of Tune's


@pytest.mark.usefixtures("no_report")
def test_the_same_sweep_inline_has_the_same_rows(ended, tmp_path):
    """A pack's rows do not depend on what runs it."""
    planned, outcome, _ = ended
    inline = run_sweep(plan(planned.spec.source, overrides=[PROBES], storage=tmp_path),
                       inline=True, out=io.StringIO())
    for table in ("runs", "snapshots", "spectra", "curves"):
        one, two = (pd.read_parquet(f / "tables" / table) for f in (outcome.folder, inline.folder))
        same = [c for c in one if not c.startswith(("time_", "host_"))]
        pd.testing.assert_frame_equal(one[same], two[same])
    assert list(inline.failures) == list(outcome.failures)
    assert inline.skipped == outcome.skipped


def test_probes_follow_the_runs_that_ended(ended):
    """The probe that reads the weights of a run that failed is not made, for a reason in words."""
    planned, outcome, said = ended
    (good,) = pd.read_parquet(outcome.folder / "tables" / "runs").run_id
    (bad,) = {r.run_id for r in planned.runs} - {good}
    made = {(p.kind, p.runs[0].run_id): p.probe_id for p in planned.probes}
    assert outcome.skipped == {made.pop(("tunnels", bad)): f"tunnels: its run {bad} has not ended"}
    assert set(pd.read_parquet(outcome.folder / "tables" / "curves").subject_id) == {
        made["tunnels", good], made["first_epoch", good]}
    ((broken, why),) = outcome.probe_failures.items()  # its model raises here too
    assert broken == made["first_epoch", bad]
    assert why.rstrip().endswith("sixteen is too many")
    assert "probes 2/3" in said


def test_no_cluster_at_an_address(monkeypatch):
    def nobody(address, **_):
        raise ConnectionError(f"nothing at {address}\nand much more")

    monkeypatch.setattr(ray, "init", nobody)
    with pytest.raises(UserError, match=r"no Ray cluster answers at ray://x: nothing at ray://x\n"):
        run_on_ray([Stage([], [], None)], Cluster("ray://x"), cpus=1, gpus=0)


def test_without_a_stage_nothing_is_started(monkeypatch):
    monkeypatch.setattr(ray, "init", None)
    run_on_ray([], Cluster(), cpus=1, gpus=0)


def test_what_no_node_has_is_told(monkeypatch):
    node = {"Alive": True, "Resources": {"CPU": 4.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [node, {**node, "Alive": False,
                                                      "Resources": {"CPU": 64.0, "GPU": 8.0}}])
    assert sweep._resources(2.0, "auto") == {"cpu": 2.0}
    with pytest.raises(UserError) as caught:
        sweep._resources(5.0, 1)
    assert [p.where for p in caught.value.problems] == ["compute.cpus", "compute.gpus"]
    node["Resources"] = {"CPU": 4.0, "GPU": 2.0}
    assert sweep._resources(2.0, "auto") == {"cpu": 2.0, "gpu": 1.0}


def test_the_users_environment_goes_before_ours():
    code = ("import os; import orchestrator.sweep;"
            "print(os.environ['TUNE_GLOBAL_CHECKPOINT_S'], os.environ['RAY_USAGE_STATS_ENABLED'])")
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        cwd=Path(__file__).parents[2],
        env={"TUNE_GLOBAL_CHECKPOINT_S": "7", "PATH": "/usr/bin:/bin"})
    assert done.stdout.split() == ["7", "0"]


def _trial(events):
    """A trial of our own, without Ray, that passes these events on."""
    trial = object.__new__(sweep.OrderTrial)
    trial._facts, trial._events, trial._given_up = {"step": 0}, iter(events), ""
    return trial


def test_events_within_a_beat_are_told_as_one(monkeypatch):
    """A trial of many short events costs few round trips, and its last facts are not lost."""
    clock = iter([0.0, 0.1, 0.2, sweep.BEAT_S, 5.0, 5.1])
    monkeypatch.setattr(sweep.time, "monotonic", lambda: next(clock))
    trial = _trial({"step": n} for n in range(1, 5))
    assert trial.step() == {"step": 3, "done": False, "failure": ""}
    assert trial.step() == {"step": 4, "done": True, "failure": ""}


def test_what_raises_is_told_with_the_last_facts():
    def events():
        yield {"step": 1}
        raise ValueError("sixteen")

    told = _trial(events()).step()
    assert (told["step"], told["done"]) == (1, True)
    assert told["failure"].rstrip().endswith("ValueError: sixteen")


PROCESS = "The actor died unexpectedly before finishing this task. The worker process has died"
NODE = "The actor died unexpectedly before finishing this task. Its node has died."


@pytest.mark.parametrize(("whys", "marks", "given_up"), [
    ([PROCESS] * 4, [()] * 4, False),
    ([PROCESS] * 5, [()] * 5, True),
    ([PROCESS] * 9, [(0,), (0,), (1,), (2,), (2,), (2,), (3,), (3,), (3,)], False),  # it gets on
    ([PROCESS] * 7, [(0,), (1,)] + [(1, 2)] * 5, True),   # then not any more
    ([NODE] * 99, [()] * 99, False),                      # a spot market is no fault of its own
    ([PROCESS, NODE, NODE] * 4, [()] * 12, False),
    ([PROCESS, NODE] * 5, [()] * 10, True),
    (["The actor x is unavailable: the network"] * 9, [()] * 9, False),
])
def test_what_kills_its_worker_each_time_is_given_up(whys, marks, given_up):
    marks = iter(marks)
    told = sweep.Losses(lambda _: next(marks))
    said = [told.another("pack", why) for why in whys]
    assert bool(said[-1] or (len(said) > 1 and said[-2])) == given_up
    assert not any(said[:-2])
    if given_up:
        assert "died 5 times in a row" in "".join(said)
        assert PROCESS in "".join(said)


def test_orders_do_not_pay_for_one_another():
    told = sweep.Losses(lambda _: ())
    assert not any(told.another(one, PROCESS) for _ in range(4) for one in ("a", "b"))


def test_what_was_given_up_fails_without_a_step():
    trial = _trial([])
    trial._given_up = "its worker died"
    assert trial.step() == {"step": 0, "done": True, "failure": "its worker died"}


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_pack_that_kills_its_worker_fails_and_the_rest_goes_on(tmp_path, monkeypatch):
    """As a segmentation fault does, or the kernel where memory runs out."""
    monkeypatch.setattr(sweep, "WORKER_LOSSES", 2)
    source = failing(tmp_path)
    module = tmp_path / "mine.py"
    module.write_text("import os, sys\n" + module.read_text().replace(
        "raise", "'default_worker' in sys.argv[0] and os._exit(9); raise"))
    planned = plan(source)
    outcome = run_sweep(planned, out=io.StringIO())
    (bad,) = [p for p in planned.packs if p.members[0].config["train"]["batch_size"] == 16]
    assert list(outcome.failures) == [bad.pack_id]
    assert "died 2 times in a row" in outcome.failures[bad.pack_id]
    runs = pd.read_parquet(outcome.folder / "tables" / "runs")
    assert runs.batch_size.tolist() == [20]
    said = (outcome.folder / "packs" / bad.pack_id / "error.txt").read_text()
    assert said == outcome.failures[bad.pack_id]


class _Trial:
    def __init__(self, status):
        self.status = status


@pytest.mark.parametrize(("statuses", "calls"), [
    (["TERMINATED", "RUNNING"], 1),             # a core is free until the other ends
    (["TERMINATED", "RUNNING", "PENDING"], 0),  # a trial waits for it
])
def test_a_worker_that_is_free_for_good_is_told(statuses, calls):
    told = []
    callback = sweep._Told(Stage([], ["pack"], None), lambda: told.append(1))
    trials = [_Trial(s) for s in statuses]
    callback.on_trial_complete(1, trials, trials[0])
    assert len(told) == calls


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_search_on_ray_spends_its_budget(tmp_path):
    """Packs are asked for as workers get free, several at once; a bad pack is told as failed."""
    import json

    source = failing(tmp_path)
    tree = json.loads(Path(source).read_text())
    tree |= {"train": {"epochs": 1}, "compute": {"pack": 2}, "sweep": {"search": {
        "sampler": "random", "runs": 12, "objectives": {"test_accuracy": "maximize"},
        "space": {"lr": {"log": [0.01, 1.0]}, "batch_size": [16, 20]}}}}
    Path(source).write_text(json.dumps(tree))
    ended = run_sweep(plan(source), out=io.StringIO())
    runs = pd.read_parquet(ended.folder / "tables" / "runs")
    assert 0 < len(runs) == 12 - 2 * len(ended.failures) < 12
    found = json.loads((ended.folder / "search" / "found.json").read_text())
    assert found["over"]
    assert found["asked"] == 12
    assert found["told"] == len(runs)
