"""The Hessian's top eigenpairs along a run's path: followed while they last, else sought anew."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from trainables import monitors
from trainables.costs import GE_PRODUCT
from trainables.linalg.lanczos import Eigenpairs, extreme_eigenpairs
from trainables.linalg.tracking import Followed, Track, follow, relative_change

if TYPE_CHECKING:
    from trainables.probe import Probe

# The estimates are held to the tolerance, the bounds to twice that: stricter bounds cost more
# products and changed no value.
SLACK = 2.0
# The lower end of the spectrum is dense: there a tighter bound costs more products than all the
# other values together, and what is asked of lambda_min is its sign and size beside lambda_max.
LOOSER_BELOW = 10
TIGHTEST_FOLLOWED = 1e-6  # first-order estimates of a following are not trusted below
MEMORY_BYTES = 512 << 20  # of a pack's vectors kept between snapshots; above it nothing is kept


def hessian_eigenpairs(probe: "Probe") -> Eigenpairs:
    """As many as the most demanding monitor wants, by the options of ``spectrum``.

    Runs whose spectrum was seen to be settled are followed (``tracking.follow``), all others
    sought anew (``lanczos.extreme_eigenpairs``). Where lambda_min is asked for, or more than a
    following can give, it is always sought anew. 2 GE a product.
    """
    options, k = _wanted(probe)
    may_follow = not options["lambda_min"] and options["tolerance"] >= TIGHTEST_FOLLOWED
    track = _recalled(probe, k) if may_follow else None
    followed, sound = None, torch.zeros(len(probe.seeds), dtype=torch.bool)
    if track is not None and track.predictable.any():
        followed = follow(
            probe.curvature.product, track, tolerance=options["tolerance"], slack=SLACK)
        sound = followed.sound & track.predictable
    pairs = None
    if not sound.all():
        pairs = extreme_eigenpairs(
            probe.curvature.product, probe.normals("spectrum", start_vectors(probe)), k=k,
            smallest=options["lambda_min"], tolerance=options["tolerance"],
            max_products=options["max_products"], doubt=options["doubt"], slack=SLACK,
            smallest_tolerance=min(0.5, LOOSER_BELOW * options["tolerance"]))
    drift = followed.drift if pairs is None else _observed_drift(track, pairs)
    if followed is not None:
        tried = torch.where(track.predictable, followed.products, 0)
        pairs, drift = _merged(followed, sound, tried, pairs, drift)
    age = torch.where(sound, track.followed + 1, 0.0) if track else 0.0 * drift
    if may_follow:
        _keep(probe, pairs, drift, age, k)
    probe.spend(GE_PRODUCT * pairs.products.double().cpu())
    return replace(pairs, followed=age)


def start_vectors(probe: "Probe") -> int:
    """How many random vectors a search begins with: it finds eigenvalues repeated that often.

    With a sum of squares they may repeat exactly, for a linear model each as often as there are
    classes; else by accident only, and a single vector needs the fewest products.
    """
    if probe.pack.train["loss"] != "mse":
        return 1
    linear = probe.pack.configs[0]["model"].get("name") == "linear"
    return probe.pack.classes if linear else 2


def _wanted(probe: "Probe") -> tuple[dict[str, Any], int]:
    chosen = dict(probe.pack.measure["monitors"])
    options = monitors.find("spectrum", probe.pack.base_dir).resolve(
        chosen.get("spectrum", {"lambda_min": False, "trace": False}))
    taken = [monitors.find(n, probe.pack.base_dir).eigenpairs(o) for n, o in chosen.items()]
    own = options["k"] if "spectrum" in chosen or not any(taken) else 1
    return options, max([own, *taken])


def _recalled(probe: "Probe", k: int) -> Track | None:
    vectors, facts = probe.recall("eigenvectors"), probe.recall("eigenvalues")
    if vectors is None or vectors.shape[1] != k + 1:
        return None
    facts = facts.cpu()
    return Track(vectors, facts[:, : k + 1], *facts[:, k + 1 :].unbind(1))


def _keep(probe: "Probe", pairs: Eigenpairs, drift: Tensor, age: Tensor, k: int) -> None:
    """Remembers one pair more than is wanted, where that is not too much for the whole pack."""
    vectors = pairs.basis[:, : k + 1]
    if vectors[0].numel() * vectors.element_size() * probe.pack.width > MEMORY_BYTES:
        return
    facts = torch.cat([pairs.ritz[:, : k + 1], *(
        f.to(pairs.rest)[:, None] for f in (pairs.rest, drift, age))], dim=1)
    known = facts.isfinite().all(1)
    vectors, facts = torch.where(known[:, None, None], vectors, 0), torch.where(
        known[:, None], facts, 0)
    short = k + 1 - vectors.shape[1]  # fewer dimensions than pairs: nothing is known
    if short:
        vectors, facts = pad(0 * vectors, (0, 0, 0, short)), pad(0 * facts, (0, short))
    probe.remember("eigenvectors", vectors)
    probe.remember("eigenvalues", facts)


def _observed_drift(track: Track | None, pairs: Eigenpairs) -> Tensor:
    """(R,) how much H changed on the last snapshot's vectors, as far as the new basis shows it."""
    if track is None:
        return torch.ones(len(pairs.rest), dtype=torch.float64)
    changes = []
    for r, size in enumerate(pairs.products.tolist()):  # each run's sums over its own rows alone
        parts = (track.vectors[r] @ pairs.basis[r, :size].T).double().cpu()
        ritz = pairs.ritz[r, :size].cpu().nan_to_num(0)
        changes.append(relative_change(((parts * ritz) @ parts.T)[None], track.values[r, None]))
    return torch.cat(changes)


def _merged(followed: Followed, sound: Tensor, tried: Tensor, sought: Eigenpairs | None,
            drift: Tensor) -> tuple[Eigenpairs, Tensor]:
    """The followed pairs of the runs ``sound``, the sought ones of the others."""
    device, k = followed.basis.device, followed.values.shape[1]
    mine = Eigenpairs(
        followed.values.to(device), followed.basis[:, :k], followed.bounds.to(device),
        followed.rest.to(device), None, None, tried.to(device), sound.to(device), followed.basis,
        followed.ritz.to(device))
    if sought is None:
        return mine, followed.drift
    size = max(mine.ritz.shape[1], sought.ritz.shape[1])
    mine, sought = (replace(
        p, basis=pad(p.basis, (0, 0, 0, size - p.basis.shape[1])),
        ritz=pad(p.ritz, (0, size - p.ritz.shape[1]))) for p in (mine, sought))

    def pick(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        where = sound.to(device)
        return None if a is None else torch.where(where.view(-1, *(1,) * (a.dim() - 1)), a, b)

    both = Eigenpairs(*(pick(getattr(mine, n), getattr(sought, n)) for n in vars(mine)))
    spent = tried.to(device) + torch.where(sound, 0, sought.products.cpu()).to(device)
    return replace(both, products=spent), torch.where(sound, followed.drift, drift)
