"""Cells: which there are, in which order, and that equal runs have equal configs."""

import json

import pytest

from orchestrator import grid
from orchestrator.errors import UserError
from orchestrator.grid import count_cells, expand, run_configs
from orchestrator.names import swept
from tests.orchestrator.specs import spec

SIZE = 1500


def cells(folder, *, size=SIZE, without=(), sweep=None, **sections):
    """The values of all cells."""
    found = spec(folder, sweep=sweep or {}, without=without, **sections)
    return [dict(c.values) for c in expand(found, size)]


def column(found, name):
    return [c[name] for c in found]


def test_no_sweep_is_one_cell(tmp_path):
    assert cells(tmp_path) == [{"train.lr": 0.1, "train.batch_size": 8}]


def test_the_product_in_the_order_as_written(tmp_path):
    found = cells(tmp_path, sweep={"axes": {"batch_size": [8, 16], "lr": [0.1, 0.2],
                                            "seed": {"count": 2}}})
    assert [(c["train.batch_size"], c["train.lr"], c["seed"]) for c in found] == [
        (s, lr, seed) for s in (8, 16) for lr in (0.1, 0.2) for seed in (0, 1)]


def test_zipped_axes_move_together(tmp_path):
    found = cells(tmp_path, sweep={"axes": {"lr": [0.1, 0.2], "batch_size": [8, 16],
                                            "seed": {"count": 2}}, "zip": [["lr", "batch_size"]]})
    assert [(c["train.lr"], c["train.batch_size"], c["seed"]) for c in found] == [
        (0.1, 8, 0), (0.1, 8, 1), (0.2, 16, 0), (0.2, 16, 1)]


def test_derived_are_computed_in_order_and_keep_filters(tmp_path):
    found = cells(tmp_path, without=("lr",), sweep={
        "axes": {"ratio": [0.01, 0.02], "batch_size": [8, 16]},
        "derived": {"double": "2 * ratio", "lr": "double * batch_size"}, "keep": "lr < 0.5"})
    assert [(c["train.batch_size"], c["train.lr"]) for c in found] == [
        (8, 0.16), (16, 0.32), (8, 0.32)]
    assert all(set(c) == {"train.lr", "train.batch_size"} for c in found)  # ratio is no scalar


def test_keep_sees_constants(tmp_path):
    axes = {"axes": {"lr": [0.1, 0.2, 0.3]}}
    found = cells(tmp_path, sweep={**axes, "keep": "lr * batch_size < 2 and train_size == 1500"})
    assert column(found, "train.lr") == [0.1, 0.2]
    assert column(cells(tmp_path, sweep={**axes, "keep": "model.width > lr * 30"}),
                  "train.lr") == [0.1, 0.2]


def test_extra_points_come_last_unfiltered_and_once(tmp_path):
    found = cells(tmp_path, sweep={"axes": {"lr": [0.1, 0.2]}, "keep": "lr < 0.2", "include": [
        {"lr": 0.5}, {"lr": 0.1}, {"lr": 0.1, "batch_size": 32}]})
    assert [(c["train.lr"], c["train.batch_size"]) for c in found] == [
        (0.1, 8), (0.5, 8), (0.1, 32)]


def test_extra_points_alone(tmp_path):
    found = cells(tmp_path, without=("lr", "batch_size"),
                  sweep={"include": [{"lr": 1.0, "batch_size": 4}]})
    assert found == [{"train.lr": 1.0, "train.batch_size": 4}]


def test_full_is_the_size_of_the_training_set(tmp_path):
    found = cells(tmp_path, size=60, sweep={"axes": {"batch_size": ["full", 60, 30]}})
    assert column(found, "train.batch_size") == [60, 30]  # full and 60 are one cell


