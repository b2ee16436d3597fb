"""Training in a random subspace finds the projected optimum of least squares."""

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
from trainables.landscape.basis import draw
from trainables.landscape.subspace import train
from trainables.landscape.surface import Surface, batches

SGD = {"optimizer": "sgd", "lr": 0.5, "momentum": 0.0}


@pytest.mark.parametrize("basis", ["dense", "hartley"])
@pytest.mark.parametrize("origin", ["initial", "final"])
def test_the_lowest_loss_of_a_bowl_in_a_subspace(basis, origin):
    """L(d) = L* + ½‖(I − M Mᵀ)(θ₀ − θ*)‖²; all of the way at d = P."""
    data, cfg = bowl(), mse()
    lowest, floor = bowl_minimum(data)
    final = random_points(1, len(lowest))[0]
    given = subject([cfg], data, weights=[linear_weights(cfg, data, final)], seed=4)
    dims = [1, 4, 11, len(lowest), 500]
    found = run("subspace", given, SGD | {"dims": dims, "origin": origin, "basis": basis,
                                          "steps": 80})
    x, loss = quantity(found, "subspace_train_loss", "draw_0")
    assert x.tolist() == dims[:-1], "no dimension above P"
    away = (Surface(given).initial if origin == "initial" else final) - lowest
    made = draw(basis, len(lowest), len(lowest), 4, 0, away).gather(away[None])[0].square()
    wanted = [floor + 0.5 * float(made[d:].sum()) for d in dims[:-1]]
    assert loss.tolist() == pytest.approx(wanted, rel=1e-10)


def test_a_random_quadratic_is_solved_in_each_subspace():
    """A dense H: z = −(Mᵀ H M)⁻¹ Mᵀ H (θ₀ − θ*), by torch.linalg."""
    dim, dims = 20, [3, 9, 20]
    half = random_points(dim, dim, seed=1)
    hessian = half @ half.T / dim + torch.eye(dim).double()
    origin = random_points(1, dim, seed=2)[0]
    basis = draw("dense", dim, 20, 0, 0, origin)
    rate = 1 / torch.linalg.eigvalsh(hessian)[-1].item()
    found = train(origin, basis, dims, lambda p, _: p @ hessian, range(400),
                  {"optimizer": "sgd", "lr": rate, "momentum": 0.5})
    for d, point in zip(dims, found, strict=True):
        m = basis.matrix[:, :d]
        wanted = origin - m @ torch.linalg.solve(m.T @ hessian @ m, m.T @ hessian @ origin)
        torch.testing.assert_close(point, wanted, rtol=0, atol=1e-10)


def test_distance_moves_the_subspace_off_the_optimum():
    """In a bowl around θ* the lowest loss of a cut at distance r‖θ*‖ is L* + ½ r² ‖θ*‖²."""
    data, cfg = bowl(), mse()
    lowest, floor = bowl_minimum(data)
    found = run("subspace", subject([cfg], data, weights=[linear_weights(cfg, data, lowest)]),
                SGD | {"dims": [2, 6], "origin": "final", "distance": 0.7, "steps": 60})
    wanted = floor + 0.5 * (0.7 * lowest.norm().item()) ** 2
    assert quantity(found, "subspace_train_loss", "draw_0")[1].tolist() == pytest.approx(
        [wanted] * 2, rel=1e-10)


def test_a_net_gets_lower_with_the_dimension_and_equal_seeds_give_equal_numbers():
    """PAPERS D1, small, with minibatches."""
    data, cfg = blobs(), config(MLP)
    dims = [1, 10, 60]
    options = {"dims": dims, "steps": 150, "batch_size": 20, "draws": 2}
    tables = [[(q, c.series, c.rows(0)) for q, c in run(
        "subspace", subject([cfg], data, seed=s), options)] for s in (0, 0, 1)]
    assert tables[0] == tables[1]
    assert tables[0] != tables[2]
    found = run("subspace", subject([cfg], data), options)
    for series in ("draw_0", "draw_1"):
        loss = quantity(found, "subspace_train_loss", series)[1]
        assert (loss.diff() < 0).all()
        accuracy = quantity(found, "subspace_test_accuracy", series)[1]
        assert accuracy[-1] > accuracy[0]
    x, _ = quantity(found, "subspace_train_loss", "run")
    assert x.item() == Surface(subject([cfg], data)).dim


@pytest.mark.parametrize("kind", ["dense", "hartley"])
def test_a_larger_dimension_does_not_change_a_smaller(kind):
    surface = Surface(subject([config(MLP)], blobs()))
    origin = surface.initial
    options = {"optimizer": "adam", "lr": 0.05}
    ways = [train(origin, draw(kind, surface.dim, dims[-1], 0, 0, origin), dims,
                  surface.gradients, batches(surface, 0, 20, 10), options)
            for dims in ([5, 30], [5])]
    torch.testing.assert_close(ways[0][0], ways[1][0], rtol=1e-10, atol=1e-12)
