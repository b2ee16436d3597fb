"""What the commands print says what the plan and the outcome say."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator import plan, tell
from tests.orchestrator.specs import tiny
from tests.orchestrator.test_planner import train
from trainables import choice

LINES = ["fitted 12 runs", "the law holds", "report: /r.html"]
SUMMARY = SimpleNamespace(lines=LINES, verdict="the law holds", path=Path("/r.html"))


def outcome(failures, spent=None, **probes):
    return SimpleNamespace(folder=Path("/s/tiny"), failures=failures, summary=SUMMARY, seconds=1.26,
                           spent=spent or {},
                           **{"probe_failures": {}, "skipped": {}, "found": (), **probes})


def test_a_plan_in_words_and_as_json_agree(tmp_path):
    path = tiny(tmp_path)
    train(plan(path))
    planned = plan(path, overrides=["sweep.axes.lr=[0.1, 0.3, 0.4]"])
    facts = json.loads(tell.plan_json(planned))
    assert (facts["runs"], facts["done"], facts["missing"], facts["strangers"]) == (3, 1, 2, 1)
    assert (facts["packs"], facts["steps"], facts["parameters"]) == (1, 40, 650)
    assert {r["run_id"]: r["done"] for r in facts["run_list"]} == {
        r.run_id: r.run_id in planned.ended for r in planned.runs}
    text = tell.plan_text(planned)
    assert "3: 1 done, 2 missing; 1 more in the tables" in text
    assert "100 training and 297 test examples of 1×8×8, 10 classes" in text
    assert "40 steps" in text
    assert planned.packs[0].pack_id in text
    assert "engines  vmap (all runs of a pack at once): 1 pack; steps not compiled: too few" in text
    assert tell.headline(planned).startswith("tiny: 3 runs, 1 of them done; 1 pack to do → ")


@pytest.mark.parametrize(("why", "overrides", "there", "lines"), [
    ("nothing to say", [], True, 1), ("slower than need be", [], False, 2),
    ("as asked", ["compute.compile=false"], False, 1)])
def test_a_missing_compiler_is_told_in_a_line(tmp_path, monkeypatch, why, overrides, there, lines):
    monkeypatch.setattr(choice, "can_compile", lambda: there)
    told = tell.headline(plan(tiny(tmp_path), overrides=overrides)).splitlines()
    assert len(told) == lines
    assert all("no C++ compiler" in line for line in told[1:])


def test_nothing_to_train(tmp_path):
    path = tiny(tmp_path)
    train(plan(path))
    assert "nothing to train" in tell.plan_text(plan(path))


def test_runs_are_listed_with_what_distinguishes_them(tmp_path):
    planned = plan(tiny(tmp_path), overrides=["sweep.axes.seed.count=2"])
    head, *lines = tell.runs_text(planned).splitlines()
    assert head.split()[:3] == ["run_id", "done", "lr"]
    assert "seed" in head
    assert "momentum" not in head
    assert [line.split()[0] for line in lines] == [r.run_id for r in planned.runs]
    assert {line.split()[1] for line in lines} == {"no"}
    assert [line.split()[2] for line in lines] == ["0.01", "0.01", "0.1", "0.1"]


def test_a_single_run_is_listed(tmp_path):
    planned = plan(tiny(tmp_path, sweep=None), overrides=["train.lr=0.1"])
    assert len(tell.runs_text(planned).splitlines()) == 2


def test_many_packs_are_not_all_shown(tmp_path):
    planned = plan(tiny(tmp_path), overrides=[
        "compute.pack=1", "sweep.axes.lr={linear: [0.01, 0.1], n: 45}"])
    text = tell.plan_text(planned)
    assert text.splitlines()[-1].strip() == "… and 5 more packs"
    assert text.count("\n  pack ") == 40


def test_an_ending():
    assert tell.ended_text(outcome({})).splitlines() == LINES
    assert json.loads(tell.ended_json(outcome({}))) == {
        "folder": "/s/tiny", "seconds": 1.3, "spent": {}, "failures": {},
        "probe_failures": {}, "probes_skipped": {}, "found": [],
        "verdict": "the law holds", "report": "/r.html", "lines": LINES}


@pytest.mark.parametrize(("budget", "end"), [(None, "0.51"), (0.5, "0.51 (budget 0.5)")])
def test_what_measuring_cost_comes_before_the_analysis(budget, end):
    spent = {"measure_ge": 1234.5, "train_ge": 2400.0, "budget": budget}
    lines = tell.ended_text(outcome({}, spent)).splitlines()
    assert lines[1:] == LINES
    assert lines[0] == ("measured 1,234 GE (gradient equivalents) beside 2,400 of training,"
                        f" a share of {end}")
    assert json.loads(tell.ended_json(outcome({}, spent)))["spent"] == spent


@pytest.mark.parametrize("count", [1, 5, 7])
def test_failures_come_first_and_end(count):
    failures = {f"p{i}": f"Traceback\n  deep\nValueError: {i}\n" for i in range(count)}
    lines = tell.ended_text(outcome(failures)).splitlines()
    assert lines[:2] == ["pack p0 failed: ValueError: 0", "  log: /s/tiny/packs/p0/error.txt"]
    assert sum("failed: " in line for line in lines) == min(count, 5)
    assert ("… and 2 more packs failed" in lines) == (count == 7)
    assert "the same command tries the failed packs again" in lines[-4]
    assert json.loads(tell.ended_json(outcome(failures)))["failures"]["p0"] == "ValueError: 0"


@pytest.mark.parametrize("count", [1, 7])
def test_probes_that_failed_or_were_not_made(count):
    why = "tunnels: its run r diverged at step 3"
    ended = outcome({}, skipped={f"q{i}": why for i in range(count)},
                    probe_failures={f"p{i}": "Traceback\nValueError: x" for i in range(count)})
    lines = tell.ended_text(ended).splitlines()
    assert lines[:2] == ["probe p0 failed: ValueError: x", "  log: /s/tiny/probes/p0.error.txt"]
    assert f"probe q0 was not made: {why}" in lines
    assert sum(line.startswith("probe ") for line in lines) == 2 * min(count, 5)
    assert ("… and 2 more probes failed" in lines) == (count == 7)
    assert ("… and 2 more probes were not made" in lines) == (count == 7)
    found = json.loads(tell.ended_json(ended))
    assert found["probe_failures"]["p0"] == "ValueError: x"
    assert len(found["probes_skipped"]) == count


def test_the_probes_of_a_plan(tmp_path):
    planned = plan(tiny(tmp_path, probes=["wedge", "tunnels"]))
    assert "; 1 pack to do, 3 probes to do → " in tell.headline(planned)
    facts = json.loads(tell.plan_json(planned))
    assert (facts["probes"], facts["probes_done"]) == (3, 0)
    assert facts["probes_ge"] == sum(p.cost for p in planned.probes) > 0
    assert {p["probe_id"]: p["run_ids"] for p in facts["probe_list"]} == {
        p.probe_id: [r.run_id for r in p.runs] for p in planned.probes}
    (line,) = [n for n in tell.plan_text(planned).splitlines() if n.startswith("probes ")]
    assert line.startswith("probes   3 to do (1 wedge, 2 tunnels); about ")
    assert line.endswith("they imply save: {weights: final}")


@pytest.mark.parametrize("why", ["", "\n"])
def test_a_failure_without_a_reason(why):
    assert "no reason given" in tell.ended_text(outcome({"p": why}))
    assert json.loads(tell.ended_json(outcome({"p": why})))["failures"] == {"p": "no reason given"}


def test_the_analysis():
    assert tell.summary_text(SUMMARY).splitlines()[-1] == "report: /r.html"
    assert json.loads(tell.summary_json(SUMMARY))["verdict"] == "the law holds"


def test_what_a_search_found_comes_before_the_analysis():
    lines = tell.ended_text(outcome({}, found=("best: 0.9",))).splitlines()
    assert lines == ["best: 0.9", *LINES]
