"""The probes of a sweep: by them the curves of a ``probe_id`` lead to the runs that it read."""

import json

import pyarrow as pa

from analysis.errors import StorageError, TableError
from analysis.folder import Folder, Where

SCHEMA = pa.schema([
    ("probe_id", pa.string()), ("kind", pa.string()), ("options", pa.string()),
    ("seed", pa.int64()), ("run_ids", pa.list_(pa.string())), ("status", pa.string()),
    ("status_detail", pa.string()), ("rows", pa.int64()),
])


def read_probes(where: Where) -> pa.Table:
    """One row a probe that has ended; ``options`` is JSON, ``run_ids`` in the order of the probe.

    ``status``: finished, or skipped with the reason in ``status_detail``; ``rows``: its rows in
    ``curves``, whose ``subject_id`` is the ``probe_id``. TableError for a damaged record.
    """
    folder = Folder.of(where)
    names = [n for n in folder.names("probes") or () if n.endswith(".json")]
    records = [_record(folder, f"probes/{name}") for name in names]
    return pa.Table.from_pylist(records, SCHEMA)


def _record(folder: Folder, name: str) -> dict:
    try:
        with folder.open(name) as stream:
            whole = json.loads(stream.read())
        record = {field: whole[field] for field in SCHEMA.names}
        record["options"] = json.dumps(record["options"], sort_keys=True)
        pa.Table.from_pylist([record], SCHEMA)  # the types are those of the schema
    except StorageError:
        raise
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise TableError("not the record of a probe", where=folder.at(name),
                         fix="move it away: `sgdscope probe` then makes the probe again") from error
    return record
