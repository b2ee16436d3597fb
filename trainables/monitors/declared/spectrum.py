"""The spectrum of the Hessian: declaration, and what it costs."""

from collections.abc import Mapping
from math import log10
from typing import Any

from trainables.costs import GE_GRADIENT, GE_PRODUCT
from trainables.monitors import Monitor, Sizes
from trainables.options import flag, number, whole

GE_GAUSS_NEWTON = 4 / 3  # a product
FIXED = 1e-12  # the tolerance at which every search goes on to max_products
TYPICAL_PROBES, TYPICAL_PROBES_OF_NORM = 4, 5


def ge(options: Mapping[str, Any], sizes: Sizes) -> float:  # noqa: ARG001
    """GE a snapshot, beside the gradient: 2 a product with H, 4/3 with the Gauss-Newton matrix.

    Products vary with the run and the step: these are typical ones (see ``products``), exact where
    ``steady`` fixed them.
    """
    probes = _probes(options)
    of_hessian = products(options)
    of_hessian += probes if options["trace"] or options["frobenius"] else 0
    of_hessian += options["density"] * options["density_starts"]
    top = products({**options, "k": 1, "lambda_min": False})
    of_hessian += top * (options["normalized"] + options["preconditioned"])
    spent = GE_PRODUCT * of_hessian
    if options["gauss_newton"]:
        pairs = products({**options, "lambda_min": False})
        spent += GE_GRADIENT + GE_GAUSS_NEWTON * (pairs + _probes({**options, "frobenius": False}))
    return spent


def products(options: Mapping[str, Any]) -> int:
    """Products of a search: a fit to what digits MLPs take after the first epoch.

    To a third: fewer with cross-entropy, more with mse, whose search begins from two vectors. Two
    to three times as many in the first epoch of cross-entropy, k + 1 where one is followed.
    """
    most = options["max_products"]
    if options["tolerance"] <= FIXED:
        return most
    digits = -log10(options["tolerance"])
    typical = 2 * options["k"] + 4 * digits
    if options["lambda_min"]:
        typical = max(typical, 9 * digits)
    return min(most, round(typical))


def _probes(options: Mapping[str, Any]) -> int:
    if options["trace_tolerance"] == 0:
        return options["trace_probes"]
    typical = TYPICAL_PROBES_OF_NORM if options["frobenius"] else TYPICAL_PROBES
    return min(typical, options["trace_probes"])


def steady(options: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:  # noqa: ARG001
    """As many products and probes as are typical, whatever they achieve.

    Spends what ``ge`` says, or less where the model has fewer parameters than that.
    """
    return {**options, "tolerance": FIXED, "max_products": products(options),
            "trace_tolerance": 0.0, "trace_probes": _probes(options)}


MONITOR = Monitor(
    "spectrum",
    "trainables.monitors.spectrum:measure",
    columns={
        "hessian_lambda_max": "largest algebraic eigenvalue of the Hessian",
        "hessian_lambda_max_bound": "how far above it the true one may lie, but for the doubt "
                                    "told in docs/quantities.md",
        "hessian_followed": "snapshots in a row for which eigenvalues were followed; 0 where they "
                            "were sought anew",
        "hessian_lambda_min": "smallest algebraic eigenvalue, whatever its sign",
        "hessian_lambda_min_bound": "how far below it the true one may lie, likewise",
        "hessian_trace": "trace of the Hessian",
        "hessian_trace_se": "its standard error; 0 where exact",
        "hessian_frobenius": "Frobenius norm of the Hessian",
        "hessian_frobenius_se": "its standard error; 0 where exact",
        "hessian_products": "Hessian-vector products spent",
        "gauss_newton_lambda_max": "largest eigenvalue of the generalised Gauss-Newton matrix",
        "gauss_newton_trace": "its trace",
        "gauss_newton_trace_se": "standard error of that; 0 where exact",
        "gauss_newton_products": "products with it spent",
        "normalized_sharpness": "largest eigenvalue of D H D, D = diag(|theta|): unchanged when "
                                "ReLU layers are rescaled",
        "preconditioned_lambda_max": "largest eigenvalue of P^-1 H, P Adam's preconditioner",
    },
    options={
        "k": whole(5, 1, 1000),
        "lambda_min": flag(True),
        "trace": flag(True),
        "tolerance": number(
            1e-3, lambda v: FIXED <= v < 1, "a number like 1e-3, relative to lambda_max"),
        "max_products": whole(100, 1, 10_000),
        "doubt": number(0.01, lambda v: 1e-9 <= v <= 1, "a probability like 0.01"),
        "trace_tolerance": number(
            0.05, lambda v: 0 <= v < 1, "a number like 0.05, relative; 0: all probes"),
        "trace_probes": whole(16, 2, 1000),
        "frobenius": flag(False),
        "density": whole(0, 0, 1000),
        "density_starts": whole(4, 1, 100),
        "density_width": number(
            0.01, lambda v: 1e-4 <= v <= 1, "a number like 0.01, relative to the spectrum's width"),
        "gauss_newton": flag(False),
        "normalized": flag(False),
        "preconditioned": flag(False),
    },
    cost=ge,
    steady=steady,
    spectra={
        "hessian": "the Hessian of the mean loss on the measurement set",
        "gauss_newton": "its generalised Gauss-Newton part, (1/n) sum J^T (d2 loss/d outputs^2) J",
        "normalized_hessian": "D H D, D = diag(|theta|); the largest eigenvalue alone",
        "preconditioned_hessian": "P^-1 H, P Adam's preconditioner; the largest eigenvalue alone",
    },
    curves={
        "hessian_density": "spectral density, of integral 1, against the eigenvalue",
        "hessian_density_se": "its standard error over the random starts",
        "hessian_density_nodes": "weights of the quadrature's nodes, of sum 1 a start (series)",
    },
)
