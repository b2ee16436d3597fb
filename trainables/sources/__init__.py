"""Where data comes from. One file a family, imported only when its data is asked for.

A source module has ``files(config, base_dir)``, the files whose change makes cached data stale
(InputError if one is missing), and ``read(config, base_dir) -> arrays.Split``.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from trainables.options import Table, flag, optional, text, whole


@dataclass(frozen=True)
class Source:
    """A family: its module, its own options, and whether its inputs are always images."""

    module: str
    options: Table
    images: bool = True

    def load(self) -> ModuleType:
        """The module that reads it."""
        return importlib.import_module(f"trainables.sources.{self.module}")


_DOWNLOAD = {"download": flag(False), "root": text("~/.cache/sgdscope/data")}
_NAMES = {name: optional(text(None)) for name in ("x_train", "y_train", "x_test", "y_test")}
_SIZE = {"image_size": optional(whole(None, 1, 4096))}

SOURCES: Mapping[str, Source] = {
    "digits": Source("digits", {}),
    **{name: Source("torchvision_sets", _DOWNLOAD)
       for name in ("mnist", "fashion_mnist", "cifar10", "cifar100", "svhn")},
    "npz": Source("npz", {"path": text(None), **_NAMES}, images=False),
    "parquet": Source("parquet", {"path": text(None), "test_path": optional(text(None)),
                                  "image": optional(text(None)), "label": optional(text(None)),
                                  **_SIZE}),
    "imagefolder": Source("imagefolder", {"path": text(None), **_SIZE}),
    "function": Source("function", {}, images=False),
}
PATHS = ("npz", "parquet", "imagefolder")
