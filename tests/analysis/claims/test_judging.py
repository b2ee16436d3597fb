"""No claim stumbles over a sweep that has not what it needs: it says so, or is undecided."""

import warnings

import numpy as np
import pytest

from analysis.claims import known
from analysis.claims.claim import Verdict
from analysis.claims.judging import evidence, judge_all, rows
from analysis.errors import Note
from analysis.frames import load
from tests.analysis.claims import sweeps
from tests.analysis.planted import Planted, write

SMALL = Planted(lr=(0.02, 0.08), batch_size=(8, 32), seeds=2, parts=1)
MEASURED = ("k_lambda_max", "k_trace", "k_condition", "corrupted_accuracy", "hessian_frobenius")
SWITCH = {"config_train_lr_schedule_name": "switch", "config_train_lr_schedule_at": 5.0,
          "config_train_lr_schedule_factor": 0.1}


def measured(folder, value, **changes):
    return sweeps.planted(folder, SMALL.but(**changes), runs=SWITCH, snapshots={
        name: lambda f: np.full(len(f), value) for name in (*MEASURED, "hessian_lambda_max")})


ODD = {
    "none has ended": lambda folder: load(write(folder, SMALL, drop=8)),
    "one run": lambda folder: load(write(folder, SMALL.but(lr=(0.02,), batch_size=(8,), seeds=1))),
    "one seed": lambda folder: load(write(folder, SMALL.but(seeds=1))),
    "seeds alike": lambda folder: load(write(folder, SMALL.but(
        lr=(0.01, 0.02, 0.04, 0.08), seed_sd=0.0, run_sd=0.0, cell_sd=0.0))),
    "all diverged": lambda folder: load(write(folder, SMALL.but(diverge_above=0.0))),
    "half diverged": lambda folder: load(write(folder, SMALL.but(diverge_above=0.003))),
    "all measured alike": lambda folder: measured(folder, 1.0),
    "measured as zero": lambda folder: measured(folder, 0.0),
    "measured as NaN": lambda folder: measured(folder, np.nan),
    "sizes and momentum": lambda folder: load(write(folder, SMALL.but(momentum=(0.0, 0.9)))),
}


@pytest.mark.parametrize("kind", ODD)
def test_every_claim_is_told_about_an_odd_sweep(kind, tmp_path):
    sweep = ODD[kind](tmp_path / "s")
    with warnings.catch_warnings():
        warnings.simplefilter("error", Note)  # of a test that broke and was left out
        judged = judge_all(sweep)
    assert len(judged) == len(known())
    for one in judged:
        assert one.verdict is not Verdict.UNTESTED or one.needs.strip()
        if one.judgement is not None:
            assert one.judgement.said.strip()
    assert len(rows(judged)) >= len(judged)
    evidence(judged)
    if kind in ("none has ended", "all diverged"):
        assert not [one.claim.id for one in judged if one.verdict is Verdict.HOLDS]
