"""Which runs each probe reads, its id for ever, and what stands in its way."""

import hashlib
import re
from pathlib import Path

import pytest
import yaml

from orchestrator import plan
from orchestrator.errors import UserError
from orchestrator.ledger import Ledger
from orchestrator.packing import Run
from orchestrator.planner import NUMERICS
from orchestrator.probeplan import ProbePlan, hopeless, identity, unmet, weight_problems
from orchestrator.session import run_sweep
from orchestrator.stores.local import LocalStore
from tests.orchestrator.specs import TINY, tiny
from trainables.landscape import PROBES, find
from trainables.monitors import Sizes

AXES = {"lr": [0.1, 0.01], "batch_size": [10, 20], "seed": {"count": 3}}
QUIET = {"measure": {**TINY["measure"], "monitors": []}}


def planned(folder, *entries, axes=AXES):
    return plan(tiny(folder, sweep={"axes": axes}, probes=list(entries), **QUIET))


def subjects(found):
    """(lr, batch size, seed) of the runs of each probe."""
    return [tuple((r.config["train"]["lr"], r.config["train"]["batch_size"], r.config["seed"])
                  for r in p.runs) for p in found.probes]


@pytest.mark.parametrize(("entry", "first", "count"), [
    ("wedge", (), 1),
    ("tunnels", ((0.1, 10, 0),), 12),  # every run
    ({"tunnels": {"runs": "seed == 1 and ratio < 2e-3"}}, ((0.01, 10, 1),), 2),
    ("first_epoch", ((0.1, 10, 0),), 4),  # every cell: it draws its own seeds
    ("interpolation", ((0.1, 10, 0), (0.1, 10, 1)), 4),  # the first two seeds of each cell
    ({"interpolation": {"between": "seed"}}, ((0.1, 10, 0), (0.1, 10, 1)), 8),  # (0, 1), (1, 2)
    ({"interpolation": {"between": "lr", "runs": "seed == 0"}}, ((0.01, 10, 0), (0.1, 10, 0)), 2),
    ({"interpolation": {"between": "train.batch_size"}}, ((0.1, 10, 0), (0.1, 20, 0)), 6),
    ({"interpolation": {"between": ["lr", "batch_size"], "runs": "seed == 2 and lr < 0.1"}},
     ((0.01, 10, 2), (0.01, 20, 2)), 1),
    ({"interpolation": {"runs": ["lr < 0.1 and batch_size == 20 and seed == 2",
                                 "lr == 0.1 and batch_size == 10 and seed == 0"]}},
     ((0.01, 20, 2), (0.1, 10, 0)), 1),  # in the order named
    ({"connector": {"ends": 3}}, ((0.1, 10, 0), (0.1, 10, 1), (0.1, 10, 2)), 4),
])
def test_the_runs_of_a_probe(tmp_path, entry, first, count):
    found = subjects(planned(tmp_path, entry))
    assert found[0] == first
    assert len(found) == len(set(found)) == count


def test_the_examples_of_the_document_find_their_runs(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "spec.md").read_text()
    (block,) = re.findall(r"```yaml\n(probes:.*?)```", text, re.S)
    rows = re.findall(r"^\| `(\w+)` \| .* \| `(\{.*\})` \|$", text, re.M)
    examples = [(kind, e) for kind, text in rows for e in [yaml.safe_load(text)] if kind in e]
    assert {kind for kind, _ in examples} == set(PROBES)  # one for each
    found = planned(tmp_path, *yaml.safe_load(block)["probes"], *(e for _, e in examples))
    assert {p.kind for p in found.probes} == set(PROBES)


def test_runs_that_differ_in_an_option_of_the_optimizer(tmp_path):
    found = plan(tiny(
        tmp_path, probes=[{"interpolation": {"between": "optimizer.gamma"}}], **QUIET,
        train={"epochs": 2, "batch_size": 10, "lr": 0.1, "optimizer": "nudged_sgd"},
        sweep={"axes": {"optimizer.gamma": [1, 0.1, 0.5], "seed": {"count": 2}}}))
    assert [[r.config["train"]["optimizer"]["gamma"] for r in p.runs] for p in found.probes] == [
        [0.1, 0.5], [0.5, 1.0]] * 2


def test_the_same_probe_twice_is_one(tmp_path):
    found = planned(tmp_path, "interpolation", {"interpolation": {"between": "seed"}})
    assert len(found.probes) == 8


