"""Steps against the sharpest directions: a quadratic's closed form, and brute force."""

import math
from types import SimpleNamespace

import pytest
import torch

from tests.trainables.runs import blobs, config, fresh_model, noisy_set, pack_of
from trainables import monitors
from trainables.measure import snapshot_rows
from trainables.monitors import Sizes, step_geometry
from trainables.probe import Probe
from trainables.quantities.batches import draw
from trainables.step import update

MLP = {"name": "mlp", "width": 5, "depth": 1, "activation": "tanh"}
LINEAR = {"name": "linear"}
SPECTRUM = ("spectrum", {"k": 5, "lambda_min": False, "trace": False, "tolerance": 1e-10,
                         "max_products": 400})
FAMILY = monitors.find("step_geometry", None)


def options_of(**given):
    return FAMILY.resolve(given)


def dense_hessian(cfg, data, index):
    """Hessian and gradient of the run's mean cross-entropy or squared error at its start."""
    module, (x, y) = fresh_model(cfg, data).eval(), noisy_set(cfg, data)
    names, shapes = zip(*((n, p.shape) for n, p in module.named_parameters()), strict=True)

    def loss(flat):
        parts = flat.split([s.numel() for s in shapes])
        params = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        out = torch.func.functional_call(module, params, (x[index],))
        if cfg["train"]["loss"] == "mse":
            target = torch.nn.functional.one_hot(y[index], out.shape[1])
            return 0.5 * (out - target).square().sum(1).mean()
        return torch.nn.functional.cross_entropy(out, y[index])

    flat = torch.cat([p.detach().flatten() for p in module.parameters()])
    return torch.func.hessian(loss)(flat), torch.func.grad(loss)(flat)


def eigenpairs(hessians, k):
    """A stand-in with the dense eigenpairs, to be independent of the solver."""
    values, vectors = torch.linalg.eigh(hessians)
    values, vectors = values.flip(1)[:, :k], vectors.flip(2).mT[:, :k]
    short, pad = k - values.shape[1], torch.nn.functional.pad
    return SimpleNamespace(values=pad(values, (0, short), value=torch.nan),
                           vectors=pad(vectors, (0, 0, 0, short), value=torch.nan))


def probed(model, options, *, runs=2, k=None, data=None, **train):
    data = data or blobs()
    monitor = [SPECTRUM, ("step_geometry", options)]
    configs = [config(model, seed=s, monitors=monitor, **train) for s in range(runs)]
    pack = pack_of(configs, data)
    probe = Probe(pack, pack.init(), slice(0, runs))
    dense = [dense_hessian(c, data, pack.measure_set) for c in configs]
    hessians = torch.stack([h for h, _ in dense])
    probe.__dict__["eigenpairs"] = eigenpairs(hessians, k or options["k"])
    return pack, probe, dense


def batch_gradients(probe, count):
    pack = probe.pack
    index = draw(pack, probe.seeds, "step_geometry", probe.step, count)
    found = []
    for r, cfg in enumerate(pack.configs):
        data = blobs()
        found.append(torch.stack([dense_hessian(cfg, data, i)[1] for i in index[r]]))
    return torch.stack(found)


def series(curves, name):
    return next(c for c in curves if c.series == name)


@pytest.mark.parametrize("model", [MLP, LINEAR], ids=["mlp", "linear"])
def test_shares_and_cosines_are_the_dense_ones(model):
    options = options_of(k=3, batches=6, cross_section=False, examples=0)
    pack, probe, dense = probed(model, options, k=4)   # another monitor asked for four
    found = step_geometry.measure(probe, options)
    each = batch_gradients(probe, 6)
    state = pack.init()
    before = probe.flat.clone()
    update(pack, state)
    step = Probe(pack, state, slice(0, 2)).flat - before
    for r, (h, full) in enumerate(dense):
        top = torch.linalg.eigh(h)[1].flip(1)[:, :3]
        cos = torch.cosine_similarity
        expected = {
            "step_gradient_share": sum((top.T @ g).square().sum() / (g @ g) for g in each[r]) / 6,
            "step_update_share": (top.T @ step[r]).square().sum() / (step[r] @ step[r]),
            "step_full_gradient_share": (top.T @ full).square().sum() / (full @ full),
            "step_cos_gradient_e1": cos(each[r], top[:, 0][None]).abs().mean(),
            "step_cos_full_e1": cos(full, top[:, 0], dim=0).abs(),
            "step_cos_gradient_full": cos(each[r], full[None]).mean(),
        }
        for name, value in expected.items():
            assert found[name][r].item() == pytest.approx(value.item(), rel=1e-8), name


