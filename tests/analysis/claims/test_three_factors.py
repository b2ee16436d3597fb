"""Three Factors on planted sweeps: where each claim holds, fails, and cannot be told."""

import numpy as np
import pytest

from analysis.claims import known
from analysis.claims.claim import Verdict, judge
from analysis.frames import load
from tests.analysis.claims import sweeps
from tests.analysis.planted import Planted, write

HOLDS, FAILS, UNDECIDED, UNTESTED = (
    Verdict.HOLDS, Verdict.FAILS, Verdict.UNDECIDED, Verdict.UNTESTED)
GRID = Planted(lr=(0.02, 0.08, 0.32), batch_size=(8, 32, 128), seeds=5, parts=1)


def claim(name):
    return known()[f"three_factors/{name}"]


@pytest.mark.parametrize(("name", "plan", "verdict"), [
    # λ_max ∝ (η/S)^-0.7: flatter where the ratio is larger
    ("sharpness_falls", GRID, HOLDS),
    # ∝ (η/S)^+0.7: the opposite
    ("sharpness_falls", GRID.but(a=0.7, b=-0.7), FAILS),
    # nothing but noise, and one seed: no interval
    ("sharpness_falls", GRID.but(a=0.0, b=0.0, run_sd=0.5, cell_sd=0.5, seeds=1), UNDECIDED),
    # one ratio cannot correlate with anything
    ("sharpness_falls", GRID.but(lr=(0.02,), batch_size=(8,)), UNTESTED),
    ("equal_ratios_coincide", GRID.but(cell_sd=0.0), HOLDS),
    # η alone decides: cells of one ratio differ as much as ratios do
    ("equal_ratios_coincide", GRID.but(a=-0.7, b=0.0, cell_sd=0.0), FAILS),
    # no two batch sizes at one ratio
    ("equal_ratios_coincide", GRID.but(batch_size=(8,)), UNTESTED),
    ("ratio_law", GRID.but(cell_sd=0.0, run_sd=0.01), HOLDS),
])
def test_verdicts_on_planted_laws(name, plan, verdict, tmp_path):
    sweep = load(write(tmp_path / "s", plan))
    assert judge(claim(name), sweep).verdict is verdict


@pytest.mark.parametrize(("plan", "needs"), [
    # η and S do vary apart: two exponents and a constant leave one cell to tell the error by
    (GRID.but(lr=(0.02, 0.08), batch_size=(8, 32)), "at least 5 cells of η and S: 4 leave"),
    (GRID.but(lr=(0.02,)), "cells in which η and S vary apart"),
    # a + b = 0 of a metric that does not care says nothing of the ratio
    (GRID.but(a=0.0, b=0.0), "a λ_max that moves with η or S"),
])
def test_what_the_ratio_law_lacks(plan, needs, tmp_path):
    found = judge(claim("ratio_law"), load(write(tmp_path / "s", plan)))
    assert found.verdict is UNTESTED
    assert found.needs.startswith(needs)


RANKED = ("sharpness_falls", "sharpness_falls_at_equal_loss")


@pytest.mark.parametrize("name", RANKED)
def test_three_ratios_are_to_be_in_one_setting(name, tmp_path):
    # two ratios without momentum and two others with it make no order of three
    plan = GRID.but(lr=(0.02, 0.08, 0.32, 1.28), batch_size=(32,), momentum=(0.0, 0.9))
    sweep = sweeps.planted(tmp_path / "s", plan,
                           keep=lambda f: (f["lr"] > 0.1) == (f["momentum"] > 0))
    found = judge(claim(name), sweep)
    assert found.needs == "at least 3 values of η/S in one setting"


OTHER = {"optimizer": ("config_train_optimizer_name", "sgd", "adam"),
         "schedule": ("config_train_lr_schedule_name", "constant", "cosine")}


