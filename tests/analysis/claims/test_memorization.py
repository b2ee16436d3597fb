"""Claims of Memorization on planted sweeps: each holds, fails and stays open."""

import numpy as np
import pytest

from analysis.claims import CONTENTS
from analysis.claims import memorization as m
from analysis.claims.claim import Verdict, judge
from analysis.frames import load
from tests.analysis.claims.sweeps import planted, probe
from tests.analysis.planted import Planted

PLAN = Planted(lr=(0.1,), batch_size=(16,), seeds=6, label_noise=(0.0, 0.25, 0.5, 0.75, 1.0))
H, F, U = Verdict.HOLDS, Verdict.FAILS, Verdict.UNDECIDED


# Runs planted with label noise 0.5 become runs of all-random inputs, the others stay.
RANDOM_INPUTS = {"input_noise": lambda r: (r["label_noise"] == 0.5) * 1.0,
                 "label_noise": lambda r: r["label_noise"] * (r["label_noise"] != 0.5)}


@pytest.mark.parametrize(("why", "real", "labels", "inputs", "verdict"), [
    ("as in the paper", 12.0, 2.5, 1.2, H),
    ("random inputs are no Binomial", 12.0, 4.0, 3.0, F),
    ("random labels like random inputs, by seed", 12.0, 1.5, 1.5, U),
])
def test_easy_and_hard(tmp_path, why, real, labels, inputs, verdict):
    sweep = planted(tmp_path, PLAN, runs=RANDOM_INPUTS)
    for seed in range(5):
        for run in sweep.runs[sweep.runs["seed"] == 0].itertuples():
            kind = (inputs if run.input_noise else labels if run.label_noise == 1 else real)
            off = (seed - 2) / 20 * (1 if kind == labels else -1)
            probe(tmp_path, "first_epoch", [run.run_id], {
                ("first_epoch_dispersion", ""): {30: kind + off}},
                {"examples": 300}, seed=seed)
    assert judge(m.easy_and_hard, load(tmp_path)).verdict is verdict, why


@pytest.mark.parametrize("starts", [10, 30, 100])
@pytest.mark.parametrize(("inputs", "verdict"), [(1.6, H), (2.6, F)])
def test_the_verdict_does_not_depend_on_the_number_of_starts(tmp_path, starts, inputs, verdict):
    """Error rates of one variance: D = 1 + (R − 1) Var(π)/(p̄(1 − p̄)). Of random inputs here, it
    would be 1.2 at R = 10 where it is 1.6 at 30, and 6.5 at R = 100 where it is 2.6."""
    sweep = planted(tmp_path, PLAN, runs=RANDOM_INPUTS)
    at_30 = {"real": 12.0, "randY": 4.0, "randX": inputs}
    for seed in range(5):
        for run in sweep.runs[sweep.runs["seed"] == 0].itertuples():
            kind = ("randX" if run.input_noise else "randY" if run.label_noise == 1 else "real")
            off = (seed - 2) / 100 * (1 if kind == "randY" else -1)
            probe(tmp_path, "first_epoch", [run.run_id], {("first_epoch_dispersion", ""): {
                starts: 1 + (starts - 1) * (at_30[kind] + off - 1) / 29}},
                {"examples": 300}, seed=seed)
    found = judge(m.easy_and_hard, load(tmp_path))
    assert found.verdict is verdict
    assert [e.interval.value for e in found.judgement.effects] == pytest.approx(
        [8.0, 4.0 - inputs, inputs])
    assert f"measured: {starts}" in found.judgement.note


def test_the_dispersion_of_planted_error_rates_is_told_at_thirty_starts():
    """The probe's statistic (its docstring has the formula) of Binomial draws of known rates."""
    rates = np.random.default_rng(0).beta(6.0, 6.0, 4000)
    expected = 1 + 29 * (1 / 4 / 13) / 0.25  # Var of Beta(6, 6) is 1/52
    for starts in (10, 30, 100):
        shares = np.random.default_rng(starts).binomial(starts, rates) / starts
        mean = shares.mean()
        dispersion = shares.var(ddof=1) / (mean * (1 - mean) / starts)
        assert m.at_starts(dispersion, starts, 30) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("why", "gap", "verdict"), [
    ("real is less equal", lambda j: 0.3 + j["run_seed"] / 100, H),
    ("random is less equal at one snapshot of many", lambda j: 0.3 - 0.5 * (j["step"] == 0), F),
    ("seeds disagree", lambda j: 0.1 * (-1.0) ** j["run_seed"], U),
])
def test_sensitivity_is_unequal(tmp_path, why, gap, verdict):
    sweep = planted(tmp_path, PLAN, runs=RANDOM_INPUTS, snapshots={
        "sensitivity_gini": lambda j: 0.4 + gap(j) * (j["run_input_noise"] == 0)})
    assert judge(m.sensitivity_is_unequal, sweep).verdict is verdict, why


@pytest.mark.parametrize(("why", "best", "drop", "verdict"), [
    ("best early, then falling", 2, lambda _: 0.3, H),
    ("best at the end", 20, lambda _: 0.3, F),
    ("it falls in some seeds", 2, lambda j: 0.2 * (j["run_seed"] % 2), U),
])
def test_fits_patterns_first(tmp_path, why, best, drop, verdict):
    sweep = planted(tmp_path, PLAN, snapshots={
        "test_accuracy": lambda j: 0.9 - drop(j) * (j["epoch"] - best).abs() / 18,
        "corrupted_accuracy": lambda j: (j["epoch"] / 10).clip(upper=1)})
    assert judge(m.fits_patterns_first, sweep).verdict is verdict, why


