"""Traces and norms against dense ones: unbiased, true standard errors, exact where possible."""

import pytest
import torch
from torch.nn.functional import pad

from tests.trainables.linalg.test_lanczos import of
from trainables.linalg.trace import LEAST, LEAST_FOR_NORM, deflated_moments

DIM = 24


def matrix(seed=0):
    """One dense symmetric matrix with outliers and entries off its diagonal."""
    source = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(DIM, DIM, generator=source, dtype=torch.float64))[0]
    values = torch.cat([torch.tensor([90.0, 40.0, -8.0]), torch.linspace(-1, 2, DIM - 3)]).double()
    return (q * values) @ q.T, q


def signs(*shape, seed=1):
    source = torch.Generator().manual_seed(seed)
    return 2.0 * torch.randint(0, 2, shape, generator=source).double() - 1


def estimate(h, rows, probes, tolerance=0.0, frobenius=True):
    """Of copies of ``h``; ``rows`` (m, P), turned to Ritz vectors, are the basis; (R, n, P)."""
    values, turn = torch.linalg.eigh(rows @ h @ rows.T)
    rows = turn.T @ rows
    return deflated_moments(
        lambda v: v @ h, rows.expand(len(probes), *rows.shape), values.expand(len(probes), -1),
        probes.unbind(1), tolerance=tolerance, frobenius=frobenius)


# (why, how many of the eigenvectors, in the order of their eigenvalues, are the basis)
BASES = [("no basis: Hutchinson", 0), ("the outliers are deflated", 3), ("half of the space", 12)]


@pytest.mark.parametrize(("why", "size"), BASES, ids=[b[0] for b in BASES])
def test_unbiased_and_the_standard_errors_are_true(why, size):
    h, q = matrix()
    found = estimate(h, q[:, :size].T, signs(2000, 16, DIM))
    assert (found.probes == 16).all()
    mean_error = found.trace.std().item() / len(found.trace) ** 0.5
    assert abs(found.trace.mean() - h.trace()).item() < 4 * mean_error
    # closed form of one probe's variance: 2 Σ of the squares off the diagonal of what is left
    rest = torch.eye(DIM, dtype=torch.float64) - q[:, :size] @ q[:, :size].T
    left = rest @ h @ rest
    variance = 2 * (left.square().sum() - left.diagonal().square().sum()).item()
    assert found.trace.var().item() == pytest.approx(variance / 16, rel=0.1)
    assert found.trace_error.square().mean().item() == pytest.approx(variance / 16, rel=0.03)


@pytest.mark.parametrize(("why", "size"), BASES, ids=[b[0] for b in BASES])
def test_the_squared_norm_is_unbiased_and_its_error_true(why, size):
    h, q = matrix()
    found = estimate(h, q[:, :size].T, signs(2000, 16, DIM))
    squares = found.frobenius.square()
    mean_error = squares.std().item() / len(squares) ** 0.5
    assert abs(squares.mean() - h.square().sum()).item() < 4 * mean_error
    spread = found.frobenius.std().item()
    assert found.frobenius_error.square().mean().sqrt().item() == pytest.approx(spread, rel=0.1)


def test_unbiased_for_a_basis_that_is_no_eigenbasis():
    """What H couples between the basis and its complement: none of it in the trace, all in ‖H‖."""
    h, _ = matrix()
    rows = torch.linalg.qr(signs(DIM, 5, seed=3) + torch.eye(DIM, 5))[0].T.double()
    assert ((rows @ h) - (rows @ h @ rows.T) @ rows).norm() > 10
    found = estimate(h, rows, signs(4000, 8, DIM, seed=4))
    for values, exact in ((found.trace, h.trace()), (found.frobenius.square(), h.square().sum())):
        assert abs(values.mean() - exact).item() < 4 * values.std().item() / len(values) ** 0.5


def test_a_run_stops_once_it_is_certain_enough():
    """Early, by itself, with errors that still are true to 10 %, and hardly a bias."""
    h, q = matrix()
    for norm, least in ((False, LEAST), (True, LEAST_FOR_NORM)):
        found = estimate(h, q[:, :3].T, signs(4000, 16, DIM), 0.05, norm)
        stopped = found.probes < 16
        assert found.probes.min() == least
        assert 0.9 < stopped.double().mean() <= 1
        assert (found.trace_error <= 0.05 * found.trace.abs())[stopped].all()
        off = found.trace - h.trace()
        rms = off.square().mean().sqrt().item()
        assert found.trace_error.square().mean().sqrt().item() == pytest.approx(rms, rel=0.1)
        assert abs(off.mean()).item() < 0.006 * h.trace().item()


def test_five_percent_takes_at_most_seven_probes_where_the_outliers_are_known():
    h, q = matrix()
    found = estimate(h, q[:, :3].T, signs(500, 16, DIM), 0.05, False)
    assert found.probes.double().mean() < 7
    within = ((found.trace - h.trace()).abs() < 0.05 * 2 * h.trace()).double().mean()
    assert within > 0.94


