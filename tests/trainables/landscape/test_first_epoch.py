"""Over-dispersion of draws whose error rates are known, and one epoch against plain training."""

import numpy as np
import pytest
import torch

from tests.trainables.landscapes import MLP, quantity, subject
from tests.trainables.runs import blobs, config, noisy_set, plain_training
from trainables.datasets import Dataset
from trainables.landscape import run
from trainables.landscape.first_epoch import binomial_shares, dispersion, misclassified
from trainables.streams import derive, generator

# (why, true error rates of half of the examples and of the others)
CASES = [("all alike", 0.3, 0.3), ("easy and hard", 0.1, 0.6), ("extremes", 0.0, 1.0)]


@pytest.mark.parametrize(("why", "easy", "hard"), CASES, ids=[c[0] for c in CASES])
def test_dispersion_of_planted_error_rates(why, easy, hard):
    """E D = 1 + (R − 1) Var(π) / (p̄ (1 − p̄)), Var(π) = (hard − easy)²/4."""
    seeds, n, draws = 30, 400, 300
    rates = torch.tensor([easy, hard], dtype=torch.float64).repeat_interleave(n // 2)
    counts = torch.binomial(torch.full((draws, n), float(seeds), dtype=torch.float64),
                            rates.expand(draws, n), generator=torch.Generator().manual_seed(1))
    found = dispersion(counts / seeds, seeds)
    mean = (easy + hard) / 2
    wanted = 1 + (seeds - 1) * (hard - easy) ** 2 / 4 / (mean * (1 - mean))
    if found.std() < 1e-9:
        assert found.mean().item() == pytest.approx(wanted * n / (n - 1), rel=1e-12)
    else:
        allowance = 3 * wanted / n  # of n − 1 and of p̄, both of order 1/n
        assert abs(found.mean() - wanted) < 3 * found.std() / draws**0.5 + allowance


def test_the_null_is_binomial():
    """Mean and variance of 1e5 draws; D's null mean is 1."""
    shares = binomial_shares(0.3, 30, 200, 500, seed=0)
    z = (shares.mean() - 0.3) / (0.3 * 0.7 / 30 / shares.numel()) ** 0.5
    assert abs(z) < 3
    null = dispersion(shares, 30)
    assert abs(null.mean() - 1) < 3 * null.std() / 500**0.5
    assert torch.equal(shares, binomial_shares(0.3, 30, 200, 500, seed=0))
    assert not torch.equal(shares, binomial_shares(0.3, 30, 200, 500, seed=1))


@pytest.mark.parametrize("noisy", [{}, {"label": 0.5}])
def test_who_is_wrong_after_one_epoch_is_who_plain_training_gets_wrong(noisy):
    data, cfg = blobs(), config(MLP, lr=0.3, noisy=noisy)
    wrong = misclassified(subject([cfg], data, seed=5), seeds=3, examples=17)
    assert wrong.shape == (3, 17)
    index = torch.randperm(40, generator=generator(0, "first_epoch_examples"))[:17]
    for i in range(3):
        own = {**cfg, "seed": derive(5, "first_epoch", i)}
        module, (x, y) = plain_training(own, data, 5).eval(), noisy_set(own, data)
        assert torch.equal(wrong[i], module(x[index]).argmax(1) != y[index])


def planted():
    """Two classes, of which a quarter of the examples lies on the wrong side."""
    source = np.random.default_rng(0)
    y = np.arange(200) % 2
    side = np.where(np.arange(200) < 150, 2.0, -2.0)
    x = np.stack([(2 * y - 1) * side, *source.normal(size=(5, 200))], 1).astype(np.float32)
    return Dataset(x, y, x[:20], y[:20], 2, "0" * 64)


def test_a_planted_easy_and_hard_set_is_overdispersed():
    cfg = config({"name": "linear"}, lr=0.2)
    found = run("first_epoch", subject([cfg], planted()), {"seeds": 12, "examples": 200})
    rank, share = quantity(found, "first_epoch_error")
    assert (share.diff() >= 0).all()
    assert 0 < rank[0] < rank[-1] < 1
    assert quantity(found, "first_epoch_dispersion")[1].item() > 3
    assert quantity(found, "first_epoch_dispersion_z")[1].item() > 10
    assert quantity(found, "first_epoch_dispersion_null")[1][1].item() == pytest.approx(1, abs=.05)
    low, high = (quantity(found, "first_epoch_null", q)[1] for q in ("q05", "q95"))
    assert (low <= high).all()


def test_seeds_that_end_do_not_count():
    cfg = config(MLP, lr=0.1, max_loss=1e-3)
    assert misclassified(subject([cfg], blobs()), 4, 10).shape == (0, 10)
    assert run("first_epoch", subject([cfg], blobs()), {"seeds": 4}) == []


def test_equal_seeds_give_equal_numbers_and_others_others():
    data, cfg = blobs(), config(MLP)
    made = [[(q, c.series, c.rows(0)) for q, c in run(
        "first_epoch", subject([cfg], data, seed=s), {"seeds": 5, "draws": 20})]
        for s in (0, 0, 1)]
    assert made[0] == made[1]
    assert made[0] != made[2]
