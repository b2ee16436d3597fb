"""The system calls by which a LocalStore works, each through a nemesis."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.nemesis import Nemesis


@contextmanager
def under(root: Path, nemesis: Nemesis) -> Iterator[None]:
    """Calls on files below ``root`` go through the nemesis; those of pyarrow do not."""
    calls = _Calls(root, nemesis)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", calls.opening(Path.open))
        patch.setattr(os, "fsync", calls.syncing(os.fsync))
        for owner, name, at in ((Path, "rename", 1), (os, "link", 1), (Path, "mkdir", 0),
                                (Path, "unlink", 0), (os, "listdir", 0)):
            patch.setattr(owner, name, calls.plain(name, getattr(owner, name), at))
        yield


@dataclass(frozen=True)
class _Calls:
    root: Path
    nemesis: Nemesis

    def around(self, call: str, path: Any, effect: Callable[[], Any]) -> Any:
        ours = f"{path}{os.sep}".startswith(f"{self.root}{os.sep}")
        return self.nemesis.around(call, str(path), effect) if ours else effect()

    def plain(self, name: str, real: Callable, at: int) -> Callable:
        """A call of which the argument number ``at`` is the path that it is about."""
        def called(*given: Any, **options: Any) -> Any:
            return self.around(name, given[at], lambda: real(*given, **options))

        return called

    def opening(self, real: Callable) -> Callable:
        def opened(path: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
            found = self.around("read" if "r" in mode else "open", path,
                                lambda: real(path, mode, *more, **options))
            return _Draft(found, str(path), self.nemesis) if "x" in mode else found

        return opened

    def syncing(self, real: Callable) -> Callable:
        def synced(handle: int) -> None:
            path = Path(f"/proc/self/fd/{handle}").readlink()
            return self.around("sync" if path.is_dir() else "fsync", path, lambda: real(handle))

        return synced


class _Draft:
    """A file that is being written."""

    def __init__(self, file: Any, path: str, nemesis: Nemesis):
        self._file, self._path, self._nemesis = file, path, nemesis

    def write(self, content: bytes) -> None:
        def half() -> None:
            self._file.write(content[: len(content) // 2])
            self._file.flush()

        self._nemesis.around("write", self._path, lambda: self._file.write(content), half)

    def __enter__(self) -> "_Draft":
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def files(root: Path) -> dict[str, bytes]:
    """Every file below the root, drafts too."""
    return {p.relative_to(root).as_posix(): p.read_bytes()
            for p in sorted(root.rglob("*")) if p.is_file()}
