"""A folder on a local disk, or on a shared file system that has hard links (NFS)."""

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from analysis.errors import StorageError
from analysis.folder import Folder
from orchestrator.stores.store import Held, inner

_FIXES = {
    errno.ENOSPC: "free some space: what is committed is kept, the same command goes on",
    errno.EDQUOT: "your quota is used up: free some space, then the same command goes on",
    errno.EROFS: "it is mounted read-only: give another storage, or mount it for writing",
    errno.EACCES: "give a folder that you may read and write",
    errno.EPERM: "give a folder that you may write to, on a file system with hard links",
    errno.ENOTDIR: "a file lies where a folder should be: move it away",
    errno.EISDIR: "a folder lies where a file should be: move it away",
    errno.ENAMETOOLONG: "give a shorter name or storage",
    errno.ESTALE: "the file server has changed under it: mount it again",
}
_NO_LINKS = "give a storage with hard links: a local disk, or NFS"
_NOTHING_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class LocalStore:
    """A folder on this machine, by its path."""

    exclusive = True

    def __init__(self, root: Path | str, patience_s: float = 0.0):  # noqa: ARG002  (disks wait)
        self.root = Path(root)
        self.where = str(root)

    @property
    def folder(self) -> Folder:
        return Folder.of(self.root)

    def create(self, path: str, content: bytes) -> bool:
        """See Store. Written and synced under a dot-name beside it, then linked: ``link`` fails
        where the name exists (a rename would overwrite), and a crash leaves nothing that a reader
        looks at."""
        target = self._at(path)
        with _told(target):
            if target.exists():
                return False
            with self._written(target, content) as draft:
                try:
                    os.link(draft, target)
                except OSError as error:
                    # A file server that did it and lost its answer is asked again, and then says
                    # that the name exists: by the draft's own link, perhaps.
                    if not _same(draft, target):
                        if isinstance(error, FileExistsError):
                            return False
                        raise
            _sync_folder(target.parent)
        return True

    def replace(self, path: str, content: bytes) -> None:
        """See Store."""
        target = self._at(path)
        with _told(target):
            with self._written(target, content) as draft:
                draft.rename(target)
            _sync_folder(target.parent)

    def read(self, path: str) -> bytes | None:
        """See Store."""
        with _told(self._at(path)):
            try:
                return self._at(path).read_bytes()
            except _NOTHING_THERE:
                return None

    def names(self, folder: str, start: str = "") -> list[str]:
        """See Store."""
        with _told(self._at(folder)):
            try:
                found = os.listdir(self._at(folder))  # noqa: PTH208  (one call for many names)
            except _NOTHING_THERE:
                return []
        return sorted(n for n in found if n.startswith(start) and not n.startswith("."))

    def sizes(self, folder: str) -> dict[str, int | None]:
        """See Store."""
        found: dict[str, int | None] = {}
        with _told(self._at(folder)):
            for name in self.names(folder):
                with contextlib.suppress(FileNotFoundError):
                    path = self._at(folder) / name
                    found[name] = None if path.is_dir() else path.stat().st_size
        return found

    def delete(self, path: str) -> None:
        """See Store."""
        with _told(self._at(path)):
            self._at(path).unlink(missing_ok=True)

    def hold(self, path: str) -> ExitStack:
        """See Store. The kernel lets go of it whatever happens."""
        target = self._at(path)
        with _told(target), ExitStack() as stack:
            target.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(target.open("w"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Held(self.where) from None
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
                    raise
            return stack.pop_all()

    def free(self) -> int | None:
        """See Store."""
        return shutil.disk_usage(self.anchor).free

    def _at(self, path: str) -> Path:
        return self.root / inner(path)

    @property
    def anchor(self) -> Path:
        """The folder, or the nearest above it that is there."""
        return next(p for p in (self.root, *self.root.absolute().parents) if p.exists())

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
            with contextlib.suppress(OSError):  # a draft that stays is nothing to a reader
                draft.unlink(missing_ok=True)


def _same(draft: Path, target: Path) -> bool:
    try:
        return draft.samefile(target)
    except OSError:
        return False


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems sync files only
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the disk says, in words."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        fix = _FIXES.get(error.errno or 0, "look after the disk, then give the same command again")
        if error.errno in (errno.ENOTSUP, errno.EMLINK, errno.EXDEV):
            fix = _NO_LINKS
        raise StorageError(error.strerror or str(error), where=str(path), fix=fix,
                           number=error.errno) from error
