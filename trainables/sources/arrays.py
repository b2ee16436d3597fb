"""Arrays as users hand them over, made into one form: checked, selected, images as NCHW."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trainables.errors import AbsentError, InputError
from trainables.sources import selection

LARGEST = 32 << 30
CHANNELS = (1, 3)


@dataclass(frozen=True)
class Split:
    """Training and test data of a source, labels int64; uint8 inputs are not scaled yet."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int
    sha256: str


def check_size(size: int, what: str, *, key: str = "data.path") -> None:
    """InputError if ``size`` bytes are more than this machine can hold, or than 32 GiB."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    bound = min(LARGEST, memory)
    if size > bound:
        raise InputError(f"{what} declares {size / 2**30:.1f} GiB; at most "
                         f"{bound / 2**30:.1f} GiB can be held here", key=key,
                         fix="use a smaller file, or a machine with more memory")


def check_labels(labels: np.ndarray, name: str, *, key: str = "data") -> np.ndarray:
    """Labels as an int64 vector; InputError if they are not whole numbers from 0."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InputError(f"{name} has shape {labels.shape}; labels are one number an example",
                         key=key, fix="for one-hot labels save labels.argmax(1)")
    if labels.dtype.kind not in "iu":
        raise InputError(f"{name} is of type {labels.dtype}; labels are whole numbers from 0",
                         key=key, fix=f"save {name}.astype('int64')")
    labels = labels.astype(np.int64)
    if labels.size and labels.min() < 0:
        raise InputError(f"{name} holds the label {labels.min()}; labels count from 0", key=key,
                         fix="renumber the classes 0, 1, 2, …")
    return labels


def count_classes(train: np.ndarray, test: np.ndarray, *, key: str = "data") -> int:
    """C where the training labels are exactly 0…C-1 and the test labels among them."""
    present = np.unique(train)
    classes = len(present)
    if not np.array_equal(present, np.arange(classes)):
        missing = np.setdiff1d(np.arange(min(present[-1], 10**6)), present)[:5].tolist()
        raise InputError(
            f"the training labels run from {present[0]} to {present[-1]}, without {missing}",
            key=key, fix="renumber the classes 0, 1, 2, … without gaps")
    if classes < 2:
        raise InputError("the training set has a single class", key=key,
                         fix="give data with two classes or more")
    if test.max() >= classes:
        raise InputError(
            f"the test label {test.max()} does not occur in the training set (classes 0 to "
            f"{classes - 1})", key=key, fix="use the same classes in both")
    return classes


def check_inputs(x: np.ndarray, name: str, *, key: str = "data") -> np.ndarray:
    """Inputs as (N, D), or as images (N, C, H, W), float32 unless uint8; InputError otherwise.

    Grey images (N, H, W) get one channel; (N, H, W, C) with 1 or 3 channels is turned.
    """
    if x.dtype.kind not in "uifb":
        raise InputError(f"{name} is of type {x.dtype}; inputs are numbers", key=key,
                         fix=f"save {name} as uint8 images or as floats")
    if x.ndim < 2 or not x.size:
        raise InputError(f"{name} has shape {x.shape}; inputs are (N, D) or images", key=key,
                         fix="give one row or one image an example")
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[1] not in CHANNELS:
        if x.shape[3] in CHANNELS:
            x = x.transpose(0, 3, 1, 2)
        elif x.dtype == np.uint8:
            raise InputError(f"which axis of {name} {x.shape} holds the channels?", key=key,
                             fix="save images with 1 or 3 channels, or (N, C, H, W) as floats")
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    with np.errstate(over="ignore"):
        x = np.ascontiguousarray(x, dtype=np.float32)
    bad = len(x) - int(np.isfinite(x).reshape(len(x), -1).all(1).sum())
    if bad:
        raise InputError(f"{name} holds NaN or infinite values in {bad} of {len(x)} examples",
                         key=key, fix="clean the data before the sweep")
    return x


def check_pair(x: np.ndarray, y: np.ndarray, names: tuple[str, str], *, key: str = "data") -> None:
    """InputError unless there are as many inputs as labels."""
    if len(x) != len(y):
        raise InputError(f"{names[0]} has {len(x)} examples, {names[1]} has {len(y)}", key=key,
                         fix="save inputs and labels of the same examples")


def build(arrays: Mapping[str, Any], config: Mapping[str, Any], sha256: str, *,
          key: str = "data") -> Split:
    """A Split from whole arrays x_train, y_train, x_test, y_test, or from x, y by data.seed."""
    names = ("x_train", "y_train", "x_test", "y_test") if "x_train" in arrays else ("x", "y")
    parts = {n: np.asarray(arrays[n]) for n in names}
    for x, y in zip(names[::2], names[1::2], strict=True):
        parts[y] = check_labels(parts[y], y, key=key)
        parts[x] = np.atleast_1d(parts[x])
        check_pair(parts[x], parts[y], (x, y), key=key)
        parts[x] = check_inputs(parts[x], x, key=key)
    labels = [parts[n] for n in names[1::2]]
    rows = selection.choose(labels, config)
    x_train, x_test = parts[names[0]], parts[names[-2]]
    if x_train.shape[1:] != x_test.shape[1:] or x_train.dtype != x_test.dtype:
        raise InputError(
            f"training inputs are {x_train.shape[1:]} {x_train.dtype}, test inputs "
            f"{x_test.shape[1:]} {x_test.dtype}", key=key, fix="save both alike")
    return finish(Split(x_train[rows.train], labels[0][rows.train], x_test[rows.test],
                        labels[-1][rows.test], count_classes(labels[0], labels[-1], key=key),
                        sha256))


def finish(split: Split) -> Split:
    """The same, frozen: it is kept between calls."""
    frozen = {n: _frozen(getattr(split, n)) for n in ("x_train", "y_train", "x_test", "y_test")}
    return replace(split, **frozen)


def _frozen(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array


def hash_arrays(arrays: Iterable[np.ndarray]) -> str:
    """SHA-256 of shapes, types and values, in order; equal on every machine."""
    digest = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as sha256sum prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_parts(*groups: Iterable[str]) -> str:
    """One hash of several groups of hashes, such as the training and the test files."""
    text = "|".join(",".join(group) for group in groups)
    return hashlib.sha256(text.encode()).hexdigest()


def check_file(path: Path, *, key: str = "data.path") -> Path:
    """InputError unless ``path`` is a readable file that is not empty."""
    if not path.exists():
        raise AbsentError(f"there is no file {path}", key=key,
                          fix="correct the path; it is relative to the spec file's folder")
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file", key=key, fix="name the file in it")
    if not path.stat().st_size:
        raise InputError(f"{path} is empty (0 bytes)", key=key, fix="write or download it again")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} cannot be read (permission denied)", key=key,
                         fix=f"chmod u+r {path.name}")
    return path


def locate(config: Mapping[str, Any], base_dir: Path, option: str = "path") -> Path:
    """The path that ``option`` names: absolute, from the home folder, or beside the spec file."""
    return base_dir / Path(config[option]).expanduser()
