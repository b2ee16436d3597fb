"""On a quadratic the loss on a line is a parabola, and everything about it is known."""

import math

import pytest
import torch

from tests.trainables.landscapes import (
    MLP,
    bowl,
    bowl_minimum,
    linear_weights,
    mse,
    quantity,
    random_points,
    subject,
)
from tests.trainables.runs import blobs, config
from trainables.landscape import run
from trainables.landscape.interpolation import barrier, grid
from trainables.landscape.surface import Surface


def test_the_line_through_a_bowl_is_a_parabola():
    data = bowl()
    lowest, floor = bowl_minimum(data)
    a, b = 0.3 * random_points(2, len(lowest))
    cfg = mse()
    weights = [linear_weights(cfg, data, p) for p in (a, b)]
    found = run("interpolation", subject([cfg, cfg], data, weights=weights), {"points": 16})
    alpha, loss = quantity(found, "interpolation_loss", "train")
    points = (1 - alpha[:, None]) * a + alpha[:, None] * b
    torch.testing.assert_close(
        loss, floor + 0.5 * (points - lowest).square().sum(1), rtol=1e-12, atol=1e-12)
    assert quantity(found, "interpolation_barrier", "train")[1].item() == 0.0, "convex"
    assert quantity(found, "interpolation_distance")[1].item() == pytest.approx(
        (b - a).norm().item(), rel=1e-12)
    assert quantity(found, "interpolation_norm")[1].tolist() == pytest.approx(
        [a.norm().item(), b.norm().item()], rel=1e-12)


def test_half_widths_of_a_minimum_are_those_of_the_parabola():
    """From θ*: L − L* = ½ α² d², so that the half-width of a rise h is √(2h)/d on both sides."""
    data, rise = bowl(), 0.5
    lowest, _ = bowl_minimum(data)
    step = random_points(1, len(lowest))[0]
    step *= 1.5 / step.norm()
    cfg = mse()
    weights = [linear_weights(cfg, data, p) for p in (lowest, lowest + step)]
    found = run("interpolation", subject([cfg, cfg], data, weights=weights), {"rise": rise})
    for side in ("first_out", "first_in"):
        x, width = quantity(found, "interpolation_half_width", side)
        assert x.item() == rise
        assert width.item() == pytest.approx(math.sqrt(2 * rise) / 1.5, abs=1e-6)
    outer = math.sqrt(1.5**2 + 2 * rise) / 1.5 - 1
    assert quantity(found, "interpolation_half_width", "second_out")[1].item() == pytest.approx(
        outer, abs=1e-6)
    assert quantity(found, "interpolation_half_width", "second_in_at_least")[1].item() == 1.0


def test_ends_are_the_runs_and_a_barrier_is_the_highest_between():
    data = blobs()
    configs = [config(MLP, seed=s) for s in (1, 2)]
    given = subject(configs, data)
    found = run("interpolation", given, {})
    surface = Surface(given)
    heights = surface.heights(torch.stack([surface.point(w) for w in given.weights]))
    for name in ("train", "test"):
        alpha, loss = quantity(found, "interpolation_loss", name)
        assert [loss[alpha == 0].item(), loss[alpha == 1].item()] == pytest.approx(
            getattr(heights, f"{name}_loss").tolist(), rel=1e-12)
        inside = loss[(alpha >= 0) & (alpha <= 1)]
        assert quantity(found, "interpolation_barrier", name)[1].item() == pytest.approx(
            (inside.max() - getattr(heights, f"{name}_loss").max()).item(), abs=1e-12)


def test_the_grid_holds_both_ends_exactly():
    assert {0.0, 1.0} <= set(grid(-1, 2, 61).tolist())
    assert len(grid(-1, 2, 61)) == 61
    assert {0.0, 1.0} <= set(grid(-0.7, 1.3, 8).tolist())


def test_barrier_of_a_planted_hill():
    alpha = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0])
    assert barrier(alpha, torch.tensor([9.0, 1.0, 4.0, 2.0, 9.0])) == (0.5, 2.0)
