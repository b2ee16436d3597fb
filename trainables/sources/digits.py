"""scikit-learn's bundled digits: 1,797 real 8x8 images, 1,500 for training, 297 for testing."""

import gzip
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from trainables.errors import InputError
from trainables.sources.arrays import Split, finish, hash_arrays
from trainables.sources.selection import check_available, draws

TRAIN, ALL = 1500, 1797


def files(_config: Mapping[str, Any], _base_dir: Path) -> tuple[Path, ...]:
    """None: they come with scikit-learn."""
    return ()


def read(config: Mapping[str, Any], _base_dir: Path) -> Split:
    """Pixels 0…16 as float32 / 16, (N, 1, 8, 8); split by a permutation of data.seed."""
    table = _table()
    x = (table[:, :-1] / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    y = table[:, -1].astype(np.int64)
    check_available(config["train_size"], TRAIN, "train")
    check_available(config["test_size"], ALL - TRAIN, "test")
    order = draws(config["seed"], "digits").permutation(ALL)
    train, test = order[:TRAIN][: config["train_size"]], order[TRAIN:][: config["test_size"]]
    return finish(Split(x[train], y[train], x[test], y[test], 10, hash_arrays([x, y])))


def _table() -> np.ndarray:
    """(1797, 65): 64 pixels and the label; from the file, as importing sklearn takes a second."""
    found = find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise InputError("the digits come with scikit-learn, which is not installed",
                         key="data.name", fix="pip install scikit-learn")
    path = Path(found.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    if path.is_file():
        with gzip.open(path, "rt") as lines:
            return np.loadtxt(lines, delimiter=",")
    from sklearn.datasets import load_digits

    return np.column_stack(load_digits(return_X_y=True))
