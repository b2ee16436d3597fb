"""What measuring costs, budgets from the spec to the rows, and users' own monitors end to end."""

import dataclasses
import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from orchestrator import measuring, plan, tell
from orchestrator.errors import UserError
from orchestrator.session import run_sweep
from tests.orchestrator.specs import tiny
from trainables import monitors
from trainables.monitors import declared

pytestmark = pytest.mark.usefixtures("no_report")

# 100 training and 297 test examples, 50 measured: 2 GE an epoch; a snapshot without monitors is
# a gradient and 397/50 forward passes.
BARE = 1 + 397 / 50 / 3
CHEAP = {"set_size": 50, "monitors": []}


def config(*, train=None, when=None, model=None, chosen=()):
    """A run's config of a linear model on 100 examples, its sizes known."""
    return {
        "data": {"train_size": 100, "test_size": 297}, "model": model or {"name": "linear"},
        "train": {"batch_size": 10, "epochs": 40, "steps": None, "until": None, **(train or {})},
        "measure": {"set_size": 50, "monitors": chosen, "when": {
            "early": None, "initial": True, "final": True, **(when or {})}}}


@pytest.mark.parametrize(("given", "snapshots", "snapshot", "watching", "training"), [
    ({}, 2, BARE, 0, 80),
    ({"train": {"epochs": None, "steps": 15}}, 2, BARE, 0, 3),
    ({"train": {"batch_size": 30}}, 2, BARE, 0, 40 * 90 / 50),  # 10 of each epoch are dropped
    # BatchNorm's calibration batch is the whole training set here
    ({"model": {"name": "mlp", "batch_norm": True}}, 2, BARE + 100 / 50 / 3, 0, 80),
    # after each epoch a forward pass over the training set
    ({"train": {"epochs": None, "until": {"train_accuracy": 1.0, "max_epochs": 6}}},
     2, BARE, 6 * 100 / 50 / 3, 12),
    ({"train": {"epochs": None, "until": {"train_accuracy": 1.0, "max_epochs": 6}},
      "model": {"name": "mlp", "batch_norm": True}},
     2, BARE + 100 / 50 / 3, 6 * 2 * 100 / 50 / 3, 12),
    ({"when": {"steps": [3, 5], "final": False}}, 3, BARE, 0, 80),
    # S goes from 10 to 20 and back every 4 epochs, its inverse linearly: 10, 13, 20, 13, …; each
    # epoch drops its remainder
    ({"train": {"batch_schedule": {"name": "cyclic", "period": 4, "factor": 2.0}}},
     2, BARE, 0, 10 * (100 + 91 + 100 + 91) / 50),
])
def test_costs_of_a_run(tmp_path, given, snapshots, snapshot, watching, training):
    found = measuring.costs(config(**given), tmp_path)
    assert found.snapshots == snapshots
    assert (found.snapshot, found.watching, found.training) == pytest.approx(
        (snapshot, watching, training), rel=1e-12)
    assert found.measuring == pytest.approx(snapshots * snapshot + watching)
    assert found.share == found.measuring / found.training


@pytest.mark.parametrize("budget", [0.15, 0.5, 1, 3])
@pytest.mark.parametrize("train", [
    {}, {"batch_size": 30}, {"epochs": None, "steps": 350},
    {"epochs": None, "until": {"train_accuracy": 1.0, "max_epochs": 400}}])
def test_planned_within_a_fifth(tmp_path, budget, train):
    if "until" in train and budget < 0.5:
        budget = 0.5  # watching alone is a third of the training
    (found,) = measuring.budgeted([config(train=train)], budget, tmp_path)
    cost = measuring.costs(found, tmp_path)
    assert cost.share == pytest.approx(budget, rel=0.2)
    if "until" in train:
        assert cost.watching == pytest.approx(cost.training / 3)
    steps = found["measure"]["when"]["steps"]
    assert (steps[0], len(steps)) == (0, cost.snapshots)
    assert found["train"] == config(train=train)["train"]


def test_a_budget_beyond_every_step_measures_every_step(tmp_path):
    (found,) = measuring.budgeted([config(train={"epochs": 1})], 1e3, tmp_path)
    assert found["measure"]["when"]["steps"] == list(range(11))


def test_a_budget_for_very_many_snapshots_is_refused(tmp_path):
    long = config(train={"epochs": None, "steps": 10**6})
    with pytest.raises(ValueError, match="affords a run 1,000,001 snapshots"):
        measuring.budgeted([long], 1e5, tmp_path)


