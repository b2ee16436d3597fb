"""What a run has memorised: declaration."""

from trainables.monitors import Monitor, Rows
from trainables.options import choice, flag, number, whole

# Sweeps of a search until its last find: 2 to 16 measured on digits, by noise and epoch.
FRUITFUL = 10


def _cost(options, sizes):
    """Predictions of the training set, a typical adversarial search, and the unrolled steps."""
    spent = sizes.train / sizes.measure / 3
    if options["iterations"]:
        of_set = sizes.test if options["set"] == "test" else sizes.measure
        share = min(options["examples"], of_set) / sizes.measure
        spent += (_sweeps(options) + 1) * share * 2 / 3
    if options["sensitivity"]:
        at = list(range(options["every"], options["steps"] + 1, options["every"]))
        at = at or [options["steps"]]
        batch = sizes.batch / sizes.measure
        parts = sizes.classes if options["sensitivity_class"] else 1
        spent += 2 * at[-1] * batch + sum(parts * (2 * t * batch + 2 / 3) + 1 / 3 for t in at)
    return spent


def _sweeps(options):
    return min(options["iterations"], FRUITFUL + options["patience"])


def _steady(options, sizes):  # noqa: ARG001
    """As many sweeps as are typical; fewer only where all examples are found to be critical."""
    sweeps = _sweeps(options)
    return {**options, "iterations": sweeps, "patience": max(1, sweeps)}


MONITOR = Monitor(
    "memorization",
    "trainables.monitors.memorization:measure",
    columns={
        "critical_sample_ratio": "share of examples with another prediction within radius (found)",
        "critical_sample_sweeps": "sweeps of the search until nothing new was found",
        "clean_accuracy": "accuracy on the training examples without noise",
        "corrupted_accuracy": "accuracy on the noisy training examples, labels as trained on",
        "corrupted_true_accuracy": "accuracy on the noisy training examples, their true labels",
        "converged_epoch": "epoch of the first snapshot whose train accuracy was the target",
        "convergence_censored": "1 while the target was not reached, else 0",
        "sensitivity_mean": "mean over inputs of |d loss after t steps / d input|_1",
        "sensitivity_gini": "Gini coefficient of it over inputs; 0 all equal",
    },
    options={
        "set": choice("test", ("test", "train")),
        "examples": whole(256, 1, 1_000_000),
        "radius": number(0.01, lambda v: 0 < v <= 1, "a number like 0.01, of the data's range"),
        "iterations": whole(100, 0, 10_000),
        "patience": whole(5, 1, 10_000),
        "target": number(1.0, lambda v: 0 < v <= 1, "an accuracy like 1.0"),
        "sensitivity": flag(False),
        "sensitivity_class": flag(False),
        "sensitivity_examples": whole(256, 2, 100_000),
        "steps": whole(50, 1, 10_000),
        "every": whole(10, 1, 10_000),
    },
    cost=_cost,
    steady=_steady,
    rows=lambda options, sizes: Rows(
        curves=options["sensitivity"] * options["sensitivity_class"] * sizes.classes**2),
    curves={"sensitivity_class": "the same of the part of the loss from class a: series a, over "
                                 "inputs of class x"},
)
