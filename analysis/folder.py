"""A sweep's folder, wherever it lies: the few things that the analysis asks of a file system."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.fs as pafs

from analysis.errors import StorageError, TableError

Where: TypeAlias = "str | os.PathLike[str] | Folder"


@dataclass(frozen=True)
class Folder:
    """A folder on a file system that pyarrow opens; ``path`` is in that file system's own terms."""

    filesystem: pafs.FileSystem
    path: str

    @classmethod
    def of(cls, where: Where) -> "Folder":
        """``where``: a local path, a URI (``s3://bucket/prefix``), or a Folder as it is.

        TableError for a URI that no file system is known for. S3's endpoint and region are taken
        from AWS_ENDPOINT_URL and AWS_REGION, its credentials from the environment too.
        """
        if isinstance(where, Folder):
            return where
        uri = os.fspath(where)
        if "://" not in uri:
            return cls(pafs.LocalFileSystem(), str(Path(uri).resolve()))
        try:
            if uri.startswith("s3://") and "?" not in uri and (endpoint := _endpoint()):
                return cls(_s3(endpoint), uri.removeprefix("s3://").rstrip("/"))
            return cls(*pafs.FileSystem.from_uri(uri))
        except (OSError, pa.ArrowException) as error:
            raise TableError(f"cannot open {uri}: {_reason(error)}",
                             fix="give a folder, or a URI like s3://bucket/prefix") from error

    def at(self, name: str) -> str:
        """The path of ``name`` inside the folder."""
        return f"{self.path}/{name}"

    def names(self, sub: str) -> list[str] | None:
        """Sorted names in ``sub``; None where there is no such folder. Names that begin with a
        dot or an underscore are writers' business and are left out, as pandas does."""
        sizes = self.sizes(sub)
        return None if sizes is None else list(sizes)

    def sizes(self, sub: str) -> dict[str, int] | None:
        """As ``names``, each with its bytes; 0 for a folder."""
        selector = pafs.FileSelector(self.at(sub), allow_not_found=True)
        with _told(self.at(sub)):
            found = self.filesystem.get_file_info(selector)
        if not found and not self.exists(sub):
            return None
        sizes = {info.base_name: info.size or 0 for info in found}
        return {name: sizes[name] for name in sorted(sizes) if not name.startswith((".", "_"))}

    def exists(self, name: str) -> bool:
        """Whether a file or folder of that name is there."""
        with _told(self.at(name)):
            return self.filesystem.get_file_info(self.at(name)).type != pafs.FileType.NotFound

    def open(self, name: str) -> pa.NativeFile:
        """The file, to read in any order; one that is far away comes as a whole, in one request.
        StorageError where there is no getting at it, which says nothing of what is in it."""
        with _told(self.at(name)):
            if isinstance(self.filesystem, pafs.LocalFileSystem):
                return self.filesystem.open_input_file(self.at(name))
            with self.filesystem.open_input_stream(self.at(name)) as stream:
                return pa.BufferReader(stream.read_buffer())

    def put(self, name: str, data: bytes) -> str:
        """Writes a file whole or not at all, over what was there. Returns its path.

        Local: a dot-file in the same folder, then ``os.replace``. Object stores show an object
        only when it is complete.
        """
        path = self.at(name)
        try:
            if isinstance(self.filesystem, pafs.LocalFileSystem):
                _replace(Path(path), data)
            else:
                with self.filesystem.open_output_stream(path) as stream:
                    stream.write(data)
        except (OSError, pa.ArrowException) as error:
            raise TableError(f"cannot write {name}: {_reason(error)}", where=path) from error
        return path


def _endpoint() -> str:
    """Where S3 is, if not at Amazon's."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def _s3(endpoint: str) -> pafs.S3FileSystem:
    secure, _, address = endpoint.rpartition("://")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return pafs.S3FileSystem(
        endpoint_override=address.rstrip("/"), scheme=secure or "https", region=region,
        connect_timeout=10, request_timeout=60)  # seconds; Arrow's own are one and three


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


@contextlib.contextmanager
def _told(where: str) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if "is a directory" in str(error):  # Arrow gives it no errno
            raise TableError("a folder, not a file", where=where, fix="move it away") from error
        raise StorageError(f"cannot be read: {_reason(error)}", where=where, fix=(
            "check that it is there and that you may read it, and the network"),
            number=error.errno) from error


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
