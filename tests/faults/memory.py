"""A sweep's folder in this process's memory, and any store with a hook around each call."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from analysis.folder import Folder
from orchestrator.stores.files import folder_of

Hook = Callable[[str, str, Callable[[], Any]], Any]


class MemoryStore:
    """See Store. ``files``: path -> bytes."""

    where, exclusive = "memory://tiny", True

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    @property
    def folder(self) -> Folder:
        return folder_of(self)

    def create(self, path: str, content: bytes) -> bool:
        absent = path not in self.files
        if absent:
            self.files[path] = content
        return absent

    def replace(self, path: str, content: bytes) -> None:
        self.files[path] = content

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def names(self, folder: str, start: str = "") -> list[str]:
        return [n for n in self.sizes(folder) if n.startswith(start)]

    def sizes(self, folder: str) -> dict[str, int | None]:
        base, found = f"{folder}/" if folder else "", {}
        for path, content in sorted(self.files.items()):
            if path.startswith(base):
                name, deeper, _ = path[len(base):].partition("/")
                found[name] = None if deeper else len(content)
        return found

    def delete(self, path: str) -> None:
        self.files.pop(path, None)

    def hold(self, path: str) -> ExitStack:  # noqa: ARG002
        return ExitStack()

    def free(self) -> int | None:
        return None


class HookedStore:
    """Another store; ``hook(call, path, effect)`` does each call, or does not."""

    def __init__(self, inner: Any, hook: Hook):
        self.inner, self.hook = inner, hook
        self.where, self.exclusive = inner.where, inner.exclusive

    @property
    def folder(self) -> Folder:
        return folder_of(self)

    def create(self, path: str, content: bytes) -> bool:
        return self.hook("create", path, lambda: self.inner.create(path, content))

    def replace(self, path: str, content: bytes) -> None:
        self.hook("replace", path, lambda: self.inner.replace(path, content))

    def read(self, path: str) -> bytes | None:
        return self.hook("read", path, lambda: self.inner.read(path))

    def names(self, folder: str, start: str = "") -> list[str]:
        return self.hook("names", folder, lambda: self.inner.names(folder, start))

    def sizes(self, folder: str) -> dict[str, int | None]:
        return self.hook("sizes", folder, lambda: self.inner.sizes(folder))

    def delete(self, path: str) -> None:
        self.hook("delete", path, lambda: self.inner.delete(path))

    def hold(self, path: str) -> ExitStack:
        return self.inner.hold(path)

    def free(self) -> int | None:
        return self.inner.free()


def files_of(store: Any, folder: str = "") -> dict[str, bytes]:
    """Every visible file of a store."""
    found: dict[str, bytes] = {}
    for name, size in store.sizes(folder).items():
        path = f"{folder}/{name}".lstrip("/")
        found |= files_of(store, path) if size is None else {path: store.read(path)}
    return found