def test_chance_is_k_over_p():
    """Random directions in place of eigenvectors: shares of k/P within sampling error."""
    options = options_of(k=5, batches=1, cross_section=False, examples=0)
    _, probe, _ = probed(MLP, options, runs=8)
    p = probe.flat.shape[1]
    basis = torch.linalg.qr(torch.randn(
        8, 400, p, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    shares = torch.cat([step_geometry.share(probe.gradient[:, None], b.mT)
                        for b in basis.unbind(1)])
    z = (shares.mean() - 5 / p) / (shares.std() / len(shares) ** 0.5)
    assert abs(z) < 3
    assert shares.std() / len(shares) ** 0.5 < 0.02 * 5 / p


def test_a_quadratic_has_the_closed_form():
    """−γηa + ½γ²η²λ(a + s²), exactly for the drawn batches and within their error in the mean.

    s² = (N − S)/(N − 1) Var_i⟨g_i, e⟩/S: batches without replacement.
    """
    data, count, size, eta = blobs(), 3000, 5, 0.3
    options = options_of(k=2, batches=count, directions=2, nodes=3, examples=0,
                         multiples=[0.5, 1, 3], cross_section=False)
    schedule = {"name": "switch", "at": 0, "factor": 0.5}     # the coming step's rate
    pack, probe, dense = probed(LINEAR, options, runs=1, loss="mse", lr=2 * eta,
                                batch_size=size, lr_schedule=schedule, data=data)
    found = step_geometry.measure(probe, options)
    full = dense[0][1]
    each = torch.stack([dense_hessian(pack.configs[0], data, torch.tensor([i]))[1]
                        for i in range(40)])
    index = draw(pack, pack.seeds, "step_geometry", 0, count)[0]
    for i in range(2):
        value, e = probe.eigenpairs.values[0, i], probe.eigenpairs.vectors[0, i]
        a, parts = (full @ e).square(), each @ e
        drawn = parts[index].mean(1)                            # ⟨g_B, e⟩ of each batch
        s2 = parts.var(correction=0) / size * (40 - size) / 39
        curve = series(found["step_loss_change"], f"e{i + 1}")
        assert curve.x.tolist() == [0.5, 1, 3]
        for j, gamma in enumerate((0.5, 1.0, 3.0)):
            rate = gamma * eta
            per_batch = -rate * (full @ e) * drawn + 0.5 * rate**2 * value * drawn**2
            assert curve.value[0, j].item() == pytest.approx(per_batch.mean().item(), rel=1e-9)
            exact = -rate * a + 0.5 * rate**2 * value * (a + s2)
            error = per_batch.std() / count**0.5
            assert abs(curve.value[0, j] - exact) < 4 * error
            if (i, gamma) == (0, 1.0):
                assert found["step_loss_change_e1"].item() == curve.value[0, j].item()
                assert found["step_loss_change_e1_se"].item() == pytest.approx(
                    error.item(), rel=1e-8)


# (why, η λ_1 in units, expected): on a full batch, half a step is better iff η λ_1 > 4/3
OVERSHOOTS = [("short of the valley", 1.2, 0), ("beyond it", 1.5, 1), ("unstable", 2.5, 1)]


@pytest.mark.parametrize(("why", "product", "expected"), OVERSHOOTS, ids=[o[0] for o in OVERSHOOTS])
def test_overshoot_on_a_quadratic(why, product, expected):
    """ΔL(1) > ΔL(½) ⇔ ½ηλ(1 − ¼)a > ½a ⇔ ηλ_1 > 4/3, without minibatch noise."""
    options = options_of(k=1, examples=0, cross_section=False)
    pack, probe, dense = probed(LINEAR, options, runs=1, loss="mse", batch_size=40)
    pack.lr[0] = product / torch.linalg.eigvalsh(dense[0][0])[-1]
    found = step_geometry.measure(probe, options)
    assert found["step_overshoot"].item() == expected
    assert (found["step_loss_change_e1"].item() > 0) == (product > 2)
    assert found["step_loss_change_e1_se"].item() == 0
    assert found["step_gradient_share"].item() == pytest.approx(
        found["step_full_gradient_share"].item(), rel=1e-12)
    assert found["step_cos_gradient_full"].item() == pytest.approx(1, rel=1e-12)


# (why, model, nodes, relative error of a change)
LOSSES = [("smooth", MLP, 8, 1e-3), ("smooth, more nodes", MLP, 16, 1e-6),
          ("kinked", MLP | {"activation": "relu"}, 16, 3e-2)]


@pytest.mark.parametrize(("why", "model", "nodes", "allowed"), LOSSES, ids=[c[0] for c in LOSSES])
def test_changes_are_those_of_direct_evaluation(why, model, nodes, allowed):
    options = options_of(k=2, batches=5, nodes=nodes, examples=17, multiples=[0.5, 1, 2])
    pack, probe, dense = probed(model, options, lr=0.3)
    found = step_geometry.measure(probe, options)
    each = batch_gradients(probe, 5)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))[:17]
    random = probe.normals("step_direction", 1)[:, 0]
    random = random / random.norm(dim=1, keepdim=True)

    def loss(r, shift, index):
        return _loss(pack, r, probe.flat[r] + shift, index)

    for r in range(2):
        directions = {"e1": probe.eigenpairs.vectors[r, 0], "random": random[r], "step": None}
        for name, e in directions.items():
            index = pack.measure_set[order] if e is None else pack.measure_set
            exact = []
            for gamma in (0.5, 1, 2):
                steps = [-gamma * 0.3 * (g if e is None else (g @ e) * e) for g in each[r]]
                exact.append(sum(loss(r, s, index) - loss(r, 0 * s, index) for s in steps) / 5)
            exact, got = torch.stack(exact), series(found["step_loss_change"], name).value[r]
            scale = 1e-10 if e is None else allowed
            assert ((got - exact).abs() <= scale * exact.abs().max()).all(), name
            if name == "e1":
                assert found["step_loss_change_e1_error"][r] >= (got - exact)[:2].abs().max()
                assert found["step_overshoot"][r] == float(exact[1] > exact[0])
        for curve in found["loss_along_e1"]:
            e, full = directions["e1"], dense[r][1]
            e = e * torch.sign(full @ e)
            unit = (0.3 * (each[r] @ e).square().mean().sqrt() if curve.series == "step"
                    else probe.eigenpairs.values[r, 0] ** -0.5)
            expected = unit * torch.tensor([-4.0, -2, -1, 0, 1, 2, 4], dtype=torch.float64)
            torch.testing.assert_close(curve.x[r], expected)
            values = torch.stack([loss(r, c * e, pack.measure_set) for c in curve.x[r]])
            torch.testing.assert_close(curve.value[r], values, rtol=1e-11, atol=0)


