"""One probe: its rows, and that they appear once, whole, whatever comes between."""

import json
import os
import shutil

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from orchestrator import plan
from orchestrator.errors import UserError
from orchestrator.ledger import Ledger
from orchestrator.packrun import order as pack_order
from orchestrator.packrun import run_pack
from orchestrator.proberun import curve_rows, order, run_probe, skip
from orchestrator.session import open_folder
from orchestrator.stores.local import LocalStore
from tests.orchestrator.specs import TINY, tiny, tree
from trainables import landscape
from trainables.curves import Curve
from trainables.datasets import load

STEP = 20


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """The folder of a sweep whose runs have ended, and the orders of its probes, by kind."""
    base = tmp_path_factory.mktemp("probes")
    planned = plan(tiny(base, measure={**TINY["measure"], "monitors": []},
                        sweep={"axes": {"lr": [0.05], "seed": {"count": 2}}},
                        probes=[{"interpolation": {"points": 7}},
                                {"first_epoch": {"seeds": 3, "examples": 20}}, "wedge"]))
    open_folder(planned)
    for pack in planned.packs:
        for _ in run_pack(pack_order(pack, planned.spec, planned.folder)):
            pass
    orders = {p.kind: json.loads(json.dumps(order(p, planned.spec, planned.folder, STEP)))
              for p in planned.probes}
    return planned.folder, orders


@pytest.fixture
def fresh(sweep, tmp_path):
    """The interpolation's order in a copy of that sweep."""
    return copied(sweep, tmp_path / "tiny")


@pytest.fixture(scope="module")
def whole(sweep, tmp_path_factory):
    """The rows of the interpolation, made without a break."""
    one = copied(sweep, tmp_path_factory.mktemp("whole") / "tiny")
    made(one)
    return curves(one)


def copied(sweep, to):
    folder, orders = sweep
    shutil.copytree(folder, to)
    return {**orders["interpolation"], "folder": str(to)}


def made(one):
    """Runs the probe to its end; what it told."""
    return list(run_probe(one))


def curves(one):
    return pd.read_parquet(f"{one['folder']}/tables/curves")


def ledger_of(one):
    return Ledger(LocalStore(one["folder"]))


def test_a_probe_from_start_to_end(fresh):
    """Its rows are what the landscape says of the weights that were saved."""
    told = made(fresh)
    assert [(f["step"], f["steps"]) for f in told] == [(0, 1), (1, 1)]
    probe = fresh["probe"]
    configs = tuple(m["config"] for m in probe["members"])
    weights = tuple(load_file(f"{fresh['folder']}/weights/{m['run_id']}.safetensors")
                    for m in probe["members"])
    subject = landscape.Subject(
        configs=configs, weights=weights, data=load(configs[0]["data"], LocalStore("/").root),
        seed=0, device=torch.device("cpu"), base_dir=LocalStore("/").root)
    wanted = [(q, p["series"], p["index"], p["x"], p["value"])
              for q, curve in landscape.run("interpolation", subject, probe["options"])
              for p in curve.rows(0)]
    rows = curves(fresh)
    assert list(rows[["quantity", "series", "index", "x", "value"]].itertuples(
        index=False, name=None)) == wanted
    assert set(rows.subject_id) == {probe["probe_id"]}
    assert set(rows.step) == {STEP}
    assert len(wanted) > 20


def test_its_record_leads_from_the_rows_to_the_runs(fresh):
    made(fresh)
    probe = fresh["probe"]
    record = json.loads(
        (LocalStore(fresh["folder"]).root / f"probes/{probe['probe_id']}.json").read_text())
    assert record["run_ids"] == [m["run_id"] for m in probe["members"]]
    assert (record["kind"], record["options"]) == ("interpolation", probe["options"])
    assert (record["status"], record["rows"]) == ("finished", len(curves(fresh)))
    assert record["threads"] == 1
    assert ledger_of(fresh).ended_probes() == {probe["probe_id"]}


@pytest.mark.parametrize("kind", ["first_epoch", "wedge"])
def test_probes_that_read_no_weights(sweep, kind, tmp_path):
    """None are loaded: a folder without any will do."""
    folder, orders = sweep
    one = {**orders[kind], "folder": str(tmp_path)}
    for name, content in tree(folder).items():
        if name.startswith("tables/curves"):
            LocalStore(tmp_path).create(name, content)
    made(one)
    rows = curves(one)
    assert set(rows.subject_id) == {one["probe"]["probe_id"]}
    assert not rows.duplicated(["subject_id", "step", "quantity", "series", "index"]).any()


def test_pieces_of_a_series_are_one_curve():
    """So that a point's place is its own; a point without a value keeps its place free."""
    def piece(series, *values):
        return Curve(torch.arange(len(values)), torch.tensor([values]), series)

    nan = float("nan")
    rows = curve_rows([("q", piece("a", 1.0, nan, 2.0)), ("q", piece("b", 3.0)),
                       ("q", piece("a", 4.0)), ("r", piece("a", 5.0))], subject_id="p", step=9)
    assert [(r["quantity"], r["series"], r["index"], r["value"]) for r in rows] == [
        ("q", "a", 0, 1.0), ("q", "a", 2, 2.0), ("q", "b", 0, 3.0), ("q", "a", 3, 4.0),
        ("r", "a", 0, 5.0)]
    assert {(r["subject_id"], r["step"]) for r in rows} == {("p", 9)}


