"""The section ``probes``: what an entry means, its round trip, what a condition sees of a run."""

import json

import pytest

from orchestrator import probes
from orchestrator.errors import UserError
from orchestrator.grid import expand, run_configs
from orchestrator.spec import load_spec
from tests.orchestrator.specs import BASE, spec, write
from trainables.landscape import PROBES, find


def chosen(folder, *entries):
    return spec(folder, probes=list(entries)).probes


@pytest.mark.parametrize(("entry", "runs", "between", "ends"), [
    ("wedge", (), (), 0),  # reads none
    ("tunnels", (), (), 1),
    ({"tunnels": None}, (), (), 1),
    ({"tunnels": {"runs": "lr > 0.1"}}, ("lr > 0.1",), (), 1),
    ("interpolation", (), (), 2),
    ({"interpolation": {"between": "lr"}}, (), ("lr",), 2),
    ({"interpolation": {"between": ["lr", "batch_size"]}}, (), ("lr", "batch_size"), 2),
    ({"interpolation": {"runs": ["seed == 0", "seed == 1"]}}, ("seed == 0", "seed == 1"), (), 2),
    ({"connector": {"ends": 3}}, (), (), 3),
    ({"connector": {"runs": ["seed == 0", "seed == 1", "seed == 2"]}},
     ("seed == 0", "seed == 1", "seed == 2"), (), 3),  # as many as are named
])
def test_an_entry(tmp_path, entry, runs, between, ends):
    (found,) = chosen(tmp_path, entry)
    assert (found.runs, found.between, found.ends, found.seed) == (runs, between, ends, 0)
    assert set(found.options) == set(find(found.kind).options)  # ours are not among the kind's
    assert chosen(tmp_path, found.tree()) == (found,)  # what resolved.yaml holds can be read again


def test_options_and_seed(tmp_path):
    (found,) = chosen(tmp_path, {"interpolation": {"points": 5, "high": 2, "seed": 7}})
    assert (found.options["points"], found.options["high"], found.seed) == (5, 2.0, 7)
    assert found.options["low"] == -1.0


def test_all_that_is_wrong_with_the_entries_is_told_at_once(tmp_path):
    path = write(tmp_path, {**BASE, "probes": [
        "tunels", {"tunnels": {"runs": "sed == 0"}}, {"interpolation": {"points": 1, "pts": 2}}]})
    with pytest.raises(UserError) as caught:
        load_spec(path)
    assert [p.where.partition("(")[2] for p in caught.value.problems] == [
        "probes.0)", "probes.2.interpolation.points)", "probes.2.interpolation.pts)"]


@pytest.mark.parametrize(("entries", "weights"), [
    ([], "none"), (["wedge", "first_epoch"], "none"), (["wedge", "tunnels"], "final"),
])
def test_weights_are_saved_where_probes_read_them(tmp_path, entries, weights):
    found = spec(tmp_path, probes=entries)
    assert found.save.weights == weights
    assert probes.reads_weights(found.probes) == (weights == "final")


def test_what_a_condition_sees(tmp_path):
    found = spec(tmp_path, sweep={"axes": {"lr": [0.3], "label_noise": [0.25], "seed": [3]}},
                 train={
        "momentum": 0.5, "lr_schedule": "cosine",
        "optimizer": {"name": "nudged_sgd", "gamma": 0.2}})
    (config,) = run_configs(found, expand(found, 1500))
    config["data"]["train_size"] = 1500  # as the planner fills it in
    seen = probes.names(config)
    wanted = {"lr": 0.3, "train.lr": 0.3, "batch_size": 8, "label_noise": 0.25, "seed": 3,
              "width": 8, "model.width": 8, "loss": "cross_entropy", "ratio": 0.0375,
              "effective_ratio": 0.075, "train_size": 1500, "epochs": 2,
              "optimizer": "nudged_sgd", "optimizer.gamma": 0.2, "lr_schedule": "cosine"}
    assert {n: seen[n] for n in wanted} == wanted
    assert "steps" not in seen  # not given
    assert seen.keys() <= probes._known(found)  # what is seen may be spoken of
    assert json.dumps(seen)


def test_our_keys_are_no_options_of_any_kind():
    for kind in PROBES.values():
        assert not probes._own(kind).keys() & kind.options.keys(), kind.name
