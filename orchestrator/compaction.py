"""Many small parts of a table as one file beside them, for fast reading.

``compact/<table>.parquet`` is written whole, over an older one, with the names and sizes of the
parts that it holds in its metadata. The parts stay as they are and remain the truth: whoever knows
nothing of ``compact/`` reads ``tables/`` as ever, and losing ``compact/`` costs time alone.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.schema import TABLES
from analysis.tables import PARTS, union
from orchestrator.ledger import SCHEMA_PART
from orchestrator.stores import Store

# Reading a part takes 2 to 5 ms, a row in it next to nothing: a sweep's report reads its tables two
# to three times, so that from here on one file is paid for within the command.
MANY = 64


@dataclass(frozen=True)
class Compacted:
    """One table: its rows, its parts that have rows, how many of those are new in ``compact/``, and
    the bytes of the file there; None where nothing was to be written."""

    table: str
    rows: int
    parts: int
    new: int
    bytes: int | None

    def __str__(self) -> str:
        """As it is said in a line."""
        if self.bytes is None:
            return f"{self.table:10} {self.rows:>12,} rows of {self.parts:,} parts: nothing new"
        return (f"{self.table:10} {self.rows:>12,} rows of {self.parts:,} parts"
                f" ({self.new:,} new), {self.bytes / 1e6:.1f} MB")


def compact(store: Store) -> tuple[Compacted, ...]:
    """Compacts every table of the sweep's folder; TableError where a part cannot be read.

    Safe at any moment: the parts that appear meanwhile are not held, and are read beside it. Of two
    at once the last to end stays, whole and true. Takes the memory of the largest table twice.
    """
    return tuple(_compact(store, table) for table in TABLES)


def compact_many(store: Store) -> bool:
    """Compacts where more than ``MANY`` parts of a table are not in ``compact/``; whether it did.

    A disk that is full stops it and nothing else: the parts serve as well.
    """
    if all(_waiting(store, table) <= MANY for table in TABLES):
        return False
    try:
        compact(store)
    except OSError:
        return False
    return True


def _waiting(store: Store, table: str) -> int:
    """How many parts of a table are not in ``compact/``, or more where they are few."""
    names = set(store.names(f"tables/{table}"))
    if len(names) <= MANY:
        return len(names)
    try:
        with store.folder.open(f"compact/{table}.parquet") as file:
            schema = pq.read_schema(file)
        held = set(json.loads(schema.metadata[PARTS]))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        held = set()
    return len(names - held if held <= names else names)


def as_json(made: Iterable[Compacted]) -> str:
    """What ``compact`` did, for programs."""
    return json.dumps([asdict(one) for one in made])


def _compact(store: Store, table: str) -> Compacted:
    found = union(store.folder, table)
    new, parts = set(found.parts) - found.held, set(found.parts) - {SCHEMA_PART}
    size = None
    if new:
        content = _parquet(found.rows, found.parts)
        store.replace(f"compact/{table}.parquet", content)
        size = len(content)
    return Compacted(table, found.rows.num_rows, len(parts), len(new & parts), size)


def _parquet(rows: pa.Table, parts: Mapping[str, int]) -> bytes:
    held = {**rows.schema.metadata, PARTS: json.dumps(dict(parts)).encode()}
    sink = pa.BufferOutputStream()
    pq.write_table(rows.replace_schema_metadata(held), sink, compression="zstd",
                   write_page_checksum=True)
    return sink.getvalue().to_pybytes()
