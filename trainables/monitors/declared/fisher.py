"""The trace of the Fisher information: declaration."""

from collections.abc import Mapping
from typing import Any

from trainables.costs import GE_FORWARD
from trainables.monitors import Monitor, Sizes
from trainables.options import flag, whole


def ge(options: Mapping[str, Any], sizes: Sizes) -> float:
    """(1 + 2 (s + 1)) m/(3 n) GE: a forward, s pullbacks of the model's labels, one of the true.

    m examples; s is ``samples``, or the number of classes if ``exact``.
    """
    count = sizes.classes if options["exact"] else options["samples"]
    share = min(options["examples"], sizes.measure) / sizes.measure
    return share * GE_FORWARD * (1 + 2 * (count + 1))


MONITOR = Monitor(
    "fisher",
    "trainables.monitors.fisher:measure",
    columns={
        "fisher_trace": "trace of the Fisher information, labels drawn from the model; unbiased",
        "fisher_trace_se": "its standard error; 0 where exact",
        "empirical_fisher_trace": "mean squared norm of the gradients of the true labels' log "
                                  "likelihood; another quantity than fisher_trace",
        "fisher_examples": "examples of the measurement set that both are means over",
    },
    options={
        "examples": whole(256),
        "samples": whole(1, 1, 10_000),
        "exact": flag(False),
    },
    cost=ge,
)
