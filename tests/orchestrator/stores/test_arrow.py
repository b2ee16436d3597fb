"""Whatever pyarrow.fs opens: whole files, but nothing between two writers."""

import uuid

import pyarrow.fs as pafs
import pytest

from analysis.errors import StorageError
from analysis.folder import Folder
from orchestrator.errors import UserError
from orchestrator.stores import open_store
from orchestrator.stores.arrow import ArrowStore
from tests.orchestrator.stores.conformance import Conformance
from tests.s3server import BUCKET, s3_server


@pytest.fixture(scope="module")
def server():
    with s3_server() as endpoint:
        yield endpoint


class _Arrow(Conformance):
    @pytest.fixture
    def store(self, place):
        return ArrowStore(place())

    @pytest.fixture
    def again(self, store, place):
        return lambda: ArrowStore(Folder(place().filesystem, store.folder.path))

    @pytest.fixture(autouse=True)
    def _not_exclusive(self, request, store):
        if request.node.get_closest_marker("exclusive") and not store.exclusive:
            pytest.skip("this store does not promise it, and says so")


class TestFiles(_Arrow):
    """A file system with folders, as HDFS is: drafts are moved."""

    @pytest.fixture
    def place(self, tmp_path):
        return lambda: Folder(pafs.LocalFileSystem(), str(tmp_path / "sweep"))


@pytest.mark.usefixtures("server")
class TestObjects(_Arrow):
    """An object store, as Google's is: here S3 by pyarrow's own client."""

    @pytest.fixture
    def place(self):
        where = f"s3://{BUCKET}/{uuid.uuid4().hex}"
        return lambda: Folder.of(where)


def test_a_draft_of_a_killed_writer_is_nothing_to_a_reader(tmp_path):
    store = ArrowStore(Folder.of(tmp_path))
    store.create("t/a", b"")
    (tmp_path / "t" / ".b.half").write_bytes(b"torn")
    assert store.names("t") == ["a"]


def test_a_failing_file_system_leaves_the_old_file(tmp_path, monkeypatch):
    store = ArrowStore(Folder.of(tmp_path))
    store.create("a", b"old")

    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(store, "_put", broken)
    with pytest.raises(StorageError, match="Input/output error") as caught:
        store.replace("a", b"new")
    assert caught.value.where.endswith("/a")
    assert (store.read("a"), [p.name for p in tmp_path.iterdir()]) == (b"old", ["a"])


def test_an_address_that_nothing_opens():
    with pytest.raises(UserError, match="cannot open nowhere://x/y") as caught:
        open_store("nowhere://x/y")
    assert "s3://bucket/prefix" in str(caught.value)
