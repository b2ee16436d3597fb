"""What each store of a sweep's folder promises. tests/orchestrator/stores/conformance.py holds it.

``create`` makes a file whole, once, or not at all; a reader never sees half a file, and never a
draft. A path is relative to the folder, with ``/`` between its parts; no part begins with a dot.
Whatever goes wrong is told as an ``analysis.errors.StorageError``, which is an OSError too: then
the file is there whole, or as it was before.
"""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from analysis.errors import StorageError

if TYPE_CHECKING:
    from analysis.folder import Folder


class Held(Exception):
    """Another process holds what was asked for."""


def inner(path: str) -> str:
    """The path as it is; StorageError where it leads out of the folder: names come from files,
    which anybody may have written."""
    if path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise StorageError("this name leads out of the sweep's folder", where=path[:200],
                           fix="the file that names it is not ours: move it away")
    return path


class Store(Protocol):
    """The bytes under one sweep's folder.

    ``where``: the folder as a user writes it, path or URI. ``exclusive``: of two writers that
    create one file at once, exactly one does. Where that is False, two drivers must not run.
    """

    where: str
    exclusive: bool

    @property
    def folder(self) -> "Folder":
        """The same folder, for the analysis to read."""
        ...

    def create(self, path: str, content: bytes) -> bool:
        """Creates the file only if it is absent; whether this call did. An answer that was lost on
        its way is found out by reading back."""
        ...

    def replace(self, path: str, content: bytes) -> None:
        """Writes the file whole, over an older one if there is one."""
        ...

    def read(self, path: str) -> bytes | None:
        """The file's bytes, or None where it is absent; a folder is no file."""
        ...

    def names(self, folder: str, start: str = "") -> list[str]:
        """The names in a folder ("" for the sweep's own) that begin with ``start``, sorted, those
        of folders too; drafts left out. Empty where it is absent."""
        ...

    def sizes(self, folder: str) -> dict[str, int | None]:
        """As ``names``, with the bytes of each file; None for a folder."""
        ...

    def delete(self, path: str) -> None:
        """Removes a file; it may be gone already."""
        ...

    def hold(self, path: str) -> ExitStack:
        """Keeps other processes from holding the same path until the stack is closed or the process
        dies; Held where one has it. Holds nothing where a store has no such thing: ``create`` alone
        must do there."""
        ...

    def free(self) -> int | None:
        """Bytes that still fit; None where there is no telling."""
        ...
