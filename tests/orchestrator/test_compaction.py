"""Compaction: one file for many parts, and never a row twice, whatever happens in between."""

import multiprocessing
import os
import signal
import warnings

import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis import report
from analysis.errors import LeftAside, TableError
from analysis.schema import TABLES, sweep_schema
from analysis.tables import read, union
from orchestrator import compaction
from orchestrator.compaction import MANY, compact, compact_many
from orchestrator.ledger import SCHEMA_PART, Ledger
from orchestrator.stores.local import LocalStore
from tests.analysis.planted import Planted, write


@pytest.fixture
def store(tmp_path):
    store = LocalStore(tmp_path)
    Ledger(store).create_tables(sweep_schema({"config_model_name": "str"}, {"hessian_trace": "1"}))
    return store


def commit(store, packs):
    """Packs of two runs with two snapshots, each in a segment of its own."""
    ledger = Ledger(store)
    for p in packs:
        ids = [f"{p:03d}-{i}" for i in range(2)]
        for k in range(2):
            rows = {"runs": [{"run_id": i, "status": "finished"} for i in ids] if k else [],
                    "snapshots": [{"run_id": i, "step": k, "train_loss": p + k / 10} for i in ids],
                    "spectra": [{"run_id": i, "step": k, "value": 1.0} for i in ids],
                    "curves": []}
            ledger.commit(f"pack{p:03d}", {"segment": k, "step": k, "last": k == 1}, b"s", rows)


