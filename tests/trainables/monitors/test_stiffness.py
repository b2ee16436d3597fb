"""Stiffness against loops over explicit gradients, closed forms, and a calibrated bootstrap."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.trainables.runs import blobs, config, fresh_model, noisy_set, pack_of
from trainables import monitors
from trainables.measure import snapshot_rows
from trainables.monitors.stiffness import measure
from trainables.probe import Probe
from trainables.quantities import stiffness

MLP = {"name": "mlp", "width": 6, "depth": 1, "activation": "tanh"}


def options(**given):
    return monitors.find("stiffness", None).resolve(given)


def unit_gradients(module, x, y, skip=0):
    rows = []
    for a, b in zip(x, y, strict=True):
        loss = F.cross_entropy(module(a[None]), b[None])
        grads = torch.autograd.grad(loss, list(module.parameters()))
        rows.append(torch.cat([g.flatten() for g in grads[: len(grads) - skip]]))
    rows = torch.stack(rows)
    return rows / rows.norm(dim=1, keepdim=True)


def by_loop(values, labels, others, classes, *, oneself):
    """Means within and between classes, and the class matrix, pair after pair."""
    cells = {}
    for i, a in enumerate(labels.tolist()):
        for j, b in enumerate(others.tolist()):
            if oneself or i != j:
                cells.setdefault((a, b), []).append(values[i, j].item())
    matrix = {c: np.mean(v) for c, v in cells.items()}
    return (np.mean([v for (a, b), v in matrix.items() if a == b]),
            np.mean([v for (a, b), v in matrix.items() if a != b]), matrix)


# (why, pairs, noise)
PAIRS = [("training pairs", "train", {}), ("test pairs", "test", {}),
         ("training and test", "cross", {}),
         ("classes are those that the run sees", "train", {"label": 0.5}),
         ("inputs are those that the run sees", "cross", {"input": 0.5})]


@pytest.mark.parametrize(("why", "pairs", "noisy"), PAIRS, ids=[p[0] for p in PAIRS])
def test_means_are_those_of_a_loop_over_pairs(why, pairs, noisy):
    data = blobs()
    configs = [config(MLP, seed=s, noisy=noisy) for s in range(2)]
    pack = pack_of(configs, data)
    probe = Probe(pack, pack.init(), slice(0, 2))
    found = measure(probe, options(pairs=pairs, examples=500, exclude_last_layer=True))
    for r, cfg in enumerate(configs):
        module, (x, y) = fresh_model(cfg, data), noisy_set(cfg, data)
        sides = {"train": (x, y), "test": (torch.tensor(data.x_test).double(),
                                           torch.tensor(data.y_test))}
        one, other = {"train": "train", "test": "test"}.get(pairs, "train"), pairs
        other = "test" if pairs == "cross" else pairs
        for skip, suffix in ((0, ""), (2, "_inner")):
            cos = unit_gradients(module, *sides[one], skip) @ unit_gradients(
                module, *sides[other], skip).T
            for kind, values in (("cos", cos), ("sign", cos.sign())):
                within, between, matrix = by_loop(
                    values, sides[one][1], sides[other][1], 3, oneself=pairs == "cross")
                assert found[f"stiffness_{kind}_within{suffix}"][r] == pytest.approx(
                    within, abs=1e-12)
                assert found[f"stiffness_{kind}_between{suffix}"][r] == pytest.approx(
                    between, abs=1e-12)
                if kind == "cos" and not suffix:
                    for a, curve in enumerate(found["stiffness_class_cos"]):
                        assert curve.series == str(a)
                        assert curve.value[r].tolist() == pytest.approx(
                            [matrix[a, b] for b in range(3)], abs=1e-12)
    sizes = {"train": 40, "test": 12, "cross": 52}
    assert found["stiffness_examples"].tolist() == [sizes[pairs]] * 2
    assert probe.ge.tolist() == pytest.approx([sizes[pairs] / 40] * 2)
    declared = monitors.find("stiffness", None).cost(
        options(pairs=pairs, examples=500), monitors.Sizes(40, 12, 40, 8))
    assert declared == pytest.approx(sizes[pairs] / 40)


@pytest.mark.parametrize("centre", ["feature", "channel"])
def test_distances_are_of_standardised_inputs(centre):
    x = torch.randn(9, 2, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    x[:, 1] = 5 + 100 * x[:, 1]
    x[:, :, 0] += 40.0  # a row of pixels that is bright in all images
    z = torch.empty_like(x)
    for c in range(2):
        z[:, c] = x[:, c] - (x[:, c].mean() if centre == "channel" else x[:, c].mean(0))
        z[:, c] /= z[:, c].std(correction=0)
    found = stiffness.distances(x, centre)
    for i in range(9):
        for j in range(9):
            expected = 1 - F.cosine_similarity(z[i].flatten(), z[j].flatten(), dim=0).item()
            assert found[i, j].item() == pytest.approx(expected, abs=1e-12)
    constant = torch.zeros(3, 4)
    assert stiffness.distances(constant).isnan().all()   # every input is the mean


def test_bins_hold_every_pair_once():
    source = torch.Generator().manual_seed(1)
    d, v = torch.rand(8, 8, generator=source).double(), torch.rand(8, 8, generator=source).double()
    v[0] = torch.nan
    edges = torch.linspace(d[1:].min().item(), d[1:].max().item(), 4).double()
    edges[0], edges[-1] = d[1:].min(), d[1:].max()
    x, mean = stiffness.binned(d, v, edges)
    for b in range(3):
        inside = (d >= edges[b]) & ((d < edges[b + 1]) if b < 2 else (d <= edges[3])) & ~v.isnan()
        assert x[b].item() == pytest.approx(d[inside].mean().item(), rel=1e-12)
        assert mean[b].item() == pytest.approx(v[inside].mean().item(), rel=1e-12)
    assert stiffness.binned(d, v, torch.tensor([5.0, 6, 7]).double())[0][1:].isnan().all()


ONES = torch.ones(20, 6, dtype=torch.float64)


def test_a_line_is_found_and_its_zero():
    """s = 0.6 − 0.5 d exactly: ξ = 1.2, in every bootstrap sample too."""
    d = 2 * torch.rand(6, 6, generator=torch.Generator().manual_seed(0)).double()
    found = stiffness.decay(d, 0.6 - 0.5 * d, ONES, ONES)
    assert found.slope == pytest.approx(-0.5, rel=1e-12)
    assert [found.length, found.low, found.high] == pytest.approx([1.2] * 3, rel=1e-10)
    assert (found.nearest, found.farthest) == (d.min().item(), d.max().item())


# (why, distance -> value, what ξ is)
EDGES = [("rising with distance", lambda d: 0.1 + 0.2 * d, math.inf),
         ("zero at every distance", lambda d: 0 * d, math.inf),
         ("below zero everywhere", lambda d: -0.5 - 0.5 * d, -1.0)]


@pytest.mark.parametrize(("why", "law", "expected"), EDGES, ids=[e[0] for e in EDGES])
def test_lengths_that_are_not_reached(why, law, expected):
    d = 2 * torch.rand(6, 6, generator=torch.Generator().manual_seed(0)).double()
    assert stiffness.decay(d, law(d), ONES, ONES).length == pytest.approx(expected)


def test_one_distance_makes_no_line():
    found = stiffness.decay(ONES[:6], torch.rand(6, 6).double(), ONES, ONES)
    assert math.isnan(found.slope)
    assert math.isnan(found.length)


def test_bootstrap_weights_are_those_of_repeated_examples():
    """Counts give the line through the pairs of a sample written out, copies of one apart."""
    source = torch.Generator().manual_seed(3)
    x = torch.rand(7, generator=source).double()
    d, v = (x[:, None] - x).abs(), torch.rand(7, 7, generator=source).double()
    v = v.fill_diagonal_(torch.nan)
    drawn = torch.tensor([0, 0, 1, 3, 5, 5, 6])
    counts = drawn.bincount(minlength=7).double().expand(20, 7)
    pairs = [(d[i, j].item(), v[i, j].item()) for i in drawn for j in drawn if i != j]
    slope, level = np.polyfit(*np.array(pairs).T, 1)
    expected = -level / slope if slope < 0 else math.inf
    assert stiffness.decay(d, v, counts, counts).low == pytest.approx(expected, rel=1e-9)


def test_the_interval_covers_where_pairs_share_examples():
    """s_ij = 1 − d_ij + (u_i + u_j)(0.5 + d_ij): pairs are far from independent; ξ is 1.

    90 data sets of 40 examples: about 95 % of the intervals hold ξ, and they are about as wide as
    the estimates scatter.
    """
    covered, widths, lengths = [], [], []
    for seed in range(90):
        source = torch.Generator().manual_seed(seed)
        x = 2 * torch.rand(40, generator=source).double()
        u = 0.1 * torch.randn(40, generator=source).double()
        d = (x[:, None] - x).abs()
        v = (1 - d + (u[:, None] + u) * (0.5 + d)).fill_diagonal_(torch.nan)
        drawn = torch.randint(40, (200, 40), generator=source)
        counts = F.one_hot(drawn, 40).sum(1).double()
        found = stiffness.decay(d, v, counts, counts)
        covered.append(found.low <= 1 <= found.high)
        widths.append((found.high - found.low) / (2 * 1.96))
        lengths.append(found.length)
    assert np.mean(covered) >= 0.88
    assert np.mean(widths) / np.std(lengths) == pytest.approx(1, abs=0.3)


def table(cfg, data, **kwargs):
    pack = pack_of([cfg], data, **kwargs)
    rows = snapshot_rows(pack, pack.init(), torch.tensor([True]))
    return rows["snapshots"][0], rows["curves"]


def test_an_extrapolated_length_is_null_and_told_in_words():
    """Random features of three blobs: the line through within-class pairs ends before zero."""
    data = blobs(train=60)
    row, curves = table(config(MLP, monitors=[("stiffness", options())]), data)
    assert row["critical_length"] is None
    assert "critical_length: extrapolated to" in row["measure_notes"]
    assert row["critical_length_low"] < row["critical_length_high"]
    series = {c["series"] for c in curves if c["quantity"] == "stiffness_distance"}
    assert series == {"within", "between"}


def one_class():
    data = blobs()
    return dataclasses.replace(data, y_train=data.y_train * 0, y_test=data.y_test * 0)


# (why, model, data, options, null columns, reason)
NULLS = [
    ("one class has no pairs between", MLP, one_class(), {}, ["stiffness_cos_between"],
     "no two examples of different classes"),
    ("two examples of two classes have none within", MLP, blobs(), {"examples": 2},
     ["stiffness_cos_within", "stiffness_slope", "critical_length"], "no two examples of one"),
    ("no layer but the last", {"name": "linear"}, blobs(), {"exclude_last_layer": True},
     ["stiffness_cos_within_inner"], "the last layer is the only one"),
]


@pytest.mark.parametrize(("why", "model", "data", "given", "null", "reason"), NULLS,
                         ids=[n[0] for n in NULLS])
def test_what_has_no_pairs_is_null_with_a_reason(why, model, data, given, null, reason):
    row, _ = table(config(model, monitors=[("stiffness", options(**given))]), data)
    assert [row[c] for c in null] == [None] * len(null)
    assert reason in row["measure_notes"]


def test_a_run_that_is_not_finite_is_null_and_harms_no_other():
    configs = [config(MLP, seed=s) for s in range(2)]
    pack = pack_of(configs, blobs())
    sound = measure(Probe(pack, pack.init(), slice(0, 2)), options())
    state = pack.init()
    for p in state.params.values():
        p[0] = torch.nan
    probe = Probe(pack, state, slice(0, 2))
    found = measure(probe, options())
    for name in (n for n in found if not isinstance(found[n], list)):
        assert found[name][1].equal(sound[name][1]) or sound[name][1].isnan(), name
        assert found[name][0].isnan() or name == "stiffness_examples"
    assert found["stiffness_examples"].tolist() == [0, 40]
    assert "gradients are not finite" in probe.notes(0)


def test_fitted_examples_are_left_out_and_counted():
    """Outputs of ±1000: softmax rounds to one-hot, and no gradient has a direction."""
    pack = pack_of([config({"name": "linear"}, precision="fp32")], blobs(classes=2))
    state = pack.init()
    weight, bias = state.params.values()
    weight.zero_()
    bias[0] = torch.tensor([1000.0, -1000.0])
    probe = Probe(pack, state, slice(0, 1))
    found = measure(probe, options())
    assert found["stiffness_examples"].item() == 20  # those of class 1, all of them wrong
    assert found["stiffness_cos_between"].isnan()
    assert not found["stiffness_cos_within"].isnan()


def test_the_same_numbers_in_a_larger_pack():
    configs = [config(MLP, seed=s) for s in range(3)]
    alone, together = (pack_of(c, blobs()) for c in (configs[2:], configs))
    one = measure(Probe(alone, alone.init(), slice(0, 1)), options())
    three = measure(Probe(together, together.init(), slice(0, 3)), options())
    for name in (n for n in one if not isinstance(one[n], list)):
        torch.testing.assert_close(one[name][0], three[name][2], rtol=1e-12, atol=0, equal_nan=True)
