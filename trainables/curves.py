"""What is measured as a function of something: rows of the table ``curves``."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Curve:
    """One quantity along x, for each of R runs: a row (series, index, x, value) a point.

    ``value`` (R, n); ``x`` (n,) or (R, n). ``series`` tells apart the curves of one quantity, such
    as "within" and "between"; a matrix is one series a row. ``index`` counts the points from 0. A
    point whose value is NaN gives no row.
    """

    x: Tensor
    value: Tensor
    series: str = ""

    def rows(self, run: int) -> list[dict]:
        """The points of one run."""
        x, value = self.x.double().cpu(), self.value[run].double().cpu()
        x = torch.broadcast_to(x if x.dim() == 1 else x[run], value.shape)
        return [{"series": self.series, "index": i, "x": a, "value": v}
                for i, (a, v) in enumerate(zip(x.tolist(), value.tolist(), strict=True))
                if v == v]
