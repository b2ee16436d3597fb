"""The growing basis: what it promises of itself after every step, against dense matrices."""

import pytest
import torch

from trainables.linalg.krylov import GROWTH, LANES, Space, aligned, dots


def symmetric(runs, dim, seed=0):
    """(R, P, P) dense symmetric matrices of many sizes of eigenvalue."""
    source = torch.Generator().manual_seed(seed)
    a = torch.randn(runs, dim, dim, generator=source, dtype=torch.float64)
    return a + a.mT


def normals(*shape, seed=1):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=source, dtype=torch.float64)


def of(matrices):
    return lambda v: (matrices @ v[:, :, None])[:, :, 0]


def grown(matrices, start, steps, directions=None):
    """The space after so many steps, each in the given or the first direction of the front."""
    space = Space(start)
    for step in range(steps):
        direction = torch.zeros(len(start), space.width, dtype=torch.float64)
        direction[:, 0] = 1.0
        if directions is not None:
            direction = directions[step][:, : space.width]
            direction = direction / direction.norm(dim=1, keepdim=True)
        space.expand(of(matrices), direction)
    return space


def basis(space):
    """(R, m, P) the rows of V."""
    eye = torch.eye(space.size, dtype=torch.float64)
    return space.combine(eye.expand(len(space.alive), -1, -1))


# (why, P, start vectors, steps, whether each step turns the front)
STEPS = [
    ("one vector: Lanczos", 20, 1, 9, False),
    ("a block", 20, 3, 9, False),
    ("a block whose front is turned at each step", 20, 3, 9, True),
    ("rows beyond the first allocation", 2 * GROWTH + 20, 2, 2 * GROWTH + 5, True),
    ("up to the whole space, where no front is left", 11, 3, 11, True),
    ("as many start vectors as dimensions", 4, 4, 4, False),
]


@pytest.mark.parametrize(("why", "dim", "block", "steps", "turn"), STEPS, ids=[s[0] for s in STEPS])
def test_the_recurrence_holds(why, dim, block, steps, turn):
    """H V = V T + Q C: T is VHVᵀ and CᵀC what the products left outside of V."""
    matrices = symmetric(3, dim)
    directions = normals(steps, 3, block, seed=2) if turn else None
    space = grown(matrices, normals(3, block, dim), steps, directions)
    v = basis(space)
    assert space.size == steps
    assert space.width == min(block, dim - steps)
    eye = torch.eye(steps, dtype=torch.float64).expand(3, -1, -1)
    torch.testing.assert_close(v @ v.mT, eye, rtol=0, atol=1e-13)
    torch.testing.assert_close(space.projected, v @ matrices @ v.mT, rtol=0, atol=1e-11)
    image = v @ matrices
    left = image - image @ v.mT @ v
    torch.testing.assert_close(
        space.coupling.mT @ space.coupling, left @ left.mT, rtol=0, atol=1e-10)
    norms = torch.linalg.vector_norm(image, dim=2).amax(1)
    torch.testing.assert_close(space.scale, norms, rtol=1e-12, atol=0)
    assert (space.asymmetry < 1e-12 * space.scale).all()
    assert space.alive.all()


def test_an_exhausted_krylov_space_goes_on_in_fresh_directions():
    """From an eigenvector nothing is left over: the coupling is 0, the basis still grows."""
    matrices = torch.diag(torch.arange(1.0, 8.0, dtype=torch.float64))[None]
    start = torch.eye(7, dtype=torch.float64)[None, 6:]
    space = grown(matrices, start, 1)
    assert space.coupling.tolist() == [[[0.0]]]
    space = grown(matrices, start, 7)
    v = basis(space)
    torch.testing.assert_close(v @ v.mT, torch.eye(7, dtype=torch.float64)[None])
    values = torch.linalg.eigvalsh(space.projected[0])
    torch.testing.assert_close(values, torch.arange(1.0, 8.0, dtype=torch.float64))


def test_dependent_start_vectors_are_replaced():
    start = normals(2, 1, 12).expand(2, 3, 12).clone()
    start[1, 1:] = 0
    v = basis(grown(symmetric(2, 12), start, 3))
    eye = torch.eye(3, dtype=torch.float64).expand(2, -1, -1)
    torch.testing.assert_close(v @ v.mT, eye, rtol=0, atol=1e-13)


def test_asymmetric_products_are_told():
    """For V = (e1, e2) the two products disagree by exactly the antisymmetric part."""
    a = torch.zeros(1, 5, 5, dtype=torch.float64)
    a[0, 0, 1], a[0, 1, 0] = 3.0, 1.0
    start = torch.eye(5, dtype=torch.float64)[None, :2]
    space = grown(a, start, 2)
    assert space.asymmetry.item() == pytest.approx(2.0)
    assert space.projected[0, 0, 1] == space.projected[0, 1, 0] == pytest.approx(2.0)
    assert space.rounding.item() >= 2.0


# (why, the number that is met, in the start or in a product)
FAILURES = [("NaN product", torch.nan, "product"), ("infinite product", torch.inf, "product"),
            ("NaN start", torch.nan, "start"), ("infinite start", -torch.inf, "start")]


@pytest.mark.parametrize(("why", "number", "where"), FAILURES, ids=[f[0] for f in FAILURES])
def test_a_failed_run_is_marked_and_its_neighbours_are_bitwise_the_same(why, number, where):
    matrices, start = symmetric(3, 21), normals(3, 2, 21)
    good = grown(matrices, start, 6)
    if where == "product":
        matrices = matrices.clone()
        matrices[1, 3, 4] = number
    else:
        start = start.clone()
        start[1, 1, 5] = number
    space = grown(matrices, start, 6)
    assert space.alive.tolist() == [True, False, True]
    for ours, theirs in ((space.projected, good.projected), (space.coupling, good.coupling),
                         (basis(space), basis(good)), (space.scale, good.scale)):
        assert torch.equal(ours[[0, 2]], theirs[[0, 2]])


def test_small_helpers():
    a, b = normals(2, 3, 5), normals(2, 4, 5, seed=7)
    torch.testing.assert_close(dots(a, b), a @ b.mT)
    for size in (1, LANES - 1, LANES, LANES + 1):
        padded = aligned(torch.ones(2, size))
        assert padded.shape[1] % LANES == 0
        assert padded.shape[1] < size + LANES
        assert padded.sum(1).tolist() == [size, size]
