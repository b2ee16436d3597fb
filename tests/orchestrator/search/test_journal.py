"""The journal of a search after a person has moved one of its files."""

from orchestrator.search.journal import Journal, Record
from orchestrator.stores.local import LocalStore


def test_an_ask_that_was_moved_away_leaves_the_journal_usable(tmp_path):
    journal = Journal(LocalStore(tmp_path), "x")
    assert journal.last == 0
    for index in (1, 2, 3):
        journal.add(index, Record((), (), ()))
    (tmp_path / "search" / "x" / "000002.json").rename(tmp_path / "moved")
    assert len(journal.records()) == 2
    journal.add(journal.last + 1, Record((), (), ()))
    assert journal.last == 4
