"""A sweep's folder: names, and files that are written whole or not at all."""

from pathlib import Path

import pyarrow.fs as pafs
import pytest

from analysis.errors import TableError
from analysis.folder import Folder


@pytest.mark.parametrize("form", [str, Path, lambda p: p.as_uri(), lambda p: Folder.of(p)])
def test_a_path_a_uri_and_a_folder_are_the_same_place(tmp_path, form):
    (tmp_path / "here").touch()
    assert Folder.of(form(tmp_path)).exists("here")


def test_names_are_sorted_and_leave_writers_business_out(tmp_path):
    # a dot-file may be half written
    for name in ("b", "a", ".a.x7", "_tmp"):
        (tmp_path / "tables").mkdir(exist_ok=True)
        (tmp_path / "tables" / name).touch()
    assert Folder.of(tmp_path).names("tables") == ["a", "b"]


def test_an_absent_folder_is_told_from_an_empty_one(tmp_path):
    (tmp_path / "empty").mkdir()
    assert Folder.of(tmp_path).names("absent") is None
    assert Folder.of(tmp_path).names("empty") == []


def _local(path):
    return Folder.of(path)


def _other(path):
    """Not a LocalFileSystem, as an object store is not."""
    return Folder(pafs.SubTreeFileSystem(str(path), pafs.LocalFileSystem()), "")


@pytest.mark.parametrize(("make", "name"), [(_local, "deep/file"), (_other, "file")])
def test_put_writes_and_overwrites(tmp_path, make, name):
    folder = make(tmp_path)
    for data in (b"one", b"two"):
        assert folder.put(name, data) == folder.at(name)
        assert (tmp_path / name).read_bytes() == data
    assert [p.name for p in (tmp_path / name).parent.iterdir()] == ["file"]


def test_a_failed_put_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    folder = Folder.of(tmp_path)
    folder.put("file", b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(TableError, match="cannot write file: No space left on device"):
        folder.put("file", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("make", [_local, _other])
def test_a_file_where_a_folder_should_be_is_said_in_words(tmp_path, make):
    (tmp_path / "analysis").touch()
    with pytest.raises(TableError, match=r"cannot write analysis/laws\.parquet: ") as caught:
        make(tmp_path).put("analysis/laws.parquet", b"x")
    assert caught.value.where.endswith("analysis/laws.parquet")
