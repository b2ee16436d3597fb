"""The step and the sharpest directions: declaration."""

from trainables.monitors import Monitor, Rows
from trainables.options import Option, flag, whole


def _multiples(value):
    return isinstance(value, list | tuple) and 0 < len(value) <= 100 and all(
        isinstance(v, int | float) and not isinstance(v, bool) and 0 < v <= 1e6 for v in value)


def _cost(options, sizes):
    batches = 1 if sizes.whole(sizes.batch) else options["batches"]
    multiples = {*options["multiples"], 0.5, 1.0}
    reaches = 1 + any(m > 1 for m in multiples)
    lines = (min(options["directions"], options["k"]) + 1) * reaches * options["nodes"]
    examples = min(options["examples"], sizes.measure) / sizes.measure
    whole_steps = (batches * len(multiples) + 1) * examples
    return ((batches + 2) * sizes.batch / sizes.measure
            + (lines + whole_steps + 13 * options["cross_section"]) / 3)


def _rows(options, sizes):  # noqa: ARG001
    lines = min(options["directions"], options["k"]) + 1 + (options["examples"] > 0)
    points = len({*options["multiples"], 0.5, 1.0})
    return Rows(curves=lines * points + 2 * 7 * options["cross_section"])


MONITOR = Monitor(
    "step_geometry",
    "trainables.monitors.step_geometry:measure",
    columns={
        "step_gradient_share": "share of |g_B|^2 in span(e_1..e_k), mean over minibatches; "
                               "k/P by chance",
        "step_update_share": "share of the coming update's squared norm in span(e_1..e_k)",
        "step_full_gradient_share": "share of the full gradient's squared norm in span(e_1..e_k)",
        "step_cos_gradient_e1": "|cos(g_B, e_1)|, mean over minibatches",
        "step_cos_full_e1": "|cos(full gradient, e_1)|",
        "step_cos_gradient_full": "cos(g_B, full gradient), mean over minibatches",
        "step_loss_change_e1": "loss after the step's part along e_1, less the loss before",
        "step_loss_change_e1_se": "its standard error over minibatches",
        "step_loss_change_e1_error": "its interpolation error, estimated",
        "step_overshoot": "1 where half the step along e_1 would leave a lower loss, else 0",
    },
    options={
        "k": whole(5, 1, 1000),
        "batches": whole(10, 1, 10_000),
        "multiples": Option([0.25, 0.5, 1.0, 2.0, 4.0], _multiples,
                            "a list of positive numbers, such as [0.5, 1, 2]",
                            lambda value: sorted({float(v) for v in value})),
        "directions": whole(1, 1, 1000),
        "nodes": whole(8, 3, 100),
        "examples": whole(512, 0),
        "cross_section": flag(True),
    },
    cost=_cost,
    rows=_rows,
    eigenpairs=lambda options: options["k"],
    curves={
        "step_loss_change": "mean change of the loss against the multiple of the learning rate, "
                            "along e1.., random, and by the whole step",
        "loss_along_e1": "loss at theta + x e_1, x in multiples of the step along e_1 (step) and "
                         "of 1/sqrt(lambda_1) (curvature)",
    },
)