@pytest.mark.parametrize(("entry", "what", "at"), [
    ({"tunnels": {"runs": "lr > 1"}}, "no run fulfils `lr > 1`", "probes.0.tunnels.runs"),
    ({"tunnels": {"runs": "lr"}}, "runs is 0.1, not a condition", "probes.0.tunnels.runs"),
    ({"tunnels": {"runs": "lr < loss"}}, "`lr < loss` cannot be computed", "probes.0.tunnels.runs"),
    ({"interpolation": {"runs": "seed == 0"}}, "there are no 2 runs that differ in seed alone",
     "probes.0.interpolation"),
    ({"connector": {"ends": 4}}, "there are no 4 runs that differ in seed alone",
     "probes.0.connector"),
    ({"interpolation": {"between": "momentum"}}, "there are no 2 runs that differ in momentum",
     "probes.0.interpolation"),
    ({"interpolation": {"runs": ["seed == 0", "seed == 1"]}}, "4 runs fulfil `seed == 0`",
     "probes.0.interpolation.runs.0"),
    ({"interpolation": {"runs": ["seed == 0 and ratio == 0.01", "seed == 7"]}},
     "no run fulfils `seed == 7`", "probes.0.interpolation.runs.1"),
    ({"interpolation": {"runs": ["seed == 0 and ratio == 0.01", "ratio == 0.01 and seed < 1"]}},
     "two of the conditions name the same run", "probes.0.interpolation.runs"),
])
def test_a_choice_that_finds_nothing(tmp_path, entry, what, at):
    with pytest.raises(UserError) as caught:
        planned(tmp_path, entry)
    (problem,) = caught.value.problems
    assert problem.what.startswith(what)
    assert problem.where.startswith(f"{tmp_path}/spec.yaml:1:")
    assert problem.where.endswith(f"({at})")
    assert problem.fix


def test_runs_of_different_models_are_not_joined(tmp_path):
    both = {"interpolation": {"runs": ["width == 4", "width == 8"]}}
    with pytest.raises(UserError, match="have different models"):
        plan(tiny(tmp_path, model={"name": "mlp", "depth": 1}, probes=[both], **QUIET,
                  sweep={"axes": {"lr": [0.1], "width": [4, 8]}}))


def test_every_choice_that_finds_nothing_is_told(tmp_path):
    with pytest.raises(UserError) as caught:
        planned(tmp_path, {"tunnels": {"runs": "lr > 1"}}, {"connector": {"ends": 9}})
    assert len(caught.value.problems) == 2


def test_a_probe_id_is_for_ever():
    text = '{"kind":"tunnels","numerics":1,"options":{"points":3},"run_ids":["a"],"seed":0}'
    assert identity("tunnels", {"points": 3}, 0, ["a"], 1) == hashlib.sha256(
        text.encode()).hexdigest()[:16]
    known = {identity("tunnels", {"points": 3}, 0, ["a"], 1)}
    for other in (("wedge", {"points": 3}, 0, ["a"], 1), ("tunnels", {"points": 4}, 0, ["a"], 1),
                  ("tunnels", {"points": 3}, 1, ["a"], 1), ("tunnels", {"points": 3}, 0, ["b"], 1),
                  ("tunnels", {"points": 3}, 0, ["a"], 2)):
        assert identity(*other) not in known
        known.add(identity(*other))


def test_defaults_that_are_written_out_change_no_id(tmp_path):
    one, two = (planned(tmp_path, e).probes for e in (
        "interpolation", {"interpolation": {"points": 61, "seed": 0}}))
    assert [p.probe_id for p in one] == [p.probe_id for p in two]
    assert [p.probe_id for p in one] == [
        identity(p.kind, p.options, p.seed, [r.run_id for r in p.runs], NUMERICS) for p in one]


def test_the_cost_is_that_of_the_runs_data(tmp_path):
    (probe,) = planned(tmp_path, {"interpolation": {"points": 30}}, axes={
        "lr": [0.1], "seed": {"count": 2}}).probes
    assert probe.cost == find("interpolation").cost(probe.options, Sizes(100, 297, 50, 10), 2) > 0


def probe_of(kind, *run_ids):
    return ProbePlan("p", kind, {}, 0, tuple(Run(i, {}) for i in run_ids), 1.0)


@pytest.mark.parametrize(("kind", "outcomes", "later", "never"), [
    ("interpolation", {"a": ("finished", 9), "b": ("stopped", 7)}, "", ""),
    ("interpolation", {"a": ("finished", 9)}, "its run b has not ended", ""),
    ("interpolation", {"a": ("finished", 9), "b": ("diverged", 3)}, "",
     "its run b diverged at step 3"),
    ("interpolation", {"b": ("diverged", 3)}, "its run a has not ended",
     "its run b diverged at step 3"),
    ("first_epoch", {"a": ("diverged", 3)}, "", ""),  # it reads configs alone
])
def test_what_stands_in_the_way(kind, outcomes, later, never):
    probe = probe_of(kind, "a", "b")
    assert (unmet(probe, outcomes), hopeless(probe, outcomes)) == (later, never)


@pytest.mark.usefixtures("no_report")
def test_runs_that_ended_without_weights_are_told(tmp_path):
    """As after adding probes to a finished sweep: its runs will not be trained again."""
    path = tiny(tmp_path, sweep={"axes": {"lr": [0.01, 1e6], "seed": {"count": 2}}}, **QUIET)
    ended = run_sweep(plan(path), inline=True)
    later = plan(path, overrides=[
        "probes=[first_epoch, interpolation, {tunnels: {runs: seed < 1}}]"])
    (problem,) = weight_problems(later, Ledger(LocalStore(ended.folder)))
    lacking = [r.run_id for r in later.runs if r.config["train"]["lr"] == 0.01]
    assert all(i in problem.what for i in lacking)
    assert not any(r.run_id in problem.what for r in later.runs if r.run_id not in lacking)
    assert "another name" in problem.fix
    assert weight_problems(plan(path, overrides=["probes=[first_epoch]"]),
                           Ledger(LocalStore(ended.folder))) == []