def test_runs_that_never_fit_their_noise_say_nothing(tmp_path):
    sweep = planted(tmp_path, PLAN, snapshots={"corrupted_accuracy": lambda j: 0.2 + 0 * j["step"]})
    judged = judge(m.fits_patterns_first, sweep)
    assert judged.verdict is Verdict.UNTESTED
    assert "train longer" in judged.needs


@pytest.mark.parametrize(("why", "ratio", "verdict"), [
    ("more with noise", lambda j: 0.1 + 0.5 * j["run_label_noise"], H),
    ("less with noise", lambda j: 0.9 - 0.5 * j["run_label_noise"], F),
    ("seeds disagree", lambda j: 0.5 + 0.1 * j["run_label_noise"] * (1 - 2.0 * (
        j["run_seed"] == 0)), U),
])
def test_critical_samples_grow(tmp_path, why, ratio, verdict):
    sweep = planted(tmp_path, PLAN, snapshots={"critical_sample_ratio": ratio})
    assert judge(m.critical_samples_grow, sweep).verdict is verdict, why


@pytest.mark.parametrize(("why", "final", "verdict"), [
    ("less with noise", lambda j: 0.9 - 0.5 * j["run_label_noise"], H),
    ("more with noise", lambda j: 0.4 + 0.5 * j["run_label_noise"], F),
    ("seeds disagree", lambda j: 0.9 - 0.1 * j["run_label_noise"] * (1 - 2.0 * (
        j["run_seed"] == 0)), U),
])
def test_noise_costs_accuracy(tmp_path, why, final, verdict):
    sweep = planted(tmp_path, PLAN, snapshots={"test_accuracy": final})
    assert judge(m.noise_costs_accuracy, sweep).verdict is verdict, why


SIZES = (150, 300, 600, 1200)


@pytest.mark.parametrize(("why", "power", "verdict"), [
    ("noise takes longer with N", lambda _: 0.5, H),
    ("real data does", lambda _: -0.5, F),
    ("seeds disagree", lambda r: (-1.0) ** r["seed"], U),
])
def test_noise_takes_longer_with_size(tmp_path, why, power, verdict):
    plan = PLAN.but(lr=(0.1, 0.2, 0.4, 0.8), label_noise=(0.0, 1.0))
    size = {0.1 * 2**k: n for k, n in enumerate(SIZES)}
    sweep = planted(tmp_path, plan, runs={
        "train_size": lambda r: r["lr"].map(size), "lr": 0.1,
        "config_train_until_train_accuracy": 1.0,
        "epochs": lambda r: 10 * r["train_size"] ** (
            0.1 + power(r) * (r["label_noise"] == 1)) * (1 + r["seed"] / 100)})
    assert judge(m.noise_takes_longer_with_size, sweep).verdict is verdict, why


@pytest.mark.parametrize(("why", "fit", "real", "verdict"), [
    ("the second rate serves", (0.1, 0.4), (0.0, 0.0), H),
    ("what hinders noise hinders learning", (0.1, 0.4), (0.0, 0.05), F),
    ("seeds disagree", (0.1, 0.2), (0.0, 0.0), U),
])
def test_dropout_hinders_memorizing(tmp_path, why, fit, real, verdict):
    plan = PLAN.but(lr=(0.1, 0.2, 0.4), label_noise=(0.0, 1.0))
    rates = {0.1: 0.0, 0.2: 0.2, 0.4: 0.5}

    def fall(j, by):
        return j["run_config_model_dropout"].map({0.0: 0.0, 0.2: by[0], 0.5: by[1]})

    sweep = planted(tmp_path, plan, runs={
        "config_model_dropout": lambda r: r["lr"].map(rates), "lr": 0.1}, snapshots={
        "train_accuracy": lambda j: 0.9 - fall(j, fit) * (1 + 0.1 * (-1.0) ** j["run_seed"]),
        "test_accuracy": lambda j: 0.9 - fall(j, real)})
    assert judge(m.dropout_hinders_memorizing, sweep).verdict is verdict, why


@pytest.mark.parametrize("name", [
    "easy_and_hard", "sensitivity_is_unequal", "fits_patterns_first", "critical_samples_grow",
    "noise_takes_longer_with_size", "dropout_hinders_memorizing"])
def test_a_sweep_that_lacks_what_is_needed_says_so(tmp_path, name):
    judged = judge(getattr(m, name), planted(tmp_path, Planted()))
    assert judged.verdict is Verdict.UNTESTED
    assert judged.needs


@pytest.mark.parametrize("change", [{"seeds": 1}, {"diverge_above": 0.0}])
def test_odd_sweeps_are_judged_without_a_crash(tmp_path, change):
    columns = {c: lambda j: 0.5 + 0 * j["step"] for c in (
        "clean_accuracy", "corrupted_accuracy", "critical_sample_ratio", "sensitivity_gini")}
    sweep = planted(tmp_path, PLAN.but(**change), snapshots=columns)
    for name in CONTENTS["memorization"]:
        assert judge(getattr(m, name), sweep).verdict in (U, Verdict.UNTESTED)
