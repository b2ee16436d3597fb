"""Extreme eigenpairs of Q diag(λ) Qᵀ with λ known, in float64, several random starts a spectrum."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from trainables.linalg.lanczos import extreme_eigenpairs

RUNS = 2


def draw(*shape, seed=0):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=source, dtype=torch.float64)


def rotated(values, seed=0):
    """(P, P) with these eigenvalues, and its eigenvectors as columns, in their order."""
    values = torch.as_tensor(values, dtype=torch.float64)
    q = torch.linalg.qr(draw(len(values), len(values), seed=seed))[0]
    h = (q * values) @ q.T
    return (h + h.T) / 2, q


def of(matrices):
    """The products of (R, P, P): each run's by itself, so that none depends on its place."""
    return lambda v: (matrices * v[:, None]).sum(2)


def solve(matrices, start, **options):
    options = {"k": 3, "smallest": True, "tolerance": 1e-9, "max_products": 10_000, **options}
    return extreme_eigenpairs(of(matrices), start, **options)


def line(*values):
    return torch.cat([torch.as_tensor(v, dtype=torch.float64).flatten() for v in values])


BULK = torch.linspace(-0.5, 0.5, 30)

# (why, spectrum, start vectors)
SPECTRA = [
    ("equally spaced, one start vector: Lanczos", torch.arange(1, 41), 1),
    ("equally spaced, a block", torch.arange(1, 41), 2),
    ("outliers above a bulk, as of a trained network", line([100, 60, 20], BULK), 2),
    ("the outlier is the negative one", line([-100], BULK), 1),
    ("near-degenerate pairs at both ends",
     line([9, 9 - 1e-5, 8, 8 - 1e-5, -7, -7 + 1e-5], BULK), 1),
    ("a pair that differs by less than the tolerance", line([9, 9 - 1e-11, 8], BULK), 2),
    ("a double largest value, a block of two", line([5, 5, 3], BULK), 2),
    ("a triple largest value, a block of three", line([5, 5, 5, 3], BULK), 3),
    ("a single above a double", line([6, 5, 5, 3], BULK), 2),
    ("a double smallest value", line([5, 4, 3, -2, -2], BULK), 2),
    ("negative definite: the largest is nearest to 0", -torch.arange(1, 31), 2),
    ("indefinite and symmetric about 0", line(torch.arange(1, 16), -torch.arange(1, 16)), 1),
    ("rank one", line([5], torch.zeros(29)), 2),
    ("rank one, negative", line([-5], torch.zeros(29)), 2),
    ("the zero matrix", torch.zeros(20), 1),
    ("a multiple of the identity", torch.full((20,), 3.0), 1),
    ("two values only", line([2] * 10, [-1] * 10), 2),
    ("sixteen orders of magnitude", 10.0 ** -torch.arange(0, 16), 1),
    ("huge numbers", 1e150 * line([100, 60, 20], BULK), 2),
    ("tiny numbers", 1e-150 * line([100, 60, 20], BULK), 2),
    ("fewer dimensions than wanted values", torch.tensor([2.0, -1.0]), 1),
    ("fewer dimensions than start vectors", torch.tensor([2.0, -1.0]), 4),
    ("one dimension", torch.tensor([-4.0]), 1),
    ("one dimension, more start vectors", torch.tensor([4.0]), 3),
]


@pytest.mark.parametrize(("why", "spectrum", "block"), SPECTRA, ids=[s[0] for s in SPECTRA])
def test_known_spectra(why, spectrum, block):
    """As the sorted lists agree to less than all gaps, no value is missed or reported twice."""
    h, _ = rotated(spectrum)
    dim, wanted = len(h), min(3, len(h))
    matrices = h.expand(RUNS, -1, -1)
    found = solve(matrices, draw(RUNS, block, dim, seed=1))
    true = torch.as_tensor(spectrum).double().sort(descending=True).values
    largest = true.abs().max().item()
    rounding = 40 * torch.finfo(torch.float64).eps * largest
    assert found.converged.all()
    assert (found.products <= dim).all()
    for values, bounds, exact in (
            (found.values[:, :wanted], found.bounds[:, :wanted], true[:wanted]),
            (found.smallest[:, None], found.smallest_bound[:, None], true[-1:])):
        assert ((values - exact).abs() <= bounds + rounding).all()
        assert ((values - exact).abs() <= 1e-9 * largest).all()
        assert (bounds <= 1.2e-9 * largest + rounding).all()
    assert found.values[:, wanted:].isnan().all()
    assert found.vectors[:, wanted:].isnan().all()
    vectors = found.vectors[:, :wanted]
    eye = torch.eye(wanted, dtype=torch.float64).expand(RUNS, -1, -1)
    torch.testing.assert_close(vectors @ vectors.mT, eye, rtol=0, atol=1e-12)
    quotients = ((vectors @ h) * vectors).sum(2)
    torch.testing.assert_close(quotients, found.values[:, :wanted], rtol=0, atol=1e-13 * largest)