def test_counting_makes_no_cells(tmp_path, monkeypatch):
    found = spec(tmp_path, sweep={"axes": {"lr": {"linear": [0.1, 1], "n": 1000},
                                           "seed": {"count": 1000}}, "include": [{"lr": 3.0}]})
    monkeypatch.setattr(grid, "Cell", None)
    assert count_cells(found) == 1_000_001


def test_names(tmp_path):
    found = spec(tmp_path, without=("lr",), sweep={
        "axes": {"ratio": [0.1], "label_noise": [0.0]}, "derived": {"lr": "ratio * 8"}})
    assert swept(found) == {"ratio": None, "label_noise": "noise.label", "lr": "train.lr"}


def test_a_run_has_one_config_however_it_came_about(tmp_path):
    """As a constant, on an axis, on a log axis, derived, and as an extra point."""
    ways = [
        ({"lr": 0.1}, {}, ()),
        ({}, {"axes": {"lr": [0.1]}}, ("lr",)),
        ({}, {"axes": {"lr": {"log": [0.01, 1.0], "n": 3}}, "keep": "0.05 < lr < 0.5"}, ("lr",)),
        ({}, {"axes": {"ratio": [0.0125]}, "derived": {"lr": "ratio * batch_size"}}, ("lr",)),
        ({}, {"include": [{"lr": 0.1}]}, ("lr",)),
        ({}, {"axes": {"seed": [0], "momentum": [0.0], "model.depth": [1]}}, ()),
        ({"batch_size": 8}, {"axes": {"batch_size": [8]}}, ("batch_size",)),
    ]
    configs = []
    for train, sweep, without in ways:
        found = spec(tmp_path, train=train, sweep=sweep, without=without)
        configs += run_configs(found, expand(found, SIZE))
    assert len(configs) == len(ways)
    assert len({json.dumps(c, sort_keys=True) for c in configs}) == 1
    assert configs[0]["train"]["lr"] == 0.1
    assert configs[0]["seed"] == 0


def test_configs_carry_what_the_cell_says(tmp_path):
    found = spec(tmp_path, sweep={"axes": {"width": [4, 8], "label_noise": [0.5], "seed": [3]}},
                 compute={"precision": "fp64"})
    configs = run_configs(found, expand(found, SIZE))
    assert [c["model"]["width"] for c in configs] == [4, 8]
    assert {c["noise"]["label"] for c in configs} == {0.5}
    assert {c["seed"] for c in configs} == {3}
    assert {c["precision"] for c in configs} == {"fp64"}


def test_an_optimisers_options_are_swept(tmp_path):
    found = spec(tmp_path, train={"optimizer": {"name": "nudged_sgd", "k": 3}},
                 sweep={"axes": {"optimizer.gamma": [0.1, 1, 3]}})
    optimizers = [c["train"]["optimizer"] for c in run_configs(found, expand(found, SIZE))]
    assert [o["gamma"] for o in optimizers] == [0.1, 1.0, 3.0]
    assert all(o == {**optimizers[0], "gamma": o["gamma"]} for o in optimizers)
    assert (optimizers[0]["name"], optimizers[0]["k"]) == ("nudged_sgd", 3)


def test_optimisers_are_swept_by_name(tmp_path):
    found = spec(tmp_path, sweep={"axes": {"optimizer": ["sgd", "adam"]}})
    optimizers = [c["train"]["optimizer"] for c in run_configs(found, expand(found, SIZE))]
    assert [o["name"] for o in optimizers] == ["sgd", "adam"]
    assert optimizers[1]["beta2"] == 0.999


SWITCH = {"name": "switch", "at": 1, "factor": 0.1}


