"""Packs, then the probes that can be made of them; those that cannot, with the reason in words."""

import io
import json

import pandas as pd
import pytest

from orchestrator import plan, probe, proberun, session
from orchestrator.session import run_sweep
from orchestrator.stages import Stages
from tests.orchestrator.specs import TINY, failing, tiny, tree

QUIET = {"measure": {**TINY["measure"], "monitors": []}}
pytestmark = pytest.mark.usefixtures("no_report")


def run(path, *overrides, **options):
    """The sweep's outcome and what was said."""
    out = io.StringIO()
    return run_sweep(plan(path, overrides=overrides), inline=True, out=out, **options), (
        out.getvalue())


def records(folder):
    return {r["probe_id"]: r for r in (
        json.loads(p.read_text()) for p in (folder / "probes").glob("*.json"))}


def results(folder):
    return {n: c for n, c in tree(folder).items() if n.startswith(("tables/", "probes/"))}


def test_probes_follow_the_runs_that_they_read(tmp_path):
    path = tiny(tmp_path, **QUIET, sweep={"axes": {"lr": [0.05, 0.1], "seed": {"count": 2}}},
                probes=["interpolation", "wedge"])
    planned = plan(path)
    ended, said = run(path)
    assert ended.probe_failures == ended.skipped == {}
    assert "100%  probes 3/3" in said
    assert said.index("packs 1/1") < said.index("probes 3/3")
    found = records(ended.folder)
    assert {p.probe_id: [r.run_id for r in p.runs] for p in planned.probes} == {
        i: r["run_ids"] for i, r in found.items()}
    curves = pd.read_parquet(ended.folder / "tables" / "curves")
    assert curves.subject_id.value_counts().to_dict() == {i: r["rows"] for i, r in found.items()}
    steps = curves.groupby("subject_id").step.unique().map(list).to_dict()
    assert steps == {i: [20 if r["run_ids"] else 0] for i, r in found.items()}


def test_a_second_run_makes_nothing(tmp_path, monkeypatch):
    path = tiny(tmp_path, **QUIET, probes=["tunnels"])
    first, _ = run(path, "probes=[{tunnels: {directions: 2, points: 5}}]")
    before = tree(first.folder)
    monkeypatch.setattr(session, "run_probe", None)
    second, said = run(path, "probes=[{tunnels: {directions: 2, points: 5}}]")
    assert "probes to do" not in said
    assert second.probe_failures == {}
    assert tree(first.folder) == before
    planned = plan(path, overrides=["probes=[{tunnels: {directions: 2, points: 5}}]"])
    assert (planned.probes, len(planned.probe_ids)) == ((), 2)


def test_the_section_may_change_under_one_name(tmp_path):
    """Other probes are made, the earlier ones stay."""
    path = tiny(tmp_path, **QUIET, sweep={"axes": {"lr": [0.05], "seed": {"count": 2}}},
                probes=[{"interpolation": {"points": 5}}])
    first, _ = run(path)
    before = results(first.folder)
    run(path, "probes=[{interpolation: {points: 6}}]")
    after = results(first.folder)
    assert {n: after[n] for n in before} == before
    assert len(records(first.folder)) == 2


def test_a_diverged_run_has_no_probe_and_that_is_for_good(tmp_path):
    path = tiny(tmp_path, **QUIET, sweep={"axes": {"lr": [0.05, 1e6]}},
                probes=[{"tunnels": {"directions": 2, "points": 5}}])
    ended, _ = run(path)
    ((probe_id, why),) = ended.skipped.items()
    found = records(ended.folder)
    (run_id,) = found[probe_id]["run_ids"]
    steps = pd.read_parquet(ended.folder / "tables" / "runs").set_index("run_id").steps[run_id]
    assert why == f"tunnels: its run {run_id} diverged at step {steps}"
    assert found[probe_id]["status_detail"] == f"its run {run_id} diverged at step {steps}"
    assert {r["status"] for r in found.values()} == {"finished", "skipped"}
    assert plan(path).probes == ()


def test_a_probe_of_a_failed_run_waits(tmp_path):
    path = failing(tmp_path)
    probes = "probes=[{tunnels: {directions: 2, points: 5}}]"
    ended, _ = run(path, probes)
    ((probe_id, why),) = ended.skipped.items()
    assert why.startswith("tunnels: its run ")
    assert why.endswith(" has not ended")
    assert probe_id not in records(ended.folder)
    assert [p.probe_id for p in plan(path, overrides=[probes]).probes] == [probe_id]


def test_a_probe_that_raises_does_not_stop_the_others(tmp_path, monkeypatch):
    path = tiny(tmp_path, **QUIET, probes=[{"tunnels": {"directions": 2, "points": 5}}])
    real = proberun._weights
    with monkeypatch.context() as patch:
        bad = plan(path).runs[0].run_id

        def unreadable(store, run_id):
            if run_id == bad:
                raise OSError("no")
            return real(store, run_id)

        patch.setattr(proberun, "_weights", unreadable)
        ended, said = run(path)
    ((probe_id, why),) = ended.probe_failures.items()
    assert why.rstrip().endswith("OSError: no")
    log = ended.folder / "probes" / f"{probe_id}.error.txt"
    assert log.read_text() == why
    assert "1 probe failed" in said
    assert len(records(ended.folder)) == 1
    again, _ = run(path)
    assert again.probe_failures == {}
    assert not log.exists()
    assert len(records(ended.folder)) == 2


def test_only_the_probes(tmp_path):
    """Packs that are missing stay so, and probes of their runs wait."""
    path = tiny(tmp_path, **QUIET, probes=[{"tunnels": {"directions": 2, "points": 5}}])
    run(path, "probes=[]", "save.weights=final")
    more = "sweep.axes.lr=[0.01, 0.1, 0.2]"
    ended, said = run(path, more, probes_only=True)
    assert "packs 1/1" not in said
    assert len(ended.skipped) == 1
    assert len(records(ended.folder)) == 2
    assert len(pd.read_parquet(ended.folder / "tables" / "runs")) == 2


def test_from_python(tmp_path):
    """By the spec, and by the folder."""
    path = tiny(tmp_path, **QUIET, save={"weights": "final"})
    folder = run(path)[0].folder
    for points, source in ((5, path), (6, folder)):
        given = [f"probes=[{{tunnels: {{directions: 2, points: {points}}}}}]"]
        assert probe(source, overrides=given, inline=True) == folder
    assert len(records(folder)) == 4


def test_dearest_first_and_only_when_asked(tmp_path):
    path = tiny(tmp_path, **QUIET, probes=["wedge", {"tunnels": {"runs": "lr < 0.1"}}, {
        "first_epoch": {"seeds": 3, "runs": "lr < 0.1"}}])
    planned = plan(path)
    session.open_folder(planned)
    stages = Stages(planned, planned.folder, io.StringIO())
    asked = stages.all()
    assert [o["pack"]["pack_id"] for o in next(asked).orders] == [planned.packs[0].pack_id]
    second = next(asked)  # nothing was trained: the tunnels wait
    assert [o["probe"]["kind"] for o in second.orders] == ["first_epoch", "wedge"]
    (why,) = stages.skipped.values()
    assert why == f"tunnels: its run {planned.runs[0].run_id} has not ended"
    assert list(asked) == []
