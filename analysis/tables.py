"""Verified reading of a sweep's tables, at any moment of a running sweep.

A table is the union of its parts ``tables/<table>/*.parquet``. ``compact/<table>.parquet`` stands
for the parts that its metadata names, with their sizes, and nothing depends on it: where a part
that it names is gone or another, or where it is damaged or of other columns, it is left aside with
a warning and the parts are read. Every part has the same schema, of a known format version;
anything else among the parts is named and refused rather than skipped.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.errors import LeftAside, StorageError, TableError
from analysis.folder import Folder, Where
from analysis.schema import FORMAT, TABLES

PARTS = b"sgdscope.parts"
_KEYS = {"runs": ["run_id"], "snapshots": ["run_id", "step"]}


@dataclass(frozen=True)
class Union:
    """A table's ``rows`` and the parts (name -> bytes) that they come from; ``held``: those of the
    parts that were read from the compacted table."""

    rows: pa.Table
    parts: Mapping[str, int]
    held: frozenset[str]


@dataclass(frozen=True)
class _Piece:
    """One file's rows (of the columns asked for), and the schema of the whole file."""

    source: str
    schema: pa.Schema
    rows: pa.Table


def read(where: Where, table: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of ``table`` in the sweep's folder ``where``, each exactly once; ``columns``: of
    those alone, in that order.

    Raises TableError for a folder without tables, a file that is damaged or not a part of this
    table, a format newer than this reader, and a row that two parts claim.
    """
    rows = union(where, table, columns).rows
    return rows if columns is None else rows.select(list(columns))


def union(where: Where, table: str, columns: Sequence[str] | None = None) -> Union:
    """As ``read``, with the parts behind the rows. The columns by which rows are told apart are
    read too."""
    if table not in TABLES:
        raise TableError(f"no table {table!r}", fix=f"tables are: {', '.join(TABLES)}")
    folder = Folder.of(where)
    parts = _part_sizes(folder, table)
    wanted = None if columns is None else list(dict.fromkeys((*_KEYS.get(table, ()), *columns)))
    compact, held = _read_compact(folder, table, parts, wanted)
    names = [f"tables/{table}/{name}" for name in parts if name not in held]
    with ThreadPoolExecutor(8) as pool:
        pieces = list(pool.map(lambda name: _read_part(folder, table, name, wanted), names))
    if compact:
        pieces.insert(0, compact)
    if not pieces:
        raise TableError(f"the table {table} has no part yet", where=folder.path)
    _check_same_schema(folder, pieces)
    whole = pa.concat_tables([piece.rows for piece in pieces])
    _check_rows_once(folder, table, pieces, whole)
    return Union(whole, parts, held)


def _part_sizes(folder: Folder, table: str) -> dict[str, int]:
    """Bytes of each part, in the order of the names."""
    sizes = folder.sizes(f"tables/{table}")
    if sizes is None:
        known = folder.exists("tables")
        what = f"no table {table} in this sweep" if known else "not a sweep's folder: no tables/"
        raise TableError(what, where=folder.path, fix="give the folder that `sgdscope run` wrote")
    for name in sizes:
        if not name.endswith(".parquet"):
            raise TableError(
                "a foreign file among the tables",
                where=folder.at(f"tables/{table}/{name}"),
                fix="move it elsewhere; pandas cannot read the folder with it either",
            )
    return sizes


def _read_compact(
    folder: Folder, table: str, parts: Mapping[str, int], columns: list[str] | None
) -> tuple[_Piece | None, frozenset[str]]:
    """The compacted table and the names of its parts; neither where it is not to be trusted."""
    name = f"compact/{table}.parquet"
    if not folder.exists(name):
        return None, frozenset()
    try:
        piece = _read_part(folder, table, name, columns)
        held = _held(piece.schema)
        why = _not_these(held, parts) or _not_alike(folder, table, piece, parts)
    except TableError as error:
        held, why = {}, error.what
    if not why:
        meta = {k: v for k, v in (piece.rows.schema.metadata or {}).items() if k != PARTS}
        rows = piece.rows.replace_schema_metadata(meta)
        return _Piece(name, piece.schema, rows), frozenset(held)
    warnings.warn(LeftAside(folder.at(name), why), stacklevel=4)
    return None, frozenset()


def _held(schema: pa.Schema) -> dict[str, int]:
    try:
        held = json.loads((schema.metadata or {})[PARTS])
        return {str(name): int(size) for name, size in held.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise TableError("does not say which parts it holds") from None


def _not_these(held: Mapping[str, int], parts: Mapping[str, int]) -> str:
    """Why the parts that are there are not those that it holds."""
    gone = [name for name in held if name not in parts]
    other = [name for name, size in held.items() if parts.get(name, size) != size]
    for names, words in ((gone, "gone"), (other, "not what they were")):
        if names:
            return f"{len(names):,} of the parts that it holds are {words}, like {names[0]}"
    return ""


def _not_alike(folder: Folder, table: str, piece: _Piece, parts: Mapping[str, int]) -> str:
    """Why its columns are not those of the parts, whose first is an empty one."""
    for name in list(parts)[:1]:
        first = _read_part(folder, table, f"tables/{table}/{name}", [])
        if not first.schema.equals(piece.schema, check_metadata=False):
            return f"its columns are not those of tables/{table}/{name}"
    return ""


def _read_part(folder: Folder, table: str, name: str, columns: list[str] | None) -> _Piece:
    try:
        with folder.open(name) as stream:
            file = pq.ParquetFile(stream, page_checksum_verification=True)
            _check_format(folder, table, name, file.schema_arrow)
            return _Piece(name, file.schema_arrow, file.read(columns))
    except StorageError:
        raise
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise TableError(
            f"damaged, or not Parquet: {str(error).partition(chr(10))[0]}",
            where=folder.at(name),
            fix=_way_out(name),
        ) from error


def _way_out(name: str) -> str:
    """How to mend a damaged part; what is named like none has come from elsewhere."""
    pack, _, segment = name.rpartition("/")[2].removesuffix(".parquet").rpartition("-")
    if not pack or not segment.isdigit():
        return "it is none of the sweep's parts: move it elsewhere"
    return (f"move it away, and all {pack}-*.parquet in tables/runs: running the sweep again then "
            "trains that pack anew")


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


def _check_same_schema(folder: Folder, pieces: Sequence[_Piece]) -> None:
    first = pieces[0].schema
    for piece in pieces:
        if not piece.schema.equals(first, check_metadata=False):
            ours, theirs = ({f"{f.name}: {f.type}" for f in s} for s in (first, piece.schema))
            odd = sorted(ours ^ theirs)
            raise TableError(
                f"columns differ from {pieces[0].source}: {', '.join(odd[:4]) or 'their order'}",
                where=folder.at(piece.source),
                fix="it belongs to another sweep: move it away",
            )


def _check_rows_once(
    folder: Folder, table: str, pieces: Sequence[_Piece], whole: pa.Table
) -> None:
    keys = _KEYS.get(table)
    if keys is None or whole.num_rows == 0:
        return
    counts = whole.select(keys).group_by(keys).aggregate([([], "count_all")])
    if counts.num_rows == whole.num_rows:
        return
    twice = counts.filter(pc.greater(counts["count_all"], 1))["run_id"][0]
    holders = [
        piece.source
        for piece in pieces
        if pc.any(pc.equal(piece.rows["run_id"], twice)).as_py()
    ]
    raise TableError(
        f"a row of run {twice} is there twice, in {' and '.join(holders)}",
        where=folder.path,
        fix="one of them is a copy: move it away",
    )
