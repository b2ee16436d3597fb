"""One pack: from its newest commit to its end, with the same rows whatever came between."""

import json

import pandas as pd
import pytest

from orchestrator import packrun, plan
from orchestrator.ledger import Ledger
from orchestrator.packrun import order, run_pack
from orchestrator.session import open_folder
from orchestrator.stores.local import LocalStore
from tests.orchestrator.specs import tiny, tree

BORDERS = [3, 11, 20]


def an_order(folder, *overrides):
    """The order of the only pack of an opened sweep, as it reaches a worker."""
    folder.mkdir(exist_ok=True)
    planned = plan(tiny(folder), overrides=overrides)
    open_folder(planned)
    (pack,) = planned.packs
    return json.loads(json.dumps(order(pack, planned.spec, planned.folder)))


def tables(one):
    """Every table of a sweep, without what may differ between two executions."""
    found = {}
    for name in ("runs", "snapshots", "spectra"):
        table = pd.read_parquet(f"{one['folder']}/tables/{name}")
        own = [c for c in table.columns if c.startswith(("time_", "host_"))]
        keys = [c for c in ("run_id", "step", "operator", "index") if c in table]
        found[name] = table.drop(columns=own).sort_values(keys).reset_index(drop=True)
    return found


@pytest.fixture
def three_segments(monkeypatch):
    monkeypatch.setattr(packrun, "_borders", lambda _: BORDERS)


@pytest.fixture
def whole(tmp_path, three_segments):
    one = an_order(tmp_path / "whole")
    for _ in run_pack(one):
        pass
    return tables(one)


def test_from_start_to_end(tmp_path):
    one = an_order(tmp_path)
    facts = list(run_pack(one))
    assert facts[-1].items() >= {"step": 20, "steps": 20, "finished": 2, "diverged": 0}.items()
    steps = [f["step"] for f in facts]
    assert steps == sorted(steps)
    runs = tables(one)["runs"]
    assert set(runs.run_id) == {m["run_id"] for m in one["pack"]["members"]}
    assert set(runs.status) == {"finished"}
    assert set(runs.lr) == {0.01, 0.1}
    assert set(runs.pack_id) == {one["pack"]["pack_id"]}
    assert set(runs.name) == {"tiny"}
    assert (runs.threads == 1).all()


@pytest.mark.parametrize("commits", [1, 2])
def test_left_after_a_commit_it_goes_on_to_the_same_rows(tmp_path, whole, commits):
    one = an_order(tmp_path / "left")
    events = run_pack(one)
    while len(list((tmp_path / "left/sweeps/tiny/tables/snapshots").iterdir())) <= commits:
        next(events)
    events.close()
    assert tables(one)["runs"].empty
    steps = [f["step"] for f in run_pack(one)]
    assert steps[0] > BORDERS[commits - 1]  # what was committed is not trained again
    for name, table in tables(one).items():
        pd.testing.assert_frame_equal(table, whole[name])


@pytest.mark.parametrize("published", [False, True])
def test_a_newest_state_that_is_damaged_is_computed_again(tmp_path, whole, published):
    one = an_order(tmp_path / "damaged")
    events = run_pack(one)
    folder = tmp_path / "damaged/sweeps/tiny"
    state = folder / "packs" / one["pack"]["pack_id"] / "state-1.bin"
    while not state.exists():
        next(events)
    events.close()
    state.write_bytes(state.read_bytes()[:-1])
    if not published:
        for part in folder.glob("tables/*/*-1.parquet"):
            part.unlink()
    assert [f["step"] for f in run_pack(one)][-1] == 20
    for name, table in tables(one).items():
        pd.testing.assert_frame_equal(table, whole[name])


@pytest.mark.usefixtures("three_segments")
def test_what_was_fixed_first_holds(tmp_path, monkeypatch):
    one = an_order(tmp_path)
    next(run_pack(one))
    monkeypatch.setattr(packrun, "_borders", lambda _: [20])
    for _ in run_pack(one):
        pass
    names = Ledger(LocalStore(one["folder"])).store.names("tables/snapshots")
    assert names[1:] == [f"{one['pack']['pack_id']}-{k}.parquet" for k in range(3)]


@pytest.mark.usefixtures("three_segments")
def test_an_ended_pack_run_again_changes_nothing(tmp_path, monkeypatch):
    """Its worker may be lost when it has ended, before it could tell; it is not trained again."""
    one = an_order(tmp_path, "save.weights=final")
    *_, last = run_pack(one)
    monkeypatch.setattr(packrun.building, "check_works", None)  # which training begins with
    assert [f.items() <= last.items() for f in run_pack(one)] == [True]
    before = tree(tmp_path)
    assert sum(name.endswith(".safetensors") for name in before) == 2
    for _ in run_pack(one):
        pass
    after = tree(tmp_path)
    assert {k: v for k, v in after.items() if "/tables/" in k or "/weights/" in k} == {
        k: v for k, v in before.items() if "/tables/" in k or "/weights/" in k}


def test_diverged_runs_end_with_the_others(tmp_path):
    one = an_order(tmp_path, "sweep.axes.lr=[0.01, 1e6]")
    assert list(run_pack(one))[-1].items() >= {"finished": 1, "diverged": 1}.items()
    runs = tables(one)["runs"].set_index("lr")
    assert runs.status.to_dict() == {0.01: "finished", 1e6: "diverged"}
    assert runs.status_detail[1e6]


def test_another_kind_of_device_is_refused(tmp_path, monkeypatch, three_segments):
    """Its bits differ: half a pack from each would be neither's."""
    one = an_order(tmp_path)
    events = run_pack(one)
    while len(list((tmp_path / "sweeps/tiny/tables/snapshots").iterdir())) <= 1:
        next(events)
    events.close()
    monkeypatch.setattr(packrun, "device_kind", lambda _: "another accelerator")
    with pytest.raises(RuntimeError, match="begun on cpu and cannot go on on another accelerator"):
        next(run_pack(one))