def test_eigenvectors_are_the_true_ones():
    """For well separated values, up to sign."""
    h, q = rotated(line([100, 60, 20], BULK))
    found = solve(h.expand(RUNS, -1, -1), draw(RUNS, 2, len(h)))
    overlap = (found.vectors * q[:, :3].T).sum(2).abs()
    torch.testing.assert_close(overlap, torch.ones_like(overlap), rtol=0, atol=1e-8)


def test_agrees_with_eigsh():
    dim = 80
    a = draw(dim, dim, seed=7)
    h = (a + a.T) / 2
    found = solve(h[None], draw(1, 2, dim, seed=9), k=4)
    operator = LinearOperator(h.shape, matvec=lambda v: h.numpy() @ v.ravel(), dtype=np.float64)
    largest = eigsh(operator, k=4, which="LA", tol=1e-12, return_eigenvectors=False)
    smallest = eigsh(operator, k=1, which="SA", tol=1e-12, return_eigenvectors=False)
    np.testing.assert_allclose(found.values[0], np.sort(largest)[::-1], rtol=1e-10)
    np.testing.assert_allclose(found.smallest, smallest, rtol=1e-10)


# (why, spectrum, start vectors)
HARD = [
    ("a dense upper end", torch.linspace(0, 1, 80) ** 0.5, 1),
    ("a second value close to the first", line([1.0, 0.99], torch.linspace(0, 0.9, 78)), 2),
    ("a bulk with outliers", line([10, 3], torch.linspace(-0.1, 0.2, 78)), 2),
]


@pytest.mark.parametrize("limit", [6, 1000], ids=["cut off after six products", "to the end"])
@pytest.mark.parametrize(("why", "spectrum", "block"), HARD, ids=[h[0] for h in HARD])
def test_bounds_cover_the_true_errors(why, spectrum, block, limit):
    """They may fail with probability 1e-3 a direction; here for none of 16 starts."""
    h, _ = rotated(spectrum)
    found = solve(h.expand(16, -1, -1), draw(16, block, len(h), seed=2), tolerance=1e-2,
                  max_products=limit)
    true = torch.as_tensor(spectrum).double().sort(descending=True).values
    assert (found.values <= true[:3] + 1e-13).all()
    assert (true[:3] - found.values <= found.bounds).all()
    assert (found.smallest >= true[-1] - 1e-13).all()
    assert (found.smallest - true[-1] <= found.smallest_bound).all()
    assert found.products.max() <= limit
    assert found.converged.all() == (limit == 1000)
    if limit == 1000:
        assert (found.bounds <= 1.2e-2 * true[0]).all()
        assert found.products.max() < len(h)


STOPPED = [
    ("an unresolved cluster above the value", torch.linspace(0.9, 1, 10), 5, 12),
    ("a few products only", torch.linspace(0.5, 1, 6), 5, 6),
]


@pytest.mark.parametrize(("why", "top", "k", "limit"), STOPPED, ids=[s[0] for s in STOPPED])
def test_bounds_hold_where_a_search_was_stopped(why, top, k, limit):
    """Whatever is wrong with later values, their bounds say so: at most 2 % of starts fail."""
    spectrum = line(top.double(), 0.2 * torch.rand(990, generator=torch.Generator().manual_seed(0)))
    found = extreme_eigenpairs(
        lambda v: spectrum * v, draw(100, 1, len(spectrum)), k=k, smallest=False, tolerance=1e-2,
        max_products=limit, doubt=0.01, slack=2.0)
    exact = spectrum.sort(descending=True).values[:k]
    assert not found.converged.any()
    assert (exact - found.values).max() > 0.01
    violated = exact - found.values > found.bounds + 1e-12
    assert violated.double().mean(0).max() <= 0.03
    assert violated.double().mean() <= 0.01