@pytest.mark.parametrize("kind", OTHER)
@pytest.mark.parametrize("name", [*RANKED, "equal_ratios_coincide", "ratio_law"])
def test_adam_and_schedules_have_no_law_of_the_ratio(name, kind, tmp_path):
    # there λ_max grows with η, against what is claimed
    column, own, other = OTHER[kind]
    plan = GRID.but(momentum=(0.0, 0.9), cell_sd=0.0, run_sd=0.01)
    jitter = np.random.default_rng(0)
    sweep = sweeps.planted(
        tmp_path / "s", plan, runs={column: lambda f: np.where(f["momentum"] > 0, other, own)},
        snapshots={"hessian_lambda_max": lambda f: jitter.lognormal(0, 0.02, len(f)) * np.where(
            f["run_momentum"] > 0, f["run_lr"] ** 3, f["run_ratio"] ** -0.6)})
    found = judge(claim(name), sweep)
    assert found.verdict is HOLDS
    assert ("45 finished runs with a schedule or an adaptive optimizer are left out"
            in found.judgement.note)
    alone = sweeps.planted(tmp_path / "other", GRID, runs={column: other})
    assert judge(claim(name), alone).needs.startswith("runs ")


def test_each_setting_is_compared_at_a_loss_of_its_own(tmp_path):
    """With momentum runs learn a hundred times as far, and the order of λ_max is reversed early."""
    sweep = sweeps.planted(tmp_path / "s", GRID.but(momentum=(0.0, 0.9)), snapshots={
        "train_loss": lambda f: np.where(f["run_momentum"] > 0, 0.01, 1.0) * np.exp(
            f["run_epochs"] - f["epoch"]),
        "hessian_lambda_max": lambda f: f["run_ratio"] ** np.where(
            f["run_epochs"] - f["epoch"] > 1, 0.6, -0.6)})
    found = judge(claim("sharpness_falls_at_equal_loss"), sweep)
    assert found.verdict is HOLDS
    assert found.judgement.stop_rule == "at train losses from 0.01 to 1 (one a setting)"


def test_batches_beyond_the_claimed_factor_do_not_count(tmp_path):
    """S = 128 is off, 64 times the smallest of its ratio: up to 16 times it holds."""
    plan = GRID.but(lr=(0.01, 0.08, 0.64), batch_size=(2, 16, 128), break_batch=64, cell_sd=0.0)
    sweep = sweeps.planted(
        tmp_path / "s", plan, keep=lambda f: (f["batch_size"] < 128) | (f["lr"] == 0.64))
    assert judge(claim("equal_ratios_coincide"), sweep).verdict is HOLDS
    assert judge(claim("equal_ratios_coincide"), sweep, {"factor": 64}).verdict is FAILS


@pytest.mark.parametrize(("exponent", "verdict"), [
    (-0.6, HOLDS),  # flatter at the same loss too
    (0.6, FAILS),
    (0.0, FAILS),  # all of the effect at equal epochs came from the loss: no rank is left
])
def test_at_equal_loss_what_the_loss_explains_is_gone(exponent, verdict, tmp_path):
    """λ_max = loss · (η/S)^e · noise: at one loss only the second factor is left."""
    jitter = np.random.default_rng(0)
    sweep = sweeps.planted(tmp_path / "s", GRID.but(run_sd=0.0, cell_sd=0.0), snapshots={
        "hessian_lambda_max": lambda f: f["train_loss"] * f["run_ratio"] ** exponent
        * jitter.lognormal(0, 0.05, len(f))})
    found = judge(claim("sharpness_falls_at_equal_loss"), sweep)
    assert found.verdict is verdict
    assert found.judgement.stop_rule.startswith("at train loss")


def memorizing(tmp_path, slope):
    """Accuracy at memorized share 0.4 is 0.6 + slope · log ratio; runs differ in speed."""

    def memorized(f):
        return np.clip(0.04 * f["epoch"] * (f["run_ratio"] / 1e-3) ** 0.3, 0, 1)

    def accuracy(f):
        at = 0.6 + slope * np.log(f["run_ratio"] / 1e-3)
        return at - 0.3 * (memorized(f) - 0.4) + 0.01 * f["run_seed"]

    return sweeps.planted(tmp_path / "s", GRID.but(label_noise=(0.0, 0.5)), snapshots={
        "corrupted_accuracy": memorized, "test_accuracy": accuracy})