def _loss(pack, r, flat, index):
    state, at = pack.init(), 0
    for p in state.params.values():
        p[r] = flat[at:at + p[r].numel()].view(p[r].shape)
        at += p[r].numel()
    moved = Probe(pack, state, slice(r, r + 1))
    return moved.losses_of(moved.params, index)[0].mean()


def test_more_directions_than_parameters():
    """k beyond P: the whole space, so every share is 1; lines beyond P have no rows."""
    data = blobs(shape=(2,), classes=2)
    options = options_of(k=9, batches=3, directions=9, cross_section=False)
    _, probe, _ = probed(LINEAR, options, data=data)
    assert probe.flat.shape[1] == 6
    found = step_geometry.measure(probe, options)
    for name in ("step_gradient_share", "step_update_share", "step_full_gradient_share"):
        torch.testing.assert_close(found[name], torch.ones(2).double(), rtol=1e-12, atol=0)
    rows = {c.series: len(c.rows(0)) for c in found["step_loss_change"]}
    assert [rows[f"e{i}"] for i in range(1, 10)] == [5] * 6 + [0] * 3


def test_in_a_pack_no_gradient_is_told_and_nan_stays_at_home():
    data = blobs()
    data.x_train[:], data.y_train[:] = 0.0, 1
    monitor = [SPECTRUM, ("step_geometry", options_of(k=2))]
    pack = pack_of([config(LINEAR, loss="mse", seed=s, monitors=monitor) for s in range(3)], data)

    def rows(spoiled):
        state = pack.init()
        bias = next(n for n in state.params if n.endswith("bias"))
        if spoiled:
            state.params[bias][0] = torch.tensor([0.0, 1.0, 0.0])
            state.params[bias][1] = torch.nan
        return snapshot_rows(pack, state, torch.ones(3, dtype=torch.bool))

    spoiled, clean = rows(True), rows(False)
    zero, nan, sound = spoiled["snapshots"]
    for column in ("gradient_share", "update_share", "full_gradient_share", "cos_full_e1"):
        assert zero[f"step_{column}"] is None
        assert math.isnan(nan[f"step_{column}"])
        assert f"step_{column}" in zero["measure_notes"]
    assert zero["step_loss_change_e1"] == 0
    assert math.isnan(nan["step_overshoot"])
    assert {**sound, "time_measure_s": 0} == {**clean["snapshots"][2], "time_measure_s": 0}
    assert {c["quantity"] for c in clean["curves"]} == {"step_loss_change", "loss_along_e1"}
    assert not [c for c in spoiled["curves"] if c["subject_id"] == "r1"]


