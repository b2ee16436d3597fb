"""A user's ``module:function``, called with its options: x_train, y_train, x_test, y_test."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainables import userfunction
from trainables.errors import InputError
from trainables.sources.arrays import Split, build, hash_arrays

KEY = "data.name"
NAMES = ("x_train", "y_train", "x_test", "y_test")


def files(config: Mapping[str, Any], base_dir: Path) -> tuple[Path, ...]:
    """The user's file, where it lies beside the spec."""
    file = userfunction.source_file(config["function"], base_dir)
    return (file,) if file else ()


def read(config: Mapping[str, Any], base_dir: Path) -> Split:
    """The four arrays that the function returns, checked; the hash is that of their values."""
    name = config["function"]
    made = userfunction.call(name, base_dir, (), config["options"], key=KEY)
    if not isinstance(made, tuple | list) or len(made) != len(NAMES):
        raise InputError(f"{name} returned {_kind(made)}", key=KEY,
                         fix=f"return the four arrays {', '.join(NAMES)}")
    arrays = {}
    for role, value in zip(NAMES, made, strict=True):
        try:
            arrays[role] = np.asarray(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{name} returned a {role} that is no array: {error}", key=KEY,
                             fix="return NumPy arrays") from error
        if arrays[role].dtype.kind not in "uifb":
            raise InputError(f"{name} returned a {role} of type {arrays[role].dtype}", key=KEY,
                             fix="return numbers: uint8 images or floats, integer labels")
    return build(arrays, config, hash_arrays(arrays.values()), key=KEY)


def _kind(made: Any) -> str:
    count = f" of {len(made)}" if isinstance(made, tuple | list | dict) else ""
    return f"a {type(made).__name__}{count}"
