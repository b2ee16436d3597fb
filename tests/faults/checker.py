"""What must hold of a sweep's folder, as a pure function of its files and of the unbroken sweep's.

Files are paths in the folder with their bytes, drafts included. Each violation is one sentence.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.schema import TABLES, VOLATILE

Files = Mapping[str, bytes]
KEYS = {"runs": ["run_id"], "snapshots": ["run_id", "step"],
        "spectra": ["run_id", "step", "operator", "index"],
        "curves": ["subject_id", "step", "quantity", "series", "index"]}
_KNOWN = re.compile(
    r"(spec\.yaml|resolved\.yaml|planned\.txt|planned_probes\.txt|engines\.json"
    r"|tables/\w+/[\w-]+\.parquet|compact/\w+\.parquet|packs/\w+/(pack\.json|state-\d+\.bin)"
    r"|packs/\w+/error\.txt|probes/\w+\.(commit|json|error\.txt)|weights/\w+\.safetensors)")


def violations(found: Files, whole: Files, *, ended: bool) -> list[str]:
    """All that is wrong with the files ``found``, where ``whole`` are those of the unbroken sweep.

    ``ended``: the sweep has ended, so that every row must be there and no state be left; before
    that each row that a reader sees must be one of the unbroken sweep's, once.
    """
    seen = {p: b for p, b in found.items() if not p.rpartition("/")[2].startswith(".")}
    wrong = [f"{p}: no file of a sweep" for p in seen if not _KNOWN.fullmatch(p)]
    for table in TABLES:
        wrong += _of_table(table, seen, whole, ended=ended)
    planned = set(whole["planned.txt"].decode().split())
    wrong += [f"weights of {n}, which is not planned" for n in _names(seen, "weights/")
              if n not in planned]
    wrong += [f"{p} differs" for p in seen if p.startswith("weights/") and seen[p] != whole.get(p)]
    if ended:
        kept = ("weights/", "probes/", "planned")
        wrong += [f"{p} is missing" for p in whole if p.startswith(kept) and p not in seen]
    return wrong


def _names(files: Files, folder: str) -> list[str]:
    return [p[len(folder):].partition(".")[0] for p in files if p.startswith(folder)]


def _of_table(table: str, found: Files, whole: Files, *, ended: bool) -> Iterator[str]:
    try:
        rows = _rows(_parts(found, table))
        compacted = [b for p, b in found.items() if p == f"compact/{table}.parquet"]
        held = _rows(compacted)
    except (pa.ArrowException, OSError) as error:
        yield f"{table}: cannot be read: {error}"
        return
    wanted = _rows(_parts(whole, table))
    keys = [key for key, _ in rows]
    yield from (f"{table}: {n} rows of {key}" for key, n in Counter(keys).items() if n > 1)
    expected = dict(wanted)
    for key, row in rows + held:
        if key not in expected:
            yield f"{table}: a row of {key}, which the unbroken sweep has not"
        elif row != expected[key]:
            yield f"{table}: the row of {key} differs"
    if ended:
        yield from (f"{table}: no row of {key}" for key in expected if key not in set(keys))
        if compacted and dict(held).keys() != expected.keys():
            yield f"{table}: the compacted table has other rows"


def _parts(files: Files, table: str) -> list[bytes]:
    return [b for p, b in sorted(files.items()) if p.startswith(f"tables/{table}/")]


Rows: TypeAlias = "list[tuple[tuple, tuple]]"  # (key, bits of the other columns)


def _rows(parts: list[bytes]) -> Rows:
    return [row for part in parts for row in _rows_of(part)]


@lru_cache(4096)
def _rows_of(part: bytes) -> Rows:
    file = pq.ParquetFile(io.BytesIO(part), page_checksum_verification=True)
    table = file.read(use_threads=False)
    if not table.num_rows:
        return []
    name = table.schema.metadata[b"sgdscope.table"].decode()
    keys = zip(*(table[k].to_pylist() for k in KEYS[name]), strict=True)
    stay = [n for n in table.column_names if not n.startswith(VOLATILE)]
    bits = zip(*(_bits(table[n]) for n in stay), strict=True)
    return list(zip(keys, bits, strict=True))


def _bits(column: pa.ChunkedArray) -> list:
    """Values that are equal where their bits are: NaN is one, and no null."""
    if not pa.types.is_floating(column.type):
        return column.to_pylist()
    nulls = pc.is_null(column).to_pylist()
    bits = column.fill_null(0.0).combine_chunks().view(pa.int64()).to_pylist()
    return [None if null else b for null, b in zip(nulls, bits, strict=True)]
