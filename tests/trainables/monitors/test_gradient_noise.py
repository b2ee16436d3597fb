"""The monitor gradient_noise on nets: against dense oracles, its edges, and what it costs."""

import math

import pytest
import torch

from tests.trainables.runs import HERE, blobs, config, example_gradients, pack_of
from trainables import gradients
from trainables.datasets import Dataset
from trainables.gradients import batch_gradients
from trainables.measure import snapshot_rows
from trainables.monitors import Sizes, find, gradient_noise, snapshot_cost
from trainables.probe import Probe

MLP = {"name": "mlp", "width": 5, "depth": 1, "activation": "tanh"}


def options(**given):
    return find("gradient_noise", HERE).resolve(given)


def probe_of(model=MLP, data=None, runs=2, **given):
    pack = pack_of([config(model, seed=s, **given) for s in range(runs)], data or blobs())
    return Probe(pack, pack.init(), slice(0, runs))


def gram(gradients):
    centred = gradients - gradients.mean(0)
    return centred.T @ centred / len(gradients)


def dense_hessian(probe, run, index):
    """The Hessian of one run's mean loss over ``index``, by its products with the unit vectors."""
    def loss(flat):
        parts, at = {}, 0
        for n, p in probe.params.items():
            parts[n] = flat[at:at + p[0].numel()].view_as(p[0])[None].expand_as(p)
            at += p[0].numel()
        return probe.losses_of(parts, index)[run].mean()

    return torch.autograd.functional.hessian(loss, probe.flat[run].clone())


# (why, model, config): every kind of thing whose gradients differ from example to example
CASES = [
    ("cross-entropy", MLP, {}),
    ("mse", MLP, {"loss": "mse"}),
    ("label noise is measured", MLP, {"noisy": {"label": 0.5}}),
    ("input noise is measured", MLP, {"noisy": {"input": 0.5}}),
    ("relu", MLP | {"activation": "relu"}, {}),
    ("normalisation by the calibration batch", MLP | {"batch_norm": True}, {}),
]


@pytest.mark.parametrize(("why", "model", "given"), CASES, ids=[c[0] for c in CASES])
def test_one_example_a_minibatch_gives_the_dense_covariance(why, model, given):
    probe = probe_of(model, **given)
    found = gradient_noise.measure(probe, options(batches=40, hessian_share=0))
    each = example_gradients(probe, probe.pack.measure_set)
    for r in range(2):
        k, mean = gram(each[r]), each[r].mean(0)
        values = torch.linalg.eigvalsh(k).flip(0)[:39]
        moments = torch.linalg.eigvalsh(k + mean.outer(mean)).flip(0)[:40]
        scale = values[0].item()
        torch.testing.assert_close(found["gradient_covariance"][r], values, rtol=0,
                                   atol=1e-11 * scale)
        torch.testing.assert_close(found["gradient_second_moment"][r], moments, rtol=0,
                                   atol=1e-11 * scale)
        assert found["k_lambda_max"][r].item() == pytest.approx(scale, rel=1e-10)
        assert found["k_trace"][r].item() == pytest.approx(k.trace().item(), rel=1e-10)
        second = each[r].square().sum(1).mean().item()
        assert found["k_trace_uncentred"][r].item() == pytest.approx(second, rel=1e-10)
        assert found["noise_trace"][r].item() == pytest.approx(k.trace().item(), rel=1e-10)
        simple = (k.trace() / (mean @ mean)).item()
        assert found["noise_scale_simple"][r].item() == pytest.approx(simple, rel=1e-10)
        rank = torch.linalg.matrix_rank(k, hermitian=True).item()
        if rank >= 39:
            ratio = (values[38] / values[0]).item()
            assert found["k_condition"][r].item() == pytest.approx(ratio, rel=1e-6)


@pytest.mark.parametrize("population", ["training_set", "distribution"])
def test_noise_scale_is_that_of_the_dense_hessian_of_its_minibatches(population):
    """With a product for every direction; 30 of 40 examples, so that the set is a sample."""
    probe = probe_of(set_size=30)
    found = gradient_noise.measure(
        probe, options(batches=7, hessian_share=0.3, products=6, population=population))
    batches = probe.minibatches(7)
    inside, outside = batches.indices[:2].flatten(), batches.indices[2:]
    size = 40 if population == "training_set" else math.inf
    each = example_gradients(probe, torch.arange(40))
    for r in range(2):
        hessian = dense_hessian(probe, r, inside)
        everything, rest = (each[r][i].mean(1) for i in (batches.indices, outside))
        mixed = 4 * (28 / size * torch.cov(everything.T) + (1 - 28 / size) * torch.cov(rest.T))
        trace = (hessian @ mixed).trace()
        outer = [i for i in probe.pack.measure_set.tolist() if i not in inside.tolist()]
        x = 8 / size * each[r][inside].mean(0) + (1 - 8 / size) * each[r][outer].mean(0)
        excess = (8 / size) ** 2 / 8 + (1 - 8 / size) ** 2 / 22 - 1 / size
        form = x @ hessian @ x - excess * trace
        assert found["noise_trace_hessian"][r].item() == pytest.approx(
            (1 - 1 / size) * trace.item(), rel=1e-9)
        assert found["noise_gradient_hessian"][r].item() == pytest.approx(form.item(), rel=1e-9)


