"""Anything else that pyarrow.fs opens, like gs://, abfs:// or hdfs://.

Whole files, but no creation that two writers could contend for: one driver at a time.
"""

import contextlib
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pyarrow as pa
import pyarrow.fs as pafs

from analysis.errors import StorageError
from analysis.folder import Folder
from orchestrator.errors import Problem, UserError
from orchestrator.stores.store import inner

_OBJECTS = ("s3", "gcs", "abfs")  # show a file only when it is complete


class ArrowStore:
    """A folder on a file system of pyarrow, by its URI, or a Folder of one."""

    exclusive = False

    def __init__(self, where: str | Folder, patience_s: float = 0.0):  # noqa: ARG002
        self.where = where if isinstance(where, str) else where.path
        self.folder = where if isinstance(where, Folder) else _opened(where)
        self._files = self.folder.filesystem

    def create(self, path: str, content: bytes) -> bool:
        """See Store. Looks, then writes: who writes in between is overwritten."""
        with self._told(path):
            if self._info(path).type != pafs.FileType.NotFound:
                return False
            self._write(path, content)
            return True

    def replace(self, path: str, content: bytes) -> None:
        """See Store."""
        with self._told(path):
            self._write(path, content)

    def read(self, path: str) -> bytes | None:
        """See Store."""
        with self._told(path):
            if self._info(path).type != pafs.FileType.File:
                return None
            try:
                with self._files.open_input_stream(self._at(path)) as stream:
                    return stream.read()
            except FileNotFoundError:
                return None

    def names(self, folder: str, start: str = "") -> list[str]:
        """See Store."""
        return [name for name in self.sizes(folder) if name.startswith(start)]

    def sizes(self, folder: str) -> dict[str, int | None]:
        """See Store."""
        with self._told(folder):
            if self._info(folder).type == pafs.FileType.File:
                return {}
            found = self._files.get_file_info(
                pafs.FileSelector(self._at(folder), allow_not_found=True))
        sizes = {i.base_name: None if i.type == pafs.FileType.Directory else i.size for i in found}
        return {name: sizes[name] for name in sorted(sizes) if not name.startswith(".")}

    def delete(self, path: str) -> None:
        """See Store."""
        with self._told(path), contextlib.suppress(FileNotFoundError):
            if self._info(path).type == pafs.FileType.File:
                self._files.delete_file(self._at(path))

    def hold(self, path: str) -> ExitStack:  # noqa: ARG002
        """Nothing: there are no locks."""
        return ExitStack()

    def free(self) -> int | None:
        """There is no telling."""
        return None

    def _at(self, path: str) -> str:
        return self.folder.at(path) if path else self.folder.path

    def _info(self, path: str) -> pafs.FileInfo:
        return self._files.get_file_info(self._at(path))

    def _write(self, path: str, content: bytes) -> None:
        """Whole or not: an object store shows nothing else, elsewhere a draft is moved."""
        if self._files.type_name in _OBJECTS:
            self._put(self._at(path), content)
            return
        parent, _, name = path.rpartition("/")
        draft = self._at(f"{parent}/.{name}.{uuid.uuid4().hex}" if parent
                         else f".{name}.{uuid.uuid4().hex}")
        try:
            try:
                self._put(draft, content)
            except FileNotFoundError:
                self._files.create_dir(self._at(parent), recursive=True)
                self._put(draft, content)
            self._files.move(draft, self._at(path))
        except BaseException:
            with contextlib.suppress(OSError, pa.ArrowException):
                self._files.delete_file(draft)
            raise

    def _put(self, path: str, content: bytes) -> None:
        with self._files.open_output_stream(path) as stream:
            stream.write(content)

    @contextlib.contextmanager
    def _told(self, path: str) -> Iterator[None]:
        inner(path)
        try:
            yield
        except StorageError:
            raise
        except (OSError, pa.ArrowException) as error:
            what = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            raise StorageError(what, where=f"{self.where}/{path}".rstrip("/"), fix=(
                "check the address, the network and the credentials in the environment, then give "
                "the same command again: what is committed is kept")) from error


def _opened(where: str) -> Folder:
    from analysis.errors import TableError

    try:
        return Folder.of(where)
    except TableError as error:
        raise UserError(Problem(error.what, "storage", error.fix)) from error
