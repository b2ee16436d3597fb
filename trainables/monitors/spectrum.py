"""Extreme eigenvalues and trace of the Hessian of the mean loss on the measurement set."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainables.lanczos import extreme_eigenpairs
from trainables.probe import GE_PRODUCT, Probe
from trainables.trace import deflated_trace

START_VECTORS, TRACE_PROBES = 2, 8
# The lower end of the spectrum is dense: there a tighter bound costs more products than all the
# other values together, and what is asked of lambda_min is its sign and size beside lambda_max.
LOOSER_BELOW = 10


def measure(probe: Probe, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Top-k eigenvalues (largest algebraic), the smallest, and the trace with its standard error.

    Krylov space from random start vectors of the run's own stream, full reorthogonalisation,
    stopped when each wanted value's error bound is below ``tolerance``·λ_max, ten times that for
    the smallest. The trace is exact on that Krylov space, plus Hutchinson with 8 probes on its
    complement: unbiased. Products run
    in the pack's precision, the small algebra in float64. Cost: 2 GE a product.
    """
    curvature = probe.curvature
    pairs = extreme_eigenpairs(
        curvature.product, probe.normals("spectrum", START_VECTORS), k=options["k"],
        smallest=options["lambda_min"], tolerance=options["tolerance"],
        max_products=options["max_products"],
        smallest_tolerance=min(0.5, LOOSER_BELOW * options["tolerance"]))
    spent = pairs.products.double()
    columns = {
        "hessian": pairs.values,
        "hessian_lambda_max": pairs.values[:, 0],
        "hessian_lambda_max_bound": pairs.bounds[:, 0],
    }
    if options["lambda_min"]:
        columns["hessian_lambda_min"] = pairs.smallest
    if options["trace"]:
        signs = probe.signs("trace", TRACE_PROBES)
        columns["hessian_trace"], columns["hessian_trace_se"] = deflated_trace(
            curvature.product, pairs.basis, pairs.ritz.sum(1), signs)
        spent = spent + torch.where(columns["hessian_trace_se"] == 0, 0, TRACE_PROBES).to(spent)
    columns["hessian_products"] = spent
    probe.spend(GE_PRODUCT * spent.cpu())
    return columns
