"""Runs into packs: equal data, model, batch size and length; widths from the ladder 1, 2, 4, …"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# What may differ between the members of a pack; everything else in their configs is shared.
_OWN = (("train", "lr"), ("train", "momentum"), ("train", "weight_decay"),
        ("train", "fisher_penalty"), ("noise", "label"), ("noise", "input"), ("noise", "gradient"))

_SCALARS = ("beta1", "beta2", "epsilon", "gamma")  # of the optimiser, likewise


@dataclass(frozen=True)
class Run:
    """One SGD trajectory: its id and its whole config."""

    run_id: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class PackPlan:
    """The members of one pack, its width (padding included) and its engine."""

    pack_id: str
    members: tuple[Run, ...]
    width: int
    engine: str


def group_key(config: Mapping[str, Any]) -> str:
    """Equal for runs that may share a pack."""
    shared = {k: dict(v) if isinstance(v, Mapping) else v for k, v in config.items() if k != "seed"}
    for section, key in _OWN:
        shared[section].pop(key, None)
    if optimizer := shared["train"].get("optimizer"):
        shared["train"]["optimizer"] = {k: v for k, v in optimizer.items() if k not in _SCALARS}
    return json.dumps(shared, sort_keys=True)


def group(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs by ``group_key``, in the order in which they come."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(group_key(run.config), []).append(run)
    return list(groups.values())


def cut(members: Sequence[Run], limit: int, engine: str) -> list[PackPlan]:
    """A group into packs of at most ``limit``; the last is padded to the next rung only."""
    top = rung(limit) if rung(limit) == limit else rung(limit) // 2
    pieces = [tuple(members[a : a + top]) for a in range(0, len(members), top)]
    return [PackPlan(pack_id(p, rung(len(p)), engine), p, rung(len(p)), engine) for p in pieces]


def rung(count: int) -> int:
    """The smallest power of two that is at least ``count``."""
    return 1 << (count - 1).bit_length()


def pack_id(members: Sequence[Run], width: int, engine: str) -> str:
    """First 16 hex digits of the SHA-256 over members, width and engine."""
    text = json.dumps([[m.run_id for m in members], width, engine])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
