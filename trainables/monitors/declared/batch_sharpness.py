"""Batch sharpness: declaration."""

from trainables.monitors import Monitor
from trainables.options import flag, number, optional, whole

LAMBDA_PRODUCTS = 25  # a typical λ_max of a batch within 1e-3, for planning
FIXED = 1e-12  # the tolerance at which every search goes on to its most products


def _cost(options, sizes):
    size = min(options["batch_size"] or sizes.batch, sizes.train)
    count = 1 if sizes.whole(size) else options["batches"]
    products = 1 + options["gni"]
    largest = min(count, options["lambda_max_batches"])
    return size / sizes.measure * (
        count * (1 + 2 * products) + largest * (1 + 2 * _products(options)))


def _products(options):
    most = options["lambda_max_products"]
    return most if options["lambda_max_tolerance"] <= FIXED else min(most, LAMBDA_PRODUCTS)


def _steady(options, sizes):  # noqa: ARG001
    """As many products a batch as are typical; fewer where there are fewer parameters."""
    return {**options, "lambda_max_tolerance": FIXED, "lambda_max_products": _products(options)}


MONITOR = Monitor(
    "batch_sharpness",
    "trainables.monitors.batch_sharpness:measure",
    columns={
        "batch_sharpness": "E_B[g_B' H_B g_B / |g_B|^2], g and H of the same batch",
        "batch_sharpness_ci95": "half width of its 95 % t-interval over batches; 0 where exact",
        "batch_sharpness_batches": "batches in it",
        "batch_lambda_max": "E_B[lambda_max(H_B)]",
        "batch_lambda_max_ci95": "half width of its 95 % t-interval over batches",
        "gni": "E_B[g_B' H g_B] / |g|^2, H of the whole set: gradient-noise interaction",
    },
    options={
        "batches": whole(32, 1, 10_000),
        "batch_size": optional(whole(None)),
        "gni": flag(False),
        "lambda_max_batches": whole(0, 0, 10_000),
        "lambda_max_tolerance": number(
            1e-3, lambda v: FIXED <= v < 1, "a number like 1e-3, relative to lambda_max"),
        "lambda_max_products": whole(100, 1, 10_000),
    },
    cost=_cost,
    steady=_steady,
)
