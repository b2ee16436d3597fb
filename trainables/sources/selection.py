"""Which examples are used: balanced, nested and a function of data.seed alone."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainables.errors import InputError

HELD_OUT = 5  # without a test set, one example in five is held out


@dataclass(frozen=True)
class Rows:
    """Indices of the training examples and, into the test arrays, of the test examples."""

    train: np.ndarray
    test: np.ndarray


def draws(seed: int, stream: str) -> np.random.RandomState:
    """A generator for one use of the data's seed. RandomState's streams are frozen by NumPy."""
    digest = hashlib.blake2b(f"{seed}|{stream}".encode(), digest_size=16).digest()
    return np.random.RandomState(np.frombuffer(digest, dtype="<u4"))


def balanced_order(labels: np.ndarray, seed: int, stream: str) -> np.ndarray:
    """All indices in an order of which every prefix holds the classes as equally as it can."""
    order = draws(seed, stream).permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels[order] == label)
        rank[members] = np.arange(len(members))
    return order[np.argsort(rank, kind="stable")]


def choose(labels: Sequence[np.ndarray], config: Mapping[str, Any]) -> Rows:
    """Rows by data.train_size, data.test_size and data.seed.

    Given the labels of a training and of a test set, chosen within each; given one set, split.
    Where a set is used whole it keeps its order.
    """
    train, test, seed = config["train_size"], config["test_size"], config["seed"]
    if len(labels) == 2:
        return Rows(_subset(labels[0], train, seed, "train"),
                    _subset(labels[1], test, seed, "test"))
    order = balanced_order(labels[0], seed, "split")
    held = max(1, len(order) // HELD_OUT) if test is None else test
    check_available(held, len(order) - 1, "test")
    check_available(train, len(order) - held, "train")
    return Rows(order[held:][:train], order[:held])


def check_available(size: int | None, available: int, kind: str) -> None:
    """InputError if more examples are wanted than there are."""
    if available < 1:
        raise InputError(f"the data has no {kind} examples", key="data", fix="give more data")
    if size is not None and size > available:
        raise InputError(f"data.{kind}_size is {size}; the data has {available} such examples",
                         key=f"data.{kind}_size", fix=f"write at most {available}")


def _subset(labels: np.ndarray, size: int | None, seed: int, kind: str) -> np.ndarray:
    check_available(size, len(labels), kind)
    if size is None:
        return np.arange(len(labels))
    return balanced_order(labels, seed, kind)[:size]
