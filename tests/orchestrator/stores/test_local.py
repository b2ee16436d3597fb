"""A folder on a disk or on NFS: whole, once, or not at all."""

import errno
import multiprocessing
import os

import pytest

from analysis.errors import StorageError
from orchestrator.stores import Held
from orchestrator.stores.local import LocalStore
from tests.orchestrator.stores.conformance import Conformance


class TestLocal(Conformance):
    """A folder on this machine's disk."""

    @pytest.fixture
    def store(self, tmp_path):
        return LocalStore(tmp_path / "sweep")


def test_drafts_are_nothing_to_a_reader(tmp_path):
    store = LocalStore(tmp_path)
    store.create("t/a", b"")
    (tmp_path / "t" / ".b.half").write_bytes(b"torn")  # what a crash leaves
    assert store.names("t") == ["a"]
    assert store.sizes("t") == {"a": 0}


@pytest.mark.parametrize("call", ["link", "fsync"])
def test_a_failing_disk_leaves_nothing_visible(tmp_path, monkeypatch, call):
    store = LocalStore(tmp_path)

    def broken(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, broken)
        with pytest.raises(OSError, match="space"):
            store.create("a", b"content")
    assert store.names(".") == []
    assert list(tmp_path.iterdir()) == []
    assert store.create("a", b"content")


def _race(root, value, barrier, won):
    barrier.wait()
    if LocalStore(root).create("contested", value):
        won.put(value)


def test_of_many_processes_one_creates(tmp_path):
    spawn = multiprocessing.get_context("fork")
    for round_ in range(5):
        root, barrier, won = tmp_path / str(round_), spawn.Barrier(6), spawn.Queue()
        racers = [spawn.Process(target=_race, args=(root, bytes([i]) * 1000, barrier, won))
                  for i in range(6)]
        for r in racers:
            r.start()
        for r in racers:
            r.join()
        winner = won.get(timeout=5)
        assert won.empty()
        assert LocalStore(root).read("contested") == winner


def test_a_link_that_was_made_though_its_answer_was_lost(tmp_path, monkeypatch):
    """NFS repeats a request whose answer is lost, and is told that the name is there: by its own
    first request. A writer that is truly late is told so."""
    store, link = LocalStore(tmp_path), os.link

    def twice(draft, target):
        link(draft, target)
        raise FileExistsError(errno.EEXIST, "File exists")

    def lost(draft, target):
        link(draft, target)
        raise OSError(errno.EIO, "Input/output error")

    for path, broken in (("a", twice), ("b", lost)):
        with monkeypatch.context() as patch:
            patch.setattr(os, "link", broken)
            assert store.create(path, b"mine")
        assert store.names("") == sorted(store.names(""))
        assert store.read(path) == b"mine"

    def late(draft, target):
        LocalStore(tmp_path).replace("c", b"theirs")
        link(draft, target)

    monkeypatch.setattr(os, "link", late)
    assert not store.create("c", b"mine")
    assert store.read("c") == b"theirs"


@pytest.mark.parametrize(("number", "words"), [
    (errno.ENOSPC, "free some space"), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only"),
    (errno.EPERM, "hard links"), (errno.ENOTSUP, "hard links"), (errno.EIO, "look after the disk"),
])
def test_what_the_disk_says_is_said_with_a_place_and_a_cure(tmp_path, monkeypatch, number, words):
    def broken(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", broken)
    with pytest.raises(StorageError) as caught:
        LocalStore(tmp_path).create("t/a", b"content")
    assert (caught.value.what, caught.value.errno) == (os.strerror(number), number)
    assert caught.value.where == f"{tmp_path}/t/a"
    assert words in caught.value.fix


def test_a_file_system_that_syncs_no_folders_will_do(tmp_path, monkeypatch):
    def files_only(handle, fsync=os.fsync):
        if os.path.isdir(f"/proc/self/fd/{handle}"):  # noqa: PTH112
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", files_only)
    assert LocalStore(tmp_path).create("a", b"")


def test_what_one_process_holds_no_other_gets(tmp_path):
    store = LocalStore(tmp_path)
    with store.hold("search/lock"), pytest.raises(Held):
        LocalStore(tmp_path).hold("search/lock")
    store.hold("search/lock").close()


def test_a_file_system_without_locks_holds_nothing(tmp_path, monkeypatch):
    import fcntl

    def without(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without)
    LocalStore(tmp_path).hold("lock").close()
