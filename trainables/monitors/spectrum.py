"""Extreme eigenvalues and trace of the Hessian of the mean loss on the measurement set."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainables.costs import GE_PRODUCT
from trainables.probe import Probe
from trainables.trace import deflated_trace

TRACE_PROBES = 8


def measure(probe: Probe, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Top-k eigenvalues (largest algebraic), the smallest, and the trace with its standard error.

    Krylov space from random start vectors of the run's own stream, full reorthogonalisation,
    stopped when each wanted value's error bound is below ``tolerance``·λ_max, ten times that for
    the smallest. The trace is exact on that Krylov space, plus Hutchinson with 8 probes on its
    complement: unbiased. Products run
    in the pack's precision, the small algebra in float64. Cost: 2 GE a product.
    """
    pairs = probe.eigenpairs
    spent = pairs.products.double()
    columns = {
        "hessian": pairs.values[:, :options["k"]],
        "hessian_lambda_max": pairs.values[:, 0],
        "hessian_lambda_max_bound": pairs.bounds[:, 0],
    }
    if options["lambda_min"]:
        columns["hessian_lambda_min"] = pairs.smallest
    if options["trace"]:
        signs = probe.signs("trace", TRACE_PROBES)
        columns["hessian_trace"], columns["hessian_trace_se"] = deflated_trace(
            probe.curvature.product, pairs.basis, pairs.ritz.sum(1), signs)
        probes = torch.where(columns["hessian_trace_se"] == 0, 0, TRACE_PROBES).to(spent)
        probe.spend(GE_PRODUCT * probes.cpu())
        spent = spent + probes
    columns["hessian_products"] = spent
    return columns