def test_choices_are_swept_as_maps_beside_bare_names(tmp_path):
    """On an axis, zipped with another axis, and as extra points: equal runs, equal configs."""
    cyclic = {"name": "cyclic", "period": 2, "factor": 2}
    found = spec(tmp_path, sweep={
        "axes": {"lr_schedule": ["constant", SWITCH, cyclic], "lr": [0.1, 0.2, 0.3]},
        "zip": [["lr_schedule", "lr"]],
        "include": [{"lr_schedule": {**SWITCH, "at": 1.0}, "lr": 0.2},
                    {"batch_schedule": cyclic, "optimizer": {"name": "adam", "beta1": 0.5}}]})
    trains = [c["train"] for c in run_configs(found, expand(found, SIZE))]
    assert [(t["lr"], t["lr_schedule"]["name"]) for t in trains] == [
        (0.1, "constant"), (0.2, "switch"), (0.3, "cyclic"), (0.1, "constant")]
    assert trains[1]["lr_schedule"] == {"name": "switch", "at": 1.0, "factor": 0.1}
    assert trains[3]["batch_schedule"] == {"name": "cyclic", "period": 2.0, "factor": 2.0}
    assert trains[3]["optimizer"]["beta1"] == 0.5


@pytest.mark.parametrize(("train", "axis", "values"), [
    ({"lr_schedule": SWITCH}, "lr_schedule.at", [0, 0.5, 2]),  # 2: the end, so never
    ({"lr_schedule": SWITCH}, "lr_schedule.factor", [0.1, 1, 10]),  # either direction
    ({"lr_schedule": {"name": "cyclic", "period": 1, "factor": 3, "by": "epoch"}},
     "lr_schedule.period", [1, 2]),
    ({"batch_schedule": {"name": "cyclic", "period": 1, "factor": 3}}, "batch_schedule.factor",
     [0.5, 4]),
    ({"lr_schedule": {"name": "step", "every": 1, "factor": 0.5}}, "train.lr_schedule.every",
     [1, 2]),
])
def test_options_of_schedules_are_swept(tmp_path, train, axis, values):
    found = spec(tmp_path, train=train, sweep={"axes": {axis: values}})
    name, option = axis.removeprefix("train.").split(".")
    made = [c["train"][name] for c in run_configs(found, expand(found, SIZE))]
    assert made == [{**train[name], option: v} for v in values]


def test_an_option_goes_into_the_choice_of_its_own_cell(tmp_path):
    found = spec(tmp_path, sweep={"axes": {"lr_schedule": [SWITCH], "lr_schedule.at": [1, 2]},
                                  "include": [{"lr_schedule": "constant"}]})
    made = [c["train"]["lr_schedule"] for c in run_configs(found, expand(found, SIZE))]
    assert made == [{**SWITCH, "at": 1.0}, {**SWITCH, "at": 2.0}, {"name": "constant"}]


@pytest.mark.parametrize(("keep", "kept"), [
    ('lr_schedule == "switch"', ["switch"]), ("lr < 0.2", ["constant"]),
    ('lr_schedule == "constant" or lr_schedule.factor < 1', ["constant", "switch"]),
    ('optimizer == "sgd" and train.lr > 0.1', ["switch"]),
])
def test_conditions_see_a_choices_name_and_options(tmp_path, keep, kept):
    axes = {"lr": [0.1, 0.2], "lr_schedule": ["constant", SWITCH]}
    lr = {"zip": [["lr", "lr_schedule"]]}
    if "factor" in keep:  # an option that a cell has not has no value there, which is told
        with pytest.raises(UserError, match=r"lr_schedule\.factor has no value"):
            cells(tmp_path, sweep={"axes": axes, **lr, "keep": "lr_schedule.factor < 1"})
    found = cells(tmp_path, sweep={"axes": axes, **lr, "keep": keep})
    assert [c["train.lr_schedule"]["name"] for c in found] == kept


@pytest.mark.parametrize("name", ["train_size", "data.train_size"])
def test_the_training_sets_size_is_swept(tmp_path, name):
    found = spec(tmp_path, sweep={"axes": {name: [40, 200], "batch_size": [8, "full", 100]},
                                  "keep": "batch_size <= train_size", "include": [{"lr": 0.5}]})
    configs = run_configs(found, expand(found, SIZE))
    assert [(c["data"]["train_size"], c["train"]["batch_size"]) for c in configs] == [
        (40, 8), (40, 40), (200, 8), (200, 200), (200, 100), (SIZE, 8)]
    assert configs[0]["data"] is configs[1]["data"]


