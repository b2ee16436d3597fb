"""The monitors: what can be measured of a run at a step. One file a family.

A monitor is a function ``(probe, options) -> {column: (R,) tensor}`` of a ``probe.Probe``. A value
of shape (R, k) goes to the table ``spectra`` under that operator's name, with indices 1…k. This
module knows names, options and columns only, so that planning does not import torch.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from trainables.errors import InputError


@dataclass(frozen=True)
class Option:
    """One option of a monitor: its default, and what is accepted."""

    default: Any
    accepts: Callable[[Any], bool]
    wanted: str


@dataclass(frozen=True)
class Monitor:
    """A monitor's declaration. ``module`` holds its function ``measure``."""

    name: str
    module: str
    columns: Mapping[str, str]  # column of snapshots -> unit
    options: Mapping[str, Option]
    typical_ge: float  # gradient equivalents of one snapshot, beside the shared gradient

    def resolve(self, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """All options, defaults filled in. InputError for what is unknown or out of range."""
        given, key = dict(options or {}), f"measure.monitors.{self.name}"
        for name, value in given.items():
            if name not in self.options:
                near = get_close_matches(name, self.options, 1)
                hint = f"did you mean `{near[0]}`? " if near else ""
                raise InputError(f"monitor {self.name} has no option `{name}`", key=key,
                                 fix=f"{hint}options: {', '.join(self.options)}")
            if not self.options[name].accepts(value):
                raise InputError(f"{self.name}.{name} is {value!r}", key=key,
                                 fix=f"write {self.options[name].wanted}")
        return {n: given.get(n, o.default) for n, o in self.options.items()}

    def measure(self, probe: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of this snapshot for the probe's runs."""
        return importlib.import_module(self.module).measure(probe, options)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1000


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _tolerance(value: Any) -> bool:
    return isinstance(value, float) and 1e-12 <= value < 1


MONITORS: Mapping[str, Monitor] = {
    m.name: m
    for m in (
        Monitor(
            "spectrum",
            "trainables.monitors.spectrum",
            columns={
                "hessian_lambda_max": "largest algebraic eigenvalue of the Hessian",
                "hessian_lambda_max_bound": "error bound of hessian_lambda_max, by its residual",
                "hessian_lambda_min": "smallest algebraic eigenvalue, whatever its sign",
                "hessian_trace": "trace of the Hessian",
                "hessian_trace_se": "its standard error; 0 where exact",
                "hessian_products": "Hessian-vector products spent",
            },
            options={
                "k": Option(5, _whole, "a whole number of eigenvalues from 1"),
                "lambda_min": Option(True, _flag, "true or false"),
                "trace": Option(True, _flag, "true or false"),
                "tolerance": Option(1e-3, _tolerance, "a number like 1e-3, relative to lambda_max"),
                "max_products": Option(100, _whole, "a whole number from 1 to 1000"),
            },
            typical_ge=70.0,  # 2 a product: about 27 for the eigenvalues, 8 for the trace
        ),
    )
}