def test_products_are_counted_as_made():
    """Each run's count ends at its own stop; the calls are those of the slowest run."""
    easy, _ = rotated(line([100, 60, 20], torch.zeros(57)))
    hard, _ = rotated(torch.linspace(0, 1, 60))
    calls, matrices = [], torch.stack([easy, hard])

    def product(v):
        calls.append(len(v))
        return of(matrices)(v)

    start = draw(2, 2, 60)
    found = extreme_eigenpairs(product, start, k=2, smallest=False, tolerance=1e-6,
                               max_products=50)
    assert calls == [2] * found.products.max()
    assert 3 <= found.products[0] < 10 < found.products[1]
    assert found.smallest is None
    assert found.smallest_bound is None
    size = found.products[0]
    assert found.basis[0, :size].norm(dim=1).numpy() == pytest.approx(1.0)
    assert not found.basis[0, size:].any()
    assert not found.ritz[0, size:].any()


def test_max_products_is_kept_where_it_does_not_suffice():
    h, _ = rotated(torch.linspace(0, 1, 60))
    for limit in (1, 2, 7):
        found = solve(h[None], draw(1, 2, 60), max_products=limit)
        assert found.products.tolist() == [limit]
        assert not found.converged.any()
        assert found.values.isnan().sum() == max(0, 3 - limit)
        assert found.bounds[0, 0] > 1e-9


def test_basis_and_ritz_values_are_a_whole_projection():
    h, _ = rotated(line([10, 3], torch.linspace(-0.1, 0.2, 78)))
    found = solve(h[None], draw(1, 2, 80), tolerance=1e-3)
    projected = found.basis[0] @ h @ found.basis[0].T
    torch.testing.assert_close(projected, torch.diag(found.ritz[0]), rtol=0, atol=1e-12)
    assert torch.equal(found.vectors[0], found.basis[0, :3])
    assert found.ritz[0, :3].tolist() == found.values[0].tolist()


def pack_of_four():
    """Four unlike matrices of a size that fills no cache line, and their starts."""
    spectra = (torch.linspace(0, 1, 21), line([9, 5], torch.zeros(19)), -torch.arange(1.0, 22),
               line([5, 5], torch.linspace(-1, 1, 19)))
    return torch.stack([rotated(s, seed=i)[0] for i, s in enumerate(spectra)]), draw(4, 2, 21)


def equal_run(a, r, b, s):
    """Whether run r of a and run s of b hold the same bits."""
    size = int(a.products[r])
    return size == b.products[s] and all(
        torch.equal(x[r].nan_to_num(7.5), y[s].nan_to_num(7.5)) for x, y in (
            (a.values, b.values), (a.bounds, b.bounds), (a.vectors, b.vectors),
            (a.smallest, b.smallest), (a.smallest_bound, b.smallest_bound),
            (a.basis[:, :size], b.basis[:, :size]), (a.ritz[:, :size], b.ritz[:, :size])))


def test_a_run_does_not_depend_on_its_place():
    matrices, start = pack_of_four()
    found = solve(matrices, start)
    assert len(set(found.products.tolist())) > 1
    for order in ([3, 2, 1, 0], [1, 2, 3, 0], [2, 0, 3, 1]):
        moved = solve(matrices[order], start[order])
        assert all(equal_run(found, r, moved, order.index(r)) for r in range(4))


def test_a_run_does_not_depend_on_its_neighbours():
    """Even where they make the others' search longer, or stop it earlier."""
    matrices, start = pack_of_four()
    found = solve(matrices, start)
    for other in (torch.zeros(21, 21, dtype=torch.float64), rotated(torch.linspace(-1, 1, 21))[0]):
        changed = matrices.clone()
        changed[1] = other
        again = solve(changed, start)
        assert all(equal_run(found, r, again, r) for r in (0, 2, 3))


# (why, what the products of run 1 are from which call on)
FAILING = [("from the first product on", torch.nan, 0), ("later", torch.nan, 3),
           ("infinite", torch.inf, 2)]


