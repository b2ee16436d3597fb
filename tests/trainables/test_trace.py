"""Traces against dense ones: unbiased, with true standard errors, exact where possible."""

import pytest
import torch

from trainables.trace import deflated_trace

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


def estimate(h, rows, probes):
    """Traces of copies of ``h`` with the basis ``rows`` (m, P), for probes (R, n, P)."""
    basis = rows.expand(len(probes), *rows.shape)
    known = (rows @ h @ rows.T).trace().expand(len(probes))
    return deflated_trace(lambda v: v @ h, basis, known, probes)


# (why, how many of the eigenvectors, in the order of their eigenvalues, are the basis)
BASES = [("no basis: Hutchinson", 0), ("the outliers are deflated", 3), ("half of the space", 12)]


@pytest.mark.parametrize(("why", "size"), BASES, ids=[b[0] for b in BASES])
def test_unbiased_and_the_standard_errors_are_true(why, size):
    h, q = matrix()
    traces, errors = estimate(h, q[:, :size].T, signs(2000, 16, DIM))
    mean_error = traces.std().item() / len(traces) ** 0.5
    assert abs(traces.mean() - h.trace()).item() < 4 * mean_error
    assert errors.square().mean().sqrt().item() == pytest.approx(traces.std().item(), rel=0.1)
    # closed form of one probe's variance: 2 Σ of the squares off the diagonal of what is left
    rest = torch.eye(DIM, dtype=torch.float64) - q[:, :size] @ q[:, :size].T
    left = rest @ h @ rest
    variance = 2 * (left.square().sum() - left.diagonal().square().sum()).item()
    assert traces.var().item() == pytest.approx(variance / 16, rel=0.2)


def test_unbiased_for_a_basis_that_is_no_eigenbasis():
    """The cross terms of H between the basis and its complement must not enter."""
    h, _ = matrix()
    rows = torch.linalg.qr(signs(DIM, 5, seed=3) + torch.eye(DIM, 5))[0].T.double()
    traces, _ = estimate(h, rows, signs(4000, 8, DIM, seed=4))
    assert abs(traces.mean() - h.trace()).item() < 4 * traces.std().item() / 4000**0.5


# (why, basis rows in the eigenbasis)
EXACT = [
    ("the basis is the whole space", lambda q: q.T),
    ("zero rows beside it count for nothing", lambda q: torch.cat([q.T, 0 * q.T[:5]])),
]


@pytest.mark.parametrize(("why", "rows"), EXACT, ids=[e[0] for e in EXACT])
def test_exact_where_the_basis_spans(why, rows):
    h, q = matrix()
    traces, errors = estimate(h, rows(q), signs(3, 2, DIM))
    torch.testing.assert_close(traces, h.trace().expand(3), rtol=1e-13, atol=0)
    assert errors.tolist() == [0.0, 0.0, 0.0]


def test_one_row_less_than_the_whole_space_is_not_called_exact():
    h, q = matrix()
    traces, errors = estimate(h, q[:, 1:].T, signs(5, 6, DIM))
    assert (errors > 0).all()
    assert ((traces - h.trace()).abs() < 8 * errors).all()


def test_diagonal_matrices_are_exact_for_signs():
    """ζᵀDζ = tr D for every vector of signs: each probe agrees, so the error is 0."""
    d = torch.linspace(-3, 5, DIM).double()
    traces, errors = estimate(torch.diag(d), torch.zeros(2, DIM).double(), signs(4, 3, DIM))
    torch.testing.assert_close(traces, d.sum().expand(4))
    assert errors.max() < 1e-14


def test_runs_are_apart_and_a_failed_one_holds_nan():
    h, q = matrix()
    basis = torch.stack([q[:, :3].T, 0 * q[:, :3].T, q[:, 3:6].T])
    known = torch.einsum("rmp,pq,rmq->r", basis, h, basis)
    probes = signs(3, 4, DIM)
    good = deflated_trace(lambda v: v @ h, basis, known, probes)
    known[1] = torch.nan
    bad = deflated_trace(
        lambda v: torch.where(torch.tensor([[1], [0], [1]]) > 0, v @ h, torch.nan),
        basis, known, probes)
    for ours, theirs in zip(bad, good, strict=True):
        assert ours.isnan().tolist() == [False, True, False]
        assert torch.equal(ours[[0, 2]], theirs[[0, 2]])
