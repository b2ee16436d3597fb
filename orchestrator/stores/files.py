"""A store as a file system that pyarrow reads: so the analysis sees what the store sees."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from analysis.folder import Folder
from orchestrator.stores.store import Store


def folder_of(store: Store) -> Folder:
    """The store's folder, read through the store itself."""
    return Folder(pafs.PyFileSystem(_Files(store)), store.where)


class _Files(pafs.FileSystemHandler):
    """Files below ``store.where``; what a reader and ``Folder.put`` need."""

    def __init__(self, store: Store):
        self._store = store

    def _path(self, path: str) -> str:
        return path.removeprefix(self._store.where).strip("/")

    def get_type_name(self) -> str:
        return "store"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        return [self._info(path) for path in paths]

    def _info(self, path: str) -> pafs.FileInfo:
        parent, _, name = self._path(path).rpartition("/")
        if not name:
            return pafs.FileInfo(path, pafs.FileType.Directory)
        sizes = self._store.sizes(parent)
        return _info(path, sizes[name]) if name in sizes else pafs.FileInfo(
            path, pafs.FileType.NotFound)

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        sizes = self._store.sizes(self._path(selector.base_dir))
        return [_info(f"{selector.base_dir}/{name}", size) for name, size in sizes.items()]

    def open_input_file(self, path: str) -> pa.NativeFile:
        content = self._store.read(self._path(path))
        if content is None:
            raise FileNotFoundError(f"{path} is missing")
        return pa.BufferReader(content)

    open_input_stream = open_input_file

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:  # noqa: ARG002
        return pa.PythonFile(_Written(self._store, self._path(path)), mode="w")

    def delete_file(self, path: str) -> None:
        self._store.delete(self._path(path))

    def _refuse(self, *_: Any) -> None:
        raise NotImplementedError("a sweep's folder is written by its store")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _refuse
    move = copy_file = open_append_stream = _refuse


class _Written(io.BytesIO):
    """Written as a whole when it is closed."""

    def __init__(self, store: Store, path: str):
        super().__init__()
        self._store, self._path = store, path

    def close(self) -> None:
        if not self.closed:
            content = self.getvalue()
            super().close()
            self._store.replace(self._path, content)


def _info(path: str, size: int | None) -> pafs.FileInfo:
    if size is None:
        return pafs.FileInfo(path, pafs.FileType.Directory)
    return pafs.FileInfo(path, pafs.FileType.File, size=size)
