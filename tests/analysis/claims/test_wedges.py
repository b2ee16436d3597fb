"""Claims of Large Scale Structure on planted probes: each holds, fails and stays open."""

import math

import numpy as np
import pytest

from analysis.claims.claim import Verdict, judge
from analysis.claims.wedges import _apart, connectors, cuts, toy_threshold, tunnels_widen
from analysis.frames import load
from tests.analysis.claims.sweeps import planted, probe
from tests.analysis.planted import Planted

PLAN = Planted(lr=(0.1,), batch_size=(16,), seeds=6)
DIMS = (10, 30, 100, 300, 1000)


@pytest.mark.parametrize(("why", "loss", "half", "verdict"), [
    ("loss falls, a few per cent suffice", lambda d, _: 1 / d, 50, Verdict.HOLDS),
    ("loss falls, but most of P is needed", lambda d, _: 1 / d, 3000, Verdict.FAILS),
    ("a larger cut is worse", lambda d, _: 5.0 if d == 300 else 1 / d, 50, Verdict.FAILS),
    ("in some seeds one is", lambda d, seed: 0.05 if d == 100 and seed < 2 else 1 / d, 50,
     Verdict.UNDECIDED),
])
def test_cuts(tmp_path, why, loss, half, verdict):
    sweep = planted(tmp_path, PLAN)
    for run in sweep.runs.itertuples():
        probe(tmp_path, "subspace", [run.run_id], {
            ("subspace_train_loss", "run"): {5000: 0.0},
            ("subspace_test_accuracy", "run"): {5000: 1.0},
            ("subspace_train_loss", "draw_0"): {d: loss(d, run.seed) for d in DIMS},
            ("subspace_test_accuracy", "draw_0"): {d: min(d / half, 1) for d in DIMS}})
    assert judge(cuts, load(tmp_path)).verdict is verdict, why


def test_the_dimension_is_read_between_cuts(tmp_path):
    sweep = planted(tmp_path, PLAN)
    for run in sweep.runs.itertuples():
        probe(tmp_path, "subspace", [run.run_id], {
            ("subspace_train_loss", "run"): {5000: 0.0},
            ("subspace_test_accuracy", "run"): {5000: 1.0},
            ("subspace_train_loss", "draw_0"): {d: 1 / d for d in DIMS},
            ("subspace_test_accuracy", "draw_0"): dict(zip(DIMS, (0.1, 0.5, 0.8, 1, 1), strict=True)
                                                       )})
    share = judge(cuts, load(tmp_path)).judgement.effects[1].interval.value
    assert share == pytest.approx(math.sqrt(100 * 300) / 5000)


def joined(folder, pairs, straight, bent, centre=None):
    for k, ids in enumerate(pairs):
        found = {("connector_loss", "linear_0-1_train"): {0: 0.01, 0.5: straight, 1: 0.01},
                 ("connector_loss", "linear_0-1_test"): {0.5: 99.0},
                 ("connector_loss", "bent_0-1_train"): {0: 0.01, 0.5: bent(k), 1: 0.01}}
        if centre:
            found["connector_centre_loss", "train"] = {0: 99.0, 1: centre}
        probe(folder, "connector", ids, found)


@pytest.mark.parametrize(("why", "bent", "centre", "verdict"), [
    ("both low", lambda k: 0.02 + k / 1000, 0.03, Verdict.HOLDS),
    ("no low path", lambda k: 0.5 + k / 1000, None, Verdict.FAILS),
    ("paths, but no centre", lambda k: 0.02 + k / 1000, 0.8, Verdict.FAILS),
    ("one path is high", lambda k: 0.9 if k else 0.02, None, Verdict.UNDECIDED),
])
def test_connectors(tmp_path, why, bent, centre, verdict):
    ids = planted(tmp_path, PLAN).runs["run_id"].tolist()
    joined(tmp_path, [ids[0:2], ids[2:4], ids[4:6]], 1.0, bent, centre)
    found = judge(connectors, load(tmp_path))
    assert found.verdict is verdict, why
    assert found.judgement.effects[0].units == 3