@pytest.mark.parametrize(("when", "least", "what"), [
    ({}, 2, "the first and the last snapshot"), ({"initial": False}, 1, "a snapshot"),
    ({"initial": False, "final": False}, 1, "a snapshot"),
])
def test_too_small_a_budget_says_what_would_do(tmp_path, when, least, what):
    path = tiny(tmp_path, train={"epochs": 20, "batch_size": 10},
                measure={**CHEAP, "budget": 1e-3, "when": when})
    with pytest.raises(UserError) as caught:
        plan(path)
    (problem,) = caught.value.problems
    assert problem.what == (f"a budget of 0.001 does not afford {what}: one costs {BARE:.4g} GE, "
                            "training 40")
    assert "measure.budget" in problem.where
    would = float(problem.fix.split()[3].strip(","))
    assert would == pytest.approx(least * BARE / 40, rel=0.01)
    plan(path, overrides=[f"measure.budget={would}"])
    with pytest.raises(UserError, match="does not afford"):
        plan(path, overrides=[f"measure.budget={0.98 * would}"])


def test_the_dearest_cell_says_what_would_do(tmp_path):
    path = tiny(tmp_path, train={"steps": 100, "lr": 0.1}, measure={**CHEAP, "budget": 0.3},
                sweep={"axes": {"batch_size": [10, 20, 50]}})
    with pytest.raises(UserError) as caught:
        plan(path)
    (problem,) = caught.value.problems
    plan(path, overrides=[f"measure.budget={problem.fix.split()[3].strip(',')}"])


def test_steps_are_part_of_a_run_and_of_each_batch_size(tmp_path):
    tree = {"train": {"epochs": 20, "lr": 0.1}, "sweep": {"axes": {"batch_size": [10, 20]}}}
    planned = plan(tiny(tmp_path, **tree, measure={**CHEAP, "budget": 1}))
    steps = [r.config["measure"]["when"]["steps"] for r in planned.runs]
    assert steps[0][-1] == 200
    assert steps[1][-1] == 100
    assert len(steps[0]) == len(steps[1]) == round(40 / BARE)
    # A run is what it does: with the same steps listed it is the same run.
    for run, listed in zip(planned.runs, steps, strict=True):
        same = plan(tiny(tmp_path, **tree, measure={**CHEAP, "when": {
            "steps": listed, "early": None}}))
        assert run.run_id in {r.run_id for r in same.runs}
    more = plan(tiny(tmp_path, **tree, measure={**CHEAP, "budget": 2}))
    assert not {r.run_id for r in more.runs} & {r.run_id for r in planned.runs}


def test_a_plan_tells_of_measuring(tmp_path):
    planned = plan(tiny(tmp_path, train={"epochs": 20, "batch_size": 10},
                        measure={**CHEAP, "budget": 1}))
    facts = json.loads(tell.plan_json(planned))
    assert facts["snapshots_of_a_run"] == [11, 11]
    assert (facts["train_ge"], facts["budget"]) == (80, 1)
    assert facts["measure_ge"] == pytest.approx(2 * 11 * BARE)
    assert facts["measure_share"] == pytest.approx(22 * BARE / 80)
    assert (f"11 snapshots a run, each of {BARE:.4g} GE (gradient equivalents): about 80 GE beside"
            " 80 of training, a share of 1 (budget 1)") in tell.plan_text(planned)


@pytest.mark.parametrize("changed", [
    {"train": {"batch_size": 30, "epochs": 60}},
    {"train": {"batch_size": 10, "until": {"train_accuracy": 1.0, "max_epochs": 30}},
     "sweep": {"axes": {"lr": [1e-6, 1e-5]}}},           # never reached, and watched
    {"train": {"batch_size": 10, "epochs": 40},
     "model": {"name": "mlp", "width": 4, "depth": 1, "batch_norm": True}},
    {"train": {"batch_size": 10, "until": {"train_accuracy": 1.0, "max_epochs": 60}},
     "model": {"name": "mlp", "width": 4, "depth": 1, "batch_norm": True},
     "sweep": {"axes": {"lr": [1e-6, 1e-5]}}},
])
def test_spent_is_what_was_planned(tmp_path, changed):
    """Of every kind of run, to the last gradient: nothing varies but what monitors do."""
    path = tiny(tmp_path, **changed, measure={**CHEAP, "budget": 0.8})
    planned = measuring.costs(plan(path).runs[0].config, tmp_path)
    outcome, tables = ran(path)
    assert outcome.failures == {}
    runs = pd.read_parquet(tables / "runs")
    assert runs.measure_ge.tolist() == pytest.approx([planned.measuring] * 2, rel=1e-9)
    assert runs.train_ge.tolist() == pytest.approx([planned.training] * 2, rel=1e-12)
    assert outcome.spent["measure_ge"] / outcome.spent["train_ge"] == pytest.approx(0.8, rel=0.2)