# (why, basis rows in the eigenbasis)
EXACT = [
    ("the basis is the whole space", lambda q: q.T),
    ("zero rows beside it count for nothing", lambda q: torch.cat([q.T, 0 * q.T[:5]])),
]


@pytest.mark.parametrize(("why", "rows"), EXACT, ids=[e[0] for e in EXACT])
def test_exact_where_the_basis_spans(why, rows):
    h, q = matrix()
    basis = rows(q)
    ritz = ((basis @ h) * basis).sum(1)
    found = deflated_moments(
        lambda v: v @ h, basis.expand(3, *basis.shape), ritz.expand(3, -1),
        signs(3, 2, DIM).unbind(1), tolerance=0.0, frobenius=True)
    torch.testing.assert_close(found.trace, h.trace().expand(3), rtol=1e-13, atol=0)
    torch.testing.assert_close(found.frobenius, h.norm().expand(3), rtol=1e-13, atol=0)
    assert found.trace_error.tolist() == found.frobenius_error.tolist() == [0.0, 0.0, 0.0]
    assert found.probes.tolist() == [0, 0, 0]


def test_one_row_less_than_the_whole_space_is_not_called_exact():
    h, q = matrix()
    found = estimate(h, q[:, 1:].T, signs(5, 6, DIM))
    assert (found.probes == 6).all()
    assert (found.trace_error > 0).all()
    assert ((found.trace - h.trace()).abs() < 8 * found.trace_error).all()


def test_diagonal_matrices_are_exact_for_signs():
    """zᵀDz = tr D and |Dz| = ‖D‖_F for every vector of signs: the error is 0 at once."""
    d = torch.linspace(-3, 5, DIM).double()
    found = deflated_moments(
        lambda v: v * d, torch.zeros(4, 2, DIM).double(), torch.zeros(4, 2).double(),
        signs(4, 9, DIM).unbind(1), tolerance=1e-6, frobenius=True)
    torch.testing.assert_close(found.trace, d.sum().expand(4))
    torch.testing.assert_close(found.frobenius, d.norm().expand(4))
    assert max(found.trace_error.max(), found.frobenius_error.max()) < 1e-6
    assert found.probes.tolist() == [LEAST_FOR_NORM] * 4


def test_nothing_is_something_too():
    """H = 0: all values and errors 0, after the fewest probes."""
    found = estimate(torch.zeros(DIM, DIM).double(), torch.zeros(0, DIM).double(),
                     signs(2, 5, DIM), 0.05)
    for values in (found.trace, found.trace_error, found.frobenius, found.frobenius_error):
        assert values.tolist() == [0.0, 0.0]
    assert found.probes.tolist() == [LEAST_FOR_NORM] * 2


def test_runs_are_apart_and_a_failed_one_holds_nan():
    """The second fails before, in its products from the second on, or not: the others stay."""
    h, q = matrix()
    basis = torch.stack([q[:, :3].T, 0 * q[:, :3].T, q[:, 3:6].T])
    known = torch.einsum("rmp,pq,rmq->rm", basis, h, basis)
    probes, keep = signs(3, 9, DIM), torch.tensor([[1], [0], [1]]) > 0

    def of(ritz, spoilt_from):
        calls = []

        def product(v):
            calls.append(0)
            return v @ h if len(calls) <= spoilt_from else torch.where(keep, v @ h, torch.nan)

        return deflated_moments(product, basis, ritz, probes.unbind(1), tolerance=0.05,
                                frobenius=True)

    good = of(known, 99)
    assert 0 < good.probes[0] < good.probes[1]
    for bad in (of(known, 1), of(torch.where(keep, known, torch.nan), 0)):
        for ours, theirs in zip(vars(bad).values(), vars(good).values(), strict=True):
            assert torch.equal(ours[[0, 2]], theirs[[0, 2]])
            assert not ours.is_floating_point() or ours[1].isnan()


def test_a_run_does_not_depend_on_its_place_nor_on_its_neighbours_bases():
    """Bit for bit, in float32, at lengths that are no whole cache lines."""
    source = torch.Generator().manual_seed(0)
    for dim in (37, 211):
        h = torch.randn(4, dim, dim, generator=source)
        h = h + h.mT
        rows = torch.linalg.qr(torch.randn(4, dim, 7, generator=source))[0].mT
        known = ((rows @ h) * rows).sum(2)
        probes = signs(4, 6, dim).float()

        def found(order, more=0, h=h, rows=rows, known=known, probes=probes):
            return deflated_moments(
                of(h[order]), pad(rows[order], (0, 0, 0, more)), pad(known[order], (0, more)),
                probes[order].unbind(1), tolerance=0.3, frobenius=True)

        one = found([0, 1, 2, 3])
        for other in (found([3, 0, 1, 2]), found([3, 0, 1, 2], 9)):
            for a, b in zip(vars(one).values(), vars(other).values(), strict=True):
                assert torch.equal(a[[3, 0, 1, 2]], b)
