"""The shape of the path: declaration."""

from trainables.monitors import Monitor, Rows
from trainables.options import flag

LAYERS = 8  # tensors of parameters, a guess

MONITOR = Monitor(
    "geometry",
    "trainables.monitors.geometry:measure",
    columns={
        "path_length": "sum over all steps so far of |theta_{t+1} - theta_t|",
        "update_norm": "norm of the coming update",
        "update_cos": "cosine of the coming two successive updates",
    },
    options={"layers": flag(True)},
    cost=lambda options, sizes: 2 * sizes.batch / sizes.measure,  # noqa: ARG005
    rows=lambda options, sizes: Rows(curves=2 * LAYERS * options["layers"]),  # noqa: ARG005
    curves={
        "layer_norm": "Frobenius norm of each parameter (series) against its place in the model",
        "layer_distance": "each parameter's distance from its initial value",
    },
)
