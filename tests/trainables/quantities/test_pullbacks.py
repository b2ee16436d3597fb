"""The Fisher trace: dense loops over examples and labels, closed forms, unbiasedness, cost."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from tests.trainables.runs import HERE, blobs, config, example_gradients, pack_of
from trainables.measure import snapshot_rows
from trainables.monitors import Sizes, find, fisher, snapshot_cost
from trainables.probe import Probe
from trainables.quantities import pullbacks

MLP = {"name": "mlp", "width": 5, "depth": 1, "activation": "tanh"}
LOSSES = ["cross_entropy", "mse"]


def options(**given):
    return find("fisher", HERE).resolve(given)


def probe_of(model=MLP, data=None, runs=2, engine="vmap", **given):
    pack = pack_of([config(model, seed=s, **given) for s in range(runs)], data or blobs(),
                   engine=engine)
    return Probe(pack, pack.init(), slice(0, runs))


def jacobian(probe, run, i):
    """(C, P) of one example's outputs, by as many plain backward passes."""
    leaves = {n: p.clone().requires_grad_() for n, p in probe.params.items()}
    x, _, shared = probe.pack.examples(torch.tensor([i]), probe.runs)
    out = probe.pack.engine.outputs(
        probe.pack.evaluator, leaves, probe.buffers, x, shared=shared)[run, 0]
    rows = [torch.autograd.grad(o, list(leaves.values()), retain_graph=True) for o in out]
    return torch.stack([torch.cat([g[run].flatten() for g in r]) for r in rows]), out.detach()


def dense_trace(probe, run):
    """Σ_c p_c |∇ log p_c|², or ‖J‖²_F, averaged over the measurement set."""
    total = 0.0
    for i in probe.pack.measure_set.tolist():
        j, out = jacobian(probe, run, i)
        if probe.pack.train["loss"] == "mse":
            total += j.square().sum().item()
        else:
            p = out.softmax(0)
            each = (torch.eye(len(p), dtype=p.dtype) - p) @ j
            total += (p @ each.square().sum(1)).item()
    return total / probe.size


# (why, model, config)
CASES = [
    ("cross-entropy", MLP, {}),
    ("mse: unit Gaussian", MLP, {"loss": "mse"}),
    ("label noise changes the empirical one only", MLP, {"noisy": {"label": 0.5}}),
    ("input noise is measured", MLP, {"noisy": {"input": 0.5}}),
    ("normalisation by the calibration batch", MLP | {"batch_norm": True}, {}),
    ("convolutions", {"name": "simple_cnn", "width": 2, "dense": 3}, {}),
]


@pytest.mark.parametrize("engine", ["vmap", "loop"])
@pytest.mark.parametrize(("why", "model", "given"), CASES, ids=[c[0] for c in CASES])
def test_exact_trace_is_the_dense_loops(why, model, given, engine):
    data = blobs(shape=(1, 8, 8), train=12) if model["name"] == "simple_cnn" else blobs(train=12)
    probe = probe_of(model, data, engine=engine, **given)
    found = fisher.measure(probe, options(exact=True))
    each = example_gradients(probe, probe.pack.measure_set)
    for r in range(2):
        assert found["fisher_trace"][r].item() == pytest.approx(dense_trace(probe, r), rel=1e-11)
        assert found["fisher_trace_se"][r].item() == 0
        empirical = each[r].square().sum(1).mean().item()
        assert found["empirical_fisher_trace"][r].item() == pytest.approx(empirical, rel=1e-11)