@pytest.mark.parametrize("train", [
    {}, {"batch_size": 40, "sampling": "with_replacement"}])  # N draws are not the set
def test_one_batch_has_no_standard_error(train):
    options = options_of(k=1, batches=1, examples=0, cross_section=False)
    _, probe, _ = probed(MLP, options, **train)
    assert step_geometry.measure(probe, options)["step_loss_change_e1_se"].isnan().all()
    assert "a standard error needs two minibatches" in probe.notes(0)


@pytest.mark.parametrize(("given", "size", "replacement"), [
    ({}, 8, False), ({"multiples": [0.5, 1]}, 8, False),
    ({"examples": 0, "cross_section": False}, 8, False),
    ({"directions": 3, "nodes": 5, "batches": 2}, 8, False),
    ({}, 40, False), ({}, 40, True)])  # one batch there is, and many
def test_declared_cost_is_the_cost(given, size, replacement):
    options = options_of(**given)
    sampling = "with_replacement" if replacement else "without_replacement"
    _, probe, _ = probed(MLP, options, set_size=20, batch_size=size, sampling=sampling)
    step_geometry.measure(probe, options)
    declared = FAMILY.cost(options, Sizes(40, 12, 20, size, replacement=replacement))
    assert probe.ge.tolist() == pytest.approx([declared + 1] * 2)  # the gradient is every row's


@pytest.mark.parametrize("bad", [[], [0], ["1"], 1, [True], [float("nan")], [float("inf")]])
def test_multiples_are_positive_numbers(bad):
    with pytest.raises(ValueError, match="multiples"):
        options_of(multiples=bad)
    assert options_of(multiples=[2, 1, 2])["multiples"] == [1.0, 2.0]


@pytest.mark.parametrize(("steps", "exact"), [(0, False), (4, True)])
def test_a_batch_is_as_large_as_those_of_its_epoch(steps, exact):
    """S = 10 in the first epoch (4 steps) and 40 = N in the second: exact there only."""
    options = options_of(k=1, batches=1, examples=0, cross_section=False)
    schedule = {"name": "cyclic", "period": 2, "factor": 4}
    pack = pack_of([config(MLP, batch_size=10, batch_schedule=schedule,
                           monitors=[("step_geometry", options)])], blobs())
    state = pack.init()
    for _ in range(steps):
        update(pack, state)
    row = snapshot_rows(pack, state, torch.ones(1, dtype=torch.bool))["snapshots"][0]
    assert row["step_loss_change_e1_se"] == (0 if exact else None)
