"""Probes of the loss landscape around finished runs, from their saved weights. One file a kind.

A probe is a function ``(subject, options) -> [(quantity, Curve), …]`` that reads the weights and
configs of none, one, two or several runs of one data set and model. Its curves hold one run (R = 1)
and are functions of the subject and the options alone: the same numbers twice. This file has names,
options, quantities and costs only: planning imports no torch.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.errors import InputError
from trainables.monitors import Sizes
from trainables.options import Option, Table, choice, did_you_mean, fill, number, optional, whole

if TYPE_CHECKING:
    import torch

    from trainables.curves import Curve
    from trainables.datasets import Dataset

# Points a side of the grids on the triangles of a connector's centre.
CENTRE_ORDER = 5
ARITIES = {"none": (0, 0), "one": (1, 1), "two": (2, 2), "several": (2, 16)}


@dataclass(frozen=True)
class Subject:
    """What a probe reads. ``configs`` and ``weights`` (state_dicts of the plain models, as
    ``measure.final_weights`` gives them) are in the order of the runs that the probe names.

    The landscape is that of the first run: its model, loss, precision and training set, noise
    included. ``seed`` is the probe's own. Without runs, ``data`` is None.
    """

    configs: "tuple[Mapping[str, Any], ...]"
    weights: "tuple[Mapping[str, torch.Tensor], ...]"
    data: "Dataset | None"
    seed: int
    device: "torch.device"
    base_dir: Path  # where the user's own models are looked for


@dataclass(frozen=True)
class ProbeKind:
    """The declaration of one kind of probe. ``function`` is ``module:function``.

    ``cost(options, sizes, runs)``: gradient equivalents, one being a gradient of one point over the
    whole training set. ``weights``: whether it reads the runs' weights, or their configs only.
    """

    name: str
    function: str
    options: Table
    arity: str  # a key of ARITIES
    quantities: Mapping[str, str]  # quantity of curves -> x and value, in words
    cost: Callable[[Mapping[str, Any], Sizes, int], float]
    weights: bool = True

    def resolve(self, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """All options, defaults filled in. InputError for what is unknown or out of range."""
        return fill(options or {}, self.options, section=f"probes.{self.name}",
                    subject=f"probe {self.name}")

    def accepts(self, runs: int) -> bool:
        """Whether one probe of this kind may read that many runs."""
        least, most = ARITIES[self.arity]
        return least <= runs <= most


def find(name: Any) -> ProbeKind:
    """The kind of that name; InputError if there is none."""
    if not isinstance(name, str) or name not in PROBES:
        raise InputError(f"unknown probe {name!r}", key="probes",
                         fix=did_you_mean(name, PROBES, "probes"))
    return PROBES[name]


def run(kind: str, subject: Subject, options: Mapping[str, Any]) -> "list[tuple[str, Curve]]":
    """What the probe finds; ``options`` are resolved first."""
    declared = find(kind)
    if not declared.accepts(len(subject.configs)):
        raise InputError(f"probe {kind} cannot read {len(subject.configs)} runs",
                         key=f"probes.{kind}", fix=f"name {declared.arity}")
    module, _, function = declared.function.partition(":")
    return getattr(importlib.import_module(module), function)(subject, declared.resolve(options))


def _wholes(*default: int) -> Option:
    """A list of positive integers, ascending, each once."""
    def accepts(value: Any) -> bool:
        return isinstance(value, list | tuple) and bool(value) and all(
            isinstance(v, int) and not isinstance(v, bool) and v >= 1 for v in value)

    return Option(list(default), accepts, "a list of whole numbers from 1 on",
                  lambda value: sorted(set(value)))


def _positive(default: float, most: float = float("inf")) -> Option:
    return number(default, lambda v: 0 < v <= most,
                  "a positive number" + (f" up to {most:g}" if most < float("inf") else ""))


def _positives(*default: float) -> Option:
    """A list of positive numbers, ascending, each once."""
    one = _positive(1.0)

    def accepts(value: Any) -> bool:
        return isinstance(value, list | tuple) and bool(value) and all(map(one.accepts, value))

    return Option(list(default), accepts, "a list of positive numbers",
                  lambda value: sorted(set(map(float, value))))


def _evaluations(points: float, sizes: Sizes) -> float:
    """GE of the losses of that many points on the training and the test set."""
    return points * (sizes.train + sizes.test) / (3 * sizes.train)


def _interpolation_cost(o: Mapping[str, Any], sizes: Sizes, runs: int) -> float:  # noqa: ARG001
    return _evaluations(o["points"], sizes) + 40 / 3


def _connector_cost(o: Mapping[str, Any], sizes: Sizes, runs: int) -> float:
    pairs = runs * (runs - 1) // 2
    share = min(1.0, (o["batch_size"] or sizes.train) / sizes.train)
    curves = pairs + (1 if runs > 2 else 0)
    grid = (CENTRE_ORDER + 1) * (CENTRE_ORDER + 2) // 2
    points = 2 * o["points"] * pairs
    if runs > 2:
        points += 2 * (1 + pairs * (o["bends"] + 1) * grid)
    return curves * o["steps"] * o["positions"] * share + _evaluations(points, sizes)


def _tunnels_cost(o: Mapping[str, Any], sizes: Sizes, runs: int) -> float:  # noqa: ARG001
    return 4 * o["directions"] * (o["points"] + o["bisections"]) / 3 + _evaluations(2, sizes)


def _subspace_cost(o: Mapping[str, Any], sizes: Sizes, runs: int) -> float:  # noqa: ARG001
    share = min(1.0, (o["batch_size"] or sizes.train) / sizes.train)
    cuts = o["draws"] * len(o["dims"])
    products = 2 * o["dims"][-1] / (3 * sizes.train)  # with M and Mᵀ, of a dense net
    return cuts * (o["steps"] * (share + products) + _evaluations(1, sizes))


def _first_epoch_cost(o: Mapping[str, Any], sizes: Sizes, runs: int) -> float:  # noqa: ARG001
    return o["seeds"] * (1 + min(o["examples"], sizes.train) / (3 * sizes.train))


PROBES: dict[str, ProbeKind] = {kind.name: kind for kind in (
    ProbeKind(
        "interpolation", "trainables.landscape.interpolation:probe",
        {"points": whole(61, 4, 10_001),
         "low": number(-1.0, lambda v: v < 0, "a number below 0"),
         "high": number(2.0, lambda v: v > 1, "a number above 1"),
         "rise": _positive(0.5)},
        "two",
        {"interpolation_loss": "alpha; L((1-alpha) a + alpha b), series train, test",
         "interpolation_accuracy": "alpha; accuracy there, series train, test",
         "interpolation_barrier": "alpha of the largest loss in [0, 1]; that loss less the larger "
                                  "end's, series train, test",
         "interpolation_half_width": "rise; change of alpha from an end at which the training loss "
                                     "is that much above the end's, series first_out, first_in, "
                                     "second_in, second_out (with _at_least: not reached)",
         "interpolation_norm": "alpha of an end; norm of its parameters",
         "interpolation_distance": "1; norm of b - a"},
        _interpolation_cost),
    ProbeKind(
        "connector", "trainables.landscape.connector:probe",
        {"bends": whole(1, 1, 16), "steps": whole(500, 1, 1_000_000), "lr": _positive(0.01),
         "batch_size": optional(whole(128)), "positions": whole(4, 1, 1024),
         "points": whole(31, 3, 10_001)},
        "several",
        {"connector_loss": "position in [0, 1]; loss on the path, series such as linear_0-1_train "
                           "and bent_0-1_test (runs numbered in the order given)",
         "connector_accuracy": "position in [0, 1]; accuracy on the path, the same series",
         "connector_barrier": "position of the largest loss; that loss less the larger end's, "
                              "the same series",
         "connector_bend": "bend; its distance from the straight line / length of the line, "
                           "series 0-1, …",
         "connector_centre_loss": "0 before, 1 after optimising; loss at the centroid of all "
                                  "bends, series train, test (three runs or more)",
         "connector_centre_barrier": "0 before, 1 after; largest loss on the triangles between the "
                                     "centre and the paths, less the largest of the runs', "
                                     "series train, test (three runs or more)"},
        _connector_cost),
    ProbeKind(
        "tunnels", "trainables.landscape.tunnels:probe",
        {"directions": whole(20, 1, 10_000), "points": whole(33, 3, 10_001),
         "angle": _positive(1.5707963267948966, 3.141592653589793), "reach": _positive(2.0),
         "bisections": whole(10, 0, 60), "threshold": optional(_positive(0.5))},
        "one",
        {"tunnel_loss": "angle, or distance / norm of the parameters; training loss along random "
                        "orthogonal directions: series such as angular_plain_median, "
                        "straight_filter_lower, _upper (quartiles over directions)",
         "tunnel_width": "probability; quantile over directions of the smallest angle (distance / "
                         "norm) at which the loss is above the threshold, series angular_plain, …",
         "tunnel_widths": "direction; its width, the same series",
         "tunnel_open": "end of the scan; share of directions that stayed below the threshold",
         "tunnel_threshold": "norm of the parameters; the threshold"},
        _tunnels_cost),
    ProbeKind(
        "subspace", "trainables.landscape.subspace:probe",
        {"dims": _wholes(5, 10, 30, 100, 300, 1000), "draws": whole(1, 1, 1000),
         "steps": whole(400, 1, 1_000_000), "optimizer": choice("adam", ("adam", "sgd")),
         "lr": _positive(0.05), "momentum": number(0.9, lambda v: 0 <= v < 1, "a number in [0, 1)"),
         "batch_size": optional(whole(None)), "origin": choice("initial", ("initial", "final")),
         "distance": number(0.0, lambda v: v >= 0, "a number from 0 on"),
         "basis": choice("auto", ("auto", "dense", "hartley"))},
        "one",
        {"subspace_train_loss": "dimension; training loss after training in a random subspace, "
                                "series draw_0, …; series run: the finished run itself, x = P",
         "subspace_test_accuracy": "dimension; test accuracy there, the same series"},
        _subspace_cost),
    ProbeKind(
        "first_epoch", "trainables.landscape.first_epoch:probe",
        {"seeds": whole(30, 2, 10_000), "examples": whole(300, 2), "draws": whole(1000, 10, 10**6)},
        "one",
        {"first_epoch_error": "rank / examples; share of seeds that misclassify the example after "
                              "one epoch, ascending",
         "first_epoch_null": "rank / examples; the same of Binomial draws, series q05, q50, q95",
         "first_epoch_dispersion": "seeds that count; Var(p) / (mean p (1 - mean p) / seeds)",
         "first_epoch_dispersion_null": "probability; quantile of that of Binomial draws",
         "first_epoch_dispersion_z": "seeds that count; (dispersion - mean) / sd of the draws"},
        _first_epoch_cost, weights=False),
    ProbeKind(
        "wedge", "trainables.landscape.wedge:probe",
        {"dimension": whole(100, 2, 500), "wedge": _wholes(20, 50, 80), "wedges": whole(1, 1, 100),
         "draws": whole(10, 1, 10_000), "steps": whole(300, 1, 100_000),
         "tolerance": _positive(0.01, 1.0)},
        "none",
        {"wedge_loss": "dimension of the cut; mean over draws of the loss there / that of its "
                       "origin, series such as least_20 and found_20 (n = 20)",
         "wedge_threshold": "n; smallest dimension of the cut with a loss below the tolerance, "
                            "series least, found, theory (D - n)"},
        lambda *_: 0.0, weights=False),
    ProbeKind(
        "quadratic", "trainables.landscape.quadratic:probe",
        {"lr": _positives(0.05, 0.2, 0.4), "batch_size": _wholes(4, 16),
         "dimension": whole(20, 1, 10_000), "lowest": _positive(0.1), "highest": _positive(4.0),
         "chains": whole(1000, 2, 1_000_000), "steps": whole(500, 1, 10**7)},
        "none",
        {"quadratic_excess": "eta; stationary excess loss, series measured_4, exact_4, sde_4 (S = "
                             "4), …; no eta at which the quadratic is unstable",
         "quadratic_error": "eta; standard error of the measured one, series 4, … (S)",
         "quadratic_z": "eta; (measured - exact) / that error, series 4, … (S)"},
        lambda *_: 0.0, weights=False),
    ProbeKind(
        "break_even", "trainables.landscape.break_even:probe",
        {"lr": _positives(0.05, 0.1, 0.2), "batch_size": _wholes(1, 2, 4, 12),
         "examples": whole(12, 2, 10_000), "curvature": _positive(10.0), "alpha": _positive(1.0),
         "draws": whole(10_000, 2, 10**7)},
        "none",
        {"break_even_growth": "eta; mean of psi(t+1)^2 / psi(t)^2, series measured_4, predicted_4 "
                              "(S = 4), …",
         "break_even_error": "eta; standard error of the measured one, 0 where it is over all "
                             "minibatches, series 4, … (S)",
         "break_even_curvature": "eta; curvature at which the growth is 1, series found_4, "
                                 "predicted_4 (S = 4), …"},
        lambda *_: 0.0, weights=False),
    ProbeKind(
        "noise_estimators", "trainables.landscape.noise_estimators:probe",
        {"small": _wholes(1, 4), "big": _wholes(16, 64), "examples": whole(200, 2, 100_000),
         "dimension": whole(10, 1, 10_000), "draws": whole(20_000, 2, 10**7)},
        "none",
        {"noise_estimator_trace": "B_big; mean of the estimates of Tr Sigma and its exact value, "
                                  "series with_replacement_4_mean, without_replacement_4_exact "
                                  "(B_small = 4), …",
         "noise_estimator_gradient": "B_big; the same of |G|^2",
         "noise_estimator_scale": "B_big; the ratio of the two, of the means and exact",
         "noise_estimator_z": "B_big; (mean - exact) / standard error, series "
                              "trace_with_replacement_4, gradient_without_replacement_4, …"},
        lambda *_: 0.0, weights=False),
)}
