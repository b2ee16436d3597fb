"""Exactly once: crashes between and inside the steps of a commit, zombies, damage."""

import os

import pandas as pd
import pytest

from analysis.schema import sweep_schema
from orchestrator.compaction import compact
from orchestrator.errors import UserError
from orchestrator.ledger import Ledger
from orchestrator.stores.local import LocalStore

PACK = {"pack_id": "p" * 16, "width": 2, "members": [], "borders": [5, 10]}


def ledger_at(root) -> Ledger:
    ledger = Ledger(LocalStore(root))
    ledger.create_tables(sweep_schema({"config_model_name": "str"}, {"hessian_trace": "1"}))
    return ledger


def rows(step, *, last=False):
    snapshots = [{"run_id": r, "step": step, "train_loss": step / 10} for r in ("a", "b")]
    runs = [{"run_id": r, "status": "finished"} for r in ("a", "b")] if last else []
    return {"runs": runs, "snapshots": snapshots, "spectra": [], "curves": []}


def commit(ledger, k, *, last=False):
    ledger.commit(PACK["pack_id"], {"segment": k, "step": 5 * k, "last": last},
                  f"state {k}".encode(), rows(5 * k, last=last))


def read(root, table):
    return pd.read_parquet(root / "tables" / table)


def test_plain_pandas_reads_an_empty_sweep(tmp_path):
    ledger_at(tmp_path)
    assert list(read(tmp_path, "runs").columns[:3]) == ["run_id", "name", "lr"]
    assert len(read(tmp_path, "snapshots")) == 0


def test_a_pack_from_start_to_end(tmp_path):
    ledger = ledger_at(tmp_path)
    assert ledger.begin(PACK) == PACK
    assert ledger.begin({**PACK, "borders": [1]}) == PACK  # fixed is fixed
    assert [p["pack_id"] for p in ledger.open_packs()] == [PACK["pack_id"]]
    for k in range(3):
        commit(ledger, k)
    assert ledger.newest(PACK["pack_id"]).state == b"state 2"
    assert len(ledger.store.names(f"packs/{PACK['pack_id']}")) == 3  # pack.json and two states
    assert ledger.ended_runs() == set()
    commit(ledger, 3, last=True)
    assert ledger.ended_runs() == {"a", "b"}
    assert list(ledger.open_packs()) == []
    assert ledger.store.names(f"packs/{PACK['pack_id']}") == ["pack.json"]
    assert read(tmp_path, "snapshots").step.tolist() == [0, 0, 5, 5, 10, 10, 15, 15]


def test_the_first_writer_of_a_segment_wins(tmp_path):
    ledger = ledger_at(tmp_path)
    commit(ledger, 0)
    late = rows(0)
    late["snapshots"][0]["train_loss"] = 99.0  # a zombie with other bytes
    ledger.commit(PACK["pack_id"], {"segment": 0, "step": 0, "last": False}, b"other", late)
    assert ledger.newest(PACK["pack_id"]).state == b"state 0"
    assert read(tmp_path, "snapshots").train_loss.tolist() == [0.0, 0.0]


def test_a_zombie_after_the_end_adds_nothing(tmp_path):
    ledger = ledger_at(tmp_path)
    commit(ledger, 0)
    commit(ledger, 1, last=True)
    before = read(tmp_path, "snapshots")
    commit(ledger, 0)
    pd.testing.assert_frame_equal(read(tmp_path, "snapshots"), before)
    assert list(ledger.open_packs()) == []


@pytest.mark.parametrize("damage", [b"", b"sgdscope-state 1\nabc\n{}", b"\x00" * 500])
def test_a_damaged_state_falls_back_to_the_one_before(tmp_path, damage):
    ledger = ledger_at(tmp_path)
    commit(ledger, 0)
    commit(ledger, 1)
    (tmp_path / "packs" / PACK["pack_id"] / "state-1.bin").write_bytes(damage)
    assert ledger.newest(PACK["pack_id"]).state == b"state 0"
    commit(ledger, 1)  # computed again
    assert read(tmp_path, "snapshots").step.tolist() == [0, 0, 5, 5]


class Crash(Exception):
    """Stands for the process's death at a system call."""


def crash_at(monkeypatch, n, *, after):
    """The n-th call of link from here on dies before or after it takes effect."""
    real, count = os.link, {"calls": 0}

    def link(*args):
        count["calls"] += 1
        if count["calls"] == n and not after:
            raise Crash
        real(*args)
        if count["calls"] == n:
            raise Crash

    monkeypatch.setattr(os, "link", link)
    return count


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("n", range(1, 8))
def test_a_crash_at_every_link_of_a_pack_loses_and_doubles_nothing(
        tmp_path, monkeypatch, n, after):
    ledger = ledger_at(tmp_path)

    def drive():
        """What a worker does: publish the newest state, go on from it."""
        newest = ledger.newest(PACK["pack_id"])
        if newest is not None:
            ledger.publish(PACK["pack_id"], newest)
        for k in range(0 if newest is None else newest.facts["segment"] + 1, 3):
            commit(ledger, k, last=k == 2)

    with monkeypatch.context() as patch:
        count = crash_at(patch, n, after=after)
        try:
            drive()
        except Crash:
            partial = read(tmp_path, "snapshots")  # a reader in between sees no row twice
            assert not partial.duplicated(["run_id", "step"]).any()
        assert count["calls"] >= n, "the crash never happened: fewer links than the table assumes"
    if not ledger.ended_runs():
        drive()
    assert read(tmp_path, "snapshots").step.tolist() == [0, 0, 5, 5, 10, 10]
    assert read(tmp_path, "runs").run_id.tolist() == ["a", "b"]


def test_another_schema_is_refused(tmp_path):
    ledger = ledger_at(tmp_path)
    with pytest.raises(UserError, match="gains config_model_width"):
        ledger.create_tables(sweep_schema(
            {"config_model_name": "str", "config_model_width": "int"}, {"hessian_trace": "1"}))


def test_a_damaged_final_row_is_told_with_its_place(tmp_path):
    # else its runs would be trained twice, or never
    ledger = ledger_at(tmp_path)
    commit(ledger, 0, last=True)
    part = tmp_path / "tables" / "runs" / f"{PACK['pack_id']}-0.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(UserError, match="damaged, or not Parquet") as caught:
        ledger.ended_runs()
    (problem,) = caught.value.problems
    assert problem.where == str(part)
    assert "move it away" in problem.fix


def test_what_has_ended_is_the_same_from_a_compacted_table(tmp_path):
    ledger = ledger_at(tmp_path)
    commit(ledger, 0, last=True)
    before = ledger.ended_runs(), ledger.outcomes()
    compact(ledger.store)
    part = tmp_path / "tables" / "runs" / f"{PACK['pack_id']}-0.parquet"
    part.write_bytes(b"x" * part.stat().st_size)  # it is not opened
    assert (ledger.ended_runs(), ledger.outcomes()) == before