def test_estimates_are_unbiased_over_partitions_of_a_frozen_net():
    """300 random orders of the set, |z| < 3 and a standard error below 6 % for every part."""
    probe = probe_of(data=blobs(train=60), runs=1, noisy={"label": 0.3})
    each = example_gradients(probe, probe.pack.measure_set)[0]
    hessian, mean, k = dense_hessian(probe, 0, probe.pack.measure_set), each.mean(0), gram(each)
    expected = {"noise_trace": k.trace(), "noise_trace_hessian": (hessian @ k).trace(),
                "noise_gradient_hessian": mean @ hessian @ mean}
    whole, seen = probe.pack.measure_set, {n: [] for n in expected}
    for order in range(300):
        source = torch.Generator().manual_seed(order)
        probe.pack.measure_set = whole[torch.randperm(60, generator=source)]
        again = Probe(probe.pack, probe.pack.init(), slice(0, 1))
        again.step = order  # other signs
        found = gradient_noise.measure(again, options(batches=6, hessian_share=0.2, products=2))
        for name, values in seen.items():
            values.append(found[name].item())
        assert found["noise_gradient_sq"].item() == pytest.approx((mean @ mean).item(), rel=1e-10)
    for name, values in seen.items():
        v = torch.tensor(values)
        assert abs(v.mean() - expected[name]) < 3 * v.std() / 300 ** 0.5, name
        assert v.std() / 300 ** 0.5 < 0.06 * abs(expected[name]), name


def test_minibatches_with_replacement_are_drawn_anew_at_every_step():
    probe = probe_of()
    chosen = options(sampling="with_replacement", batches=50, batch_size=3)
    found = gradient_noise.measure(probe, chosen)
    again = Probe(probe.pack, probe.pack.init(), slice(0, 2))
    assert torch.equal(gradient_noise.measure(again, chosen)["k_trace"], found["k_trace"])
    again.step = 1
    assert not torch.equal(gradient_noise.measure(again, chosen)["k_trace"], found["k_trace"])
    assert found["k_replacement"].tolist() == [1, 1]
    assert found["k_batches"].tolist() == [50, 50]
    each = example_gradients(probe, probe.pack.measure_set)
    traces = torch.stack([gram(g).trace() for g in each])
    torch.testing.assert_close(found["k_trace"], traces, rtol=0.5, atol=0)


def test_alignment_with_the_hessians_eigenvectors():
    probe = probe_of()
    found = gradient_noise.measure(probe, options(batches=40, hessian_share=0, k=3))
    each = example_gradients(probe, probe.pack.measure_set)
    for r in range(2):
        k = gram(each[r])
        top = torch.linalg.eigh(dense_hessian(probe, r, probe.pack.measure_set))[1].flip(1)[:, :3]
        share = (top.T @ k @ top).trace() / k.trace()
        cosine = (top[:, 0] @ torch.linalg.eigh(k)[1][:, -1]).abs()
        assert found["k_hessian_share"][r].item() == pytest.approx(share.item(), rel=1e-3)
        assert found["k_hessian_cosine"][r].item() == pytest.approx(cosine.item(), rel=1e-3)


def one_class():
    data = blobs()
    return Dataset(data.x_train, 0 * data.y_train, data.x_test, 0 * data.y_test, 1, "0" * 64)


# (why, data, options, columns that are null, words of the reason)
EDGES = [
    ("one minibatch", blobs(), {"batches": 1},
     {"k_trace", "k_lambda_max", "k_condition", "noise_scale_simple"}, "at least two minibatches"),
    ("a minibatch as large as the set", blobs(), {"batch_size": 64},
     {"k_trace", "noise_trace"}, "at least two minibatches"),
    ("one class: no gradient at all", one_class(), {},
     {"k_condition", "noise_scale_simple", "noise_scale"}, "not positive"),
    ("two minibatches", blobs(), {"batches": 2}, set(), ""),
    ("more minibatches than examples", blobs(), {"batches": 1000}, set(), ""),
]


