"""Optuna's journal as a whole file: what was flushed is there, and nothing half."""

import pytest

from orchestrator.errors import UserError
from orchestrator.search.journalfile import PATH, JournalFile
from orchestrator.stores import open_store

LOGS = [{"op_code": 0, "study_name": "x", "directions": [2]}, {"op_code": 4, "value": float("inf")}]


def test_what_was_flushed_is_read_by_the_next(tmp_path):
    store = open_store(tmp_path)
    one = JournalFile(store)
    assert one.read_logs(0) == []
    one.append_logs(LOGS[:1])
    one.flush()
    one.append_logs(LOGS[1:])
    assert one.read_logs(0) == LOGS  # at once, for whoever appended
    assert JournalFile(store).read_logs(0) == LOGS[:1]
    one.flush()
    assert JournalFile(store).read_logs(1) == LOGS[1:]


def test_nothing_is_written_where_nothing_was_appended(tmp_path):
    one = JournalFile(open_store(tmp_path))
    one.flush()
    assert list(tmp_path.iterdir()) == []


def test_a_last_line_that_an_older_version_left_torn_is_dropped(tmp_path):
    store = open_store(tmp_path)
    one = JournalFile(store)
    one.append_logs(LOGS)
    one.flush()
    store.replace(PATH, store.read(PATH) + b'{"op_code": 4, "val')
    assert JournalFile(store).read_logs(0) == LOGS


def test_a_damaged_line_is_told_with_a_way_out(tmp_path):
    store = open_store(tmp_path)
    store.replace(PATH, b"{]\n{}\n")
    with pytest.raises(UserError, match="damaged, or no journal of Optuna") as caught:
        JournalFile(store)
    assert str(tmp_path / PATH) in str(caught.value)
