"""A run inside a pack is the run that a plain PyTorch loop makes; and what ends runs."""

import copy

import pytest
import torch

from tests.trainables.runs import HERE, blobs, config, pack_of, plain_training
from trainables import snapshot
from trainables.monitors import find
from trainables.train import Segment, train

MLP = {"name": "mlp", "width": 16, "depth": 2}
IMAGES = blobs(shape=(1, 8, 8), train=32)

# (why it is here, model, data, options)
EQUALITY = [
    ("dense layers", MLP, blobs(), {}),
    ("tanh and mse", MLP | {"activation": "tanh"}, blobs(), {"loss": "mse"}),
    ("momentum", MLP, blobs(), {"momentum": 0.9, "lr": 0.03}),
    ("nesterov and decay", MLP, blobs(),
     {"momentum": 0.8, "nesterov": True, "weight_decay": 1e-2, "lr": 0.03}),
    ("a remainder each epoch", MLP, blobs(), {"batch_size": 7}),
    ("full batch", MLP, blobs(), {"batch_size": 40}),
    ("label noise", MLP, blobs(), {"noisy": {"label": 0.4}}),
    ("input noise", MLP, blobs(), {"noisy": {"input": 0.5}}),
    ("gradient noise", MLP, blobs(), {"noisy": {"gradient": 0.1}}),
    ("batch norm in a dense net", MLP | {"batch_norm": True}, blobs(), {}),
    ("convolutions and pooling", {"name": "simple_cnn", "width": 4, "dense": 8}, IMAGES, {}),
    ("residual blocks with BatchNorm", {"name": "resnet8"}, IMAGES, {"lr": 0.02}),
    ("residual blocks without", {"name": "resnet8", "batch_norm": False}, IMAGES, {"lr": 0.02}),
]


def run_to(pack, steps):
    """The pack's state after so many steps, observed on its way."""
    pack.steps = steps
    pack.measuring = frozenset({0, steps})
    state = pack.init()
    for _ in train(pack, state, [steps]):
        pass
    return state


@pytest.mark.parametrize("engine", ["vmap", "loop"])
@pytest.mark.parametrize(
    ("why", "model", "data", "options"), EQUALITY, ids=[e[0] for e in EQUALITY])
def test_a_packed_run_is_the_plain_run(why, model, data, options, engine):
    rate = options.get("lr", 0.1)
    configs = [config(model, seed=s, **{**options, "lr": rate / (1 + s)}) for s in range(3)]
    state = run_to(pack_of(configs, data, width=4, engine=engine), 50)
    for r, cfg in enumerate(configs):
        for name, p in plain_training(cfg, data, 50).named_parameters():
            difference = (state.params[name][r] - p).abs().max().item()
            assert difference < 1e-12 * max(1.0, p.abs().max().item()), (r, name, difference)


def drive(pack, borders, state=None):
    """All rows and the segments of a pack, states as bytes."""
    segments = []
    state = state or pack.init()
    for event in train(pack, state, borders):
        if isinstance(event, Segment):
            segments.append((copy.deepcopy(event.rows), snapshot.dump(event.state), event.last))
    return segments


def steady(rows):
    """Rows without what may differ between executions."""
    return {t: [{k: v for k, v in r.items() if not k.startswith(("time_", "host_"))} for r in rs]
            for t, rs in rows.items()}


NOISY = {"label": 0.2, "input": 0.1, "gradient": 0.01}


@pytest.mark.parametrize("options", [
    {}, {"momentum": 0.9}, {"noisy": NOISY}, {"lr_schedule": {"name": "cosine"}},
    {"sampling": "with_replacement"},
    {"until": {"train_accuracy": 0.9, "max_epochs": 3}, "epochs": None}])
@pytest.mark.parametrize("model", [MLP, MLP | {"dropout": 0.3, "batch_norm": True}])
def test_a_resumed_run_writes_what_an_unbroken_one_writes(model, options):
    configs = [config(model, seed=s, precision="fp32", monitors=[("spectrum", SPECTRUM)],
                      when={"early": "log", "every_steps": 3}, **options) for s in range(2)]
    borders = [4, 9, 10]
    unbroken = drive(pack_of(configs, blobs()), borders)
    assert len(unbroken) >= 2
    for k, (_, content, last) in enumerate(unbroken[:-1]):
        assert not last
        pack = pack_of(configs, blobs())  # another process would build its own
        resumed = drive(pack, borders, snapshot.load(content, pack))
        assert [steady(r) for r, _, _ in resumed] == [steady(r) for r, _, _ in unbroken[k + 1 :]]


SPECTRUM = {"k": 2, "lambda_min": True, "trace": True, "tolerance": 1e-3, "max_products": 60}


@pytest.mark.parametrize("model", [MLP, {"name": "resnet8"}])
def test_measuring_does_not_change_the_trajectory(model):
    data = blobs() if model is MLP else IMAGES
    weights = []
    for monitors, when in (([], {"early": None, "initial": False, "final": False}),
                           ([("spectrum", SPECTRUM)], {"early": "log", "every_steps": 2})):
        pack = pack_of([config(model, precision="fp32", monitors=monitors, when=when)], data)
        state = pack.init()
        for _ in train(pack, state, [pack.steps]):
            pass
        weights.append(state.params)
    assert all(torch.equal(weights[0][n], weights[1][n]) for n in weights[0])


