"""Parquet tables of encoded images and integer labels, as data hubs keep them."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trainables.errors import InputError
from trainables.options import did_you_mean
from trainables.sources import images, selection
from trainables.sources.arrays import (
    Split,
    check_file,
    check_labels,
    check_size,
    count_classes,
    finish,
    hash_file,
    hash_parts,
    locate,
)

KEY = "data.path"
TESTS = ("test", "validation", "valid", "val")
IMAGES = ("image", "img", "images", "picture", "jpeg", "png", "bytes")
LABELS = ("label", "labels", "class", "target", "y", "fine_label")


def files(config: Mapping[str, Any], base_dir: Path) -> tuple[Path, ...]:
    """The tables of both sets."""
    train, test = _parts(config, base_dir)
    return (*train, *test)


def read(config: Mapping[str, Any], base_dir: Path) -> Split:
    """The chosen rows, decoded; the hash is that of all files of the training and the test set."""
    import pyarrow as pa

    parts = [part for part in _parts(config, base_dir) if part]
    try:
        tables = [[_Table(path, config) for path in part] for part in parts]
        labels = [np.concatenate([t.labels() for t in part]) for part in tables]
        rows = selection.choose(labels, config)
        wanted = [(tables[0], rows.train), (tables[-1], rows.test)]
        cells = [cell for part, chosen in wanted for cell in _cells(part, chosen)]
    except (pa.ArrowException, OSError) as error:
        names = ", ".join(path.name for part in parts for path in part)
        raise InputError(f"{names} is not a readable Parquet file: {_first_line(error)}", key=KEY,
                         fix="copy or download it again") from error
    classes = count_classes(labels[0], labels[-1], key=KEY)
    x = images.decode([partial(_bytes, cell, name) for name, cell in cells],
                      [name for name, _ in cells], config["image_size"])
    size = len(rows.train)
    return finish(Split(x[:size], labels[0][rows.train], x[size:], labels[-1][rows.test], classes,
                        hash_parts(*([hash_file(path) for path in part] for part in parts))))


class _Table:
    """One file: its image and label columns, found once, and what is read of them."""

    def __init__(self, path: Path, config: Mapping[str, Any]):
        import pyarrow.parquet as pq

        self.path = path
        self.file = pq.ParquetFile(path)
        self.image = _column(self.file.schema_arrow, config, "image", IMAGES, _is_image, path)
        self.label = _column(self.file.schema_arrow, config, "label", LABELS, _is_integer, path)
        self.rows = self.file.metadata.num_rows
        groups = [self.file.metadata.row_group(i) for i in range(self.file.num_row_groups)]
        check_size(sum(group.total_byte_size for group in groups), path.name)
        self.borders = np.cumsum([0, *(group.num_rows for group in groups)])

    def labels(self) -> np.ndarray:
        """(rows,) int64."""
        column = self.file.read([self.label]).column(self.label)
        if column.null_count:
            raise InputError(f"column `{self.label}` of {self.path.name} has {column.null_count} "
                             "empty cells", key="data.label", fix="drop the unlabelled rows")
        return check_labels(column.to_numpy(), self.label, key="data.label")

    def cells(self, rows: np.ndarray) -> dict[int, Any]:
        """Image cells of sorted ``rows``: only the row groups that hold some are read."""
        found: dict[int, Any] = {}
        for group, start in enumerate(self.borders[:-1]):
            inside = rows[(rows >= start) & (rows < self.borders[group + 1])]
            if len(inside):
                column = self.file.read_row_group(group, columns=[self.image]).column(self.image)
                taken = column.take(inside - start).to_pylist()
                found |= dict(zip(inside.tolist(), taken, strict=True))
        return found


def _cells(tables: Sequence[_Table], chosen: np.ndarray) -> list[tuple[str, Any]]:
    """Name and cell at ``chosen``, row numbers that run through all the tables, in that order."""
    found: dict[int, tuple[str, Any]] = {}
    start = 0
    for table in tables:
        inside = np.sort(chosen[(chosen >= start) & (chosen < start + table.rows)]) - start
        for row, cell in table.cells(inside).items():
            found[start + row] = (f"row {row} of {table.path.name}", cell)
        start += table.rows
    return [found[row] for row in chosen.tolist()]


def _bytes(cell: Any, name: str) -> bytes:
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if data is None:
        raise InputError(f"{name} holds no image bytes", key="data.image",
                         fix="store the images in the table, not as paths")
    return data


def _parts(config: Mapping[str, Any], base_dir: Path) -> tuple[list[Path], list[Path]]:
    """Files of the training and of the test set; without a test set the second is empty.

    A folder, or files beside each other, are told apart by the word train, and test or
    validation, in their names or their folders' names.
    """
    path = locate(config, base_dir)
    if config["test_path"] is not None:
        test_path = locate(config, base_dir, "test_path")
        return _listed(path, KEY), _listed(test_path, "data.test_path")
    if not path.is_dir():
        sibling = _sibling(check_file(path))
        return [path], [sibling] if sibling else []
    found = _listed(path, KEY)
    train = [p for p in found if "train" in _words(p, path)]
    test = next((part for word in TESTS
                 if (part := [p for p in found if word in _words(p, path)])), [])
    if train and test:
        return train, test
    if len(found) == 1:
        return found, []
    raise InputError(f"{path} holds {len(found)} tables, not told apart by train and test in their "
                     "names", key=KEY, fix="name the training table, and data.test_path")


def _listed(path: Path, key: str) -> list[Path]:
    found = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not found:
        raise InputError(f"{path} holds no .parquet file", key=key, fix="name the table's file")
    return [check_file(file, key=key) for file in found]


def _sibling(path: Path) -> Path | None:
    """The test table beside x-train.parquet: x-test.parquet."""
    head, word, tail = path.name.rpartition("train")
    beside = [path.with_name(f"{head}{name}{tail}") for name in TESTS] if word else []
    return next((check_file(other) for other in beside if other.is_file()), None)


def _words(path: Path, root: Path) -> set[str]:
    text = str(path.relative_to(root).with_suffix("")).lower()
    return set("".join(c if c.isalnum() else " " for c in text).split())


def _column(schema: Any, config: Mapping[str, Any], role: str, usual: Sequence[str], fits: Any,
            path: Path) -> str:
    """The column that the option names; else the usual name; else the only one that fits."""
    given, key = config[role], f"data.{role}"
    if given is not None and given not in schema.names:
        raise InputError(f"{path.name} has no column `{given}`", key=key,
                         fix=did_you_mean(given, schema.names, "columns"))
    fitting = [field.name for field in schema if fits(field.type)]
    if given is not None and given not in fitting:
        raise InputError(f"column `{given}` of {path.name} is of type {schema.field(given).type}",
                         key=key, fix=WANTED[role])
    named = [given] if given else [name for name in usual if name in fitting][:1]
    if not named and len(fitting) != 1:
        what = "no column fits" if not fitting else f"several fit: {', '.join(fitting)}"
        raise InputError(f"which column of {path.name} is the {role}? {what}", key=key,
                         fix=f"set {key}; {WANTED[role]}; columns: {', '.join(schema.names)}")
    return (named or fitting)[0]


WANTED = {"image": "images are encoded bytes (PNG, JPEG, …), or {bytes, path} as on data hubs",
          "label": "labels are whole numbers from 0"}


def _is_image(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_image(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_integer(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(kind)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
