"""Stiffness: declaration."""

from trainables.monitors import Monitor, Rows
from trainables.options import choice, flag, whole


def _cost(options, sizes):
    """One gradient of each probe example."""
    sides = {"train": (sizes.measure,), "test": (sizes.test,),
             "cross": (sizes.measure, sizes.test)}[options["pairs"]]
    return sum(min(options["examples"], n) for n in sides) / sizes.measure


_KINDS = {"sign": "mean sign of the product", "cos": "mean cosine"}
_WHERE = {"within": "of two examples' gradients of one class",
          "between": "of two examples' gradients of different classes"}
_MEANS = {f"stiffness_{kind}_{where}": f"{what} {of}; a mean over classes"
          for kind, what in _KINDS.items() for where, of in _WHERE.items()}

MONITOR = Monitor(
    "stiffness",
    "trainables.monitors.stiffness:measure",
    columns={
        **_MEANS,
        **{f"{n}_inner": f"{m}, without the last layer's parameters" for n, m in _MEANS.items()},
        "stiffness_examples": "probe examples whose gradient is above rounding",
        "stiffness_slope": "slope of within-class cosine against distance, per unit distance",
        "critical_length": "distance at which the within-class cosine's line meets zero",
        "critical_length_low": "its 95 % bootstrap interval over examples: lower end",
        "critical_length_high": "its upper end",
    },
    options={
        "examples": whole(200, 2, 10_000),
        "pairs": choice("train", ("train", "test", "cross")),
        "exclude_last_layer": flag(False),
        "centre": choice("feature", ("feature", "channel")),
        "bins": whole(10, 2, 100),
        "resamples": whole(200, 20, 10_000),
    },
    cost=_cost,
    rows=lambda options, sizes: Rows(curves=sizes.classes**2 + 2 * options["bins"]),
    curves={
        "stiffness_class_cos": "mean cosine of the gradients by class: series a, x = class b",
        "stiffness_distance": "mean cosine against the inputs' distance 1 − cos: within, between",
    },
)
