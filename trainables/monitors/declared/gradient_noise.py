"""The covariance of the examples' gradients and the noise scales: declaration."""

from collections.abc import Mapping
from typing import Any

from trainables.costs import GE_GRADIENT, GE_PRODUCT
from trainables.monitors import Monitor, Rows, Sizes
from trainables.options import choice, number, optional, whole


def layout(options: Mapping[str, Any], examples: int) -> tuple[int, int, int]:
    """(L, S, held): the minibatches, their size, and how many of them carry the Hessian.

    L is lowered to what a partition of the examples has. Held are ``hessian_share`` of L, at
    least one where it is not 0, and all but two at most.
    """
    size = min(options["batch_size"] or max(1, examples // options["batches"]), examples)
    count = options["batches"]
    if options["sampling"] == "partition":
        count = min(count, examples // size)
    held = max(1, min(round(options["hessian_share"] * count), count - 2))
    return count, size, held if options["hessian_share"] and count > 1 else 0


def ge(options: Mapping[str, Any], sizes: Sizes) -> float:
    """GE beside the full gradient, which a partition yields and every snapshot has.

    h (1 + 2 p) with h = held S/n and p products: one for GᵀHG and the option ``products``, at most
    L − 1, for Tr(HΣ). With replacement the minibatches cost L S/n more. The Hessian's eigenpairs,
    where wanted, beside.
    """
    count, size, held = layout(options, sizes.measure)
    products = 1 + min(options["products"], count - 1)
    spent = held * size / sizes.measure * (GE_GRADIENT + GE_PRODUCT * products)
    if options["sampling"] == "with_replacement":
        spent += GE_GRADIENT * count * size / sizes.measure
    return spent


MONITOR = Monitor(
    "gradient_noise",
    "trainables.monitors.gradient_noise:measure",
    columns={
        "k_lambda_max": "largest eigenvalue of the estimate of K, the covariance of the examples' "
                        "gradients; compare at equal k_batches and k_batch_size only",
        "k_trace": "trace of K, unbiased",
        "k_condition": "smallest non-zero eigenvalue of that estimate over its largest",
        "k_lambda_max_uncentred": "largest eigenvalue of that estimate + (full gradient)(…)^T",
        "k_trace_uncentred": "mean squared norm of the examples' gradients, unbiased",
        "k_batches": "minibatches L of which K is estimated",
        "k_batch_size": "examples of each of them",
        "k_replacement": "1 if they are drawn with replacement, 0 if they partition the set",
        "k_hessian_share": "share of Tr K in the span of the Hessian's top k eigenvectors",
        "k_hessian_cosine": "|cosine| of the top eigenvectors of that estimate and of the Hessian",
        "noise_trace": "Tr Sigma, unbiased for the population",
        "noise_gradient_sq": "|G|^2, unbiased for the population; may be negative",
        "noise_scale_simple": "B_simple = noise_trace / noise_gradient_sq, examples",
        "noise_trace_hessian": "Tr(H Sigma), unbiased for the population",
        "noise_gradient_hessian": "G^T H G, unbiased for the population; may be negative",
        "noise_scale": "B_noise = noise_trace_hessian / noise_gradient_hessian, examples",
    },
    options={
        "batches": whole(25, 1, 100_000),
        "batch_size": optional(whole(None)),
        "sampling": choice("partition", ("partition", "with_replacement")),
        "population": choice("training_set", ("training_set", "distribution")),
        "hessian_share": number(0.12, lambda v: 0 <= v <= 1, "a number from 0 to 1"),
        "products": whole(4, 1, 100_000),
        "k": whole(0, 0, 1000),
    },
    cost=ge,
    rows=lambda options, sizes: Rows(spectra=2 * layout(options, sizes.measure)[0]),
    eigenpairs=lambda options: options["k"] if options["batches"] > 1 else 0,
    spectra={
        "gradient_covariance": "estimate of the covariance K of the examples' gradients",
        "gradient_second_moment": "estimate of K + (full gradient)(full gradient)^T",
    },
)
