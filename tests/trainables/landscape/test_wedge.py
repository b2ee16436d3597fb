"""The toy of n-wedges: a cut meets one iff d + n ≥ D."""

import pytest
import torch

from tests.trainables.landscapes import quantity
from tests.trainables.runs import HERE
from trainables.landscape import Subject, run
from trainables.landscape.wedge import descend, least, threshold, toy


def nothing(seed=0):
    return Subject((), (), None, seed, torch.device("cpu"), HERE)


def test_thresholds_are_D_minus_n():
    """PAPERS D4: exactly for the least-squares minimum, within 5 for descent."""
    found = run("wedge", nothing(), {"draws": 3})
    for n in (20, 50, 80):
        def at(series, n=n):
            return next(float(c.value) for q, c in found
                        if q == "wedge_threshold" and c.series == series and float(c.x) == n)

        assert at("theory") == 100 - n
        assert 0 <= 100 - n - at("least") <= 5, "below the tolerance a little earlier"
        assert abs(at("found") - (100 - n)) <= 5
        x, loss = quantity(found, "wedge_loss", f"least_{n}")
        assert x.tolist() == list(range(101))
        assert loss[0] == 1
        assert (loss.diff() <= 1e-12).all()
        assert (loss[: 100 - n] > 0).all()
        assert (loss[100 - n:] < 1e-12).all()
        assert (quantity(found, "wedge_loss", f"found_{n}")[1] >= loss - 1e-9).all()


@pytest.mark.parametrize("wedges", [1, 3])
def test_the_least_loss_is_that_of_lstsq(wedges):
    origin, matrix, short = toy(12, 5, wedges, seed=2, number=0)
    found = least(origin, matrix, short)
    for d in (1, 4, 6):
        rests = []
        for s in short:
            a, b = matrix[s][:, :d], -origin[s]
            z = torch.linalg.lstsq(a, b[:, None]).solution[:, 0]
            rests.append((a @ z - b).norm())
        assert found[d].item() == pytest.approx(min(rests).item(), rel=1e-10)
    assert found[0].item() == pytest.approx(
        min(origin[s].norm().item() for s in short), rel=1e-12)
    assert found[7:].abs().max() == 0


def test_squared_losses_average_to_the_missing_dimensions():
    """One wedge, θ₀ ~ N(0, I): L(d)² is χ² with D − n − d degrees of freedom."""
    size, n, draws = 12, 4, 2000
    squares = torch.stack([least(*toy(size, n, 1, 0, k)).square() for k in range(draws)])
    for d in range(8):
        free = size - n - d
        z = (squares[:, d].mean() - free) / (2 * free / draws) ** 0.5
        assert abs(z) < 3.5


def test_descent_reaches_the_least_where_it_is_well_conditioned():
    origin, matrix, short = toy(30, 10, 1, seed=1, number=0)
    torch.testing.assert_close(descend(origin, matrix, short, 2000)[:15],
                               least(origin, matrix, short)[:15], rtol=1e-8, atol=1e-10)


def test_threshold_and_seeds():
    assert threshold(torch.tensor([1.0, 0.4, 0.005, 0.0]), 0.01) == 2
    assert threshold(torch.tensor([1.0, 0.4]), 0.01) != threshold(torch.tensor([1.0, 0.4]), 0.01)
    options = {"dimension": 10, "wedge": [4, 10], "draws": 2}
    made = [[(q, c.series, c.rows(0)) for q, c in run("wedge", nothing(s), options)]
            for s in (0, 0, 1)]
    assert made[0] == made[1]
    assert made[0] != made[2]
    assert not any(name.endswith("_10") for _, name, _ in made[0]), "n must be below D"
