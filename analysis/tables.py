"""Verified reading of a sweep's tables, at any moment of a running sweep.

A table is the union of its parts ``tables/<table>/*.parquet``; ``compact/<table>.parquet`` stands
for the parts whose names its metadata holds. Every part has the same schema, of a known format
version; anything else in the folder is named and refused rather than skipped.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.errors import TableError
from analysis.folder import Folder, Where
from analysis.schema import FORMAT, TABLES

PARTS = b"sgdscope.parts"
_KEYS = {"runs": ["run_id"], "snapshots": ["run_id", "step"]}


def read(where: Where, table: str) -> pa.Table:
    """The rows of ``table`` in the sweep's folder ``where``, each exactly once.

    Raises TableError for a folder without tables, a file that is damaged or not a part of this
    table, a format newer than this reader, and a row that two parts claim.
    """
    if table not in TABLES:
        raise TableError(f"no table {table!r}", fix=f"tables are: {', '.join(TABLES)}")
    folder = Folder.of(where)
    names = _part_names(folder, table)
    compact, held = _read_compact(folder, table)
    wanted = [f"tables/{table}/{name}" for name in names if name not in held]
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda name: _read_part(folder, table, name), wanted))
    sources = ([f"compact/{table}.parquet"] if compact else []) + wanted
    pieces = ([compact] if compact else []) + parts
    if not pieces:
        raise TableError(f"the table {table} has no part yet", where=folder.path)
    _check_same_schema(folder, sources, pieces)
    whole = pa.concat_tables(pieces)
    _check_rows_once(folder, table, sources, pieces, whole)
    return whole


def _part_names(folder: Folder, table: str) -> list[str]:
    names = folder.names(f"tables/{table}")
    if names is None:
        known = folder.exists("tables")
        what = f"no table {table} in this sweep" if known else "not a sweep's folder: no tables/"
        raise TableError(what, where=folder.path, fix="give the folder that `sgdscope run` wrote")
    for name in names:
        if not name.endswith(".parquet"):
            raise TableError(
                "a foreign file among the tables",
                where=folder.at(f"tables/{table}/{name}"),
                fix="move it elsewhere; pandas cannot read the folder with it either",
            )
    return names


def _read_compact(folder: Folder, table: str) -> tuple[pa.Table | None, frozenset[str]]:
    name = f"compact/{table}.parquet"
    if not folder.exists(name):
        return None, frozenset()
    piece = _read_part(folder, table, name)
    try:
        parts = json.loads((piece.schema.metadata or {})[PARTS])
        return piece, frozenset(map(str, parts))
    except (KeyError, TypeError, ValueError) as error:
        raise TableError(
            "a compacted table does not say which parts it holds",
            where=folder.at(name),
            fix="delete it: the parts are still there",
        ) from error


def _read_part(folder: Folder, table: str, name: str) -> pa.Table:
    try:
        with folder.filesystem.open_input_file(folder.at(name)) as stream:
            file = pq.ParquetFile(stream, page_checksum_verification=True)
            _check_format(folder, table, name, file.schema_arrow)
            return file.read()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise TableError(
            f"damaged, or not Parquet: {str(error).partition(chr(10))[0]}",
            where=folder.at(name),
            fix="move it away, and its pack's parts in tables/runs: running the sweep again then "
            "trains that pack anew",
        ) from error


def _check_format(folder: Folder, table: str, name: str, schema: pa.Schema) -> None:
    metadata = schema.metadata or {}
    version = metadata.get(b"sgdscope.format", b"")
    if not version.isdigit() or metadata.get(b"sgdscope.table") != table.encode():
        raise TableError(
            f"not a part of the table {table}", where=folder.at(name), fix="move it elsewhere"
        )
    if int(version) > FORMAT:
        raise TableError(
            f"written in format {int(version)}; this sgdscope reads up to {FORMAT}",
            where=folder.at(name),
            fix="upgrade sgdscope",
        )


def _check_same_schema(folder: Folder, sources: Sequence[str], pieces: Sequence[pa.Table]) -> None:
    first = pieces[0].schema
    for source, piece in zip(sources, pieces, strict=True):
        if not piece.schema.equals(first, check_metadata=False):
            ours, theirs = ({f"{f.name}: {f.type}" for f in s} for s in (first, piece.schema))
            odd = sorted(ours ^ theirs)
            raise TableError(
                f"columns differ from {sources[0]}: {', '.join(odd[:4]) or 'their order'}",
                where=folder.at(source),
                fix="it belongs to another sweep: move it away",
            )


def _check_rows_once(
    folder: Folder, table: str, sources: Sequence[str], pieces: Sequence[pa.Table], whole: pa.Table
) -> None:
    keys = _KEYS.get(table)
    if keys is None or whole.num_rows == 0:
        return
    counts = whole.select(keys).group_by(keys).aggregate([([], "count_all")])
    if counts.num_rows == whole.num_rows:
        return
    twice = counts.filter(pc.greater(counts["count_all"], 1))["run_id"][0]
    holders = [
        source
        for source, piece in zip(sources, pieces, strict=True)
        if pc.any(pc.equal(piece["run_id"], twice)).as_py()
    ]
    raise TableError(
        f"a row of run {twice} is there twice, in {' and '.join(holders)}",
        where=folder.path,
        fix="one of them is a copy: move it away",
    )