def test_probes_that_share_a_run_are_one_unit(tmp_path):
    ids = planted(tmp_path, PLAN).runs["run_id"].tolist()
    joined(tmp_path, [ids[0:2], ids[1:3], ids[3:5]], 1.0, lambda _: 0.02)
    effect = judge(connectors, load(tmp_path)).judgement.effects[0]
    assert effect.units == 2
    assert effect.unit == "group"
    assert len(set(_apart([["a", "b"], ["c", "d"], ["b", "c"], ["e", "f"]]))) == 2


STAR = Planted(lr=(0.0125, 0.05, 0.2), batch_size=(4, 16, 64), seeds=5)


def star(runs):
    return (runs["lr"] == 0.05) | (runs["batch_size"] == 16)


@pytest.mark.parametrize(("why", "width", "verdict"), [
    ("wider with η and with 1/S", lambda run: run.ratio, Verdict.HOLDS),
    ("wider with η alone", lambda run: run.lr * run.batch_size**1.5, Verdict.FAILS),
    ("in half of the seeds", lambda run: run.ratio ** (1 if run.seed % 2 else -1),
     Verdict.UNDECIDED),
])
def test_tunnels(tmp_path, why, width, verdict):
    sweep = planted(tmp_path, STAR, keep=star)
    for run in sweep.runs.itertuples():
        probe(tmp_path, "tunnels", [run.run_id], {
            ("tunnel_width", "angular_plain"): {0.25: 0.0, 0.5: width(run), 0.75: 9.0},
            ("tunnel_width", "straight_plain"): {0.5: -width(run)}})
    found = judge(tunnels_widen, load(tmp_path))
    assert found.verdict is verdict, why
    assert [e.name for e in found.judgement.effects] == [
        "Spearman(η, angular width)", "Spearman(1/S, angular width)"]


def test_tunnels_of_runs_with_a_schedule_are_no_test(tmp_path):
    sweep = planted(tmp_path, STAR, keep=star, runs={"config_train_lr_schedule_name": "cyclic"})
    probe(tmp_path, "tunnels", [sweep.runs["run_id"].iloc[0]], {
        ("tunnel_width", "angular_plain"): {0.5: 1.0}})
    assert "constant learning rate" in judge(tunnels_widen, load(tmp_path)).needs


@pytest.mark.parametrize(("off", "verdict"), [
    (lambda n: n % 3, Verdict.HOLDS), (lambda n: 20 + n % 3, Verdict.FAILS),
    (lambda n: n / 8, Verdict.UNDECIDED), (lambda _: math.nan, Verdict.UNDECIDED)])
def test_the_toys_threshold(tmp_path, off, verdict):
    planted(tmp_path, PLAN)
    wedges = (20, 50, 80)
    probe(tmp_path, "wedge", [], {
        ("wedge_threshold", "theory"): {n: 100 - n for n in wedges},
        ("wedge_threshold", "least"): {n: 100 - n for n in wedges},
        ("wedge_threshold", "found"): {n: 100 - n + off(n) for n in wedges}}, {"dimension": 100})
    found = judge(toy_threshold, load(tmp_path))
    if np.isnan(off(20)):  # no cut settles: as far off as D, whatever n
        assert found.judgement.effects[1].interval.value == pytest.approx(50)
    assert found.verdict is verdict


CLAIMS = (cuts, connectors, tunnels_widen, toy_threshold)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.number)
def test_without_probes_it_is_said_which_is_needed(tmp_path, claim):
    needs = judge(claim, planted(tmp_path, PLAN)).needs
    assert needs.startswith("the probe ")


@pytest.mark.parametrize("claim", CLAIMS[:3], ids=lambda c: c.number)
def test_probes_of_runs_that_are_gone_are_no_test(tmp_path, claim):
    planted(tmp_path, PLAN)
    for kind, found in (("subspace", {("subspace_train_loss", "run"): {5: 0.0}}),
                        ("tunnels", {("tunnel_width", "angular_plain"): {0.5: 1.0}})):
        probe(tmp_path, kind, ["gone"], found)
    assert judge(claim, load(tmp_path)).verdict is Verdict.UNTESTED
