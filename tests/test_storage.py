"""A sweep on S3 is the sweep on a disk: the same tables, report and answers, stopped or not."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

import orchestrator
from analysis import load
from analysis.schema import TABLES, VOLATILE
from analysis.tables import read
from orchestrator.cli import main
from orchestrator.session import run_sweep
from orchestrator.stores import SCHEMES, open_store
from orchestrator.stores.s3 import S3Store
from tests.orchestrator.stores.faults import WRITES, Fault, FaultyStore, Killed
from tests.s3server import BUCKET, s3_server

TINY = {
    "name": "tiny", "data": {"name": "digits", "train_size": 100},
    "model": {"name": "mlp", "width": 4, "depth": 1}, "train": {"epochs": 2},
    "sweep": {"axes": {"lr": [0.05, 0.2], "batch_size": [20], "seed": {"count": 2}}},
    "measure": {"set_size": 50, "monitors": [{"spectrum": {"k": 1, "tolerance": 0.1}}]},
    "probes": [{"interpolation": {"points": 5}}], "claims": ["three_factors/ratio_law"],
}
SORTED_BY = {"runs": ["run_id"], "snapshots": ["run_id", "step"],
             "spectra": ["run_id", "step", "operator", "index"],
             "curves": ["subject_id", "step", "quantity", "series", "index"]}


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = tmp_path_factory.mktemp("spec") / "tiny.yaml"
    path.write_text(json.dumps(TINY))
    return path


@pytest.fixture(scope="module")
def here(spec):
    """The sweep on this machine's disk."""
    return orchestrator.run(spec, storage=spec.parent / "sweeps", inline=True)


@pytest.fixture(scope="module")
def server():
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def there(spec, server):
    """The sweep on S3."""
    return orchestrator.run(spec, storage=f"s3://{BUCKET}/whole", inline=True)


def rows(where, table):
    """A table in order, without what may differ between two executions."""
    found = read(open_store(where).folder, table)
    found = found.sort_by([(name, "ascending") for name in SORTED_BY[table]])
    return found.select([n for n in found.column_names if not n.startswith(VOLATILE)])


def files(store, folder=""):
    """Every file below a folder, with its bytes."""
    found = {}
    for name, size in store.sizes(folder).items():
        path = f"{folder}/{name}".lstrip("/")
        found |= files(store, path) if size is None else {path: store.read(path)}
    return found


def bits(table):
    """Each column as it lies in memory: NaN equals NaN."""
    combined = table.combine_chunks()
    return {n: combined[n].fill_null(0.0).to_numpy().tobytes()
            if str(combined[n].type) == "double" else combined[n].to_pylist()
            for n in combined.column_names}


def assert_same_rows(one, other, empty=frozenset()):
    for table in TABLES:
        left, right = rows(one, table), rows(other, table)
        assert left.num_rows == right.num_rows, table
        assert (left.num_rows > 0) == (table not in empty), table
        assert left.schema.equals(right.schema, check_metadata=True), table
        assert bits(left) == bits(right), table


def test_tables_and_report_are_those_of_a_disk_bit_for_bit(here, there):
    assert there == f"s3://{BUCKET}/whole/tiny"
    assert_same_rows(here, there)
    local, remote = files(open_store(here)), files(open_store(there))
    assert local.keys() == remote.keys()
    differ = {n for n in local if local[n] != remote[n]}
    assert {n for n in differ if not n.startswith(("tables/", "probes/"))} <= {
        "resolved.yaml"}  # which names the storage
    assert {"report.html", "analysis/laws.parquet", "planned.txt"} <= local.keys()