@pytest.mark.parametrize(("why", "number", "since"), FAILING, ids=[f[0] for f in FAILING])
def test_a_failed_run_holds_nan_and_harms_no_neighbour(why, number, since):
    matrices, start = pack_of_four()
    calls = []

    def product(v):
        calls.append(1)
        out = of(matrices)(v)
        if len(calls) > since:
            out[1] = number
        return out

    good = solve(matrices, start)
    found = extreme_eigenpairs(product, start, k=3, smallest=True, tolerance=1e-9,
                               max_products=10_000)
    assert all(equal_run(good, r, found, r) for r in (0, 2, 3))
    for held in (found.values, found.bounds, found.vectors, found.smallest, found.ritz):
        assert held[1].isnan().all()
    assert not found.converged[1]
    assert found.converged[[0, 2, 3]].all()
    assert not found.basis[1].any()


def test_what_hides_is_looked_for_further_up_too():
    """Bounds fail as rarely as is said, also where the weight does not fall steadily with μ."""
    violated = 0
    for seed in range(200):
        spectrum = line([3.1, 2.5, 2.2], torch.linspace(-0.5, 2.0, 50)) + 0.05 * draw(53, seed=seed)
        h, _ = rotated(spectrum, seed=seed)
        found = solve(h[None], draw(1, 2, 53, seed=seed + 1), k=1, smallest=False, tolerance=1e-2)
        violated += (spectrum.max() - found.values[0, 0] > found.bounds[0, 0]).item()
    assert violated <= 1


def test_the_rest_is_an_upper_bound_on_the_value_after_the_next():
    h, _ = rotated(line([100, 60, 20, 12, 7], BULK))
    found = solve(h.expand(16, -1, -1), draw(16, 1, len(h), seed=3), tolerance=1e-2, smallest=False)
    assert (found.rest >= 7).all()
    assert found.rest.median() < 20
    assert solve(torch.eye(3, dtype=torch.float64)[None], draw(1, 1, 3)).rest.isnan().all()


def test_a_looser_bound_than_estimate_costs_fewer_products():
    """slack: the estimates stop the search; what may hide is bounded less tightly, and said."""
    h, _ = rotated(line([100, 60, 20], torch.linspace(-1, 12, 97)))
    start = draw(16, 1, 100, seed=3)
    strict, loose = (solve(h.expand(16, -1, -1), start, tolerance=1e-2, smallest=False, **o)
                     for o in ({}, {"slack": 4.0, "doubt": 0.1}))
    exact = torch.tensor([100.0, 60, 20]).double()
    assert loose.products.double().mean() < strict.products.double().mean() - 2
    assert ((exact - loose.values).abs() <= 1e-2 * 100).all()
    assert (loose.bounds <= 4.5).all()


def test_asymmetric_products_widen_the_bounds():
    h, _ = rotated(torch.arange(1.0, 21))
    a = draw(20, 20, seed=4)
    skew = 1e-5 * (a - a.T)
    found = solve((h + skew)[None], draw(1, 2, 20))
    assert ((found.values[0] - torch.tensor([20.0, 19, 18])).abs() <= found.bounds[0]).all()
    assert (found.bounds > 1e-6).all()


def test_single_precision():
    """Products and basis in float32: the errors stay within the bounds, which say so."""
    h, _ = rotated(line([100, 60, 20], BULK))
    single = h.float()
    found = solve(single[None], draw(1, 2, len(h)).float(), tolerance=1e-3)
    exact = torch.linalg.eigvalsh(single.double()).flip(0)[:3]
    assert found.values.dtype == found.bounds.dtype == torch.float64
    assert found.vectors.dtype == torch.float32
    assert found.converged.all()
    assert ((found.values[0] - exact).abs() <= found.bounds[0]).all()
    assert (found.bounds > 1e-7 * 100).all()


def test_the_smallest_has_a_tolerance_of_its_own():
    h, _ = rotated(line([100, 60, 20], torch.linspace(-1, 1, 97)))
    start = draw(1, 2, 100)
    tight, loose = (solve(h[None], start, tolerance=1e-4, smallest_tolerance=t)
                    for t in (1e-6, 1e-2))
    assert loose.products.item() < tight.products.item()
    assert 1e-6 * 100 < loose.smallest_bound.item() <= 1.2
    assert (tight.smallest + 1).item() <= 1e-4
