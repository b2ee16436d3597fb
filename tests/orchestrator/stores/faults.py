"""A store that fails on purpose: the n-th of its calls, before or after it took effect."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.errors import StorageError
from analysis.folder import Folder
from orchestrator.stores import SCHEMES, open_store
from orchestrator.stores.files import folder_of

WRITES = ("create", "replace", "delete")
READS = ("read", "names", "sizes")


class Killed(BaseException):
    """The process is dead from here on."""


@dataclass
class Fault:
    """What happens at the call number ``at`` (from 0) of those named in ``calls``, ``times`` times.

    ``kind``: "before" (nothing is done), "after" (done, and the answer is lost), "torn" (the half
    of the content lies under a draft's name), each raised as ``error()``. Once a Killed was raised
    every further call raises it.
    """

    kind: str
    at: int
    error: Callable[[], BaseException] = lambda: StorageError("no answer")
    calls: tuple[str, ...] = WRITES
    times: int = 1
    seen: int = 0

    def due(self, call: str) -> bool:
        """Whether this call is to fail; counts it."""
        if call not in self.calls:
            return False
        self.seen += 1
        return self.at < self.seen <= self.at + self.times


@dataclass
class FaultyStore:
    """Another store under faults. ``log``: the calls so far, as (name, path)."""

    inner: Any
    faults: list[Fault] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    dead: bool = False

    @property
    def where(self) -> str:
        return self.inner.where

    @property
    def exclusive(self) -> bool:
        return self.inner.exclusive

    @property
    def folder(self) -> Folder:
        return folder_of(self)

    def create(self, path: str, content: bytes) -> bool:
        return self._call("create", path, content)

    def replace(self, path: str, content: bytes) -> None:
        self._call("replace", path, content)

    def read(self, path: str) -> bytes | None:
        return self._call("read", path)

    def names(self, folder: str, start: str = "") -> list[str]:
        return self._call("names", folder, start)

    def sizes(self, folder: str) -> dict[str, int | None]:
        return self._call("sizes", folder)

    def delete(self, path: str) -> None:
        self._call("delete", path)

    def hold(self, path: str) -> ExitStack:
        return self.inner.hold(path)

    def free(self) -> int | None:
        return self.inner.free()

    def _call(self, name: str, path: str, *more: Any) -> Any:
        if self.dead:
            raise Killed
        self.log.append((name, path))
        due = [fault for fault in self.faults if fault.due(name)]
        for fault in due:
            if fault.kind == "torn" and name in ("create", "replace"):
                self._tear(path, more[0])
            if fault.kind != "after":
                self._raise(fault)
        found = getattr(self.inner, name)(path, *more)
        for fault in due:
            self._raise(fault)
        return found

    def _raise(self, fault: Fault) -> None:
        error = fault.error()
        self.dead = isinstance(error, Killed)
        raise error

    def _tear(self, path: str, content: bytes) -> None:
        """What a killed writer leaves on a disk; on an object store it leaves nothing."""
        root = getattr(self.inner, "root", None)
        if root is not None:
            target = Path(root) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.parent / f".{target.name}.{len(self.log)}"
            draft.write_bytes(content[: len(content) // 2])


def served_as(scheme: str, faults: list[Fault]) -> list[FaultyStore]:
    """Registers ``scheme://PATH`` as the local folder /PATH under the faults, which go on counting
    from one store that is opened there to the next; returns the stores as they are opened. The
    scheme is to be taken out of ``SCHEMES`` when done: monkeypatch.setitem before it does that."""
    opened: list[FaultyStore] = []

    def opener(place: str, patience_s: float = 0.0) -> FaultyStore:
        inner = open_store("/" + place.partition("://")[2].lstrip("/"))
        inner.where = place
        opened.append(FaultyStore(inner, faults))
        return opened[-1]

    SCHEMES[scheme] = opener
    return opened
