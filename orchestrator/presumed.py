"""Data that are not on this machine, presumed to be as their name says: for costs, never for runs.

The sizes and shapes are those that the sets were published with.
"""

from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from trainables.datasets import DataInfo, describe
from trainables.errors import AbsentError

# name -> examples for training and for testing, shape of one, classes
SETS: dict[str, tuple[int, int, tuple[int, ...], int]] = {
    "fashion_mnist": (60_000, 10_000, (1, 28, 28), 10),
    "mnist": (60_000, 10_000, (1, 28, 28), 10),
    "cifar100": (50_000, 10_000, (3, 32, 32), 100),
    "cifar10": (50_000, 10_000, (3, 32, 32), 10),
    "svhn": (73_257, 26_032, (3, 32, 32), 10),
}


@dataclass(frozen=True)
class Presumed(DataInfo):
    """``like``: the set whose shape was taken. ``absent``: what is missing; ``fix``: how to get it.
    """

    like: str
    absent: str
    fix: str

    def of_size(self, train_size: int) -> "Presumed":
        """The same data with that many examples for training."""
        return replace(self, train_size=train_size)


def presumed(spec: Any) -> Presumed | None:
    """What is presumed of the data; None where they are here, or nothing is known of them.

    Nothing is downloaded. A file is known by a set's name in its own, like mnist10k.npz.
    """
    data = {**spec.data, **({"download": False} if "download" in spec.data else {})}
    like = _like(data)
    if like is None:
        return None
    try:
        describe(data, spec.base_dir)
    except AbsentError as error:
        train, test, shape, classes = SETS[like]
        named = data["name"] == like
        fix = "get it with -s data.download=true" if named else error.fix
        return Presumed(data["train_size"] or train, data["test_size"] or test, shape, classes,
                        "unknown", like, error.what.partition(" (")[0], fix)
    except Exception:  # noqa: BLE001 - whatever else is wrong with the data is told without us
        return None
    return None


def _like(data: Any) -> str | None:
    if data["name"] in SETS:
        return data["name"]
    file = PurePath(str(data.get("path") or "")).name.lower().replace("-", "_")
    return next((name for name in SETS if name in file), None)
