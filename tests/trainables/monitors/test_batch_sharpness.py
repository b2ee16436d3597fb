"""Batch sharpness against dense Hessians of the very batches, and its edge cases."""

import math
from itertools import pairwise

import pytest
import torch
from scipy import stats

from tests.trainables.runs import blobs, config, dense_hessian, pack_of
from trainables import monitors
from trainables.measure import snapshot_rows
from trainables.monitors import Sizes, batch_sharpness
from trainables.probe import Probe
from trainables.quantities.batches import draw

MLP = {"name": "mlp", "width": 5, "depth": 1, "activation": "tanh"}
OPTIONS = monitors.find("batch_sharpness", None).resolve(
    {"batches": 6, "gni": True, "lambda_max_batches": 4})


def found_of(configs, data, options, **more):
    pack = pack_of(configs, data, **more)
    probe = Probe(pack, pack.init(), slice(0, pack.width if more.get("engine") != "loop" else 1))
    return pack, probe, batch_sharpness.measure(probe, options)


# (why, model, options of the run)
CASES = [
    ("cross-entropy", MLP, {}),
    ("squared loss", MLP, {"loss": "mse"}),
    ("the run's own noise", MLP, {"noisy": {"label": 0.4, "input": 0.3}}),
    ("a kinked net", MLP | {"activation": "relu"}, {}),
    ("batches with repeats", MLP, {"sampling": "with_replacement"}),
    ("batches larger than the measurement set", MLP, {"set_size": 5}),
]


@pytest.mark.parametrize("engine", ["vmap", "loop"])
@pytest.mark.parametrize(("why", "model", "options"), CASES, ids=[c[0] for c in CASES])
def test_it_is_that_of_the_dense_batch_hessians(why, model, options, engine, monkeypatch):
    monkeypatch.setattr(batch_sharpness, "CPU_AT_ONCE", 4)  # several folds
    data, configs = blobs(), [config(model, seed=s, **options) for s in range(2)]
    pack, probe, found = found_of(configs, data, OPTIONS, engine=engine)
    index = draw(pack, pack.seeds, "batch_sharpness", 0, 6)
    for r in range(len(probe.seeds)):
        dense = [dense_hessian(configs[r], data, i)[:2] for i in index[r]]
        ratios = torch.stack([g @ h @ g / (g @ g) for h, g in dense])
        half = stats.t.ppf(0.975, 5) * ratios.std().item() / 6**0.5
        assert found["batch_sharpness"][r].item() == pytest.approx(ratios.mean().item(), rel=1e-9)
        assert found["batch_sharpness_ci95"][r].item() == pytest.approx(half, rel=1e-8)
        largest = torch.stack([torch.linalg.eigvalsh(h)[-1] for h, _ in dense[:4]])
        assert found["batch_lambda_max"][r].item() == pytest.approx(
            largest.mean().item(), rel=2e-3)
        _, full, _ = dense_hessian(configs[r], data, pack.measure_set)
        pairs = [g @ h @ g for (_, g), (h, _) in pairwise(dense)]
        gni = torch.stack(pairs).mean() / (full @ full)
        assert found["gni"][r].item() == pytest.approx(gni.item(), rel=1e-9)
    assert found["batch_sharpness_batches"].tolist() == [6] * len(probe.seeds)


@pytest.mark.parametrize(("why", "options"), [
    ("the run's own batch", {"batch_size": 40}),
    ("the monitor's batch, more than there is", {"measured": 1000})])
def test_the_whole_set_is_exact(why, options):
    """gᵀHg/|g|², no interval; λ_max(H) and, H being the batch's own, the same for gni."""
    data, measured = blobs(), options.pop("measured", None)
    cfg = config(MLP, **options)
    _, _, found = found_of([cfg], data, {**OPTIONS, "batch_size": measured})
    h, g = dense_hessian(cfg, data, torch.arange(40))[:2]
    expected = (g @ h @ g / (g @ g)).item()
    assert found["batch_sharpness"].item() == pytest.approx(expected, rel=1e-10)
    assert found["gni"].item() == pytest.approx(expected, rel=1e-10)
    assert found["batch_lambda_max"].item() == pytest.approx(
        torch.linalg.eigvalsh(h)[-1].item(), rel=1e-3)
    assert found["batch_sharpness_ci95"].item() == 0 == found["batch_lambda_max_ci95"].item()
    assert found["batch_sharpness_batches"].item() == 1


@pytest.mark.parametrize("batches", [1, 5])
def test_as_many_draws_as_examples_are_not_the_whole_set(batches):
    """With replacement they are a bootstrap sample: an estimate with an interval, as of others."""
    cfg = config(MLP, batch_size=40, sampling="with_replacement")
    asked = {**OPTIONS, "batches": batches, "gni": False, "lambda_max_batches": 0}
    pack, probe, found = found_of([cfg], blobs(), asked)
    index = draw(pack, pack.seeds, "batch_sharpness", 0, batches)
    dense = [dense_hessian(cfg, blobs(), i)[:2] for i in index[0]]
    ratios = torch.stack([g @ h @ g / (g @ g) for h, g in dense])
    assert found["batch_sharpness"].item() == pytest.approx(ratios.mean().item(), rel=1e-9)
    assert found["batch_sharpness_batches"].item() == batches
    if batches == 1:
        assert "batch_sharpness_ci95: an interval needs two batches" in probe.notes(0)
    else:
        assert found["batch_sharpness_ci95"].item() > 0
    declared = monitors.find("batch_sharpness", None).cost(
        asked, Sizes(40, 12, 40, 40, replacement=True))
    assert probe.ge.item() == pytest.approx(declared)


