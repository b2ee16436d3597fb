"""Derivatives of whole trainings, against trainings repeated with changed inputs, in float64."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from tests.trainables.runs import blobs, config, noisy_set, pack_of
from trainables import probe as probes
from trainables.probe import Probe
from trainables.quantities import sensitivity
from trainables.sampling import epoch_indices
from trainables.schedules import lr_factor
from trainables.step import update

MLP = {"name": "mlp", "width": 4, "depth": 1, "activation": "tanh"}


def retrained(module, params, x, y, cfg, pack, *, start, steps, chosen, of_class=None):
    """The loss on the examples ``chosen`` after plain SGD from ``params`` on the inputs x."""
    t, params = cfg["train"], {n: p.detach().clone() for n, p in params.items()}

    def loss_of(params, index):
        out = torch.func.functional_call(module, params, (x[index],))
        if t["loss"] == "mse":
            return 0.5 * (out - F.one_hot(y[index], out.shape[1])).square().sum(1)
        return F.cross_entropy(out, y[index], reduction="none")

    for step in range(start, start + steps):
        epoch, batch = divmod(step, len(x) // t["batch_size"])
        index = epoch_indices([cfg["seed"]], epoch, train_size=len(x),
                              batch_size=t["batch_size"])[0, batch]
        grads = torch.func.grad(lambda p, i=index: loss_of(p, i).mean())(params)
        rate = t["lr"] * lr_factor(t["lr_schedule"], step, pack.calendar, pack.steps)
        params = {n: p - rate * (grads[n] + t["weight_decay"] * p) for n, p in params.items()}
    losses = loss_of(params, chosen)
    if of_class is not None:
        losses = losses * (y[chosen] == of_class)
    return losses.mean().item()


def by_differences(cfg, data, pack, probe, r, index, at, of_class=None):
    """(m,) mean over t of the ℓ1 norm of central differences, input after input."""
    x, y = noisy_set(cfg, data)
    module = pack.template
    params = {n: p[r] for n, p in probe.params.items()}
    total = torch.zeros(len(index), dtype=torch.float64)
    for (i, j), t in itertools.product(enumerate(index.tolist()), at):
        for pixel in itertools.product(*map(range, x.shape[1:])):
            ends = []
            for sign in (1, -1):
                moved = x.clone()
                moved[(j, *pixel)] += sign * 1e-5
                ends.append(retrained(module, params, moved, y, cfg, pack, start=probe.step,
                                      steps=t, chosen=pack.measure_set, of_class=of_class))
            total[i] += abs(ends[0] - ends[1]) / 2e-5 / len(at)
    return total


# (why, options of the run, steps taken before)
CASES = [
    ("cross-entropy, from the start", {}, 0),
    ("mse", {"loss": "mse"}, 0),
    ("from the middle of an epoch, past its end", {}, 3),
    ("weight decay and a schedule", {"weight_decay": 0.3, "lr": 0.4, "lr_schedule": {
        "name": "step", "factor": 0.5, "every": 1}}, 1),
    ("each run's noisy inputs and labels", {"noisy": {"input": 0.5, "label": 0.5}}, 0),
    ("a measurement subset", {"set_size": 11}, 0),
]


@pytest.mark.parametrize(("why", "options", "before"), CASES, ids=[c[0] for c in CASES])
def test_sensitivity_is_that_of_repeated_trainings(why, options, before):
    data = blobs(shape=(2,), train=16, test=4)
    configs = [config(MLP, seed=s, batch_size=4, **options) for s in range(2)]
    pack = pack_of(configs, data)
    state = pack.init()
    for _ in range(before):
        update(pack, state)
    probe = Probe(pack, state, slice(0, 2))
    index = torch.tensor([5, 2, 11])
    found, none = sensitivity.loss_sensitivity(probe, index, steps=7, every=3)
    assert none is None
    for r, cfg in enumerate(configs):
        expected = by_differences(cfg, data, pack, probe, r, index, [3, 6])
        torch.testing.assert_close(found[r], expected, rtol=1e-6, atol=1e-9)


def test_parts_of_classes_are_those_of_repeated_trainings():
    data = blobs(shape=(2,), train=16, test=4)
    cfg = config(MLP, batch_size=4)
    pack = pack_of([cfg], data)
    probe = Probe(pack, pack.init(), slice(0, 1))
    index = torch.tensor([5, 2])
    found, parts = sensitivity.loss_sensitivity(probe, index, steps=4, every=9, classes=3)
    for c in range(3):
        expected = by_differences(cfg, data, pack, probe, 0, index, [4], of_class=c)
        torch.testing.assert_close(parts[0, c], expected, rtol=1e-6, atol=1e-9)
    together = sensitivity.loss_sensitivity(probe, index, steps=4, every=9)[0]
    torch.testing.assert_close(found, together, rtol=1e-12, atol=0)


def test_without_steps_of_the_input_only_the_loss_itself_depends_on_it():
    """Learning rate 0: the derivative is the plain input gradient over n."""
    data = blobs()
    pack = pack_of([config(MLP, lr=0.0)], data)
    probe = Probe(pack, pack.init(), slice(0, 1))
    found, _ = sensitivity.loss_sensitivity(probe, torch.arange(5), steps=2, every=1)
    x = torch.tensor(data.x_train, dtype=torch.float64).requires_grad_()
    params = {n: p[0] for n, p in probe.params.items()}
    loss = F.cross_entropy(torch.func.functional_call(pack.template, params, (x,)),
                           torch.tensor(data.y_train))
    expected = torch.autograd.grad(loss, x)[0][:5].abs().sum(1)
    torch.testing.assert_close(found[0], expected, rtol=1e-12, atol=0)


def test_the_path_is_the_one_that_training_takes():
    """Dropout masks, batch statistics, batches of the next epoch, schedule and decay included."""
    model = {"name": "mlp", "width": 5, "depth": 1, "batch_norm": True, "dropout": 0.3}
    options = {"weight_decay": 0.1, "lr_schedule": {"name": "cosine"}}
    pack = pack_of([config(model, seed=s, lr=0.1 + s, **options) for s in range(3)], blobs())
    state = pack.init()
    for _ in range(2):
        update(pack, state)
    unrolled = sensitivity.Unrolled(Probe(pack, state, slice(1, 3)), torch.arange(9))
    for params in unrolled.path(6)[1:]:
        update(pack, state)
        for name, p in params.items():
            torch.testing.assert_close(p, state.params[name][1:3], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("model", [
    {"name": "mlp", "width": 5, "depth": 1, "batch_norm": True, "dropout": 0.3},
    {"name": "simple_cnn", "width": 2, "dense": 3}], ids=["batch norm and dropout", "convolutions"])
def test_engines_and_chunks_agree(model, monkeypatch):
    data = blobs(shape=(1, 8, 8) if model["name"] == "simple_cnn" else (6,), train=24)
    configs = [config(model, seed=s) for s in range(2)]
    index = torch.tensor([1, 7, 20])
    both = pack_of(configs, data)
    expected, _ = sensitivity.loss_sensitivity(
        Probe(both, both.init(), slice(0, 2)), index, steps=4, every=2)
    assert expected.min() > 0
    monkeypatch.setattr(sensitivity, "GRAPH_BYTES", 3 * 5 * probes.graph_bytes(both))
    loop = pack_of(configs, data, engine="loop")
    for r in range(2):
        found, _ = sensitivity.loss_sensitivity(
            Probe(loop, loop.init(), slice(r, r + 1)), index, steps=4, every=2)
        torch.testing.assert_close(found[0], expected[r], rtol=1e-9, atol=1e-14)


# (why, values, G)
GINI = [("all equal", [2.0, 2.0, 2.0, 2.0], 0.0), ("one holds everything", [0.0, 0.0, 5.0], 2 / 3),
        ("half hold everything", [0.0, 1.0, 0.0, 1.0], 0.5)]


@pytest.mark.parametrize(("why", "values", "expected"), GINI, ids=[g[0] for g in GINI])
def test_gini(why, values, expected):
    v = torch.tensor([values])
    assert sensitivity.gini(v).item() == pytest.approx(expected, abs=1e-12)
    assert sensitivity.gini(100 * v).item() == pytest.approx(expected, abs=1e-12)


def test_gini_is_the_mean_difference_over_twice_the_mean():
    v = torch.rand(3, 17, generator=torch.Generator().manual_seed(0)).double()
    expected = (v[:, :, None] - v[:, None]).abs().mean((1, 2)) / (2 * v.mean(1))
    torch.testing.assert_close(sensitivity.gini(v), expected, rtol=1e-12, atol=0)
    assert sensitivity.gini(torch.zeros(1, 4)).isnan()


ADAM = {"name": "adam", "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
NUDGED = {"name": "nudged_sgd", "gamma": 0.5, "k": 2, "every_epochs": 1, "tolerance": 1e-3}


@pytest.mark.parametrize(("given", "reason"), [
    ({}, None), ({"weight_decay": 0.1}, None),
    ({"momentum": 0.5}, "has momentum"), ({"optimizer": ADAM}, "is trained by adam"),
    ({"optimizer": NUDGED}, "is trained by nudged_sgd"),
    ({"fisher_penalty": 0.1}, "has a Fisher penalty"),
    ({"noisy": {"gradient": 0.1}}, "has gradient noise"),
])
def test_other_updates_than_those_unrolled_are_told(given, reason):
    """Those that a run of the pack makes, whatever its neighbour does."""
    same = {n: v for n, v in given.items() if n == "optimizer"}
    pack = pack_of([config(MLP, **same), config(MLP, **given)], blobs())
    found = {r: w.tolist() for r, w in sensitivity.not_plain(pack, slice(0, 2)) if w.any()}
    told = f"it unrolls plain SGD, and the run {reason}"
    assert found == ({} if reason is None else {told: [bool(same), True]})


@pytest.mark.parametrize(("steps", "every", "classes"), [(7, 3, 0), (5, 9, 3), (4, 2, 3)])
def test_cost_counts_the_examples_of_the_batches(steps, every, classes):
    """Of those that were run through: each unrolled, and gone back for every part of a loss."""
    at = sensitivity.times(steps, every)
    sizes = [8, 8, 4, 4, 2, 2, 6]
    spent = sum(2 * s for s in sizes[:at[-1]])  # forth, and back once more
    for t in at:
        spent += max(1, classes) * (2 * sum(sizes[:t]) + 2 / 3 * 30) + 30 / 3
    found = sensitivity.cost(steps, every, lambda t: sum(sizes[:t]) / 30, max(1, classes))
    assert found == pytest.approx(spent / 30)
