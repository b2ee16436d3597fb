"""Reading tables: every row once, and everything that is not ours refused in words."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.errors import LeftAside, TableError
from analysis.schema import FORMAT, sweep_schema
from analysis.tables import PARTS, read
from tests.analysis.planted import MONITORS, Planted, part_path, tables, write, write_frames

SMALL = Planted(lr=(0.1, 0.2), batch_size=(8,), seeds=2, epochs=4.0, parts=2)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path, SMALL)


def keys(table: pa.Table) -> list[tuple[object, ...]]:
    return sorted(zip(table["run_id"].to_pylist(), table["step"].to_pylist(), strict=True))


def compact(folder: Path, table: str, parts: list[str], meta: bytes | None = None) -> Path:
    """Writes ``compact/<table>.parquet`` of the named parts."""
    paths = [part_path(folder, table, part) for part in parts]
    whole = pa.concat_tables([pq.read_table(path) for path in paths])
    sizes = {path.name: path.stat().st_size for path in paths}
    held = json.dumps(sizes).encode() if meta is None else meta
    path = folder / "compact" / f"{table}.parquet"
    path.parent.mkdir()
    pq.write_table(whole.replace_schema_metadata({**whole.schema.metadata, PARTS: held}), path)
    return path


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_union_of_the_parts_is_the_table(tmp_path, parts):
    _, snapshots = tables(SMALL)
    table = read(write(tmp_path, SMALL.but(parts=parts)), "snapshots")
    assert keys(table) == sorted(zip(snapshots["run_id"], snapshots["step"], strict=True))


def test_plain_pandas_reads_the_same(folder):
    # the folder must serve people who do not have this package
    ours = read(folder, "runs").to_pandas()
    plain = pd.read_parquet(folder / "tables" / "runs")
    pd.testing.assert_frame_equal(ours, plain)


def test_parts_that_are_being_written_are_not_seen(folder):
    (folder / "tables" / "runs" / ".pack9-0.parquet.x").write_bytes(b"half")
    assert read(folder, "runs").num_rows == 4


@pytest.mark.parametrize(
    "held",
    [
        ["pack0-0"],  # compacted while the sweep went on
        ["pack0-0", "pack1-0"],
        ["0000-schema", "pack0-0", "pack1-0"],
    ],
)
def test_a_compacted_table_stands_for_its_parts(folder, held):
    before = keys(read(folder, "snapshots"))
    compact(folder, "snapshots", held)
    assert keys(read(folder, "snapshots")) == before
    # it was read, and not the parts: one of those is damaged since, to the byte as long
    part = part_path(folder, "snapshots", held[-1])
    part.write_bytes(b"x" * part.stat().st_size)
    assert keys(read(folder, "snapshots")) == before


def test_a_compacted_table_leaves_no_trace_in_what_is_read(folder):
    before = read(folder, "runs")
    compact(folder, "runs", ["0000-schema", "pack0-0", "pack1-0"])
    after = read(folder, "runs")
    assert after.equals(before)
    assert after.schema.equals(before.schema, check_metadata=True)


def _part_gone(folder, path):
    # its run is to be made anew: then it has not ended
    compact(folder, "runs", ["pack0-0", "pack1-0"])
    part_path(folder, "runs", "pack1-0").unlink()


def _part_another(folder, path):
    # made anew since, with other times
    compact(folder, "runs", ["pack0-0", "pack1-0"])
    table = pq.read_table(part_path(folder, "runs", "pack1-0"))
    pq.write_table(table, part_path(folder, "runs", "pack1-0"), compression="none")


def _compact_damaged(folder, path):
    compact(folder, "runs", ["pack0-0"])
    path.write_bytes(path.read_bytes()[:-30])


def _compact_flipped(folder, path):
    compact(folder, "runs", ["pack0-0"])
    bad = bytearray(path.read_bytes())
    bad[200] ^= 1
    path.write_bytes(bad)


def _compact_of_another_sweep(folder, path):
    compact(folder, "runs", ["pack0-0"])
    _other_columns(path)


def _compact_of_another_table(folder, path):
    compact(folder, "snapshots", ["pack0-0"])
    path.with_name("snapshots.parquet").rename(path)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_part_gone, "1 of the parts that it holds are gone, like pack1-0.parquet"),
        (_part_another, "1 of the parts that it holds are not what they were, like pack1-0"),
        (_compact_damaged, "damaged, or not Parquet"),
        (_compact_flipped, "damaged, or not Parquet"),  # only the checksum of the page tells
        (_compact_of_another_sweep, "its columns are not those of tables/runs/0000-schema"),
        (_compact_of_another_table, "not a part of the table runs"),
        *(
            (lambda folder, _, meta=meta: compact(folder, "runs", ["pack0-0"], meta), "not say")
            for meta in (b"", b"no json", b"3", b'["pack0-0.parquet"]', b'{"pack0-0.parquet": "x"}')
        ),
    ],
)
def test_a_compacted_table_that_is_not_to_be_trusted_is_left_aside_aloud(folder, harm, words):
    path = folder / "compact" / "runs.parquet"
    harm(folder, path)
    with pytest.warns(LeftAside, match=words) as caught:
        found = read(folder, "runs")
    assert len(caught) == 1
    assert str(path) in str(caught[0].message)
    path.unlink()
    assert found.equals(read(folder, "runs"))  # the parts alone, each row once


@pytest.mark.parametrize("held", [[], ["0000-schema", "pack0-0"]])
def test_some_columns_are_read_from_parts_and_compact_alike(folder, held):
    whole = read(folder, "snapshots")
    if held:
        compact(folder, "snapshots", held)
    for names in (["train_loss"], ["step", "run_id"], []):  # the keys too, or none of them
        assert read(folder, "snapshots", names).equals(whole.select(names))


def test_a_row_that_is_there_twice_is_seen_whatever_is_read(folder):
    _copy(part_path(folder, "runs", "pack0-0"))
    with pytest.raises(TableError, match="is there twice"):
        read(folder, "runs", ["status"])


def test_null_and_nan_stay_apart(tmp_path):
    runs, snapshots = tables(SMALL)
    schema = sweep_schema(SMALL.config, MONITORS)["snapshots"]
    folder = write_frames(tmp_path, SMALL, runs, snapshots.iloc[:0])
    values = {name: pa.nulls(2, schema.field(name).type) for name in schema.names}
    values |= {"run_id": pa.array(["r", "r"]), "step": pa.array([0, 1])}
    values["train_loss"] = pa.array([None, float("nan")], from_pandas=False)
    part = pa.table(values, schema=schema)
    pq.write_table(part, part_path(folder, "snapshots", "pack7-0"))
    column = read(folder, "snapshots")["train_loss"]
    assert column.null_count == 1
    assert str(column[1].as_py()) == "nan"


def _truncate(part):
    part.write_bytes(part.read_bytes()[:-20])


def _empty(part):
    part.write_bytes(b"")


def _text(part):
    part.write_text("run_id,step\n")


def _flip_data(part):
    part.write_bytes(part.read_bytes().replace(b"a-host", b"b-host"))


def _break_a_name(part):
    part.write_bytes(part.read_bytes().replace(b"train_loss", b"\xfftrain_los"))


def _folder(part):
    part.unlink()
    part.mkdir()


def _foreign_suffix(part):
    part.with_suffix(".csv").touch()


def _other_table(part):
    shutil.copy(part.parents[1] / "snapshots" / part.name, part)


def _not_ours(part):
    pd.DataFrame({"run_id": ["a"]}).to_parquet(part)


def _newer(part):
    table = pq.read_table(part)
    meta = {**table.schema.metadata, b"sgdscope.format": str(FORMAT + 1).encode()}
    pq.write_table(table.replace_schema_metadata(meta), part)


def _other_columns(part):
    table = pq.read_table(part)
    extra = table.append_column(pa.field("config_x", pa.float64()), pa.nulls(2, pa.float64()))
    pq.write_table(extra.replace_schema_metadata(table.schema.metadata), part)


def _other_order(part):
    table = pq.read_table(part)
    turned = table.select(table.schema.names[::-1])
    pq.write_table(turned.replace_schema_metadata(table.schema.metadata), part)


def _copy(part):
    shutil.copy(part, part.with_name("copy.parquet"))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_truncate, "damaged, or not Parquet"),
        (_empty, "damaged, or not Parquet"),
        (_text, "damaged, or not Parquet"),
        (_flip_data, "damaged, or not Parquet"),  # only the checksum of the page tells
        (_break_a_name, "damaged, or not Parquet"),  # a name that is no UTF-8
        (_folder, "a folder, not a file"),
        (_foreign_suffix, "a foreign file among the tables"),
        (_other_table, "not a part of the table runs"),
        (_not_ours, "not a part of the table runs"),
        (_newer, f"written in format {FORMAT + 1}; this sgdscope reads up to {FORMAT}"),
        (_other_columns, "columns differ from .*: config_x: double"),
        (_other_order, "columns differ from .*: their order"),
        (_copy, "is there twice, in tables/runs/copy.parquet and tables/runs/pack0-0.parquet"),
    ],
)
def test_what_is_not_ours_is_refused_with_words_a_place_and_a_cure(folder, harm, words):
    harm(part_path(folder, "runs", "pack0-0"))
    with pytest.raises(TableError, match=words) as caught:
        read(folder, "runs")
    assert str(folder) in caught.value.where
    assert caught.value.fix


def test_no_flipped_bit_changes_a_row_unseen(folder):
    # every 67th byte, header, pages and footer alike
    part = part_path(folder, "runs", "pack0-0")
    good, data = read(folder, "runs"), part.read_bytes()
    refused = 0
    for place in range(0, len(data), 67):
        bad = bytearray(data)
        bad[place] ^= 1 << place % 8
        part.write_bytes(bad)
        try:
            assert read(folder, "runs").equals(good), place
        except TableError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    ("make", "table", "words"),
    [
        (lambda _: None, "runs", "not a sweep's folder: no tables/"),
        (lambda p: (p / "tables").mkdir(), "runs", "no table runs in this sweep"),
        (lambda p: (p / "tables" / "runs").mkdir(parents=True), "runs", "has no part yet"),
        (lambda _: None, "laws", "no table 'laws'"),
    ],
)
def test_a_folder_without_the_table_is_told_what_it_lacks(tmp_path, make, table, words):
    make(tmp_path)
    with pytest.raises(TableError, match=words):
        read(tmp_path, table)
