"""The small files of a sweep's folder: damaged ones are told with their place and a cure."""

import pytest

from orchestrator import records
from orchestrator.errors import UserError
from orchestrator.stores import open_store

RUBBISH = [b"[" * 3_000, b"\xff\xfe", b"[1]", b"3", b'"x"', b"a: 2024-13-45", b"a: !!int x",
           b"a: !!bool maybe", b"a: !!timestamp x", b'a: !!int ""', b"{", b"\0", b"\t- a"]


@pytest.mark.parametrize("content", [
    *RUBBISH, b"measure: 3", b"sweep: {search: {runs: x}}",
    b"sweep: {search: {runs: 0, sampler: a}}",
    b"!!python/object/apply:os.abort []"])
def test_a_resolved_spec_that_is_none(tmp_path, content):
    (tmp_path / "resolved.yaml").write_bytes(content)
    with pytest.raises(UserError, match="damaged, or not written by sgdscope") as caught:
        records.resolved(open_store(tmp_path))
    (problem,) = caught.value.problems
    assert problem.where == f"{tmp_path}/resolved.yaml"
    assert problem.fix


@pytest.mark.parametrize("content", [*RUBBISH, b"", b'{"a": 1}'])
def test_a_record_that_is_none(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match="damaged, or not written by sgdscope"):
        records.record(open_store(tmp_path), "x.json", ("a", "b"), "move it away")


def test_what_is_whole_or_absent(tmp_path):
    store = open_store(tmp_path)
    assert records.resolved(store) is None
    assert records.record(store, "x.json", ("a",), "") is None
    assert records.ids(store, "planned.txt") == []
    (tmp_path / "x.json").write_bytes(b'{"a": 1}')
    (tmp_path / "planned.txt").write_bytes(b"a\nb\n")
    (tmp_path / "resolved.yaml").write_bytes(b"name: a\n")
    assert records.record(store, "x.json", ("a",), "") == {"a": 1}
    assert records.ids(store, "planned.txt") == ["a", "b"]
    assert records.resolved(store) == {"name": "a"}


def test_ids_that_are_no_text(tmp_path):
    (tmp_path / "planned.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="damaged"):
        records.ids(open_store(tmp_path), "planned.txt")