def test_made_again_it_changes_nothing(fresh):
    made(fresh)
    before = tree(LocalStore(fresh["folder"]).root)
    made(fresh)
    assert tree(LocalStore(fresh["folder"]).root) == before


class Crash(Exception):
    """Stands for the process's death at a system call."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_crash_at_every_link_loses_and_doubles_nothing(fresh, whole, monkeypatch, n, after):
    """The three files of a probe: its commit, its rows, its record."""
    real, calls = os.link, []

    def link(*given):
        calls.append(given)
        if len(calls) == n and not after:
            raise Crash
        real(*given)
        if len(calls) == n:
            raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link)
        with pytest.raises(Crash):
            made(fresh)
    rows = curves(fresh)  # a reader in between sees nothing, or all
    assert len(rows) in (0, len(whole))
    assert (fresh["probe"]["probe_id"] in ledger_of(fresh).ended_probes()) == (n == 3 and after)
    made(fresh)
    pd.testing.assert_frame_equal(curves(fresh), whole)
    assert ledger_of(fresh).store.names("probes") == [f"{fresh['probe']['probe_id']}.json"]
    assert ledger_of(fresh).ended_probes() == {fresh["probe"]["probe_id"]}


def test_what_was_committed_is_published_not_made_again(fresh, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "publish_probe", lambda *_: None)  # left between the two
        made(fresh)
    assert curves(fresh).empty
    monkeypatch.setattr(landscape, "run", None)
    made(fresh)
    assert len(curves(fresh)) > 20


def test_a_second_writer_adopts_what_the_first_committed(fresh):
    ledger, record = ledger_of(fresh), {"probe_id": "p" * 16, "time_s": 1.0}
    row = {"subject_id": "p" * 16, "step": 1, "quantity": "q", "series": "", "index": 0, "x": 0.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "publish_probe", lambda *_: None)
        ledger.commit_probe(record, [{**row, "value": 1.0}])
    ledger.commit_probe({**record, "time_s": 2.0}, [{**row, "value": 2.0}])
    ledger.commit_probe({**record, "time_s": 3.0}, [{**row, "value": 3.0}])  # after its end
    assert curves(fresh).value.tolist() == [1.0]
    assert json.loads(ledger.store.read(f"probes/{'p' * 16}.json"))["time_s"] == 1.0
    assert ledger.store.names("probes") == [f"{'p' * 16}.json"]


def test_a_damaged_commit_is_made_again(fresh, whole):
    path = f"probes/{fresh['probe']['probe_id']}.commit"
    LocalStore(fresh["folder"]).create(path, b"sgdscope-state 1\nabc\n{}")
    made(fresh)
    pd.testing.assert_frame_equal(curves(fresh), whole)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_damaged_record_is_told(fresh, whole, damage):
    """Once it is moved away the probe is made again."""
    made(fresh)
    record = LocalStore(fresh["folder"]).root / f"probes/{fresh['probe']['probe_id']}.json"
    record.chmod(0o644)
    record.write_bytes(damage)
    with pytest.raises(UserError, match="damaged, or not written by") as caught:
        ledger_of(fresh).ended_probes()
    (problem,) = caught.value.problems
    assert (problem.where, problem.fix[:12]) == (str(record), "move it away")
    record.unlink()
    assert ledger_of(fresh).ended_probes() == set()
    made(fresh)
    assert ledger_of(fresh).ended_probes() == {fresh["probe"]["probe_id"]}
    pd.testing.assert_frame_equal(curves(fresh), whole)


def test_rows_that_were_moved_away_are_made_again(fresh, whole):
    made(fresh)
    LocalStore(fresh["folder"]).delete(f"tables/curves/{fresh['probe']['probe_id']}-0.parquet")
    assert ledger_of(fresh).ended_probes() == set()
    made(fresh)
    pd.testing.assert_frame_equal(curves(fresh), whole)


def test_a_probe_that_is_skipped_has_ended_with_a_reason(fresh):
    skip(fresh, "its run x diverged at step 3")
    assert curves(fresh).empty
    assert ledger_of(fresh).ended_probes() == {fresh["probe"]["probe_id"]}
    record = json.loads(ledger_of(fresh).store.read(f"probes/{fresh['probe']['probe_id']}.json"))
    assert (record["status"], record["rows"]) == ("skipped", 0)
    assert record["status_detail"] == "its run x diverged at step 3"


def test_weights_that_are_gone_are_told(fresh):
    run_id = fresh["probe"]["members"][1]["run_id"]
    LocalStore(fresh["folder"]).delete(f"weights/{run_id}.safetensors")
    with pytest.raises(FileNotFoundError, match=f"weights/{run_id}.safetensors is missing"):
        made(fresh)
    assert curves(fresh).empty
