"""The engines agree with each other and with one plain model at a time."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from tests.trainables.runs import blobs, config, pack_of
from trainables.engines import ENGINES, vectorises
from trainables.losses import per_example

MLP = {"name": "mlp", "width": 6, "depth": 2}
CNN = {"name": "simple_cnn", "width": 2, "dense": 3}
CASES = [("dense", MLP, "cross_entropy"), ("mse", MLP, "mse"),
         ("batch norm", MLP | {"batch_norm": True}, "cross_entropy"),
         ("dropout", MLP | {"dropout": 0.4}, "cross_entropy"), ("convolutions", CNN, "mse")]


def pack(model, loss):
    data = blobs(shape=(1, 8, 8), train=16) if model is CNN else blobs()
    return pack_of([config(model, seed=s, loss=loss) for s in range(3)], data)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(("why", "model", "loss"), CASES, ids=[c[0] for c in CASES])
def test_gradients_are_those_of_each_run_alone(why, model, loss, name):
    of = pack(model, loss)
    x, y = of.batch(of.epoch(0)[:, 1])
    keys = of.dropout_keys(1)
    alive = torch.tensor([True, False, True])
    losses, grads = ENGINES[name].gradients(of.trainer, of.initial, keys, x, y, loss, alive)
    for r in (0, 2):
        leaves = {n: p[r].clone().requires_grad_() for n, p in of.initial.items()}
        out = functional_call(of.trainer, (leaves, {n: b[r] for n, b in keys.items()}), (x[r],))
        value = per_example(loss, out, y[r]).mean()
        expected = torch.autograd.grad(value, list(leaves.values()))
        assert losses[r].item() == pytest.approx(value.item(), rel=1e-13)
        for n, g in zip(leaves, expected, strict=True):
            torch.testing.assert_close(grads[n][r], g, rtol=1e-12, atol=1e-14)
    assert not losses.requires_grad
    assert not any(p.requires_grad for p in of.initial.values())


def test_the_loop_skips_ended_runs():
    of = pack(MLP, "mse")
    x, y = of.batch(of.epoch(0)[:, 0])
    losses, grads = ENGINES["loop"].gradients(
        of.trainer, of.initial, {}, x, y, "mse", torch.tensor([True, False, True]))
    assert losses[1] == 0
    assert losses[0] > 0
    assert not any(g[1].any() for g in grads.values())


@pytest.mark.parametrize("shared", [True, False])
def test_outputs_and_buffer_updates_agree(shared):
    of = pack(MLP | {"batch_norm": True}, "mse")
    x = of.x_train[:9] if shared else of.x_train[:27].view(3, 9, -1)
    found = {}
    for name, engine in ENGINES.items():
        buffers = {n: b.clone() for n, b in of.statistics.items()}
        of.evaluator.train()
        out = engine.outputs(of.evaluator, of.initial, buffers, x, shared=shared)
        of.evaluator.eval()
        found[name] = {"out": out, **buffers}
    assert found["vmap"]["out"].shape == (3, 9, 3)
    for n, ours in found["vmap"].items():
        torch.testing.assert_close(ours, found["loop"][n], rtol=1e-12, atol=1e-13)
    moved = [n for n, b in of.statistics.items() if not torch.equal(found["loop"][n], b)]
    assert len(moved) == len(of.statistics) > 0


class Branching(nn.Linear):
    """Asks for a number in the middle of its forward."""

    def forward(self, x):
        return super().forward(x) * (2.0 if x.sum().item() > 0 else 1.0)


@pytest.mark.parametrize(
    ("module", "expected"), [(nn.Linear(3, 2), True), (Branching(3, 2), False)])
def test_vectorises(module, expected):
    params = {n: torch.stack([p.detach()] * 2) for n, p in module.named_parameters()}
    x, y = torch.ones(2, 4, 3), torch.zeros(2, 4, dtype=torch.int64)
    assert vectorises(module, params, {}, x, y, "mse") is expected
