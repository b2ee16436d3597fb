"""The monitors: what can be measured of a run at a step. One file a family.

A monitor is a function ``(probe, options) -> {column: (R,) tensor}`` of a ``probe.Probe``. A value
of shape (R, k) goes to the table ``spectra`` under that operator's name, with indices 1…k. This
module knows names, options and columns only, so that planning does not import torch.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainables.options import Table, fill, flag, number, whole


@dataclass(frozen=True)
class Monitor:
    """A monitor's declaration. ``module`` holds its function ``measure``."""

    name: str
    module: str
    columns: Mapping[str, str]  # column of snapshots -> unit
    options: Table
    typical_ge: float  # gradient equivalents of one snapshot, beside the shared gradient

    def resolve(self, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """All options, defaults filled in. InputError for what is unknown or out of range."""
        return fill(options or {}, self.options, section=f"measure.monitors.{self.name}",
                    subject=f"monitor {self.name}")

    def measure(self, probe: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of this snapshot for the probe's runs."""
        return importlib.import_module(self.module).measure(probe, options)


MONITORS: Mapping[str, Monitor] = {
    m.name: m
    for m in (
        Monitor(
            "spectrum",
            "trainables.monitors.spectrum",
            columns={
                "hessian_lambda_max": "largest algebraic eigenvalue of the Hessian",
                "hessian_lambda_max_bound": "its error bound; exceeded with probability 1e-3",
                "hessian_lambda_min": "smallest algebraic eigenvalue, whatever its sign",
                "hessian_trace": "trace of the Hessian",
                "hessian_trace_se": "its standard error; 0 where exact",
                "hessian_products": "Hessian-vector products spent",
            },
            options={
                "k": whole(5, 1, 1000),
                "lambda_min": flag(True),
                "trace": flag(True),
                "tolerance": number(
                    1e-3, lambda v: 1e-12 <= v < 1, "a number like 1e-3, relative to lambda_max"),
                "max_products": whole(100, 1, 10_000),
            },
            typical_ge=70.0,  # 2 a product: about 27 for the eigenvalues, 8 for the trace
        ),
    )
}
