"""The spectrum of the Hessian: declaration."""

from trainables.monitors import Monitor
from trainables.options import flag, number, whole

MONITOR = Monitor(
    "spectrum",
    "trainables.monitors.spectrum:measure",
    columns={
        "hessian_lambda_max": "largest algebraic eigenvalue of the Hessian",
        "hessian_lambda_max_bound": "its error bound; exceeded with probability 1e-3",
        "hessian_lambda_min": "smallest algebraic eigenvalue, whatever its sign",
        "hessian_trace": "trace of the Hessian",
        "hessian_trace_se": "its standard error; 0 where exact",
        "hessian_products": "Hessian-vector products spent",
    },
    options={
        "k": whole(5, 1, 1000),
        "lambda_min": flag(True),
        "trace": flag(True),
        "tolerance": number(
            1e-3, lambda v: 1e-12 <= v < 1, "a number like 1e-3, relative to lambda_max"),
        "max_products": whole(100, 1, 10_000),
    },
    cost=lambda options, sizes: 70.0,  # noqa: ARG005
    spectra={"hessian": "the Hessian of the mean loss on the measurement set"},
)
