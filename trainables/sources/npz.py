"""NumPy archives in the layout of Keras's mnist.npz: x_train, y_train, x_test, y_test, or x, y.

Nothing in the file is unpickled, and sizes are checked before anything is unpacked.
"""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from trainables.errors import InputError
from trainables.options import did_you_mean
from trainables.sources.arrays import Split, build, check_file, check_size, hash_file, locate

KEY = "data.path"
ROLES = ("x_train", "y_train", "x_test", "y_test")
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError,
          ValueError)


def files(config: Mapping[str, Any], base_dir: Path) -> tuple[Path, ...]:
    """The archive."""
    return (check_file(locate(config, base_dir)),)


def read(config: Mapping[str, Any], base_dir: Path) -> Split:
    """The archive's arrays by role, checked and selected; the hash is that of the file."""
    path = locate(config, base_dir)
    try:
        with zipfile.ZipFile(path) as archive:
            names = _roles(config, _members(archive), path)
            check_size(sum(archive.getinfo(f"{n}.npy").file_size for n in names.values()),
                       path.name)
            arrays = {role: _array(archive, name, path) for role, name in names.items()}
    except InputError:
        raise
    except BROKEN as error:
        raise _broken(path, error) from error
    return build(arrays, config, hash_file(path), key=KEY)


def _members(archive: zipfile.ZipFile) -> list[str]:
    return [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]


def _roles(config: Mapping[str, Any], members: list[str], path: Path) -> dict[str, str]:
    """Array names by role, as the options say, else by Keras's names, else x and y."""
    given = {role: config[role] for role in ROLES if config[role]}
    if not given and "x_train" not in members and {"x", "y"} <= set(members):
        names = {"x": "x", "y": "y"}
    elif set(given) == {"x_train", "y_train"} and not {"x_test", "y_test"} & set(members):
        names = {"x": given["x_train"], "y": given["y_train"]}
    else:
        names = {role: given.get(role, role) for role in ROLES}
    for role, name in names.items():
        if name not in members:
            raise InputError(
                f"{path.name} has no array `{name}`", key=f"data.{role}" if role in given else KEY,
                fix=f"name the arrays by data.x_train and so on; "
                    f"{did_you_mean(name, members, 'it has') if members else 'it has none'}")
    return names


def _array(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray:
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as file:
        shape, dtype = _header(file, name, path)
        if dtype.hasobject:
            raise InputError(
                f"`{name}` in {path.name} is a pickled object array; those can run code and are "
                "not read", key=KEY, fix=f"save {name} as a plain array of numbers")
        declared = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if declared > info.file_size:
            raise InputError(
                f"`{name}` in {path.name} declares {declared} bytes and holds {info.file_size}",
                key=KEY, fix="write the file again with numpy.savez")
    with archive.open(info) as file:
        array = npy.read_array(file, allow_pickle=False)
        file.read()  # the checksum is verified at the member's end only
    return array


def _header(file: Any, name: str, path: Path) -> tuple[tuple[int, ...], np.dtype]:
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, _, dtype = read(file)
    except (ValueError, KeyError) as error:
        raise InputError(f"`{name}` in {path.name} is not a NumPy array: {error}", key=KEY,
                         fix="write the file again with numpy.savez") from error
    return shape, dtype


def _broken(path: Path, error: Exception) -> InputError:
    with path.open("rb") as file:
        begins_as_zip = file.read(2) == b"PK"
    if begins_as_zip:
        return InputError(f"{path.name} is cut short or damaged: {error}", key=KEY,
                          fix="copy or download it again")
    return InputError(f"{path.name} is not an .npz archive", key=KEY,
                      fix="write it with numpy.savez(path, x_train=…, y_train=…, …)")
