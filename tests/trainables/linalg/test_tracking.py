"""Following the leading eigenpairs of planted, moving matrices, in float64."""

from dataclasses import replace

import pytest
import torch

from tests.trainables.linalg.test_lanczos import draw, line, of, rotated
from trainables.linalg.lanczos import extreme_eigenpairs
from trainables.linalg.tracking import Track, follow, relative_change

BULK = torch.linspace(-0.5, 0.5, 60)
SPECTRUM = line([100, 80, 60, 40, 20], BULK)


def moved(h, size, seed=5):
    """h + a random symmetric change of that spectral norm, relative to its largest value."""
    change = rotated(torch.linspace(-1, 1, len(h)), seed=seed)[0]
    return h + size * torch.linalg.matrix_norm(h, 2) * change


def track_of(h, k=3, drift=0.0):
    """What a snapshot of h would have left behind."""
    values, vectors = torch.linalg.eigh(h)
    top = vectors.flip(1)[:, : k + 1].T[None].contiguous()
    never = torch.zeros(1, dtype=torch.float64)
    return Track(top, values.flip(0)[None, : k + 1], values.flip(0)[None, k + 1].clone(),
                 torch.tensor([drift], dtype=torch.float64), never)


# (why, relative change, products at most)
MOVES = [("it stood still", 0.0, 4), ("it moved a little", 1e-3, 4),
         ("it moved by the tolerance", 1e-2, 7)]


@pytest.mark.parametrize(("why", "size", "most"), MOVES, ids=[m[0] for m in MOVES])
def test_follows_what_moves_slowly(why, size, most):
    h = rotated(SPECTRUM)[0]
    for seed in range(8):
        now = moved(h, size, seed)
        found = follow(of(now[None]), track_of(h), tolerance=1e-2, slack=2.0)
        exact = torch.linalg.eigvalsh(now).flip(0)
        error = exact[:3] - found.values[0]
        assert found.sound.all()
        assert found.products.item() <= most
        assert (error >= -1e-11).all()
        assert (error <= found.bounds[0] + 1e-11).all()
        assert (error <= 1e-2 * exact[0]).all()
        assert found.rest.item() >= exact[4].item() * (1 - 2 * size * 5) - 1e-11
        vectors = found.basis[0, :3]
        quotients = (vectors @ now * vectors).sum(1)
        torch.testing.assert_close(quotients, found.values[0], rtol=1e-12, atol=1e-10)


def test_what_creeps_up_from_below_ends_the_following():
    """The bound on the rest grows with every interval, until it reaches the k-th value."""
    h = rotated(line([100, 80, 60, 55, 50], BULK))[0]
    track = track_of(h)
    for _ in range(60):
        assert track.predictable.all()
        found = follow(of(moved(h, 0.01)[None]), track, tolerance=1e-2, slack=2.0)
        rest = found.rest
        track = Track(track.vectors, track.values, rest, found.drift, track.followed)
        if not track.predictable:
            break
    else:
        pytest.fail("it was never sought anew")
    assert rest.item() > 50


def test_what_rises_from_below_shows_in_the_guard():
    """The fifth value becomes the second while the others stand still: not followed blindly."""
    frame = rotated(SPECTRUM)[1]
    before = frame * line([100, 80, 60, 40, 20], BULK) @ frame.T
    after = frame * line([100, 80, 60, 90, 20], BULK) @ frame.T
    track = track_of(before)
    found = follow(of(after[None]), track, tolerance=1e-2, slack=2.0)
    assert found.values[0].tolist() == pytest.approx([100, 90, 80])
    assert not replace(track, rest=found.rest, drift=found.drift).predictable


def test_a_jump_is_not_followed():
    h = rotated(SPECTRUM)[0]
    found = follow(of(rotated(SPECTRUM, seed=9)[0][None]), track_of(h), tolerance=1e-2, slack=2.0)
    assert not found.sound.any()
    assert found.drift.item() > 0.5


def test_a_run_without_a_past_harms_no_neighbour():
    h = rotated(SPECTRUM)[0]
    one = track_of(h)
    none = Track(*(torch.zeros_like(t) for t in vars(one).values()))
    both = Track(*(torch.cat([a, b]) for a, b in zip(
        vars(none).values(), vars(one).values(), strict=True)))
    now = moved(h, 1e-3)
    alone = follow(of(now[None]), one, tolerance=1e-2, slack=2.0)
    broken = torch.stack([torch.full_like(now, torch.nan), now])
    pair = follow(of(broken), both, tolerance=1e-2, slack=2.0)
    assert not both.predictable[0]
    assert not pair.sound[0]
    assert torch.equal(pair.values[1], alone.values[0])
    assert torch.equal(pair.bounds[1], alone.bounds[0])
    assert torch.equal(pair.basis[1], alone.basis[0])


def test_the_basis_is_a_whole_projection():
    now = moved(rotated(SPECTRUM)[0], 1e-2)
    found = follow(of(now[None]), track_of(rotated(SPECTRUM)[0]), tolerance=1e-3, slack=2.0)
    projected = found.basis[0] @ now @ found.basis[0].T
    torch.testing.assert_close(projected, torch.diag(found.ritz[0]), rtol=0, atol=1e-11)


def test_relative_change():
    values = torch.tensor([[4.0, 1.0]], dtype=torch.float64)
    assert relative_change(torch.diag_embed(values), values).item() == 0
    assert relative_change(torch.diag_embed(1.1 * values), values).item() == pytest.approx(0.1)
    assert relative_change(torch.diag_embed(values), -values).item() == 1


def test_following_costs_fewer_products_than_a_new_search():
    h = rotated(SPECTRUM)[0]
    now = moved(h, 1e-3)
    anew = extreme_eigenpairs(of(now[None]), draw(1, 1, 65), k=3, smallest=False, tolerance=1e-2,
                              max_products=100, doubt=0.1, slack=2.0)
    assert follow(of(now[None]), track_of(h), tolerance=1e-2, slack=2.0).products < anew.products
