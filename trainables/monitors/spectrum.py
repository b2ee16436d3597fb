"""The Hessian of the mean loss on the measurement set, and its relatives: spectra and traces."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainables.costs import GE_GRADIENT, GE_PRODUCT
from trainables.curves import Curve
from trainables.eigen import SLACK, start_vectors
from trainables.linalg.density import lanczos_quadrature, smoothed
from trainables.linalg.gaussnewton import gauss_newton
from trainables.linalg.krylov import Product
from trainables.linalg.lanczos import Eigenpairs, extreme_eigenpairs
from trainables.linalg.scaled import adam_scale, adaptive_scale, scaled
from trainables.linalg.trace import Moments, deflated_moments
from trainables.monitors.declared.spectrum import FIXED, GE_GAUSS_NEWTON, MONITOR
from trainables.probe import Probe

DEFAULTS = {name: option.default for name, option in MONITOR.options.items()}
Found = dict[str, Tensor | list[Curve] | Curve]


def measure(probe: Probe, options: Mapping[str, Any]) -> Found:
    """Top eigenvalues with their bounds, the smallest, trace, and what else the options ask for.

    Eigenvalues: ``probe.eigenpairs`` (largest algebraic; followed from snapshot to snapshot where
    the spectrum has settled). Trace and ‖H‖_F: exact on their basis, random signs on its
    complement (``trace.deflated_moments``). Density: stochastic Lanczos quadrature. The
    Gauss-Newton matrix, D H D and P⁻¹H are sought anew at every snapshot. Products run in the
    pack's precision, the small algebra in float64. Cost: 2 GE a product with H, 4/3 one with the
    Gauss-Newton matrix, which takes 1 GE to build.
    """
    options = DEFAULTS | dict(options)
    pairs = probe.eigenpairs
    found, spent = _top(pairs, options), pairs.products.double()
    _explain_top(probe, pairs, options)
    if options["trace"] or options["frobenius"]:
        moments = _moments(probe, probe.curvature.product, pairs, "trace", options)
        probe.spend(GE_PRODUCT * moments.probes.double().cpu())
        spent = spent + moments.probes
        if options["trace"]:
            found |= {"hessian_trace": moments.trace, "hessian_trace_se": moments.trace_error}
        if options["frobenius"]:
            found |= {"hessian_frobenius": moments.frobenius,
                      "hessian_frobenius_se": moments.frobenius_error}
    if options["density"]:
        curves, products = _density(probe, options)
        found, spent = found | curves, spent + products
    for name in ("normalized", "preconditioned"):
        if options[name]:
            values, products = _scaled(probe, name, options)
            found, spent = found | values, spent + products
    if options["gauss_newton"]:
        found |= _gauss_newton(probe, options)
    return found | {"hessian_products": spent}


def _top(pairs: Eigenpairs, options: Mapping[str, Any]) -> Found:
    found = {
        "hessian": pairs.values[:, :options["k"]], "hessian_bound": pairs.bounds[:, :options["k"]],
        "hessian_lambda_max": pairs.values[:, 0], "hessian_lambda_max_bound": pairs.bounds[:, 0],
        "hessian_followed": pairs.followed,
    }
    if options["lambda_min"]:
        found["hessian_lambda_min"] = pairs.smallest
        found["hessian_lambda_min_bound"] = pairs.smallest_bound
    return found


def _explain_top(probe: Probe, pairs: Eigenpairs, options: Mapping[str, Any]) -> None:
    """Notes on a spectrum of fewer than k values, and on one that may hold more copies."""
    dim, k = probe.flat.shape[1], options["k"]
    if k > dim:
        probe.explain("spectra", True, f"the model has {dim} parameters, so no k = {k} eigenvalues")
    stopped = ~pairs.converged & (options["tolerance"] > FIXED)
    probe.explain("spectra", stopped, f"the search was stopped at {options['max_products']} "
                  "products; the bounds say how far it came")
    starts = start_vectors(probe)
    values = pairs.values[:, :k].cpu()
    if 1 < starts < min(values.shape[1], dim):
        near = 0.1 * options["tolerance"] * values[:, :1].abs()
        alike = (values[:, :1 - starts] - values[:, starts - 1:] <= near) & (near > 0)
        probe.explain("spectra", alike.any(1), f"{starts} eigenvalues agree: where one repeats "
                      f"more often than {starts} times, further copies may be missing")


def _moments(probe: Probe, product: Product, pairs: Eigenpairs, stream: str,
             options: Mapping[str, Any], *, frobenius: bool | None = None) -> Moments:
    signs = (probe.signs(f"{stream} {i}", 1)[:, 0] for i in range(options["trace_probes"]))
    return deflated_moments(
        product, pairs.basis, pairs.ritz, signs, tolerance=options["trace_tolerance"],
        frobenius=options["frobenius"] if frobenius is None else frobenius)


def _sought(probe: Probe, product: Product, stream: str, k: int, starts: int,
            options: Mapping[str, Any]) -> Eigenpairs:
    """The top eigenpairs of another matrix, under the same terms as those of the Hessian."""
    return extreme_eigenpairs(
        product, probe.normals(stream, starts), k=k, smallest=False,
        tolerance=options["tolerance"], max_products=options["max_products"],
        doubt=options["doubt"], slack=SLACK)


def _density(probe: Probe, options: Mapping[str, Any]) -> tuple[Found, int]:
    """The curves, and the products that they took."""
    starts, steps = options["density_starts"], min(options["density"], probe.flat.shape[1])
    signs = (probe.signs(f"density {i}", 1)[:, 0] for i in range(starts))
    quadrature = lanczos_quadrature(probe.curvature.product, signs, steps)
    probe.spend(GE_PRODUCT * starts * steps)
    grid, density, error = smoothed(quadrature, options["density_width"])
    return {
        "hessian_density": Curve(grid, density), "hessian_density_se": Curve(grid, error),
        "hessian_density_nodes": [
            Curve(quadrature.nodes[:, s], quadrature.weights[:, s], f"start {s}")
            for s in range(starts)],
    }, starts * steps


def _scaled(probe: Probe, name: str, options: Mapping[str, Any]) -> tuple[Found, Tensor]:
    """λ_max of D H D or P^(−½) H P^(−½), and the products that it took."""
    column, operator = {
        "normalized": ("normalized_sharpness", "normalized_hessian"),
        "preconditioned": ("preconditioned_lambda_max", "preconditioned_hessian")}[name]
    nothing = torch.full_like(probe.flat[:, 0], torch.nan, dtype=torch.float64)
    if name == "preconditioned" and probe.preconditioner is None:
        probe.explain(column, True, "there is no preconditioner: SGD")
        return {column: nothing}, torch.zeros_like(nothing)
    if name == "preconditioned" and probe.step == 0:
        probe.explain(column, True, "Adam has seen no gradient at step 0")
        return {column: nothing}, torch.zeros_like(nothing)
    scale = adaptive_scale(probe.flat) if name == "normalized" else adam_scale(probe.preconditioner)
    pairs = _sought(probe, scaled(probe.curvature.product, scale), name, 1, 1, options)
    probe.spend(GE_PRODUCT * pairs.products.double().cpu())
    found = {column: pairs.values[:, 0], operator: pairs.values, f"{operator}_bound": pairs.bounds}
    return found, pairs.products.double()


def _gauss_newton(probe: Probe, options: Mapping[str, Any]) -> Found:
    """Its top eigenvalues, and its trace."""
    matrix = gauss_newton(probe)
    starts = start_vectors(probe)
    pairs = _sought(probe, matrix.product, "gauss_newton", options["k"], starts, options)
    moments = _moments(probe, matrix.product, pairs, "gauss_newton", options, frobenius=False)
    spent = (pairs.products + moments.probes).double()
    probe.spend(GE_GRADIENT + GE_GAUSS_NEWTON * spent.cpu())
    return {
        "gauss_newton": pairs.values, "gauss_newton_bound": pairs.bounds,
        "gauss_newton_lambda_max": pairs.values[:, 0], "gauss_newton_trace": moments.trace,
        "gauss_newton_trace_se": moments.trace_error, "gauss_newton_products": spent,
    }
