"""Bytes under a sweep's folder. The one promise: ``create`` makes a file whole, once, or not."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


class LocalStore:
    """A folder on a local disk or a shared file system (NFS)."""

    def __init__(self, root: Path | str):
        self.root = Path(root)

    def create(self, path: str, content: bytes) -> bool:
        """Creates the file only if it is absent; whether this call did.

        Written and synced under a dot-name beside it, then linked: ``link`` fails where the name
        exists (a rename would overwrite), and a crash leaves nothing that a reader looks at.
        """
        target = self.root / path
        if target.exists():
            return False
        with self._written(target, content) as draft:
            try:
                os.link(draft, target)
            except FileExistsError:
                return False
        _sync_folder(target.parent)
        return True

    def replace(self, path: str, content: bytes) -> None:
        """Writes the file whole, over an older one if there is one."""
        target = self.root / path
        with self._written(target, content) as draft:
            draft.rename(target)
        _sync_folder(target.parent)

    def read(self, path: str) -> bytes | None:
        """The file's bytes, or None where it is absent."""
        try:
            return (self.root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted, drafts left out; none where it is absent."""
        try:
            found = os.listdir(self.root / folder)  # noqa: PTH208  (one call for many names)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(n for n in found if not n.startswith("."))

    def delete(self, path: str) -> None:
        """Removes a file; it may be gone already."""
        (self.root / path).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _written(self, target: Path, content: bytes) -> Iterator[Path]:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.parent / f".{target.name}.{uuid.uuid4().hex}"
        try:
            with draft.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield draft
        finally:
            draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