def ran(path):
    """The outcome, and the tables' folder, of a sweep in this process."""
    outcome = run_sweep(plan(path), inline=True)
    return outcome, outcome.folder / "tables"


MARGIN = '''
import torch


def margin(probe, options):
    """Mean over the first examples of the loss to the power q."""
    index = torch.arange(options["count"])
    losses = probe.losses_of(probe.params, index)
    probe.spend(len(index) / probe.size / 3)
    return {"loss_power": (losses ** options["q"]).mean(1), "seeds": torch.tensor(probe.seeds)}


margin.columns = {"loss_power": "nats^q, mean over the first examples", "seeds": "1"}
margin.options = {"count": 50, "q": 1.0}
margin.cost = lambda options, sizes: options["count"] / sizes.measure / 3
'''


def test_a_users_monitor_end_to_end_and_its_budget(tmp_path):
    (tmp_path / "mine.py").write_text(MARGIN)
    path = tiny(tmp_path, train={"epochs": 20, "batch_size": 10}, measure={
        "set_size": 100, "budget": 0.7, "monitors": [{"mine:margin": {"q": 2, "count": 100}}]})
    outcome, tables = ran(path)
    assert outcome.failures == {}
    snapshots, runs = (pd.read_parquet(tables / t) for t in ("snapshots", "runs"))
    schema = pq.read_table(tables / "snapshots").schema
    assert schema.field("loss_power").metadata[b"unit"] == b"nats^q, mean over the first examples"
    assert (snapshots.loss_power >= snapshots.train_loss**2).all()  # Jensen, over the same examples
    assert (snapshots.seeds == 0).all()
    assert sorted(runs.final_loss_power) == sorted(
        snapshots[snapshots.step == 200].loss_power)
    # Its cost is what it spends, so measuring costs what was planned.
    planned = measuring.costs(plan(path).runs[0].config, tmp_path)
    assert runs.measure_ge.tolist() == pytest.approx([planned.measuring] * 2, rel=1e-9)
    assert runs.train_ge.tolist() == [planned.training] * 2
    assert runs.measure_ge.sum() / runs.train_ge.sum() == pytest.approx(0.7, rel=0.2)
    assert f"a share of {planned.share:.2g} (budget 0.7)" in tell.ended_text(outcome)


def test_under_a_budget_a_monitor_spends_what_it_declares(tmp_path, monkeypatch):
    """``steady`` says how: here the spectrum with as many products as its cost pays for."""
    fixed = dataclasses.replace(
        declared_spectrum(), cost=lambda *_: 2.0 * 12,
        steady=lambda options, _: {**options, "tolerance": 1e-12, "max_products": 12})
    monkeypatch.setattr(monitors, "_declared", lambda _: fixed)
    path = tiny(tmp_path, train={"epochs": 100, "batch_size": 10}, measure={
        "budget": 0.6, "monitors": [{"spectrum": {"k": 1, "lambda_min": False, "trace": False}}]})
    outcome, tables = ran(path)
    assert outcome.failures == {}
    runs = pd.read_parquet(tables / "runs")
    assert set(pd.read_parquet(tables / "snapshots").hessian_products) == {12.0}
    assert (runs.measure_ge / runs.train_ge).tolist() == pytest.approx([0.6] * 2, rel=0.2)
    outside = plan(path, overrides=["measure.budget=", "measure.when.every_epochs=50"])
    assert dict(outside.runs[0].config["measure"]["monitors"])["spectrum"]["max_products"] == 100


