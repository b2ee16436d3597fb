"""The loss along lines against direct evaluation, and the interpolant against its function."""

import numpy as np
import pytest
import torch

from tests.trainables.runs import blobs, config, pack_of
from trainables.probe import Probe
from trainables.quantities import lines
from trainables.quantities.lines import Interpolant, changes_along, losses_at, points

MLP = {"name": "mlp", "width": 6, "depth": 2, "activation": "tanh"}


def probed(model=MLP, runs=2, **options):
    pack = pack_of([config(model, seed=s, **options) for s in range(runs)], blobs())
    return Probe(pack, pack.init(), slice(0, runs))


def ends(*pairs):
    low, high = zip(*pairs, strict=True)
    return torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)


def test_an_interpolant_is_numpys_and_exact_for_polynomials():
    low, high = ends((-1.0, 3.0), (0.0, 1e-3))
    at = torch.rand(2, 50, dtype=torch.float64) * (high - low)[:, None] + low[:, None]
    places = points(low, high, 6)
    found = Interpolant.through(low, high, 1 + places - 3 * places**5)
    torch.testing.assert_close(found(at), 1 + at - 3 * at**5, rtol=1e-12, atol=1e-12)
    found = Interpolant.through(low, high, places.exp())
    for r in range(2):
        numpys = np.polynomial.chebyshev.Chebyshev.interpolate(
            np.exp, 5, [low[r].item(), high[r].item()])
        np.testing.assert_allclose(found.coefficients[r], numpys.coef, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(found(at)[r], numpys(at[r].numpy()), rtol=1e-12)


@pytest.mark.parametrize(("why", "function", "slack"), [
    ("analytic: the tail is far above the error", torch.exp, 0.1),
    ("a kink: the tail is about the error", lambda x: (x - 0.3).abs(), 3.0)])
def test_the_tail_tells_the_error(why, function, slack):
    low, high = ends((-1.0, 2.0))
    at = torch.linspace(-1, 2, 400, dtype=torch.float64)[None]
    for count in (6, 8, 12):
        found = Interpolant.through(low, high, function(points(low, high, count)))
        error = (found(at) - function(at)).abs().max().item()
        assert error < slack * found.tail.item()


@pytest.mark.parametrize("engine", ["vmap", "loop"])
def test_losses_are_those_of_the_shifted_weights(engine, monkeypatch):
    monkeypatch.setattr(lines, "AT_ONCE", 7)  # several parts
    pack = pack_of([config(MLP, seed=s, noisy={"label": 0.3}) for s in range(2)], blobs(),
                   engine=engine)
    runs = 1 if engine == "loop" else 2
    probe, index = Probe(pack, pack.init(), slice(0, runs)), torch.arange(3, 33)
    shifts = 0.3 * torch.randn(4, runs, pack.parameters, dtype=torch.float64)
    found = losses_at(probe, shifts, index)
    assert probe.ge.tolist() == pytest.approx([4 * 30 / 40 / 3] * runs)
    for j in range(4):
        state, at = pack.init(), 0
        for p in state.params.values():
            size = p[0].numel()
            p[:runs] += shifts[j, :, at:at + size].view(runs, *p.shape[1:])
            at += size
        moved = Probe(pack, state, slice(0, runs))
        expected = moved.losses_of(moved.params, index).mean(1)
        torch.testing.assert_close(found[:, j], expected, rtol=1e-12, atol=0)


# (why, model, nodes, reach of the line, relative error allowed)
CASES = [
    ("quadratic: exact", {"name": "linear"}, 3, 2.0, 1e-11),
    ("smooth: spectral", MLP, 8, 0.5, 1e-6),
    ("smooth and far", MLP, 20, 2.0, 1e-4),
    ("kinks: algebraic", MLP | {"activation": "relu"}, 8, 0.5, 3e-2),
]


@pytest.mark.parametrize(("why", "model", "nodes", "reach", "allowed"), CASES,
                         ids=[c[0] for c in CASES])
def test_changes_are_those_of_direct_evaluation(why, model, nodes, reach, allowed):
    probe = probed(model, loss="mse")
    source = torch.Generator().manual_seed(3)
    e = torch.randn(2, probe.flat.shape[1], dtype=torch.float64, generator=source)
    e /= e.norm(dim=1, keepdim=True)
    places = reach * (torch.rand(2, 30, dtype=torch.float64, generator=source) - 0.2)
    found, error = changes_along(probe, e, places, nodes)
    assert probe.ge.tolist() == pytest.approx([nodes / 3] * 2)
    index = probe.pack.measure_set
    before = losses_at(probe, [torch.zeros_like(e)], index)
    exact = losses_at(probe, (c[:, None] * e for c in places.unbind(1)), index) - before
    worst = (found - exact).abs().amax(1)
    assert (worst <= allowed * exact.abs().amax(1)).all()
    assert (worst <= error + 1e-12).all()


def test_no_distance_is_no_change_and_nan_stays_at_home():
    probe = probed(runs=3)
    probe.flat[1] = torch.nan
    e = torch.ones(3, probe.flat.shape[1], dtype=torch.float64)
    places = torch.tensor([[0.0, 0.0], [0.1, 0.2], [0.1, 0.2]], dtype=torch.float64)
    found, _ = changes_along(probe, e, places, 6)
    assert found[0].tolist() == [0, 0]
    assert found[1].isnan().all()
    assert torch.equal(found[2], changes_along(probed(runs=3), e, places, 6)[0][2])
