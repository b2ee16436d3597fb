"""Paths on a convex bowl, around a planted hill, and on a small net."""

import math

import pytest
import torch

from tests.trainables.landscapes import (
    bowl,
    bowl_minimum,
    linear_weights,
    mse,
    quantity,
    random_points,
    subject,
)
from tests.trainables.runs import blobs, config, plain_training
from trainables.landscape import run
from trainables.landscape.connector import (
    barycentric,
    bend,
    line,
    lower_centre,
    polyline,
    triangles,
)

OPTIONS = {"lr": 0.02, "positions": 8}
SMALL = {"name": "mlp", "width": 6, "depth": 1, "activation": "relu"}


def hill(points, _batch):
    """Gradients of exp(−½‖θ‖²): a hill at the origin."""
    return -points * (-0.5 * points.square().sum(1, keepdim=True)).exp()


def ends(dim=6):
    a = torch.zeros(dim, dtype=torch.float64)
    a[0] = 2.0
    return -a, a + torch.eye(dim, dtype=torch.float64)[1] * 0.01


@pytest.mark.parametrize("bends", [1, 2, 3])
def test_a_convex_problem_has_no_barrier(bends):
    data, cfg = bowl(), mse()
    weights = [linear_weights(cfg, data, p) for p in random_points(3, len(bowl_minimum(data)[0]))]
    found = run("connector", subject([cfg] * 3, data, weights=weights),
                {"bends": bends, "steps": 40, "batch_size": None})
    for pair in ("0-1", "0-2", "1-2"):
        for kind in ("linear", "bent"):
            for name in ("train", "test"):
                assert quantity(found, "connector_barrier", f"{kind}_{pair}_{name}")[1] == 0
    assert quantity(found, "connector_centre_barrier", "train")[1].max() <= 1e-12


def test_one_bend_goes_around_a_hill():
    a, b = ends()
    straight = line(a, b, 1)[None]
    bent = bend(straight, range(800), hill, OPTIONS, seed=0)
    assert torch.equal(bent[:, [0, 2]], straight[:, [0, 2]]), "ends stay"
    at = torch.linspace(0, 1, 101)
    heights = [float((-0.5 * (polyline(at, 3) @ p[0]).square().sum(1)).exp().max())
               for p in (straight, bent)]
    assert heights[0] > 0.99
    assert heights[1] < 0.5


@pytest.mark.parametrize("bends", [1, 3])
def test_bends_stay_in_hyperplanes_orthogonal_to_the_line(bends):
    a, b = random_points(2, 6)
    straight = line(a, b, bends)[None]
    bent = bend(straight, range(50), hill, OPTIONS, seed=0)
    moved = (bent - straight)[0]
    assert moved[1:-1].norm() > 0.1
    assert (moved @ (b - a)).abs().max() < 1e-13


def test_bends_are_a_function_of_the_seed():
    straight = line(*random_points(2, 6), 1)[None]
    made = [bend(straight, range(5), hill, OPTIONS, seed=s) for s in (0, 0, 1)]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_a_pair_does_not_depend_on_the_others():
    straight = torch.stack([line(*random_points(2, 6, seed=s), 1) for s in range(3)])
    together = bend(straight, range(20), hill, OPTIONS, seed=0)
    alone = bend(straight[1:2], range(20), hill, OPTIONS, seed=0)
    torch.testing.assert_close(together[1:2], alone, rtol=1e-12, atol=1e-13)


def test_polyline_passes_its_nodes_and_is_linear_between():
    nodes = random_points(4, 5)
    at = torch.tensor([0, 1 / 3, 0.5, 2 / 3, 1], dtype=torch.float64)
    wanted = torch.stack([nodes[0], nodes[1], (nodes[1] + nodes[2]) / 2, nodes[2], nodes[3]])
    torch.testing.assert_close(polyline(at, 4) @ nodes, wanted, rtol=1e-12, atol=1e-12)


def test_the_centre_leaves_the_hill_orthogonally_to_the_paths():
    nodes = 2 * torch.eye(6, dtype=torch.float64)[:3]
    nodes = nodes - nodes.mean(0)
    sides = torch.stack([nodes, nodes.roll(1, 0)], dim=1)
    centre = nodes.mean(0) + 1e-3 * random_points(1, 6)[0]
    moved = lower_centre(centre, sides, range(600), hill, OPTIONS, seed=0) - centre
    assert moved.norm() > 1
    assert ((sides.reshape(-1, 6) - centre) @ moved).abs().max() < 1e-12


def test_grid_of_a_triangle():
    weights = barycentric(5)
    assert weights.shape == (21, 3)
    torch.testing.assert_close(weights.sum(1), torch.ones(21).double())
    corner, *side = random_points(3, 4)
    made = triangles(corner, torch.stack(side)[None], weights)[0]
    torch.testing.assert_close(made, weights @ torch.stack([corner, *side]))


def test_between_trained_nets_a_bend_lowers_the_barrier():
    """PAPERS D2, small: two seeds, a straight barrier and a learned path well below it."""
    data = blobs(shape=(4,), classes=4, train=64, seed=1)
    configs = [config(SMALL, seed=s, lr=0.5, epochs=60) for s in range(3)]
    weights = [plain_training(c, data, 400).state_dict() for c in configs]
    found = run("connector", subject(configs, data, weights=weights),
                {"steps": 300, "batch_size": None, "lr": 0.03})
    for pair in ("0-1", "0-2", "1-2"):
        straight = quantity(found, "connector_barrier", f"linear_{pair}_train")[1].item()
        bent = quantity(found, "connector_barrier", f"bent_{pair}_train")[1].item()
        assert straight > 0.2
        assert bent < straight / 4
        assert quantity(found, "connector_bend", pair)[1].item() > 0
    before, after = quantity(found, "connector_centre_barrier", "train")[1].tolist()
    assert after < before
    assert math.isfinite(quantity(found, "connector_centre_loss", "test")[1].sum())
