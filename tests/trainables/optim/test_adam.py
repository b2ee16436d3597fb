"""Adam inside a pack against torch.optim.Adam, and its preconditioner."""

import pytest
import torch

from tests.trainables.runs import blobs, config, fresh_model, pack_of, plain_training
from trainables.optim import adam
from trainables.optim.adam import Adam
from trainables.probe import Probe
from trainables.step import update

MLP = {"name": "mlp", "width": 8, "depth": 2}
ADAM = {"name": "adam", "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}
STEPS = 50

# (why it is here, options)
CASES = [
    ("as it is", {}),
    ("L2 decay enters the moments", {"weight_decay": 0.05}),
    ("a large epsilon shows where it stands", {"optimizer": ADAM | {"epsilon": 0.1}}),
    ("no first moment", {"optimizer": ADAM | {"beta1": 0.0}}),
    ("noise is part of the gradient", {"noisy": {"gradient": 0.1}}),
]


def advanced(pack, steps=STEPS):
    state = pack.init()
    for _ in range(steps):
        update(pack, state)
    return state


@pytest.mark.parametrize("engine", ["vmap", "loop"])
@pytest.mark.parametrize(("why", "options"), CASES, ids=[c[0] for c in CASES])
def test_a_packed_run_is_the_plain_run(why, options, engine):
    data = blobs()
    configs = [config(MLP, seed=s, lr=0.01 / (1 + s), **({"optimizer": ADAM} | options))
               for s in range(3)]
    state = advanced(pack_of(configs, data, width=4, engine=engine))
    for r, cfg in enumerate(configs):
        for name, p in plain_training(cfg, data, STEPS).named_parameters():
            torch.testing.assert_close(state.params[name][r], p.detach(), rtol=0, atol=1e-12)


def test_each_run_has_its_own_decays():
    data, own = blobs(), [(0.9, 0.99, 1e-8), (0.5, 0.999, 1e-3), (0.0, 0.9, 1e-6)]
    configs = [config(MLP, lr=0.01, optimizer={
        "name": "adam", "beta1": a, "beta2": b, "epsilon": e}) for a, b, e in own]
    state = advanced(pack_of(configs, data))
    for r, cfg in enumerate(configs):
        for name, p in plain_training(cfg, data, STEPS).named_parameters():
            torch.testing.assert_close(state.params[name][r], p.detach(), rtol=0, atol=1e-12)


def test_single_precision_follows_torch_as_far_as_rounding():
    cfg = config(MLP, lr=0.01, precision="fp32", optimizer=ADAM | {"beta2": 0.9999})
    state = advanced(pack_of([cfg], blobs()), 10)
    for name, p in plain_training(cfg, blobs(), 10).named_parameters():
        # Were 1 − β₂ computed in fp32, the first step's denominator would be off by 3e-4 of it.
        torch.testing.assert_close(state.params[name][0], p.detach(), rtol=0, atol=2e-6)


def test_the_preconditioner_is_what_divides_the_first_moment():
    pack = pack_of([config(MLP, seed=s, lr=0.01, optimizer=ADAM) for s in range(2)], blobs())
    state = advanced(pack, 7)
    before = {n: p.clone() for n, p in state.params.items()}
    update(pack, state)
    p = pack.preconditioner(state)
    for n, place in state.params.items():
        torch.testing.assert_close(before[n] - place, 0.01 * state.velocity[n] / p[n],
                                   rtol=1e-9, atol=1e-14)


def test_the_preconditioner_by_hand():
    # v̂ = 0.04/(1 − 0.9²) after two steps; P = (1 − 0.5²)(√v̂ + 0.1)
    constants = Adam(*(torch.tensor([v], dtype=torch.float64) for v in (0.5, 0.9, 0.1)))
    second = {"w": torch.tensor([[0.04]], dtype=torch.float64)}
    expected = 0.75 * ((0.04 / 0.19) ** 0.5 + 0.1)
    assert adam.preconditioner(second, constants, 2)["w"].item() == pytest.approx(expected, 1e-14)
    assert adam.preconditioner(second, constants, 0)["w"].isnan().all()  # nothing seen yet


def test_only_adam_has_one():
    pack = pack_of([config(MLP)], blobs())
    assert pack.preconditioner(pack.init()) is None


def test_a_masked_run_stands_still():
    pack = pack_of([config(MLP, seed=s, lr=0.01, optimizer=ADAM) for s in range(2)], blobs(),
                   width=4)
    state = advanced(pack, 3)
    for name, p in fresh_model(pack.configs[-1], blobs()).named_parameters():
        assert torch.equal(state.params[name][-1], p)


def test_a_copy_may_be_advanced():
    pack = pack_of([config(MLP, lr=0.01, optimizer=ADAM)], blobs())
    state = advanced(pack, 3)
    kept = {f: {n: t.clone() for n, t in getattr(state, f).items()}
            for f in ("params", "velocity", "second")}
    update(pack, state.copy())
    for field, tensors in kept.items():
        assert all(torch.equal(t, getattr(state, field)[n]) for n, t in tensors.items()), field


def test_at_the_edge_of_stability_it_gives_38():
    """Full batch, MSE, tanh: η λ₁(P⁻¹H) settles at (2 + 2β₁)/(1 − β₁) (here 35.3, 36.9)."""
    pack = pack_of([config(MLP | {"activation": "tanh"}, lr=0.02, batch_size=60, loss="mse",
                           optimizer=ADAM)], blobs(shape=(8,), classes=4, train=60))
    state, found = pack.init(), []
    for step in range(1, 1501):
        update(pack, state)
        if step in (1000, 1500):
            probe = Probe(pack, state, slice(0, 1))
            root = probe.preconditioner[0].sqrt()
            dense = torch.stack([probe.curvature.product(e[None])[0] for e in torch.eye(
                len(root), dtype=root.dtype)])
            found.append(0.02 * torch.linalg.eigvalsh(dense / root / root[:, None])[-1].item())
    assert found == pytest.approx([38.0] * 2, rel=0.1)