def test_derived_see_and_give_the_training_sets_size(tmp_path):
    found = cells(tmp_path, without=("lr",), sweep={
        "axes": {"train_size": [100, 200]}, "derived": {"lr": "train_size / 1000"}})
    assert [(c["data.train_size"], c["train.lr"]) for c in found] == [(100, 0.1), (200, 0.2)]
    found = cells(tmp_path, train={"batch_size": "full"}, sweep={
        "axes": {"k": [1, 2]}, "derived": {"train_size": "100 * k", "lr": "batch_size / 1000"}},
        without=("lr",))
    assert [(c["data.train_size"], c["train.batch_size"], c["train.lr"]) for c in found] == [
        (100, 100, 0.1), (200, 200, 0.2)]


def test_a_swept_size_gives_the_run_of_the_constant(tmp_path):
    one = spec(tmp_path, data={"train_size": 100})
    two = spec(tmp_path, sweep={"axes": {"train_size": [100]}})
    assert run_configs(one, expand(one, 100)) == run_configs(two, expand(two, SIZE))


@pytest.mark.parametrize(("size", "train", "sweep", "what"), [
    (60, {"lr_schedule": SWITCH}, {"axes": {"lr_schedule.at": [1, 3]}},
     "lr_schedule switches at epoch 3, and the run ends at 2"),
    (60, {"lr_schedule": SWITCH, "epochs": None, "steps": 3}, {},
     "lr_schedule switches at epoch 1, and the run ends at 0.428571"),
    (60, {"batch_size": 32}, {"axes": {"train_size": [60, 20]}},
     "batch_size 32 is larger than the training set of 20"),
    (60, {}, {"axes": {"lr_schedule": ["cosine"], "lr_schedule.at": [1]}},
     "lr_schedule cosine has no at"),
    (60, {"batch_schedule": {"name": "cyclic", "period": 2, "factor": 10}}, {},
     "the batch size goes from 8 to 80"),
    (60, {"optimizer": "adam"}, {"axes": {"optimizer.gamma": [0.1]}}, "optimizer adam has no"),
    (60, {"optimizer": "adam"}, {"axes": {"momentum": [0, 0.9]}}, "adam with momentum"),
    (60, {"loss": "mse"}, {"axes": {"fisher_penalty": [0, 1]}}, "fisher_penalty with the loss"),
    (60, {"batch_size": 64}, {}, "batch_size 64 is larger than the training set of 60"),
    (60, {}, {"axes": {"batch_size": [8, 64, 128], "seed": [0, 1]}},
     "batch_size 64 is larger than the training set of 60 (at batch_size=64, seed=0 and 3 more)"),
    (60, {}, {"axes": {"k": [1, 2]}, "derived": {"batch_size": "k * 3.5"}}, "batch_size is 3.5"),
    (60, {}, {"axes": {"lr": [0.1]}, "keep": "lr > 1"}, "keep leaves no run"),
    (60, {}, {"axes": {"lr": [0.1]}, "keep": "lr + 1"}, "keep is 1.1, not a condition"),
    (60, {}, {"axes": {"k": [0, 1]}, "derived": {"lr": "1 / k"}}, "`1 / k`"),
])
def test_what_only_the_data_or_the_values_show(tmp_path, size, train, sweep, what):
    without = tuple(sweep.get("derived", ()))
    with pytest.raises(UserError) as caught:
        cells(tmp_path, size=size, train=train, sweep=sweep, without=without)
    (problem,) = caught.value.problems
    assert problem.what.startswith(what)
    assert problem.where
    assert problem.fix
