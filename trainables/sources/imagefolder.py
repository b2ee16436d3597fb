"""A folder of images: train/CLASS/*.png and test/CLASS/*.png (or val/ for test/)."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trainables.errors import InputError
from trainables.options import did_you_mean
from trainables.sources import images, selection
from trainables.sources.arrays import Split, count_classes, finish, hash_file, hash_parts, locate

KEY = "data.path"
TESTS = ("test", "val", "valid", "validation")


def files(config: Mapping[str, Any], base_dir: Path) -> tuple[Path, ...]:
    """All image files, training set first."""
    train, test = _parts(locate(config, base_dir))
    classes = _classes(train)
    return tuple(path for part in (train, test) for path, _ in _listed(part, classes))


def read(config: Mapping[str, Any], base_dir: Path) -> Split:
    """The chosen images; labels by the alphabetical order of train/'s subfolders.

    The hash is that of class names and of the contents of the files used, in order.
    """
    train, test = _parts(locate(config, base_dir))
    classes = _classes(train)
    listed = [_listed(part, classes) for part in (train, test)]
    labels = [np.array([label for _, label in part], dtype=np.int64) for part in listed]
    count_classes(*labels, key=KEY)
    rows = selection.choose(labels, config)
    used = [[listed[i][j] for j in part] for i, part in enumerate((rows.train, rows.test))]
    x = _decoded([path for part in used for path, _ in part], config["image_size"])
    size = len(rows.train)
    sha256 = hash_parts(
        [hashlib.sha256(name.encode()).hexdigest() for name in classes],
        *([f"{label}:{hash_file(path)}" for path, label in part] for part in used))
    return finish(Split(x[:size], labels[0][rows.train], x[size:], labels[1][rows.test],
                        len(classes), sha256))


def _decoded(paths: Sequence[Path], size: int | None) -> np.ndarray:
    names = [f"{path.parent.name}/{path.name}" for path in paths]
    return images.decode([partial(_bytes, path) for path in paths], names, size)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except PermissionError as error:
        raise InputError(f"{path} cannot be read (permission denied)", key=KEY,
                         fix="chmod u+r the image files") from error


def _parts(root: Path) -> tuple[Path, Path]:
    """The folders of the training and of the test set."""
    if not root.is_dir():
        what = f"{root} is a file, not a folder" if root.exists() else f"there is no folder {root}"
        raise InputError(what, key=KEY, fix="name a folder that holds train/ and test/")
    test = next((root / name for name in TESTS if (root / name).is_dir()), None)
    if not (root / "train").is_dir() or test is None:
        raise InputError(f"{root} has not both train/ and test/ (or val/)", key=KEY,
                         fix="put the class folders of each set into train/ and test/")
    return root / "train", test


def _classes(train: Path) -> list[str]:
    names = sorted(p.name for p in train.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(names) < 2:
        raise InputError(f"{train} has {len(names)} class folders", key=KEY,
                         fix="give one subfolder a class, two or more")
    return names


def _listed(part: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """(file, label) of every image of one set, sorted."""
    found = sorted(p for p in part.iterdir() if p.is_dir() and not p.name.startswith("."))
    for folder in found:
        if folder.name not in classes:
            raise InputError(f"{part.name}/ has the class `{folder.name}`, which train/ lacks",
                             key=KEY, fix=did_you_mean(folder.name, classes, "classes"))
    listed = [(path, classes.index(folder.name)) for folder in found
              for path in sorted(folder.iterdir())
              if path.suffix.lower() in images.SUFFIXES and not path.name.startswith(".")]
    empty = set(classes) - {classes[label] for _, label in listed}
    if not listed or (empty and part.name == "train"):
        where = f"{part}/{min(empty)}" if empty else part
        raise InputError(f"{where} holds no images", key=KEY,
                         fix=f"images end in {', '.join(images.SUFFIXES)}")
    return listed