def frames(store):
    """Every table as the analysis reads it, in an order of its own; no warning is let pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {t: read(store.root, t).to_pandas().sort_values(
            ["subject_id"] if t == "curves" else ["run_id"], ignore_index=True, kind="stable")
            for t in TABLES}


def listing(folder):
    """Every file with its bytes and its time of change."""
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_tables_stay_as_they_are_and_all_is_read_from_compact(store):
    commit(store, range(3))
    before, tables = frames(store), listing(store.root / "tables")
    plain = pd.read_parquet(store.root / "tables" / "snapshots")
    made = {c.table: c for c in compact(store)}
    assert (made["runs"].rows, made["runs"].parts, made["runs"].new) == (6, 3, 3)
    assert (made["snapshots"].rows, made["snapshots"].parts, made["snapshots"].new) == (12, 6, 6)
    assert (made["curves"].rows, made["curves"].parts) == (0, 0)
    assert listing(store.root / "tables") == tables
    pd.testing.assert_frame_equal(pd.read_parquet(store.root / "tables" / "snapshots"), plain)
    for table, frame in frames(store).items():
        pd.testing.assert_frame_equal(frame, before[table])
        found = union(store.root, table)
        assert found.held == set(found.parts)  # no part was opened
        assert pd.read_parquet(store.root / "compact" / f"{table}.parquet").shape == frame.shape


def test_parts_that_come_later_are_read_beside_it_and_taken_in_by_the_next(store):
    commit(store, range(2))
    compact(store)
    commit(store, range(2, 5))
    assert len(frames(store)["runs"]) == 10
    made = {c.table: c for c in compact(store)}
    assert (made["runs"].rows, made["runs"].parts, made["runs"].new) == (10, 5, 3)
    assert len(frames(store)["runs"]) == 10
    assert frames(store)["snapshots"].groupby(["run_id", "step"]).size().eq(1).all()


def test_with_nothing_new_nothing_is_written(store):
    commit(store, range(2))
    compact(store)
    files = listing(store.root)
    made = compact(store)
    assert [(c.new, c.bytes) for c in made] == [(0, None)] * 4
    assert "nothing new" in str(made[0])
    assert listing(store.root) == files


def test_a_part_made_anew_is_taken_in_again(store):
    # its part was damaged and moved away, and its pack was trained anew
    commit(store, range(2))
    compact(store)
    (store.root / "tables/runs/pack001-1.parquet").unlink()
    with pytest.warns(LeftAside, match="are gone, like pack001-1"):
        assert read(store.root, "runs").num_rows == 2
    commit(store, [1])
    compact(store)
    assert len(frames(store)["runs"]) == 4


def test_a_damaged_compact_is_written_anew(store):
    commit(store, range(2))
    compact(store)
    path = store.root / "compact" / "runs.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(LeftAside, match="damaged"):
        assert compact(store)[0].bytes == len(whole)
    assert path.read_bytes() == whole


def test_a_damaged_part_stops_it_with_words_and_leaves_the_older_one(store):
    commit(store, range(2))
    compact(store)
    files = listing(store.root / "compact")
    commit(store, [2])
    (store.root / "tables/runs/pack002-1.parquet").write_bytes(b"half")
    with pytest.raises(TableError, match="damaged, or not Parquet"):
        compact(store)
    assert listing(store.root / "compact") == files


def _killed_at(root, table, moment):
    """Compacts and is killed when ``table`` is replaced: before its draft, or before its name."""
    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    class Dying(LocalStore):
        def replace(self, path, content):
            if path == f"compact/{table}.parquet":
                if moment == "draft":
                    die()
                type(self.root / path).rename = die
            super().replace(path, content)

    compaction.compact(Dying(root))


@pytest.mark.parametrize("moment", ["draft", "name"])
@pytest.mark.parametrize("table", ["runs", "snapshots"])
@pytest.mark.parametrize("earlier", [False, True], ids=["first", "second"])
def test_killed_at_any_moment_no_row_is_lost_or_there_twice(store, table, moment, earlier):
    if earlier:
        commit(store, range(2))
        compact(store)
    commit(store, range(2, 4))
    before = frames(store)
    process = multiprocessing.get_context("fork").Process(
        target=_killed_at, args=(store.root, table, moment))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    for table_, frame in frames(store).items():
        pd.testing.assert_frame_equal(frame, before[table_])
    compact(store)
    for table_, frame in frames(store).items():
        pd.testing.assert_frame_equal(frame, before[table_])
        assert union(store.root, table_).held >= {SCHEMA_PART}


def test_a_part_that_appears_meanwhile_is_read_beside_it(store, monkeypatch):
    commit(store, range(2))
    replace = LocalStore.replace

    def slow(self, path, content):
        if path == "compact/runs.parquet":
            commit(self, [9])
        replace(self, path, content)

    monkeypatch.setattr(LocalStore, "replace", slow)
    compact(store)
    assert len(frames(store)["runs"]) == 6
    assert frames(store)["snapshots"].groupby(["run_id", "step"]).size().eq(1).all()


def test_many_parts_are_compacted_unasked_and_few_are_not(store):
    commit(store, range(2))
    assert not compact_many(store)
    assert store.names("compact") == []
    commit(store, range(2, MANY // 2 + 1))  # two parts a pack in the table of snapshots
    assert compact_many(store)
    assert store.names("compact") == [f"{t}.parquet" for t in sorted(TABLES)]
    commit(store, range(90, 95))
    assert not compact_many(store)  # not a whole table for a few parts more
    commit(store, range(100, 100 + MANY))
    assert compact_many(store)
    assert union(store.root, "runs").held == set(union(store.root, "runs").parts)


def test_the_analysis_is_the_same_to_the_byte(tmp_path):
    # the rows come in another order: the first part was the last to be taken in
    folder = write(tmp_path / "sweep", Planted(seeds=2, parts=3))
    first = {p: p.read_bytes() for p in (folder / "tables").glob("*/pack0-0.parquet")}
    report.write(folder)
    plain = analysed(folder)
    for path in first:
        path.unlink()
    compact(LocalStore(folder))
    for path, content in first.items():
        path.write_bytes(content)
    for _ in range(2):  # beside the compacted table, then in it
        report.write(folder)
        assert analysed(folder) == plain
        compact(LocalStore(folder))
    assert union(folder, "runs").rows["run_id"] != read_parts(folder)["run_id"]


def analysed(folder):
    """What the analysis wrote."""
    return {p.relative_to(folder): p.read_bytes()
            for p in (folder / "report.html", *(folder / "analysis").rglob("*")) if p.is_file()}


def read_parts(folder):
    """The runs as the parts have them."""
    return pq.read_table(folder / "tables" / "runs")


def test_a_full_disk_stops_the_unasked_compaction_alone(store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalStore, "replace", full)
    commit(store, range(MANY))
    assert not compact_many(store)
    assert len(frames(store)["runs"]) == 2 * MANY
