"""A search at work: budget, journal, knowledge, and going on after whatever ends it."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.errors import UserError
from orchestrator.planner import make_plan
from orchestrator.search.searching import Searching
from orchestrator.session import run_sweep
from orchestrator.spec import load_spec
from orchestrator.status import status_of
from orchestrator.tell import plan_text
from tests.orchestrator.search.test_optuna_search import optuna
from tests.orchestrator.specs import failing, tiny

SPACE = {"lr": {"log": [0.01, 1.0]}, "batch_size": [10, 20]}
SEARCH = {"sampler": "tpe", "runs": 16, "space": SPACE, "objectives": {"test_accuracy": "maximize"}}
TRAIN = {"epochs": 2}


@pytest.fixture(autouse=True)
def _no_report(no_report):
    pass


def searched(folder, sweep=None, **search):
    given = {"search": {**SEARCH, **search}, **(sweep or {})}
    return tiny(folder, train=TRAIN, sweep=given, compute={"compile": False, "pack": 4})


def go(source, *overrides):
    return run_sweep(make_plan(load_spec(source, overrides)), inline=True, out=io.StringIO())


def rows(folder):
    return pd.read_parquet(Path(folder) / "tables" / "runs")


def asks(folder):
    (own,) = [p for p in (Path(folder) / "search").iterdir() if p.is_dir()]
    return [json.loads(p.read_text()) for p in sorted(own.iterdir())]


def trials(folder):
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(Path(folder) / "search" / "journal.log")))
    (one,) = storage.get_all_studies()
    return storage.get_all_trials(one._study_id)


def test_a_search_spends_its_budget_and_says_the_best(tmp_path):
    ended = go(searched(tmp_path))
    runs = rows(ended.folder)
    assert len(runs) == 16
    assert (runs.groupby("pack_id").batch_size.nunique() == 1).all()
    best = runs.loc[runs.final_test_accuracy.idxmax()]
    assert ended.found[-1].startswith(f"best: test_accuracy {best.final_test_accuracy:.6g} at lr =")
    planned = (ended.folder / "planned.txt").read_text().split()
    assert set(planned) == set(runs.run_id)
    status = status_of(ended.folder)
    assert status.complete
    assert "16/16" in status.lines()[1]
    assert "tpe: 16 told, best test_accuracy" in status.lines()[1]


def test_a_larger_budget_goes_on_and_a_spent_one_does_nothing(tmp_path):
    source = searched(tmp_path)
    first = go(source)
    before = rows(first.folder)
    go(source)
    assert len(rows(first.folder)) == 16
    go(source, "sweep.search.runs=22")  # the last pack is a narrow one
    after = rows(first.folder)
    assert len(after) == 22
    assert set(before.run_id) < set(after.run_id)
    assert {t.state.name for t in trials(first.folder)} == {"COMPLETE"}


def test_kill_9_loses_nothing(tmp_path):
    """Killed again and again, at whatever moment: no run is asked for twice, none is lost."""
    source = searched(tmp_path, runs=24)
    folder = tmp_path / "sweeps" / "tiny"
    command = [sys.executable, "-c",
               "import io, sys, analysis.report\n"
               "analysis.report.write = lambda *_: None\n"
               "from orchestrator.planner import make_plan\n"
               "from orchestrator.session import run_sweep\n"
               "from orchestrator.spec import load_spec\n"
               "run_sweep(make_plan(load_spec(sys.argv[1])), inline=True, out=io.StringIO())",
               source]
    kept = {}
    for wanted in (1, 3):  # packs whose rows are there when it is killed
        process = subprocess.Popen(command, cwd=Path(__file__).parents[3])
        tables = folder / "tables" / "runs"
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if tables.exists() and len(list(tables.glob("*-0.parquet"))) >= wanted:
                break
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        now = {p.name: p.read_bytes() for p in tables.glob("[!.]*.parquet")}
        assert kept.items() <= now.items()
        kept = now
    go(source)
    assert kept.items() <= {p.name: p.read_bytes() for p in tables.glob("*.parquet")}.items()
    ids = [i for ask in asks(folder) for point in ask["points"] for i in point["run_ids"]]
    assert len(ids) == len(set(ids)) == 24
    assert set(rows(folder).run_id) == set(ids)
    told = [t for t in trials(folder) if t.state.name == "COMPLETE"]
    assert len(told) == 24
    assert "RUNNING" not in {t.state.name for t in trials(folder)}
    assert sorted(t.values[0] for t in told) == sorted(rows(folder).final_test_accuracy)


def test_seeds_are_averaged(tmp_path):
    ended = go(searched(tmp_path, runs=12, seeds=2))
    runs = rows(ended.folder)
    means = runs.groupby(["lr", "batch_size"]).final_test_accuracy.mean()
    assert sorted(runs.seed.value_counts().to_dict().items()) == [(0, 6), (1, 6)]
    assert sorted(t.values[0] for t in trials(ended.folder)) == pytest.approx(sorted(means))


def test_runs_that_diverge_are_told_as_such(tmp_path):
    ended = go(searched(tmp_path, space={**SPACE, "lr": {"log": [0.1, 1e5]}},
                        objectives={"test_loss": "minimize"}), "train.max_loss=10")
    runs = rows(ended.folder)
    states = [t.state.name for t in trials(ended.folder)]
    assert 0 < (runs.status == "diverged").sum() == states.count("PRUNED") < 16
    assert states.count("PRUNED") + states.count("COMPLETE") == 16


def test_seeds_of_a_boundary_take_turns(tmp_path):
    """Each point is a run of one seed, told by itself; a larger budget goes on with both."""
    source = searched(tmp_path, sampler="boundary", runs=8, seeds=2, objectives={}, space={
        "lr": {"log": [1e-3, 1e4]}, "batch_size": [10]})
    loss = "train.max_loss=10"
    first = rows(go(source, loss).folder)
    ended = go(source, loss, "sweep.search.runs=16")
    runs = rows(ended.folder)
    assert len(first) == 8
    assert set(first.run_id) < set(runs.run_id)
    assert len(runs) == 16
    for some in (first, runs):
        assert set(some.seed.value_counts()) == {len(some) // 2}
    diverged = runs.status == "diverged"
    assert 0 < diverged.sum() < 16
    assert f"({diverged.sum()} of 16 runs diverged)" in ended.found[-1]


def test_probes_are_of_the_runs_that_the_search_asked_for(tmp_path):
    """None of them is planned before; a search that goes on adds those of its new runs."""
    source = searched(tmp_path, {}, sampler="random", runs=4, seeds=2)
    tree = json.loads(Path(source).read_text())
    Path(source).write_text(json.dumps({**tree, "probes": [
        {"interpolation": {"between": "seed", "points": 5}},
        {"tunnels": {"runs": "lr > 2"}}]}))  # which no run of this space fulfils
    assert make_plan(load_spec(source)).probes == ()
    for runs in (4, 8):
        ended = go(source, f"sweep.search.runs={runs}")
        assert ended.failures == ended.probe_failures == ended.skipped == {}
        trained = rows(ended.folder)
        pairs = trained.groupby(["lr", "batch_size"]).run_id.apply(frozenset)
        made = [json.loads(p.read_text()) for p in (ended.folder / "probes").glob("*.json")]
        assert {frozenset(m["run_ids"]) for m in made} == set(pairs)
        assert len(made) == runs / 2
        planned = (ended.folder / "planned_probes.txt").read_text().split()
        assert set(planned) == {m["probe_id"] for m in made}
        assert status_of(ended.folder).complete


def test_what_earlier_sweeps_hold_is_known(tmp_path):
    """A grid of the same name, and another sweep by ``know``; only where all else is equal."""
    grid = {"axes": {"lr": [0.05, 0.5, 5.0], "batch_size": [10]}}
    compute = {"compile": False}
    go(tiny(tmp_path, train=TRAIN, sweep=grid, compute=compute))
    for name, epochs in (("same", 2), ("longer", 3)):
        go(tiny(tmp_path, name=name, train={"epochs": epochs}, compute=compute,
                sweep={"axes": {"lr": [0.3], "batch_size": [20]}}))
    sweeps = tmp_path / "sweeps"
    ended = go(searched(tmp_path, runs=4, know=[str(sweeps / "same"), str(sweeps / "longer")]))
    known = {(t.params["lr"], t.params["batch_size"]) for t in trials(ended.folder)
             if "known" in t.user_attrs}
    assert known == {(0.05, 10), (0.5, 10), (0.3, 20)}
    assert len(trials(ended.folder)) == 7
    assert ended.found[0].startswith("3 runs of other sweeps")


def test_a_pack_that_raises_is_told_failed_and_tried_again(tmp_path):
    source = failing(tmp_path)
    tree = json.loads(Path(source).read_text())
    tree["sweep"] = {"search": {**SEARCH, "runs": 8, "space": {
        "lr": {"log": [0.01, 1.0]}, "batch_size": [16, 20]}, "sampler": "random"}}
    tree["train"] = {"epochs": 1}
    tree["compute"] = {"pack": 2}
    Path(source).write_text(json.dumps(tree))
    ended = go(source)
    bad = [p for ask in asks(ended.folder) for p in ask["points"]
           if p["values"]["batch_size"] == 16]
    assert bad
    assert len(rows(ended.folder)) == 8 - len(bad)
    assert [t.state.name for t in trials(ended.folder)].count("FAIL") == len(bad)
    assert len(ended.failures) == len(bad) / 2
    again = make_plan(load_spec(source))
    assert len(again.packs) == len(bad) / 2
    assert again.search.remaining == 0


def test_one_process_at_a_time(tmp_path):
    ended = go(searched(tmp_path, runs=4))
    planned = make_plan(load_spec(searched(tmp_path, runs=8)))
    first = Searching(planned, ended.folder)
    with pytest.raises(UserError, match="another process goes on with this search"):
        Searching(planned, ended.folder)
    first.close()


def test_several_objectives_end_in_a_front(tmp_path):
    ended = go(searched(tmp_path, sampler="nsga2", objectives={
        "test_accuracy": "maximize", "hessian_lambda_max": "minimize"}))
    runs = rows(ended.folder)
    front = [r for r in runs.itertuples() if not any(
        o.final_test_accuracy >= r.final_test_accuracy
        and o.final_hessian_lambda_max <= r.final_hessian_lambda_max
        and o.run_id != r.run_id for o in runs.itertuples())]
    assert ended.found[0] == f"Pareto front of {len(front)} points:"


def test_the_plan_of_a_search(tmp_path):
    said = plan_text(make_plan(load_spec(searched(tmp_path))))
    for line in ("search   tpe", "goal     maximize test_accuracy", "space    batch_size: 10, 20",
                 "runs     16 at most: 0 done", "packs    about 4 to do, up to 4 runs in each"):
        assert line in said
    assert not (tmp_path / "sweeps").exists()


def test_optuna_is_imported_by_searches_alone():
    code = ("import sys, orchestrator.session, orchestrator.planner, orchestrator.cli\n"
            "sys.exit('optuna' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False,
                          cwd=Path(__file__).parents[3]).returncode == 0
