"""How a step of SGD lies towards the sharpest directions, and what it does to the loss there."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainables.curves import Curve
from trainables.probe import Probe
from trainables.quantities.batches import draw, gradients, is_whole
from trainables.quantities.lines import changes_along, losses_at
from trainables.schedules import lr_factor

CROSS_SECTION = (-4.0, -2.0, -1.0, 1.0, 2.0, 4.0)  # in units of the step, and of 1/√λ_1


def measure(probe: Probe, options: Mapping[str, Any]) -> dict[str, Any]:
    """Alignment with the top eigenvectors, and loss changes along them (Jastrzębski et al. 2019).

    Eigenpairs (λ_i, e_i), full gradient ḡ and L are those of the measurement set; g_B are the
    gradients of M = ``batches`` minibatches of the run's own S from its training set, independent
    of the training order. Shares are E_B[Σ_{i≤k} ⟨g_B, e_i⟩² / |g_B|²], by chance k/P; batches
    with a zero gradient are left out. Of the update it is the coming one, with momentum, decay
    and noise. The loss changes are E_B[L(θ − γ η ⟨g_B, e⟩ e) − L(θ)] along e_1 … e_d, along one
    random unit vector, and E_B[L(θ − γ η g_B) − L(θ)], with η the rate of the coming step: the
    same minibatches for every γ and direction. On a quadratic, along e_1,
    −γ η a + ½ γ² η² λ_1 (a + s²), a = ⟨ḡ, e_1⟩², s² = Var_B⟨g_B, e_1⟩.

    ``step_overshoot`` is 1 where the change at γ = 1 exceeds that at γ = ½ (section 4.1 there).
    Momentum and other optimisers than SGD make other steps than η g_B. Along lines the loss comes
    from an interpolant over the whole measurement set, one for γ ≤ 1 and one for γ > 1
    (``lines.changes_along``: exact for polynomials below degree ``nodes``); the whole step is
    evaluated directly, on a fixed random part of ``examples`` of the set: unbiased, with that
    part's sampling error. Cost: (M + 2) S/n GE, (d + 1) 2 nodes/3, M |γ| examples/3n, and 13/3
    for the cross-section; the eigenpairs beside.
    """
    pairs, k = probe.eigenpairs, options["k"]
    values, vectors = pairs.values[:, :k], pairs.vectors[:, :k].double()
    index = draw(probe.pack, probe.seeds, "step_geometry", probe.step, options["batches"])
    each = gradients(probe, index).double()
    found: dict[str, Any] = _alignment(probe, each, known(values, vectors))
    rate = step_rate(probe)
    multiples = sorted({*options["multiples"], 0.5, 1.0})
    x, curves = torch.tensor(multiples, dtype=torch.float64), []
    for name, e in _directions(probe, vectors[:, :options["directions"]]):
        steps = -rate[:, None] * torch.einsum("rmp,rp->rm", each, e)
        changes, tail = _line_changes(probe, e, steps, multiples, options["nodes"])
        curves.append(Curve(x, changes.mean(1), name))
        if name == "e1":
            exact = is_whole(probe.pack, index.shape[2])
            found |= _first(probe, changes, multiples, tail, exact=exact)
    if options["examples"]:
        changes = _whole_steps(probe, -rate[:, None, None] * each, multiples, options["examples"])
        curves.append(Curve(x, changes, "step"))
    found["step_loss_change"] = curves
    if options["cross_section"]:
        found["loss_along_e1"] = _cross_section(probe, each, rate, values[:, 0], vectors[:, 0])
    return found


def step_rate(probe: Probe) -> Tensor:
    """(R,) learning rate of the coming update, schedule included, float64."""
    pack = probe.pack
    factor = lr_factor(pack.train["lr_schedule"], probe.step, pack.calendar, pack.steps)
    return pack.lr[probe.runs].double() * factor


def known(values: Tensor, vectors: Tensor) -> Tensor:
    """(R, k, P) eigenvectors, zero beyond the P-th; those of a run without any stay NaN."""
    beyond = values.isnan() & ~values[:, :1].isnan()
    return vectors.masked_fill(beyond[:, :, None], 0)


def share(vectors: Tensor, basis: Tensor) -> Tensor:
    """(R, m) Σ_i ⟨v, e_i⟩² / |v|² of (R, m, P) vectors; NaN for a zero vector."""
    inside = torch.einsum("rmp,rkp->rmk", vectors, basis).square().sum(2)
    return inside / vectors.square().sum(2)


def cosine(vectors: Tensor, towards: Tensor) -> Tensor:
    """(R, m) cosines of (R, m, P) vectors with (R, P); NaN where one of them is zero."""
    products = torch.einsum("rmp,rp->rm", vectors, towards)
    return products / (vectors.norm(dim=2) * towards.norm(dim=1)[:, None])


def _alignment(probe: Probe, each: Tensor, basis: Tensor) -> dict[str, Tensor]:
    full, update = probe.gradient.double()[:, None], probe.updates[:1].double().transpose(0, 1)
    used = each.square().sum(2) != 0
    none = ~used.any(1)
    no_full, no_update = (v.square().sum((1, 2)) == 0 for v in (full, update))

    def mean(of_batches: Tensor) -> Tensor:
        return torch.where(used, of_batches, 0.0).sum(1) / used.sum(1)

    for column, where, what in (
            ("step_gradient_share", none, "all minibatch gradients are zero"),
            ("step_cos_gradient_e1", none, "all minibatch gradients are zero"),
            ("step_cos_gradient_full", none, "all minibatch gradients are zero"),
            ("step_cos_gradient_full", no_full & ~none, "the full gradient is zero"),
            ("step_full_gradient_share", no_full, "the full gradient is zero"),
            ("step_cos_full_e1", no_full, "the full gradient is zero"),
            ("step_update_share", no_update, "the coming update is zero")):
        probe.explain(column, where, what)
    return {
        "step_gradient_share": mean(share(each, basis)),
        "step_update_share": share(update, basis)[:, 0],
        "step_full_gradient_share": share(full, basis)[:, 0],
        "step_cos_gradient_e1": mean(cosine(each, basis[:, 0]).abs()),
        "step_cos_full_e1": cosine(full, basis[:, 0])[:, 0].abs(),
        "step_cos_gradient_full": mean(cosine(each, full[:, 0])),
    }


def _directions(probe: Probe, vectors: Tensor) -> list[tuple[str, Tensor]]:
    """Names and (R, P) unit vectors of the lines."""
    random = probe.normals("step_direction", 1)[:, 0].double()
    random = random / random.norm(dim=1, keepdim=True)
    return [(f"e{i + 1}", e) for i, e in enumerate(vectors.unbind(1))] + [("random", random)]


def _line_changes(probe: Probe, direction: Tensor, steps: Tensor, multiples: Sequence[float],
                  nodes: int) -> tuple[Tensor, Tensor]:
    """(R, M, γ) changes of the loss at γ times the (R, M) steps; the error for γ ≤ 1 (R,).

    Far steps have an interpolant of their own, so that a loss which explodes there does not
    spoil the near ones.
    """
    changes, errors = [], []
    for reach in ([m for m in multiples if m <= 1], [m for m in multiples if m > 1]):
        if reach:
            places = steps[:, :, None] * torch.tensor(reach).to(steps)
            change, error = changes_along(probe, direction, places.flatten(1), nodes)
            changes.append(change.view_as(places))
            errors.append(error)
    return torch.cat(changes, 2), errors[0]


def _first(probe: Probe, changes: Tensor, multiples: Sequence[float], error: Tensor, *,
           exact: bool) -> dict[str, Tensor]:
    """The columns on the loss along e_1, of its (R, M, γ) changes; exact: of the whole set."""
    whole, half = (changes[:, :, multiples.index(m)] for m in (1.0, 0.5))
    batches, change, less = whole.shape[1], whole.mean(1), half.mean(1)
    if batches > 1:
        spread = whole.std(1) / batches**0.5
    elif exact:
        spread = 0 * change
    else:
        spread = torch.full_like(change, torch.nan)
        probe.explain("step_loss_change_e1_se", True, "a standard error needs two minibatches")
    overshoot = (change > less).double()
    return {
        "step_loss_change_e1": change,
        "step_loss_change_e1_se": spread,
        "step_loss_change_e1_error": error,
        "step_overshoot": torch.where((change - less).isnan(), torch.nan, overshoot),
    }


def _whole_steps(probe: Probe, steps: Tensor, multiples: Sequence[float], examples: int) -> Tensor:
    """(R, γ) mean change of the loss by γ times the (R, M, P) steps, on a part of the set."""
    order = torch.randperm(probe.size, generator=torch.Generator().manual_seed(0))[:examples]
    index = probe.pack.measure_set[order.to(probe.pack.device)]
    before = losses_at(probe, [torch.zeros_like(steps[:, 0])], index)
    shifts = (m * step for m in multiples for step in steps.unbind(1))
    changes = losses_at(probe, shifts, index) - before
    return changes.view(len(before), len(multiples), -1).mean(2)


def _cross_section(probe: Probe, each: Tensor, rate: Tensor, value: Tensor, vector: Tensor
                   ) -> list[Curve]:
    """L(θ + c e_1), e_1 turned so that the loss rises along it, at both scales of c."""
    slope = (probe.gradient.double() * vector).sum(1, keepdim=True)
    vector = torch.where(slope < 0, -vector, vector)
    step = rate * torch.einsum("rmp,rp->rm", each, vector).square().mean(1).sqrt()
    here = losses_at(probe, [torch.zeros_like(vector)], probe.pack.measure_set)
    curves, middle = [], len(CROSS_SECTION) // 2
    for name, unit in (("step", step), ("curvature", value.clamp_min(0).rsqrt())):
        unit = torch.where((unit > 0) & unit.isfinite(), unit, torch.nan)  # NaN: no such scale
        places = unit[:, None] * torch.tensor(CROSS_SECTION).to(unit)
        middle_loss = here + 0 * unit[:, None]
        losses = losses_at(
            probe, (c[:, None] * vector for c in places.unbind(1)), probe.pack.measure_set)
        curves.append(Curve(
            torch.cat([places[:, :middle], 0 * places[:, :1], places[:, middle:]], 1),
            torch.cat([losses[:, :middle], middle_loss, losses[:, middle:]], 1), name))
    return curves