def test_a_diverged_run_is_a_result_and_harms_no_neighbour():
    calm = [config(MLP, seed=s, precision="fp32", monitors=[("spectrum", SPECTRUM)])
            for s in (0, 1)]
    wild = config(MLP, seed=2, lr=1e9, precision="fp32", monitors=[("spectrum", SPECTRUM)])
    with_wild = drive(pack_of([*calm, wild], blobs(), width=4), [10])[0][0]
    without = drive(pack_of([*calm, calm[0]], blobs(), width=4), [10])[0][0]
    for table in ("runs", "snapshots", "spectra"):
        pick = lambda rows, t=table: [r for r in steady(rows)[t] if r["run_id"] in ("r0", "r1")]  # noqa: E731
        assert pick(with_wild) == pick(without)
    row = next(r for r in with_wild["runs"] if r["run_id"] == "r2")
    assert row["status"] == "diverged"
    assert "at step" in row["status_detail"]
    assert "final_train_loss" not in row
    assert row["steps"] < 10


@pytest.mark.parametrize("final", [True, False], ids=["measured", "not measured"])
def test_an_explosion_in_the_last_update_is_a_divergence(final):
    """No later update would see its loss."""
    when = {"early": None, "initial": False, "final": final}
    wild, calm = (config(MLP, lr=lr, steps=1, epochs=None, when=when) for lr in (1e9, 0.1))
    rows = drive(pack_of([wild, calm], blobs()), [1])[0][0]["runs"]
    assert [r["status"] for r in rows] == ["diverged", "finished"]
    assert rows[0]["steps"] == 1


def test_all_diverged_ends_early():
    pack = pack_of([config(MLP, lr=1e9), config(MLP, lr=1e9, seed=1)], blobs())
    segments = drive(pack, [10])
    assert [r["status"] for r in segments[-1][0]["runs"]] == ["diverged"] * 2


def test_until_freezes_the_runs_that_have_reached_their_target():
    until = {"train_accuracy": 1.0, "max_epochs": 60}
    configs = [config(MLP, lr=lr, until=until, epochs=None) for lr in (0.2, 1e-9)]
    pack = pack_of(configs, blobs())
    rows = drive(pack, [pack.steps])[0][0]
    quick, slow = rows["runs"]
    assert quick["status"] == "finished"
    assert "reached training accuracy 1" in quick["status_detail"]
    assert quick["final_train_accuracy"] == 1.0
    assert quick["epochs"] < 60
    assert slow["status"] == "stopped"
    assert slow["steps"] == 300
    last = [r for r in rows["snapshots"] if r["run_id"] == "r0"][-1]
    assert last["step"] == quick["steps"]


def test_a_pack_mate_does_not_change_a_run():
    solo = drive(pack_of([config(MLP, seed=3)], blobs(), width=4), [10])[0][0]
    packed = drive(pack_of([config(MLP, seed=s) for s in (1, 3, 5)], blobs(), width=4), [10])[0][0]
    one = [r for r in steady(packed)["snapshots"] if r["run_id"] == "r1"]
    two = steady(solo)["snapshots"]
    assert [{**r, "run_id": ""} for r in one] == [{**r, "run_id": ""} for r in two]


@pytest.mark.parametrize("rate", [0.025, 0.03])
def test_a_pack_mate_that_ends_early_does_not_change_what_a_run_remembers(rate):
    """Its end is measured with the whole block; the others are not measured there."""
    until = {"train_accuracy": 1.0, "max_epochs": 60}
    spectrum = find("spectrum", HERE).resolve(
        {"k": 2, "lambda_min": False, "trace": False, "tolerance": 1e-2})
    memorization = find("memorization", HERE).resolve({"target": 0.88})
    shared = {"until": until, "epochs": None, "monitors": [
        ("spectrum", spectrum), ("memorization", memorization)],
        "when": {"every_epochs": 19, "final": True, "initial": True}}

    def rows(mate):
        pack = pack_of([config(MLP, lr=0.015, **shared), config(MLP, lr=mate, seed=1, **shared)],
                       blobs())
        ((tables, _, _),) = drive(pack, [pack.steps])
        return [r for r in steady(tables)["snapshots"] if r["run_id"] == "r0"]

    assert rows(rate) == rows(1e-9)


def test_full_batch_descent_is_stable_below_two_over_lambda_and_not_above():
    """Linear model, mse: the Hessian is constant, so GD's edge is exactly 2/λ_max."""
    data, linear = blobs(), {"name": "linear"}
    spectrum = {**SPECTRUM, "tolerance": 1e-9}
    measured = config(linear, loss="mse", batch_size=40, monitors=[("spectrum", spectrum)])
    probe = pack_of([measured], data)
    edge = 2 / drive(probe, [2])[0][0]["snapshots"][0]["hessian_lambda_max"]
    rates = [0.98 * edge, 1.02 * edge]
    pack = pack_of([config(linear, loss="mse", batch_size=40, lr=lr, steps=2500, epochs=None)
                    for lr in rates], data)
    below, above = drive(pack, [2500])[0][0]["runs"]
    assert below["status"] == "finished"
    assert above["status"] == "diverged"
