"""Draws are functions of (seed, stream, counter), on every machine and in every order."""

import torch

from trainables import streams


def test_derive_is_fixed_for_ever():
    # run ids promise equal rows: a change here must raise the numerics version
    assert streams.derive(0, "order", 0) == 5617314440832320419


def test_streams_are_distinct_and_repeatable():
    keys = [(s, n, c) for s in range(5) for n in ("order", "init") for c in range(5)]
    assert len({streams.derive(*k) for k in keys}) == len(keys)
    like = torch.zeros(1, dtype=torch.float64)
    once = streams.normal([3, 1, 3], "x", 7, (4,), like)
    again = streams.normal([1], "x", 7, (4,), like)
    assert torch.equal(once[0], once[2])
    assert torch.equal(once[1], again[0])


def test_float32_draws_are_the_rounded_float64_draws():
    wide = streams.normal([5], "x", 0, (100,), torch.zeros(1, dtype=torch.float64))
    narrow = streams.normal([5], "x", 0, (100,), torch.zeros(1))
    assert torch.equal(wide.float(), narrow)


def test_signs_are_fair():
    signs = streams.rademacher(list(range(50)), "trace", 0, (400,), torch.zeros(1))
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(signs.mean())) < 4 / (50 * 400) ** 0.5
