"""Packs: a partition of the runs, by what they must share, on the ladder's rungs."""

import copy

import pytest

from orchestrator.packing import Run, cut, group, rung

CONFIG = {
    "data": {"name": "digits", "train_size": 640}, "model": {"name": "mlp"}, "seed": 0,
    "precision": "fp32",
    "train": {"lr": 0.1, "batch_size": 8, "momentum": 0.0, "weight_decay": 0.0, "epochs": 2,
              "steps": None, "until": None, "loss": "mse", "nesterov": False,
              "fisher_penalty": 0.0, "fisher_every": 1, "batch_schedule": {"name": "constant"},
              "optimizer": {"name": "adam", "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}},
    "noise": {"label": 0.0, "input": 0.0, "gradient": 0.0}, "measure": {"set_size": 10},
}


def run(i, **changes):
    config = copy.deepcopy(CONFIG)
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            config[section][name] = value
        else:
            config[section] = value
    return Run(f"{i:016x}", config)


@pytest.mark.parametrize(("change", "together"), [
    ({"train__lr": 0.2}, True), ({"train__momentum": 0.9}, True), ({"seed": 7}, True),
    ({"noise__label": 0.5}, True), ({"noise__gradient": 0.5}, True),
    ({"train__batch_size": 16}, False), ({"train__epochs": 3}, False),
    ({"model": {"name": "linear"}}, False), ({"measure": {"set_size": 11}}, False),
    ({"precision": "fp64"}, False), ({"train__fisher_penalty": 0.1}, True),
    ({"train__optimizer": {"name": "adam", "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3}}, True),
    ({"train__optimizer": {"name": "sgd"}}, False), ({"train__batch_schedule": "cyclic"}, False),
])
def test_what_must_be_shared(change, together):
    assert (len(group([run(0), run(1, **change)])) == 1) is together


@pytest.mark.parametrize(("count", "limit", "widths"), [
    (1, 32, [1]), (5, 32, [8]), (32, 32, [32]), (33, 32, [32, 1]), (20, 16, [16, 4]),
    (10, 6, [4, 4, 2]),  # a limit between rungs: the rung below it
])
def test_widths_are_rungs(count, limit, widths):
    packs = cut([run(i) for i in range(count)], limit, "vmap")
    assert [p.width for p in packs] == widths
    assert sum(len(p.members) for p in packs) == count


def test_rungs():
    assert [rung(i) for i in (1, 2, 3, 4, 5, 9, 64, 65)] == [1, 2, 4, 4, 8, 16, 64, 128]
