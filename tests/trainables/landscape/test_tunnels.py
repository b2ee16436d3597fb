"""Widths on a bowl, and what directions must be."""

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
from trainables.landscape.tunnels import angular, filter_normalised, orthogonal, quantile


def test_widths_of_a_bowl():
    """‖θ(φ) − θ*‖ = 2 R sin(φ/2) and L − L* = ½‖θ − θ*‖²: φ = 2 asin(√(2h)/2R), δ = √(2h)/R."""
    data, cfg = bowl(), mse()
    lowest, floor = bowl_minimum(data)
    rise, radius = 0.05, lowest.norm().item()
    given = subject([cfg], data, weights=[linear_weights(cfg, data, lowest)])
    found = run("tunnels", given, {"threshold": floor + rise, "bisections": 20})
    away = math.sqrt(2 * rise) / radius
    for kind in ("plain", "filter"):
        for way, width in (("angular", 2 * math.asin(away / 2)), ("straight", away)):
            x, quartiles = quantity(found, "tunnel_width", f"{way}_{kind}")
            assert x.tolist() == [0.25, 0.5, 0.75]
            assert quartiles.tolist() == pytest.approx([width] * 3, rel=1e-9)
            assert len(quantity(found, "tunnel_widths", f"{way}_{kind}")[1]) == 20
            assert quantity(found, "tunnel_open", f"{way}_{kind}")[1].item() == 0
    x, median = quantity(found, "tunnel_loss", "angular_plain_median")
    torch.testing.assert_close(
        median, floor + 2 * radius**2 * (x / 2).sin().square(), rtol=1e-10, atol=1e-12)


def test_where_no_direction_rises_the_width_has_no_row_and_all_are_open():
    data, cfg = bowl(), mse()
    lowest, _ = bowl_minimum(data)
    found = run("tunnels", subject([cfg], data, weights=[linear_weights(cfg, data, lowest)]),
                {"threshold": 1e6, "directions": 3})
    curves = [c for q, c in found if q == "tunnel_width"]
    assert all(c.rows(0) == [] for c in curves)
    assert quantity(found, "tunnel_open", "angular_plain")[1].item() == 1


def test_the_default_threshold_and_the_seed():
    data, cfg = blobs(), config(MLP)
    tables = [[(q, c.series, c.rows(0)) for q, c in run("tunnels", subject(
        [cfg], data, seed=s), {"directions": 3, "threshold": None})] for s in (0, 0, 1)]
    assert tables[0] == tables[1]
    assert tables[0] != tables[2]


def test_directions_are_orthonormal_to_theta_and_turning_keeps_the_norm():
    theta, *drawn = random_points(6, 40)
    unit = orthogonal(torch.stack(drawn), theta)
    torch.testing.assert_close(unit @ theta, torch.zeros(5).double(), rtol=0, atol=1e-13)
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(5).double(), rtol=1e-13, atol=0)
    turned = angular(theta, unit, torch.full((5,), 0.7).double())
    torch.testing.assert_close(turned.norm(dim=1), theta.norm().expand(5), rtol=1e-12, atol=0)
    cosine = turned @ theta / theta.norm() ** 2
    torch.testing.assert_close(cosine, torch.full_like(cosine, math.cos(0.7)), rtol=1e-6, atol=0)


def test_filters_have_the_norms_of_the_weights():
    shapes = [torch.Size([4, 2, 3]), torch.Size([4]), torch.Size([3, 4])]
    theta, direction = random_points(2, 40)
    made = filter_normalised(direction[None], theta, shapes)[0]
    assert torch.equal(made[24:28], torch.zeros(4).double()), "biases"
    for part in (slice(0, 6), slice(6, 12), slice(28, 32), slice(36, 40)):
        assert made[part].norm().item() == pytest.approx(theta[part].norm().item(), rel=1e-12)
        assert (made[part] @ direction[part] / made[part].norm() / direction[part].norm()
                ).item() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("q", [0.25, 0.5, 0.75])
def test_quantile_is_torchs_where_finite(q):
    values = random_points(7, 3)
    torch.testing.assert_close(quantile(values, q), values.quantile(q, dim=0))
    values[:3] = torch.inf
    assert (quantile(values, q).isinf() == (q >= 0.75)).all()
