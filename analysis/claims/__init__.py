"""The papers' claims, each judged on a sweep's own tables. One file a paper; docs/claims.md lists
them. This file has their names alone: reading a spec imports nothing heavy.

A claim of the user's own is a function of (sweep, options) with a few attributes (own.py).
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.claims.claim import Claim

# paper (its file) -> its claims, in the order in which they are told
CONTENTS: Mapping[str, tuple[str, ...]] = {
    "memorization": (
        "easy_and_hard", "sensitivity_is_unequal", "fits_patterns_first", "critical_samples_grow",
        "noise_costs_accuracy", "noise_takes_longer_with_size", "dropout_hinders_memorizing",
    ),
    "three_factors": (
        "ratio_law", "sharpness_falls", "sharpness_falls_at_equal_loss", "equal_ratios_coincide",
        "excess_loss_on_a_quadratic", "memorization_costs_less", "wider_on_the_line",
    ),
    "break_even": (
        "peaks_fall", "noise_falls", "conditioning_improves", "curvature_moves_with_noise",
        "dynamics_along_the_sharpest", "breaks_even_early", "peak_is_bounded",
        "batch_norm_is_not_enough",
    ),
    "linear_scaling": (
        "critical_factor_grows", "momentum_enters_the_noise_scale", "schedules_interchange",
    ),
    "early_steering": (
        "curvature_is_decided_early", "curvature_remembers_the_start", "accuracy_is_decided_early",
    ),
    "sharpest": (
        "rises_then_falls", "peak_falls", "overshoots", "aligned", "nudged_is_sharper",
        "nudged_is_no_worse",
    ),
    "wedges": ("cuts", "connectors", "tunnels_widen", "toy_threshold"),
    "edge_of_stability": ("hovers", "adam_hovers"),
    "stochastic_stability": ("sharpness_grows_with_batch", "batch_sharpness_hovers"),
    "catapult": ("catapult",),
    "stiffness": (
        "classes_are_stiff", "falls_with_distance", "critical_length_falls_with_rate",
        "fades_when_overfitting",
    ),
    "noise_scale": ("two_batches_are_unbiased", "grows", "steps_and_examples_trade"),
    "fisher": ("early_trace_falls", "penalty_slows_noisy"),
}
NAMES = tuple(f"{paper}/{name}" for paper, names in CONTENTS.items() for name in names)


@cache
def known() -> "Mapping[str, Claim]":
    """id -> claim, in the order of ``NAMES``."""
    found = {}
    for paper in CONTENTS:
        module = import_module(f"analysis.claims.{paper}")
        found |= {getattr(c, "id", ""): c for c in vars(module).values()}
    return {name: found[name] for name in NAMES}
