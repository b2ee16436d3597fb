"""What a sweep was made to ask: the claims that its spec lists, or the law of η/S.

The first claim that is listed says what a sweep is about. One of ``LAWS``, or none at all, makes
it a sweep about the law of η/S: the fit leads. Any other makes it one about its claims: they lead,
with the figures that show their paper's quantities, and the fit follows.
"""

from collections.abc import Sequence

from analysis.claims.claim import Judged, Verdict

LAWS = frozenset(f"three_factors/{name}" for name in (
    "ratio_law", "sharpness_falls", "sharpness_falls_at_equal_loss", "equal_ratios_coincide"))
# paper, or one of its claims -> the figures that show what it is about, first to last
FIGURES = {
    "memorization": ("noise", "memorization", "first-epoch"),
    "three_factors": ("collapse",),
    "three_factors/sharpness_falls_at_equal_loss": ("matched",),
    "three_factors/memorization_costs_less": ("memorization",),
    "three_factors/wider_on_the_line": ("interpolation",),
    "break_even": ("break-even",),
    "linear_scaling": ("trajectories", "accuracy"),
    "early_steering": ("steering",),
    "sharpest": ("sharpest", "one-direction", "eigenvalues"),
    "wedges": ("tunnels", "subspace", "connector", "interpolation", "wedge"),
    "edge_of_stability": ("edge", "adam-edge"),
    "stochastic_stability": ("stochastic-edge",),
    "catapult": ("catapult",),
    "stiffness": ("stiffness",),
    "noise_scale": ("batches", "noise-scale"),
    "fisher": ("fisher", "memorization"),
}


def leading(judged: Sequence[Judged]) -> tuple[Judged, ...]:
    """The listed claims, in the spec's order, where they lead; empty where the law does: without a
    list, with a law of η/S first in it, or where none of the list can be tested."""
    listed = tuple(one for one in judged if one.listed)
    about_law = not listed or listed[0].claim.id in LAWS
    tested = any(one.verdict is not Verdict.UNTESTED for one in listed)
    return () if about_law or not tested else listed


def figures(lead: Sequence[Judged]) -> tuple[str, ...]:
    """The names of the figures that show what the claims are about."""
    found = [FIGURES.get(one.claim.id, FIGURES.get(one.claim.id.partition("/")[0], ()))
             for one in lead]
    return tuple(dict.fromkeys(name for names in found for name in names))
