"""Every promise on a store under faults: whatever fails, a file is there whole or not at all."""

import pytest

from analysis.errors import StorageError
from orchestrator.stores import SCHEMES, open_store
from tests.orchestrator.stores.conformance import Conformance
from tests.orchestrator.stores.faults import Fault, FaultyStore, Killed, served_as


class TestFaulty(Conformance):
    """With no fault due the wrapper is a store as any other."""

    @pytest.fixture
    def store(self, tmp_path):
        return FaultyStore(open_store(tmp_path))


@pytest.mark.parametrize("error", [StorageError, Killed])
@pytest.mark.parametrize(("kind", "call", "after"), [
    ("before", "create", None), ("torn", "create", None), ("after", "create", b"new"),
    ("before", "replace", b"old"), ("torn", "replace", b"old"), ("after", "replace", b"new"),
])
def test_a_fault_leaves_the_old_or_the_new(tmp_path, kind, call, after, error):
    inner = open_store(tmp_path)
    if call == "replace":
        inner.create("t/x", b"old")
    store = FaultyStore(inner, [Fault(kind, 0, lambda: error("lost"), (call,))])
    with pytest.raises(error):
        getattr(store, call)("t/x", b"new")
    assert inner.read("t/x") == after
    assert inner.names("t") == ([] if after is None else ["x"])
    assert (inner.create if call == "create" else inner.replace)("t/x", b"new") is not after
    assert inner.read("t/x") == b"new"


def test_faults_are_counted_by_call_and_a_dead_process_stays_dead(tmp_path):
    store = FaultyStore(open_store(tmp_path), [Fault("before", 1, Killed)])
    assert store.create("a", b"")
    assert store.read("a") == b""
    with pytest.raises(Killed):
        store.create("b", b"")
    with pytest.raises(Killed):
        store.read("a")
    assert store.log == [("create", "a"), ("read", "a"), ("create", "b")]


def test_a_scheme_whose_stores_share_their_faults(tmp_path, monkeypatch):
    """As a sweep opens one store after another: the third write fails, whoever makes it."""
    monkeypatch.setitem(SCHEMES, "faulty", None)  # taken out again afterwards
    opened = served_as("faulty", [Fault("before", 2)])
    where = f"faulty://{tmp_path}/sweep"
    assert open_store(where).create("a", b"1")
    assert open_store(where).create("b", b"2")
    with pytest.raises(StorageError):
        open_store(where).create("c", b"3")
    assert open_store(where).create("c", b"3")
    assert open_store(tmp_path / "sweep").names("") == ["a", "b", "c"]
    assert open_store(where).folder.sizes("") == {"a": 1, "b": 1, "c": 1}
    assert len(opened) == 5