@pytest.mark.parametrize(("why", "data", "given", "null", "reason"), EDGES,
                         ids=[e[0] for e in EDGES])
def test_what_is_undefined_is_null_and_says_why(why, data, given, null, reason):
    chosen = options(**given)
    pack = pack_of([config(MLP, monitors=[("gradient_noise", chosen)])], data)
    rows = snapshot_rows(pack, pack.init(), torch.ones(1, dtype=torch.bool))
    row = rows["snapshots"][0]
    assert null <= {n for n, v in row.items() if v is None}
    assert not [n for n, v in row.items() if isinstance(v, float) and math.isnan(v)]
    assert reason in (row["measure_notes"] or "")
    if not null:
        assert row["k_trace"] > 0


def test_a_negative_estimate_is_kept_and_its_ratio_is_null():
    """Near a minimum of a sample the distribution's |G|² comes out negative about every time."""
    chosen = options(population="distribution")
    pack = pack_of([config({"name": "linear"}, lr=0.3, batch_size=40, loss="mse",
                           monitors=[("gradient_noise", chosen)])], blobs())
    state = pack.init()
    for _ in range(300):
        state.params = {n: p - 0.1 * g.view_as(p) for (n, p), g in zip(
            state.params.items(),
            Probe(pack, state, slice(0, 1)).gradient.split(
                [p[0].numel() for p in state.params.values()], dim=1), strict=True)}
    row = snapshot_rows(pack, state, torch.ones(1, dtype=torch.bool))["snapshots"][0]
    assert row["noise_gradient_sq"] < 0
    assert row["noise_scale_simple"] is None
    assert "noise_scale_simple: the estimate of |G|^2" in row["measure_notes"]


def test_a_run_of_nan_leaves_its_neighbours_alone():
    pack = pack_of([config(MLP, seed=s) for s in range(3)], blobs())
    healthy, broken = pack.init(), pack.init()
    for p in broken.params.values():
        p[1] = torch.nan
    found, expected = (gradient_noise.measure(Probe(pack, s, slice(0, 3)), options(k=2))
                       for s in (broken, healthy))
    for name, values in found.items():
        torch.testing.assert_close(values[[0, 2]], expected[name][[0, 2]], rtol=0, atol=0)
        if name not in ("k_batches", "k_batch_size", "k_replacement"):
            assert values[1].isnan().all(), name


# (why, examples, options, most GE with the full gradient)
COSTS = [
    ("the defaults", 1500, {}, 2.5),
    ("n is not divisible by L", 1499, {}, 2.5),
    ("few examples", 30, {}, 2.6),
    ("without B_noise", 100, {"hessian_share": 0}, 1.0),
    ("a product for every direction", 100, {"products": 1000, "batches": 5}, 3.2),
    ("one minibatch", 50, {"batches": 1}, 1.0),
    ("two minibatches", 50, {"batches": 2}, 3.5),
    ("with replacement", 100, {"sampling": "with_replacement", "batch_size": 6}, 5),
]


@pytest.mark.parametrize(("why", "size", "given", "most"), COSTS, ids=[c[0] for c in COSTS])
def test_what_is_spent_is_what_is_declared(why, size, given, most):
    chosen = options(**given)
    pack = pack_of([config(MLP, monitors=[("gradient_noise", chosen)])], blobs(train=size))
    row = snapshot_rows(pack, pack.init(), torch.ones(1, dtype=torch.bool))["snapshots"][0]
    sizes = Sizes(train=size, test=12, measure=size, batch=8)
    declared = snapshot_cost([("gradient_noise", chosen)], sizes, HERE)
    assert row["measure_ge"] == pytest.approx(declared, rel=1e-12)
    assert row["measure_ge"] - (size + 12) / size / 3 <= most + 1e-9


@pytest.mark.parametrize(("why", "model", "given"), CASES, ids=[c[0] for c in CASES])
def test_batches_at_once_have_the_gradients_of_batches_one_by_one(monkeypatch, why, model, given):
    probe = probe_of(model, **given)
    index = torch.randint(40, (5, 6), generator=torch.Generator().manual_seed(0))
    expected = torch.stack([probe.gradient_of(probe.params, i) for i in index], dim=1)
    torch.testing.assert_close(batch_gradients(probe, index), expected, rtol=1e-11, atol=1e-14)
    monkeypatch.setattr(gradients, "COPY_BYTES", 2 * probe.flat.numel() * 8)
    torch.testing.assert_close(batch_gradients(probe, index), expected, rtol=1e-11, atol=1e-14)
