"""The store's one promise: whole, once, or not at all."""

import multiprocessing
import os

import pytest

from orchestrator.store import LocalStore


def test_create_is_once(tmp_path):
    store = LocalStore(tmp_path)
    assert store.create("a/b.bin", b"first")
    assert not store.create("a/b.bin", b"second")
    assert store.read("a/b.bin") == b"first"


def test_replace_and_delete(tmp_path):
    store = LocalStore(tmp_path)
    store.replace("x", b"1")
    store.replace("x", b"2")
    assert store.read("x") == b"2"
    store.delete("x")
    store.delete("x")  # gone already: fine
    assert store.read("x") is None


def test_names_hide_drafts(tmp_path):
    store = LocalStore(tmp_path)
    store.create("t/b", b"")
    store.create("t/a", b"")
    (tmp_path / "t" / ".a.half").write_bytes(b"torn")  # what a crash leaves
    assert store.names("t") == ["a", "b"]
    assert store.names("nowhere") == []


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
