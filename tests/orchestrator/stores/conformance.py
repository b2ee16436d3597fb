"""What every store must do. A subclass gives ``store``, on an empty folder, and ``again``."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.errors import StorageError
from analysis.folder import Folder
from orchestrator.stores import open_store

BIG = bytes(range(256)) * 40_000  # 10 MB: more than is sent at once


class Conformance:
    """Runs on any Store; tests of two writers at once are marked ``exclusive``."""

    @pytest.fixture
    def store(self):
        """The store, with nothing in it."""
        raise NotImplementedError

    @pytest.fixture
    def again(self, store):
        """Opens the same folder as another process would."""
        return lambda: open_store(store.where)

    def test_a_new_folder_is_empty(self, store):
        assert store.names("") == []
        assert store.names("tables/runs") == []
        assert store.sizes("tables") == {}
        assert store.read("a") is None
        assert store.read("a/b") is None

    def test_create_is_once(self, store, again):
        assert store.create("a/b.bin", b"first")
        assert not store.create("a/b.bin", b"second")
        assert not again().create("a/b.bin", b"first")  # the same content is no exception
        assert again().read("a/b.bin") == b"first"

    @pytest.mark.parametrize("content", [b"", b"\0\xff\r\n", BIG], ids=["empty", "bytes", "big"])
    def test_bytes_come_back_as_they_are(self, store, content):
        store.create("created", content)
        store.replace("replaced", content)
        assert store.read("created") == store.read("replaced") == content
        assert store.sizes("") == {"created": len(content), "replaced": len(content)}

    def test_replace_overwrites_what_was_created_or_replaced(self, store, again):
        store.create("x", b"1")
        store.replace("x", b"22")
        store.replace("x", b"333")
        assert again().read("x") == b"333"
        assert not store.create("x", b"4")

    def test_delete_forgets_and_may_come_late(self, store):
        store.create("a/x", b"1")
        store.delete("a/x")
        store.delete("a/x")
        store.delete("nowhere/x")
        assert store.read("a/x") is None
        assert store.names("a") == []
        assert store.create("a/x", b"2")

    def test_names_are_sorted_of_one_folder_and_of_its_folders(self, store):
        for path in ("t/b", "t/a", "t/a-1", "t/c/d", "top", "tt/z"):
            store.create(path, b"1")
        assert store.names("t") == ["a", "a-1", "b", "c"]
        assert store.names("t", "a-") == ["a-1"]
        assert store.names("t", "z") == []
        assert store.names("") == ["t", "top", "tt"]
        assert store.sizes("t") == {"a": 1, "a-1": 1, "b": 1, "c": None}

    def test_a_file_is_no_folder_and_a_folder_no_file(self, store):
        store.create("t/a", b"1")
        assert store.names("t/a") == []
        assert store.read("t/a/x") is None
        assert store.read("t") is None

    def test_names_that_begin_alike_or_are_odd(self, store):
        for name in ("x y", "ü", "a+b", "a%20b", "a=b&c"):
            assert store.create(f"o/{name}", name.encode())
        assert store.names("o") == sorted(["x y", "ü", "a+b", "a%20b", "a=b&c"])
        assert all(store.read(f"o/{name}") == name.encode() for name in store.names("o"))

    @pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "a/..", "a\0b"])
    def test_no_name_leads_out_of_the_folder(self, store, path):
        """Names come from files too: of packs, of probes."""
        for call in (lambda: store.create(path, b"1"), lambda: store.replace(path, b"1"),
                     lambda: store.read(path), lambda: store.delete(path)):
            with pytest.raises(StorageError, match="leads out of"):
                call()
        assert store.names("") == []

    def test_more_names_than_a_page_holds(self, store):
        wanted = [f"{i:04d}" for i in range(1003)]  # S3 lists 1,000 at a time
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: store.replace(f"many/{n}", b""), wanted))
        assert store.names("many") == wanted

    def test_the_analysis_sees_the_same(self, store):
        """Through ``store.folder``, by which it reads tables and writes what it makes of them."""
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"x": [1, 2]}), sink)
        store.create("tables/runs/a.parquet", sink.getvalue().to_pybytes())
        folder = store.folder
        assert folder.names("tables") == ["runs"]
        assert folder.sizes("tables/runs") == store.sizes("tables/runs")
        assert folder.names("absent") is None
        assert folder.exists("tables/runs/a.parquet")
        assert not folder.exists("tables/runs/b.parquet")
        with folder.open("tables/runs/a.parquet") as file:
            assert pq.read_table(file)["x"].to_pylist() == [1, 2]
        for content in (b"one", b"two"):
            folder.put("analysis/laws.parquet", content)
            assert store.read("analysis/laws.parquet") == content
        assert Folder.of(folder) is folder

    def test_what_is_held_is_let_go(self, store, again):
        with store.hold("search/lock"):
            pass
        with again().hold("search/lock"):
            pass
        assert store.create("search/1", b"")

    def test_a_reader_sees_whole_files_while_they_are_replaced(self, store, again):
        """The old one or the new one, never a part or none."""
        versions = {bytes([i]) * 200_000 for i in range(4)}
        store.replace("x", min(versions))
        over = threading.Event()

        def write():
            for content in sorted(versions):
                store.replace("x", content)
            over.set()

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            reader, seen = again(), 0
            while not over.is_set() or not seen:
                assert reader.read("x") in versions
                assert reader.names("") == ["x"]
                seen += 1
            writing.result()

    @pytest.mark.exclusive
    def test_of_many_writers_at_once_one_creates(self, store, again):
        for round_ in range(3):
            barrier, stores = threading.Barrier(6), [again() for _ in range(6)]

            def write(i, path=f"contested/{round_}", barrier=barrier, stores=stores):
                barrier.wait()
                return stores[i].create(path, bytes([i]) * 1000)

            with ThreadPoolExecutor(6) as pool:
                won = list(pool.map(write, range(6)))
            assert sum(won) == 1
            assert store.read(f"contested/{round_}") == bytes([won.index(True)]) * 1000
        assert store.names("contested") == ["0", "1", "2"]
