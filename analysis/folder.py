"""A sweep's folder, wherever it lies: the few things that the analysis asks of a file system."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.fs as pafs

from analysis.errors import TableError

Where: TypeAlias = "str | os.PathLike[str] | Folder"


@dataclass(frozen=True)
class Folder:
    """A folder on a file system that pyarrow opens; ``path`` is in that file system's own terms."""

    filesystem: pafs.FileSystem
    path: str

    @classmethod
    def of(cls, where: Where) -> "Folder":
        """``where``: a local path, a URI (``s3://bucket/prefix``), or a Folder as it is."""
        if isinstance(where, Folder):
            return where
        if "://" in str(where):
            return cls(*pafs.FileSystem.from_uri(str(where)))
        return cls(pafs.LocalFileSystem(), str(Path(where).resolve()))

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
        found = self.filesystem.get_file_info(selector)
        if not found and not self.exists(sub):
            return None
        sizes = {info.base_name: info.size or 0 for info in found}
        return {name: sizes[name] for name in sorted(sizes) if not name.startswith((".", "_"))}

    def exists(self, name: str) -> bool:
        """Whether a file or folder of that name is there."""
        return self.filesystem.get_file_info(self.at(name)).type != pafs.FileType.NotFound

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
            reason = getattr(error, "strerror", None) or str(error)
            raise TableError(f"cannot write {name}: {reason}", where=path) from error
        return path


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