@pytest.mark.parametrize("loss", LOSSES)
def test_linear_model_has_the_closed_form(loss):
    """J = I ⊗ x̃: Tr F = mean |x̃|² (1 − |p|²) by softmax; C mean |x̃|² by unit Gaussians."""
    data = blobs()
    probe = probe_of({"name": "linear"}, data, runs=1, loss=loss)
    x = torch.tensor(data.x_train, dtype=torch.float64)
    square = x.square().sum(1) + 1
    weight, bias = probe.params.values()
    p = (x @ weight[0].T + bias[0]).softmax(1)
    expected = 3 * square if loss == "mse" else square * (1 - p.square().sum(1))
    found = fisher.measure(probe, options(exact=True))["fisher_trace"].item()
    assert found == pytest.approx(expected.mean().item(), rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_sampled_labels_are_unbiased_and_their_error_is_the_standard_error(loss):
    """400 steps' draws on a frozen net, whole set: |z| < 3, and s² ≈ the mean of se²."""
    probe = probe_of(data=blobs(train=20), runs=1, loss=loss)
    exact = fisher.measure(probe, options(exact=True))["fisher_trace"].item()
    found, errors = [], []
    for step in range(400):
        probe.step = step
        one = fisher.measure(probe, options(samples=3))
        found.append(one["fisher_trace"].item())
        errors.append(one["fisher_trace_se"].item() ** 2)
    found, errors = torch.tensor(found), torch.tensor(errors)
    assert abs(found.mean() - exact) < 3 * found.std() / 20
    assert found.std() / 20 < 0.02 * exact
    assert errors.mean().item() == pytest.approx(found.var().item(), rel=0.3)


def test_labels_are_drawn_from_the_softmax():
    """On a fine grid of u the share of each class is its probability; a zero one is never drawn."""
    out = torch.tensor([[0.3, -1.0, 2.0], [-math.inf, 0.0, 0.0]], dtype=torch.float64)
    u = torch.arange(100_000, dtype=torch.float64).div(100_000).expand(2, -1)
    p = out.softmax(1)
    drawn = pullbacks.sampled("cross_entropy", out, u) + p[:, None]
    torch.testing.assert_close(drawn.mean(1), p, rtol=0, atol=2e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_are_the_mean_over_labels(loss):
    out = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    r = pullbacks.weighted(loss, out)
    p = out.softmax(0)
    expected = torch.eye(3).double() if loss == "mse" else p.diag() - p.outer(p)
    torch.testing.assert_close(r.T @ r, expected, rtol=1e-12, atol=1e-15)
    target = F.one_hot(torch.tensor(1), 3)
    mean = out if loss == "mse" else p
    torch.testing.assert_close(pullbacks.observed(loss, out, torch.tensor(1)), target - mean)


@pytest.mark.parametrize("exact", [False, True])
def test_two_stage_error_is_unbiased(exact):
    """Over all samples of 2 of 4 examples, each with two draws of ±2 about its own mean.

    Such a pair's variance is 4 or 0 with a mean of 4, as it should be.
    """
    means, spread = torch.tensor([1.0, 3.0, 4.0, 9.0]).double(), 0.0 if exact else 2.0
    found = []
    for chosen in itertools.permutations(range(4), 2):
        for signs in itertools.product((-1.0, 1.0), repeat=4):
            draws = means[list(chosen), None] + spread * torch.tensor(signs).view(2, 2)
            values = draws[:, :1] if exact else draws
            found.append(torch.cat(pullbacks.two_stage(values[None], 4, exact=exact)))
    value, error = torch.stack(found).T
    assert value.mean().item() == pytest.approx(means.mean().item())
    assert error.square().mean().item() == pytest.approx(
        value.var(correction=0).item(), rel=1e-12)


def test_memory_is_bounded_and_changes_nothing(monkeypatch):
    expected = fisher.measure(probe_of(), options(samples=5))
    monkeypatch.setattr(pullbacks, "CPU_BYTES", 2 * 8 * probe_of().flat.shape[1])
    monkeypatch.setattr(pullbacks, "EXAMPLES_AT_ONCE", 7)
    for name, value in fisher.measure(probe_of(), options(samples=5)).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=0)


def test_draws_are_the_runs_own_and_new_at_every_step():
    probe = probe_of()
    first, again = (fisher.measure(probe, options())["fisher_trace"] for _ in range(2))
    assert torch.equal(first, again)
    alone = Probe(probe.pack, probe.pack.init(), slice(1, 2))
    torch.testing.assert_close(fisher.measure(alone, options())["fisher_trace"], first[1:],
                               rtol=1e-12, atol=0)
    probe.step = 1
    assert not torch.equal(fisher.measure(probe, options())["fisher_trace"], first)


def test_a_run_of_nan_leaves_its_neighbours_alone():
    pack = pack_of([config(MLP, seed=s) for s in range(3)], blobs())
    healthy, broken = pack.init(), pack.init()
    for p in broken.params.values():
        p[1] = torch.nan
    for exact in (False, True):
        found, expected = (fisher.measure(Probe(pack, s, slice(0, 3)), options(exact=exact))
                           for s in (broken, healthy))
        for name, values in found.items():
            assert torch.equal(values[[0, 2]], expected[name][[0, 2]])
            assert name == "fisher_examples" or values[1].isnan()


# (why, classes, options)
COSTS = [
    ("the defaults, more examples than there are", 3, {}),
    ("a part of the set", 3, {"examples": 17, "samples": 4}),
    ("exact: a pullback a class", 4, {"examples": 17, "exact": True}),
    ("one example", 3, {"examples": 1}),
]


@pytest.mark.parametrize(("why", "classes", "given"), COSTS, ids=[c[0] for c in COSTS])
def test_what_is_spent_is_what_is_declared(why, classes, given):
    chosen = options(**given)
    pack = pack_of([config(MLP, monitors=[("fisher", chosen)])], blobs(classes=classes))
    row = snapshot_rows(pack, pack.init(), torch.ones(1, dtype=torch.bool))["snapshots"][0]
    sizes = Sizes(train=40, test=12, measure=40, batch=8, classes=classes)
    assert row["measure_ge"] == pytest.approx(
        snapshot_cost([("fisher", chosen)], sizes, HERE), rel=1e-12)
    assert row["fisher_examples"] == min(40, chosen["examples"])
    if chosen["examples"] == 1:
        assert row["fisher_trace_se"] is None
        assert "one example" in row["measure_notes"]
