"""From the curves of a probe to the runs that it read."""

import json

import pytest

from analysis.errors import TableError
from analysis.probes import SCHEMA, read_probes

RECORD = {"format": 1, "probe_id": "p1", "kind": "interpolation", "options": {"points": 5},
          "seed": 0, "run_ids": ["b", "a"], "numerics": 1, "status": "finished",
          "status_detail": "", "rows": 7, "time_s": 0.1, "host_name": "x"}


def test_a_sweep_without_probes(tmp_path):
    found = read_probes(tmp_path)
    assert (found.num_rows, found.schema) == (0, SCHEMA)


def test_records_are_rows(tmp_path):
    (tmp_path / "probes").mkdir()
    skipped = {**RECORD, "probe_id": "p2", "run_ids": [], "status": "skipped", "rows": 0}
    for record in (skipped, RECORD):
        (tmp_path / "probes" / f"{record['probe_id']}.json").write_text(json.dumps(record))
    for other in ("p3.commit", "p3.error.txt", ".p4.json"):  # under way, failed, a draft
        (tmp_path / "probes" / other).write_text("x")
    one, two = read_probes(tmp_path).to_pylist()
    assert one == {"probe_id": "p1", "kind": "interpolation", "options": '{"points": 5}', "seed": 0,
                   "run_ids": ["b", "a"], "status": "finished", "status_detail": "", "rows": 7}
    assert (two["probe_id"], two["run_ids"], two["status"]) == ("p2", [], "skipped")


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({**RECORD, "rows": "x"})])
def test_a_damaged_record_is_named(tmp_path, content):
    (tmp_path / "probes").mkdir()
    (tmp_path / "probes" / "p1.json").write_text(content)
    with pytest.raises(TableError, match="not the record of a probe") as caught:
        read_probes(tmp_path)
    assert caught.value.where.endswith("probes/p1.json")
