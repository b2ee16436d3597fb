"""The Hessian's top eigenpairs along a run's path."""

from typing import TYPE_CHECKING

from trainables import monitors
from trainables.costs import GE_PRODUCT
from trainables.lanczos import Eigenpairs, extreme_eigenpairs

if TYPE_CHECKING:
    from trainables.probe import Probe

START_VECTORS = 2
# The lower end of the spectrum is dense: there a tighter bound costs more products than all the
# other values together, and what is asked of lambda_min is its sign and size beside lambda_max.
LOOSER_BELOW = 10


def hessian_eigenpairs(probe: "Probe") -> Eigenpairs:
    """As many as the most demanding monitor wants, by the options of ``spectrum``; 2 GE each."""
    chosen = dict(probe.pack.measure["monitors"])
    options = chosen.get("spectrum") or monitors.find(
        "spectrum", probe.pack.base_dir).resolve({"lambda_min": False, "trace": False})
    wanted = max([options["k"], *(o.get("k", 0) for o in chosen.values())])
    pairs = extreme_eigenpairs(
        probe.curvature.product, probe.normals("spectrum", START_VECTORS), k=wanted,
        smallest=options["lambda_min"], tolerance=options["tolerance"],
        max_products=options["max_products"],
        smallest_tolerance=min(0.5, LOOSER_BELOW * options["tolerance"]))
    probe.spend(GE_PRODUCT * pairs.products.double().cpu())
    return pairs