def call(*arguments):
    done = CliRunner().invoke(main, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_commands_take_its_uri(here, there, spec):
    for command in ("status", "claims"):
        told = {place: call(command, place).replace(str(place), "DIR") for place in (here, there)}
        assert told[here] == told[there]
    assert "4/4" in call("watch", there)
    assert "nothing new" not in call("compact", there)
    assert open_store(there).names("compact") == [f"{t}.parquet" for t in sorted(TABLES)]
    planned = call("plan", spec, "--storage", f"s3://{BUCKET}/whole", "--json")
    assert json.loads(planned)["folder"] == there
    assert_same_rows(here, there)  # now from compact/


def test_pandas_and_the_analysis_read_it_by_its_uri(here, there):
    for table in TABLES:
        local = pd.read_parquet(Path(here) / "tables" / table)
        assert pd.read_parquet(f"{there}/tables/{table}").shape == local.shape
    assert list(load(there).runs["run_id"]) == list(load(here).runs["run_id"])


@pytest.fixture
def cheap(tmp_path, monkeypatch):
    """A sweep of which everything but the writing is short."""
    monkeypatch.setattr("orchestrator.session.analyze", lambda *_: None)
    path = tmp_path / "cheap.yaml"
    path.write_text(json.dumps({
        **TINY, "name": "cheap", "model": {"name": "linear"}, "train": {"epochs": 1},
        "measure": {"set_size": 50, "monitors": []}, "claims": []}))
    return path


@pytest.mark.usefixtures("server")
def test_stopped_at_any_write_it_goes_on_to_the_same_tables(cheap, monkeypatch):
    """Killed again and again, each time some writes later, before or after one took effect."""
    fault, opened = Fault("before", 0, Killed), []

    def faulty(place, patience_s):
        opened.append(FaultyStore(S3Store(place.replace("faulty", "s3"), patience_s), [fault]))
        return opened[-1]

    monkeypatch.setitem(SCHEMES, "faulty", faulty)
    stops = 0
    while True:
        fault.kind, fault.at, fault.seen = ("before", "after")[stops % 2], 3 + 4 * stops, 0
        try:
            orchestrator.run(cheap, storage=f"faulty://{BUCKET}/stopped", inline=True)
            break
        except Killed:
            stops += 1
    writes = sum(call in WRITES for store in opened for call, _ in store.log)
    assert stops > 4, writes
    local = orchestrator.run(cheap, storage=cheap.parent, inline=True)
    assert_same_rows(local, f"s3://{BUCKET}/stopped/cheap", empty={"spectra"})


@pytest.mark.usefixtures("server")
def test_a_search_that_is_stopped_keeps_every_result(cheap, monkeypatch):
    """Of TPE, whose journal of Optuna lies on S3 too: what was trained is not asked for again."""
    tree = json.loads(cheap.read_text())
    search = {"sampler": "tpe", "runs": 8, "objectives": {"test_accuracy": "maximize"},
              "space": {"lr": {"log": [0.01, 1.0]}}}
    cheap.write_text(json.dumps({
        **tree, "train": {"epochs": 1, "batch_size": 20}, "probes": [], "sweep": {"search": search},
        "compute": {"pack": 4, "compile": False}}))
    fault = Fault("before", 0, Killed)
    monkeypatch.setitem(SCHEMES, "faulty", lambda place, patience_s: FaultyStore(
        S3Store(place.replace("faulty", "s3"), patience_s), [fault]))
    where, known, stops = f"s3://{BUCKET}/search/cheap", [], 0
    while True:
        fault.at, fault.seen = 13 + 8 * stops, 0
        try:
            orchestrator.run(cheap, storage=f"faulty://{BUCKET}/search", inline=True)
            break
        except Killed:
            stops += 1
            known.append(set(open_store(where).names("tables/runs")))
    ended = read(open_store(where).folder, "runs")["run_id"].to_pylist()
    assert stops > 2
    assert known == sorted(known, key=len)
    assert len(ended) == len(set(ended)) == 8
    told = json.loads(open_store(where).read("search/found.json"))
    assert told["told"] == 8


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("server")
def test_on_ray_too(cheap):
    """Whose workers open the bucket themselves."""
    planned = orchestrator.plan(cheap, storage=f"s3://{BUCKET}/ray")
    ended = run_sweep(planned, out=io.StringIO())  # Ray copies it, which pytest's own stderr is not
    local = orchestrator.run(cheap, storage=cheap.parent, inline=True)
    assert not ended.failures
    assert not ended.probe_failures
    assert_same_rows(local, ended.folder, empty={"spectra"})
