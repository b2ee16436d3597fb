"""The data sets that torchvision knows. Nothing is downloaded unless `download: true`."""

import fcntl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainables.errors import AbsentError, InputError
from trainables.sources.arrays import Split, build, hash_arrays, locate

CLASSES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10",
           "cifar100": "CIFAR100", "svhn": "SVHN"}


def files(_config: Mapping[str, Any], _base_dir: Path) -> tuple[Path, ...]:
    """None: torchvision checks its files itself."""
    return ()


def read(config: Mapping[str, Any], base_dir: Path) -> Split:
    """Both parts as torchvision reads them; the hash is that of the arrays."""
    x_train, y_train = _part(config, base_dir, train=True)
    x_test, y_test = _part(config, base_dir, train=False)
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    return build(arrays, config, hash_arrays(arrays.values()), key="data.name")


def _part(config: Mapping[str, Any], base_dir: Path, *, train: bool
          ) -> tuple[np.ndarray, np.ndarray]:
    name, root = config["name"], locate(config, base_dir, "root")
    part = {"split": "train" if train else "test"} if name == "svhn" else {"train": train}
    try:
        found = _open(name, root, download=config["download"], **part)
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise _absent(name, root, error, download=config["download"]) from error
    labels = found.labels if name == "svhn" else found.targets
    return np.asarray(found.data), np.asarray(labels, dtype=np.int64)


def _open(name: str, root: Path, *, download: bool, **part: Any) -> Any:
    from torchvision import datasets

    kind = getattr(datasets, CLASSES[name])
    if not download:
        return kind(root, download=False, **part)
    root.mkdir(parents=True, exist_ok=True)
    with (root / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of one machine must not write the same files
        return kind(root, download=True, **part)


def _absent(name: str, root: Path, error: Exception, *, download: bool) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if download:
        return InputError(f"{name} could not be downloaded to {root}: {reason}",
                          key="data.download",
                          fix="check the network, or copy torchvision's files there")
    return AbsentError(f"{name} is not in {root} ({reason})", key="data.name",
                       fix="write `download: true` under data, or set data.root to "
                           "torchvision's folder")
