"""Curvature that minibatches see: batch sharpness, their λ_max, gradient-noise interaction."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainables.costs import GE_PRODUCT
from trainables.linalg.lanczos import extreme_eigenpairs
from trainables.probe import Probe, graph_bytes
from trainables.quantities.batches import draw, folded, is_whole
from trainables.quantities.student import t_quantile

# Batches of all runs evaluated together, and the bytes that their graphs and parameters may take:
# constants, since they are part of the numerics. On a CPU small nets gain 3 to 9 times over one
# batch at a time, and more than 64 at once lose again (measured at S = 8, 32 and 128).
CPU_AT_ONCE, GPU_AT_ONCE, FOLD_BYTES = 64, 512, 3 << 30
START_VECTORS = 1  # of a batch's λ_max


def measure(probe: Probe, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Batch sharpness E_B[g_Bᵀ H_B g_B / |g_B|²] (Andreyev & Beneventano 2024, Definition 3).

    Gradient and Hessian of the same batch, the expectation outside the ratio; batches of the run's
    own S (or ``batch_size``, at most N) from the whole training set with its own noise, drawn
    independently of training. Unbiased, given dropout off and BatchNorm at the calibration
    statistics (training uses each batch's own). Batches whose gradient is zero are left out. A
    batch that is the whole set is exact: gᵀHg/|g|², interval 0 (with replacement none is).

    ``batch_lambda_max`` is E_B[λ_max(H_B)], the quantity of that paper's first version, on the
    first ``lambda_max_batches`` batches, each within ``lambda_max_tolerance`` or after
    ``lambda_max_products`` products (a lower bound). ``gni`` is E_B[g_Bᵀ H g_B]/|g|² with H
    of the whole training set: E[g_Bᵀ H_B' g_B] of independent pairs B, B', so its numerator is
    unbiased and noisier than with H itself; g is that of the measurement set, and |g|² too
    large by tr Σ/n where that is a subset. Products in the pack's precision, the rest in float64.
    Cost: 3 M S/n GE, 2 M S/n more for gni, (1 + 2 products) S/n a batch for λ_max.
    """
    index = draw(probe.pack, probe.seeds, "batch_sharpness", probe.step, options["batches"],
                 options["batch_size"])
    exact = is_whole(probe.pack, index.shape[2])
    squares, forms, mixed = _forms(probe, index, cross=options["gni"] and not exact)
    used = squares != 0  # NaN is
    mean, half, count = interval(torch.where(used, forms / squares, 0.0), used)
    probe.explain("batch_sharpness", count == 0, "all minibatch gradients are zero")
    found = {"batch_sharpness": mean, "batch_sharpness_batches": count.double(),
             "batch_sharpness_ci95": _half_width(probe, "batch_sharpness_ci95", half, count, exact)}
    if options["gni"]:
        found["gni"] = _gni(probe, forms if exact else mixed)
    if options["lambda_max_batches"]:
        values = _largest(probe, index[:, :options["lambda_max_batches"]], options)
        mean, half, count = interval(values, torch.ones_like(values, dtype=torch.bool))
        found["batch_lambda_max"] = mean
        found["batch_lambda_max_ci95"] = _half_width(
            probe, "batch_lambda_max_ci95", half, count, exact)
    return found


def interval(values: Tensor, used: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(R,) mean of the used (R, M) values, half width of its 95 % t-interval, and their count.

    The half width is t_{0.975, n−1} s/√n: NaN for fewer than two; the mean NaN for none.
    """
    count = used.sum(1)
    mean = torch.where(used, values, 0.0).sum(1) / count
    spread = torch.where(used, values - mean[:, None], 0.0).square().sum(1) / (count - 1)
    quantile = torch.tensor([t_quantile(n - 1) if n > 1 else torch.nan for n in count.tolist()],
                            dtype=values.dtype, device=values.device)
    return mean, quantile * (spread / count).sqrt(), count


def _half_width(probe: Probe, column: str, half: Tensor, count: Tensor, exact: bool) -> Tensor:
    if exact:
        probe.explain(column, count == 0, "all minibatch gradients are zero")
        return torch.where(count > 0, 0.0, torch.nan).to(half)
    probe.explain(column, count < 2, "an interval needs two batches with a gradient")
    return half


def _gni(probe: Probe, forms: Tensor) -> Tensor:
    square = probe.gradient.double().square().sum(1)
    if not forms.shape[1]:
        probe.explain("gni", True, "independent pairs need two batches")
        return torch.full_like(square, torch.nan)
    probe.explain("gni", square == 0, "the full gradient is zero")
    return torch.where(square == 0, torch.nan, forms.mean(1) / square)


def _forms(probe: Probe, index: Tensor, *, cross: bool) -> tuple[Tensor, Tensor, Tensor]:
    """(R, M) |g_B|² and g_Bᵀ H_B g_B, and (R, M − 1) g_Bᵀ H_B' g_B of successive batches."""
    runs, total, size = index.shape
    squares, forms, mixed, last = [], [], [], None
    for part in index.split(_at_once(probe, size), dim=1):
        curvature, m = folded(probe, part), part.shape[1]
        gradients = curvature.gradient
        squares.append(_dots(gradients, gradients).view(runs, m))
        forms.append(_dots(gradients, curvature.product(gradients)).view(runs, m))
        if cross:
            each = gradients.view(runs, m, -1)
            before = torch.cat([torch.zeros_like(each[:, :1]) if last is None else last,
                                each[:, :-1]], dim=1).flatten(0, 1)
            mixed.append(_dots(before, curvature.product(before)).view(runs, m))
            last = each[:, -1:]
    probe.spend(GE_PRODUCT * (1 + cross) * total * size / probe.size)
    return (torch.cat(squares, 1), torch.cat(forms, 1),
            torch.cat(mixed, 1)[:, 1:] if cross else squares[0][:, :0])


def _largest(probe: Probe, index: Tensor, options: Mapping[str, Any]) -> Tensor:
    """(R, M) λ_max of each batch's Hessian, float64."""
    runs, total, size = index.shape
    starts = probe.normals("batch_lambda_max", total * START_VECTORS).view(
        runs, total, START_VECTORS, -1)
    each, found = _at_once(probe, size), []
    for part, start in zip(index.split(each, 1), starts.split(each, 1), strict=True):
        pairs = extreme_eigenpairs(
            folded(probe, part).product, start.flatten(0, 1), k=1, smallest=False,
            tolerance=options["lambda_max_tolerance"],
            max_products=options["lambda_max_products"])
        spent = pairs.products.double().cpu().view(runs, -1).sum(1)
        probe.spend(GE_PRODUCT * spent * size / probe.size)
        found.append(pairs.values[:, 0].view(runs, -1))
    return torch.cat(found, 1)


def _at_once(probe: Probe, size: int) -> int:
    """How many batches of each run to fold: what is fast, within the memory."""
    most = CPU_AT_ONCE if probe.pack.device.type == "cpu" else GPU_AT_ONCE
    each = 3 * graph_bytes(probe.pack) * size + 8 * probe.flat.shape[1] * probe.flat.element_size()
    return max(1, min(most, FOLD_BYTES // each) // len(probe.seeds))


def _dots(a: Tensor, b: Tensor) -> Tensor:
    return (a.double() * b.double()).sum(1)
