"""Where a sweep's folder lies: a local disk, NFS, S3, or whatever else pyarrow.fs opens.

All that reads or writes a sweep's folder goes through a ``Store``; ``open_store`` finds the right
one for a path or URI.
"""

import importlib
import os
from collections.abc import Callable
from typing import Any

from orchestrator.errors import Problem, UserError
from orchestrator.stores.place import Place, placed, scheme
from orchestrator.stores.store import Held, Store

__all__ = ["Held", "Place", "Store", "open_store", "placed", "reach"]

PATIENCE_S = 120.0  # how long a store that does not answer is asked again, before work is given up
QUICK_S = 5.0       # the same, before any work has begun
# scheme -> what opens it, as module:function or itself; whatever is not here is asked of pyarrow
SCHEMES: dict[str, str | Callable[..., Store]] = {
    "": "orchestrator.stores.local:LocalStore",
    "s3": "orchestrator.stores.s3:S3Store",
}
_ANYTHING = "orchestrator.stores.arrow:ArrowStore"


def open_store(where: "Place | os.PathLike[str] | Store", patience_s: float = PATIENCE_S) -> Store:
    """The store of a folder; nothing is asked of it yet. A Store is handed back as it is.

    UserError for a URI that cannot be meant, or that needs what is not installed.
    """
    if not isinstance(where, str | os.PathLike):
        return where
    place = placed(where)
    opener: Any = SCHEMES.get(scheme(place), _ANYTHING)
    if isinstance(opener, str):
        module, _, name = opener.partition(":")
        opener = getattr(importlib.import_module(module), name)
    return opener(place, patience_s=patience_s)


def reach(where: "Place | os.PathLike[str]") -> None:
    """Asks a store that is not a local one for something, and soon gives up. UserError where it
    does not answer, has no such bucket, or wants other credentials."""
    from analysis.errors import StorageError

    if scheme(placed(where)):
        try:
            open_store(where, QUICK_S).read("resolved.yaml")
        except StorageError as error:
            raise UserError(Problem(error.what, error.where, error.fix)) from error