def test_a_budget_pays_for_the_eigenpairs_that_other_monitors_take(tmp_path):
    """Ten pairs for step_geometry, one reported: 2·10 + 4·2 products, and what was planned."""
    path = tiny(tmp_path, train={"epochs": 200, "batch_size": 10}, measure={
        "budget": 1, "monitors": [
            {"spectrum": {"k": 1, "tolerance": 1e-2, "lambda_min": False, "trace": False}},
            {"step_geometry": {"k": 10, "examples": 0, "cross_section": False}}]})
    (config, _) = (r.config for r in plan(path).runs)
    chosen = dict(config["measure"]["monitors"])
    assert (chosen["spectrum"]["k"], chosen["spectrum"]["max_products"]) == (1, 28)
    outcome, tables = ran(path)
    assert outcome.failures == {}
    assert set(pd.read_parquet(tables / "snapshots").hessian_products) == {28.0}
    assert set(pd.read_parquet(tables / "spectra")["index"]) == {1}
    planned = measuring.costs(config, tmp_path, plan(path).data.classes)
    spent = pd.read_parquet(tables / "runs").measure_ge
    assert spent.tolist() == pytest.approx([planned.measuring] * 2, rel=1e-9)


def declared_spectrum():
    """The declaration of the spectrum, as it is."""
    from trainables.monitors.declared import spectrum

    assert declared.__name__ in spectrum.__name__
    return spectrum.MONITOR


RETURNS = {
    "undeclared": "{'a': torch.zeros(len(probe.seeds)), 'b': torch.zeros(len(probe.seeds))}",
    "missing": "{}", "shape": "{'a': torch.zeros(len(probe.seeds), 3)}", "number": "{'a': 3.5}",
    "raises": "{'a': probe.nothing}",
    "remembers": "probe.remember('z', torch.ones(3))",
    "forgets": "probe.remember('z', torch.ones(2, 1 + probe.step)) or {'a': torch.zeros(2)}",
    "writes": "[p.add_(1) for p in probe.params.values()] and {'a': torch.zeros(2)}",
}


@pytest.mark.parametrize(("fault", "said"), [
    ("undeclared", "mine:mon returned `b`, which it does not declare (it declares: a)"),
    ("missing", "mine:mon declares `a` and did not return it"),
    ("shape", "mine:mon returned a tensor of shape (2, 3) as `a`, not (2,)"),
    ("number", "mine:mon returned a float as `a`"),
    ("raises", "mine:mon raised AttributeError: 'Probe' object has no attribute 'nothing'"),
    ("remembers", "mine:mon raised ValueError: `z` to remember is a tensor of shape (3,), "
                  "not (2, …)"),
    ("forgets", "mine:mon raised ValueError: `z` to remember has the shape (2, 2), and had "
                "(2, 1) at the snapshot before"),
    ("writes", "mine:mon changes the model's parameters"),
])
def test_a_users_fault_fails_the_pack_with_one_sentence(tmp_path, fault, said):
    (tmp_path / "mine.py").write_text(
        f"import torch\n\n\ndef mon(probe, options):\n    return {RETURNS[fault]}\n\n\n"
        "mon.columns = {'a': '1'}\n")
    outcome, _ = ran(tiny(tmp_path, measure={"monitors": ["mine:mon"]}))
    (line,) = [x for x in tell.ended_text(outcome).splitlines() if " failed: " in x]
    assert said in line


@pytest.mark.parametrize(("cost", "said"), [
    ("'much'", "the cost of mine:mon raised ValueError"), ("-1", "the cost of mine:mon is -1"),
    ("lambda options, sizes: sizes.trian", "the cost of mine:mon raised AttributeError"),
])
def test_a_users_cost_that_is_none(tmp_path, cost, said):
    (tmp_path / "mine.py").write_text(
        f"def mon(probe, options):\n    return {{}}\n\n\nmon.columns = {{'a': '1'}}\n"
        f"mon.cost = {cost}\n")
    with pytest.raises(UserError) as caught:
        plan(tiny(tmp_path, measure={"monitors": ["mine:mon"]}))
    assert caught.value.problems[0].what.startswith(said)


def test_costs_know_the_classes_and_the_mean_batch(tmp_path):
    """S is 10, 13, 20, 13, … of a wave of 4 epochs: of 10, 7, 5 and 7 steps."""
    chosen = [["fisher", {"examples": 50, "samples": 1, "exact": True}]]
    three, ten = (measuring.costs(config(chosen=chosen), tmp_path, c).snapshot for c in (3, 10))
    assert (three, ten) == pytest.approx((BARE + (1 + 2 * 4) / 3, BARE + (1 + 2 * 11) / 3))
    chosen = [["geometry", {"layers": False}]]
    train = {"batch_schedule": {"name": "cyclic", "period": 4, "factor": 2.0}}
    found = measuring.costs(config(train=train, chosen=chosen), tmp_path)
    assert found.snapshot == pytest.approx(BARE + 2 * round(382 / 29) / 50)
