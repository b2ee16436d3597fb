"""A run's config as columns of the table ``runs``."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trainables import monitors
from trainables.errors import InputError

# Config values with a column of their own; every other one is config_<section>_<key>.
_NAMED = {
    ("train", "lr"): "lr", ("train", "batch_size"): "batch_size",
    ("train", "momentum"): "momentum", ("train", "weight_decay"): "weight_decay",
    ("noise", "label"): "label_noise", ("noise", "input"): "input_noise",
    ("noise", "gradient"): "gradient_noise", ("seed",): "seed", ("precision",): "precision",
}


def identity_columns(config: Mapping[str, Any]) -> dict[str, Any]:
    """All config columns of one run, with its ratio and effective ratio."""
    columns = {_NAMED.get(path) or "config_" + "_".join(path): value
               for path, value in _leaves(config)}
    lr, batch = columns["lr"], columns["batch_size"]
    # To ten digits (lr has twelve), so that equal ratios are equal numbers to a groupby.
    columns["ratio"] = float(f"{lr / batch:.10g}")
    columns["effective_ratio"] = float(f"{lr / (batch * (1 - columns['momentum'])):.10g}")
    return columns


def column(path: str) -> str:
    """The column of a dotted scalar: train.lr -> lr, model.width -> config_model_width."""
    parts = tuple(path.split("."))
    return _NAMED.get(parts) or "config_" + "_".join(parts)


def config_types(configs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """config_… column -> "int" | "float" | "str" | "bool", over all runs of a sweep."""
    kinds: dict[str, set[str]] = {}
    # Runs share sections; by value, so that an id stays taken while it is known.
    sections = {(n, id(v)): (n, v) for config in configs for n, v in config.items()}
    for name, section in sections.values():
        for path, value in _leaves({name: section}):
            if path not in _NAMED:
                found = kinds.setdefault("config_" + "_".join(path), set())
                if value is not None:
                    found.add(type(value).__name__)
    return {n: _common(k) for n, k in kinds.items()}


def monitor_columns(chosen: Iterable[tuple[str, Any]], base_dir: Path) -> dict[str, str]:
    """Column -> unit of all monitors of a spec.

    InputError where two have one in common, or an operator of ``spectra`` or a curve.
    """
    found: dict[str, str] = {}
    owner: dict[tuple[str, str], str] = {}
    every = [(name, monitors.find(name, base_dir)) for name, _ in chosen]
    if any(m.base_dir is not None for _, m in every):  # ours are not called like a base column
        from analysis.schema import base_columns

        owner = {("columns", c): "every snapshot" for c in base_columns("snapshots")}
    for i, (name, monitor) in enumerate(every):
        for kind in ("columns", "spectra", "curves"):
            for one in getattr(monitor, kind):
                if (kind, one) in owner:
                    raise InputError(f"{name} measures `{one}`, and so does {owner[kind, one]}",
                                     key=f"measure.monitors.{i}", fix="rename the column")
                owner[kind, one] = name
        found |= monitor.columns
    return found


def _common(kinds: set[str]) -> str:
    if kinds == {"int", "float"}:
        return "float"
    return kinds.pop() if len(kinds) == 1 else "str"


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterable[tuple[tuple, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, key))
        elif isinstance(value, list | tuple | Mapping):
            yield (*path, key), json.dumps(value, sort_keys=True)
        else:
            yield (*path, key), value