def test_gni_and_sharpness_are_unbiased():
    """Means over many batches against dense values: z-scores, seeds fixed.

    E g_BᵀH g_B = gᵀHg + tr(HΣ_S) with Σ_S = (N − S)/(N − 1) Σ/S, without replacement.
    """
    data, cfg, count = blobs(), config(MLP, batch_size=4), 4000
    pack, probe, found = found_of(
        [cfg], data, {**OPTIONS, "batches": count, "lambda_max_batches": 0})
    dense = [dense_hessian(cfg, data, torch.tensor([i]))[:2] for i in range(40)]
    each = torch.stack([g for _, g in dense])
    h, g = torch.stack([h for h, _ in dense]).mean(0), each.mean(0)
    sigma = (each - g).T @ (each - g) / 40 * (36 / 39) / 4
    expected = (g @ h @ g + (h * sigma).sum()) / (g @ g)
    index = draw(pack, pack.seeds, "batch_sharpness", 0, count)
    _, _, mixed = batch_sharpness._forms(probe, index, cross=True)
    error = (mixed / (g @ g)).std().item() * (3 / count) ** 0.5  # successive pairs share a batch
    assert abs(found["gni"].item() - expected.item()) < 3 * error
    assert error < 0.05 * abs(expected.item())
    wide = found["batch_sharpness_ci95"].item()
    again = batch_sharpness.measure(_at_step(pack, 9), {**OPTIONS, "batches": count,
                                                        "lambda_max_batches": 0})
    gap = abs(found["batch_sharpness"] - again["batch_sharpness"]).item()
    assert 0 < gap < 2 * wide < 0.2 * found["batch_sharpness"].item()


def _at_step(pack, step):
    state = pack.init()
    state.step = step
    return Probe(pack, state, slice(0, 1))


def test_no_gradient_and_no_number_are_told_and_harm_nobody():
    """A run at a perfect fit of mse has no batch gradient; a run that is NaN stays NaN."""
    data = blobs()
    data.x_train[:] = 0.0  # only the bias matters; labels of one class can be fitted to the bit
    data.y_train[:] = 1
    monitor = [("batch_sharpness", {**OPTIONS, "gni": True})]
    pack = pack_of([config({"name": "linear"}, loss="mse", seed=s, monitors=monitor)
                    for s in range(3)], data)
    state = pack.init()
    bias = next(n for n in state.params if n.endswith("bias"))
    state.params[bias][0] = torch.tensor([0.0, 1.0, 0.0])
    state.params[bias][1] = torch.nan
    rows = snapshot_rows(pack, state, torch.ones(3, dtype=torch.bool))["snapshots"]
    assert rows[0]["batch_sharpness"] is rows[0]["batch_sharpness_ci95"] is rows[0]["gni"] is None
    assert rows[0]["batch_sharpness_batches"] == 0
    assert "all minibatch gradients are zero" in rows[0]["measure_notes"]
    assert math.isnan(rows[1]["batch_sharpness"])
    assert rows[1]["measure_notes"] is None
    assert rows[2]["batch_sharpness"] == pytest.approx(1.0)  # H is the identity on the bias
    assert rows[2]["batch_sharpness_ci95"] == pytest.approx(0, abs=1e-12)


def test_one_batch_has_no_interval():
    _, probe, found = found_of([config(MLP)], blobs(), {**OPTIONS, "batches": 1})
    assert found["batch_sharpness"].isfinite().all()
    assert "batch_sharpness_ci95: an interval needs two batches" in probe.notes(0)
    assert "gni: independent pairs need two batches" in probe.notes(0)


def test_a_run_does_not_depend_on_its_neighbours():
    data, cfg = blobs(), config(MLP, seed=7, precision="fp32")
    alone = found_of([cfg], data, OPTIONS, width=2)[2]
    beside = found_of([cfg, config(MLP, seed=1, lr=9.0, precision="fp32")], data, OPTIONS)[2]
    assert all(torch.equal(alone[n][0], beside[n][0]) for n in alone)


@pytest.mark.parametrize("given", [{}, {"lambda_max_products": 7}])
def test_steady_spends_what_is_declared(given):
    """In every run and at every step; a batch's search otherwise ends by its tolerance."""
    monitor, spent = monitors.find("batch_sharpness", None), {}
    asked = monitor.resolve({"batches": 6, "lambda_max_batches": 4, **given})
    for kind, options in (("as given", asked), ("steady", monitor.steady(asked, None))):
        _, probe, _ = found_of([config(MLP, seed=s, precision="fp32") for s in range(2)],
                                  blobs(), options)
        declared = monitor.cost(options, Sizes(40, 12, 40, 8))
        spent[kind] = probe.ge
        assert declared == monitor.cost(asked, Sizes(40, 12, 40, 8))
    assert spent["steady"].tolist() == pytest.approx([declared] * 2)
    assert given or not torch.allclose(spent["as given"], spent["steady"])


@pytest.mark.parametrize("options", [{"gni": False}, {"gni": True}, {"batch_size": 100}])
def test_declared_cost_is_the_cost(options):
    resolved = monitors.find("batch_sharpness", None).resolve(options)
    _, probe, _ = found_of([config(MLP, set_size=20)], blobs(), resolved)
    full = 1 if resolved["gni"] else 0  # the full gradient is part of every snapshot
    declared = monitors.find("batch_sharpness", None).cost(resolved, Sizes(40, 12, 20, 8))
    assert probe.ge.item() == pytest.approx(declared + full)
