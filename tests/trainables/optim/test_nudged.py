"""Nudged SGD against a loop with dense Hessians, plain SGD at γ = 1, and its bookkeeping."""

import pytest
import torch
from torch.func import functional_call, hessian

from tests.trainables.runs import blobs, config, fresh_model, pack_of, plain_training
from trainables.optim.nudged import nudged
from trainables.sampling import epoch_indices
from trainables.step import update

MLP = {"name": "mlp", "width": 4, "depth": 1, "activation": "tanh"}
NUDGED = {"name": "nudged_sgd", "k": 3, "gamma": 0.1, "every_epochs": 1, "tolerance": 1e-10}


def advanced(pack, steps):
    state = pack.init()
    for _ in range(steps):
        update(pack, state)
    return state


def dense_training(cfg, data, steps):
    """v ← μ m − η g, θ ← θ + v + (γ − 1) Σ ⟨v, e_i⟩ e_i; e_i from the whole Hessian."""
    module, t, o = fresh_model(cfg, data), cfg["train"], cfg["train"]["optimizer"]
    x, y = torch.tensor(data.x_train, dtype=torch.float64), torch.tensor(data.y_train)
    shapes = {n: p.shape for n, p in module.named_parameters()}
    flat = torch.cat([p.detach().flatten() for p in module.parameters()])

    def loss(flat, index):
        parts = flat.split([s.numel() for s in shapes.values()])
        params = {n: p.view(s) for (n, s), p in zip(shapes.items(), parts, strict=True)}
        return torch.nn.functional.cross_entropy(
            functional_call(module, params, (x[index],)), y[index])

    everything, velocity = torch.arange(len(x)), torch.zeros_like(flat)
    per_epoch = len(x) // t["batch_size"]
    for step in range(steps):
        epoch, batch = divmod(step, per_epoch)
        if batch == 0 and epoch % o["every_epochs"] == 0:
            top = torch.linalg.eigh(hessian(loss)(flat, everything))[1][:, -o["k"]:]
        i = epoch_indices([cfg["seed"]], epoch, train_size=len(x), batch_size=t["batch_size"])
        velocity = t["momentum"] * velocity - t["lr"] * torch.func.grad(loss)(flat, i[0, batch])
        flat = flat + velocity + (o["gamma"] - 1) * top @ (top.T @ velocity)
    return flat


@pytest.mark.parametrize(("why", "options", "engine"), [
    ("smaller steps along the sharpest", {}, "vmap"),
    ("one run after another", {}, "loop"),
    ("larger steps", {"gamma": 3.0}, "vmap"),
    ("every other epoch", {"every_epochs": 2}, "vmap"),
    ("momentum of the plain direction", {"momentum": 0.9}, "vmap"),
    ("no step along the sharpest at all", {"gamma": 0.0, "k": 1}, "vmap"),
])
def test_a_packed_run_is_the_dense_run(why, options, engine):
    data = blobs()
    momentum = options.get("momentum", 0.0)
    optimizer = NUDGED | {k: v for k, v in options.items() if k != "momentum"}
    configs = [config(MLP, seed=s, lr=0.05, momentum=momentum, optimizer=optimizer)
               for s in range(2)]
    pack = pack_of(configs, data, engine=engine)
    state = advanced(pack, 17)  # three epochs of five, and two steps
    for r, cfg in enumerate(configs):
        ours = torch.cat([p[r].flatten() for p in state.params.values()])
        # An eigenvector is as good as the root of its eigenvalue's bound.
        torch.testing.assert_close(ours, dense_training(cfg, data, 17), rtol=0, atol=1e-6)


def test_each_run_has_its_own_gamma_and_one_is_plain_sgd():
    data = blobs()
    plain = {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01, "lr": 0.03}
    configs = [config(MLP, seed=s, optimizer=NUDGED | {"gamma": g}, **plain)
               for s, g in enumerate([1.0, 0.1])]
    state = advanced(pack_of(configs, data), 12)
    distances = [max((state.params[n][r] - p).abs().max().item() for n, p in plain_training(
        {**cfg, "train": {**cfg["train"], "optimizer": {"name": "sgd"}}}, data, 12
    ).named_parameters()) for r, cfg in enumerate(configs)]
    assert distances[0] < 1e-13
    assert distances[1] > 1e-3


def test_nudged_by_hand():
    vectors = torch.tensor([[3.0, 4.0, 5.0], [1.0, 1.0, 1.0]])
    directions = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[0.6, 0.8, 0], [0, 0, 0]]])
    found = nudged(vectors, directions, torch.tensor([0.1, 3.0], dtype=torch.float64))
    torch.testing.assert_close(
        found, torch.tensor([[0.3, 0.4, 5.0], [1 + 2 * 1.4 * 0.6, 1 + 2 * 1.4 * 0.8, 1.0]]))


def test_what_it_costs_is_counted_once_an_epoch_and_for_those_alive():
    pack = pack_of([config(MLP, seed=s, optimizer=NUDGED | {"tolerance": 1e-3})
                    for s in range(2)], blobs(), width=4)
    state = advanced(pack, 1)
    first = state.extra_ge.clone()
    assert (first[:2] >= 1 + 2 * 4).all()  # the graph, and more products than directions
    assert first[2:].tolist() == [0, 0]
    for _ in range(4):
        update(pack, state)
    assert torch.equal(state.extra_ge, first)
    directions = state.directions
    update(pack, state.copy())  # looking ahead counts nothing and moves nothing
    assert torch.equal(state.extra_ge, first)
    assert state.directions is directions
    update(pack, state)
    assert (state.extra_ge > first)[:2].all()
    assert not torch.equal(state.directions, directions)


def test_a_run_that_is_not_a_number_harms_nobody():
    pack, sole = (pack_of([config(MLP, seed=s, optimizer=NUDGED) for s in seeds], blobs())
                  for seeds in ((3, 5), (3, 4)))
    ours, theirs = pack.init(), sole.init()
    for p in ours.params.values():
        p[1] = torch.nan
    for _ in range(6):
        update(pack, ours)
        update(sole, theirs)
    for n, p in ours.params.items():
        torch.testing.assert_close(p[0], theirs.params[n][0], rtol=0, atol=1e-9)