@pytest.mark.parametrize(("slope", "verdict"), [(0.02, HOLDS), (-0.02, FAILS)])
def test_at_equal_memorized_share(slope, verdict, tmp_path):
    found = judge(claim("memorization_costs_less"), memorizing(tmp_path, slope))
    assert found.verdict is verdict
    rows = found.judgement.evidence
    assert {row["label_noise"] for row in rows} == {0.5}  # clean runs have nothing to memorize
    first = min(rows, key=lambda row: row["ratio"])
    expected = 0.6 + slope * np.log(first["ratio"] / 1e-3) + 0.02
    assert first["value"] == pytest.approx(expected, abs=1e-9)  # read between snapshots, exactly


def on_the_line(tmp_path, widths):
    """Probes between η = 0.02 and 0.08, 0.08 and 0.32; ``widths`` of (first, second, higher?)."""
    plan = GRID.but(batch_size=(32,))
    sweep = sweeps.planted(tmp_path / "s", plan)
    runs = sweep.runs.set_index(["seed", "lr"])["run_id"]
    for seed in range(5):
        for pair in ((0.02, 0.08), (0.32, 0.08)):
            first, second = widths(*pair, seed)
            sweeps.probe(tmp_path / "s", "interpolation", [runs[seed, lr] for lr in pair], {
                ("interpolation_half_width", name): {0.5: width}
                for name, width in (*first.items(), *second.items())}, {"rise": 0.5})
    return load(tmp_path / "s")


def powers(exponent):
    def widths(a, b, seed):
        return ({"first_out": a**exponent * (1 + seed / 50), "first_in_at_least": 1.0},
                {"second_out": b**exponent, "second_in_at_least": 1.0})

    return widths


@pytest.mark.parametrize(("widths", "verdict"), [
    (powers(0.3), HOLDS),  # whichever of the two runs comes first in the probe
    (powers(-0.3), FAILS),
    # the higher's end is never reached: at least 2 against 0.5 is certain
    (lambda a, b, s: ({"first_out_at_least" if a > b else "first_out": 2.0 if a > b else 0.5 + s},
                      {"second_out_at_least" if b > a else "second_out": 9.0 if b > a else 0.1}),
     HOLDS),
    # neither is reached: nothing can be said
    (lambda *_: ({"first_out_at_least": 1.0}, {"second_out_at_least": 1.0}), UNTESTED),
])
def test_widths_on_the_line(widths, verdict, tmp_path):
    assert judge(claim("wider_on_the_line"), on_the_line(tmp_path, widths)).verdict is verdict


@pytest.mark.parametrize(("off", "error", "verdict"), [
    (1.001, 0.002, HOLDS), (1.05, 0.002, FAILS), (1.005, 0.02, UNDECIDED)])
def test_excess_loss_against_the_exact_one(off, error, verdict, tmp_path):
    sweeps.planted(tmp_path / "s", GRID)
    sweeps.probe(tmp_path / "s", "quadratic", [], {
        ("quadratic_excess", "exact_4"): {0.2: 0.7}, ("quadratic_excess", "sde_4"): {0.2: 0.5},
        ("quadratic_excess", "measured_4"): {0.2: 0.7 * off},
        ("quadratic_error", "4"): {0.2: 0.7 * error}, ("quadratic_z", "4"): {0.2: 0.0}})
    found = judge(claim("excess_loss_on_a_quadratic"), load(tmp_path / "s"))
    assert found.verdict is verdict
    assert found.judgement.effects[0].interval.value == pytest.approx(off - 1)


def test_every_bowl_is_a_case_of_its_own(tmp_path):
    # their mean would be exact, and hold
    sweeps.planted(tmp_path / "s", GRID)
    for highest, off in ((1.0, 0.95), (2.0, 1.05)):
        sweeps.probe(tmp_path / "s", "quadratic", [str(highest)], {
            ("quadratic_excess", "exact_4"): {0.2: 0.7}, ("quadratic_excess", "sde_4"): {0.2: 0.5},
            ("quadratic_excess", "measured_4"): {0.2: 0.7 * off},
            ("quadratic_error", "4"): {0.2: 0.001}}, {"highest": highest})
    found = judge(claim("excess_loss_on_a_quadratic"), load(tmp_path / "s"))
    assert found.verdict is FAILS
    assert [e.interval.value for e in found.judgement.effects] == pytest.approx([-0.05, 0.05])
    assert found.judgement.note.startswith('bowl 1, {"highest": 1.0}')
