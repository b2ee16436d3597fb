"""Early steering on planted sweeps of switches: the share decided by each epoch is known."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.claims import early_steering, known
from analysis.claims.claim import Verdict, judge
from analysis.claims.switches import WAYS, Switched, switched
from tests.analysis.claims import sweeps
from tests.analysis.planted import Planted

HOLDS, FAILS, UNDECIDED, UNTESTED = (
    Verdict.HOLDS, Verdict.FAILS, Verdict.UNDECIDED, Verdict.UNTESTED)
EPOCHS = 20.0
SHARES = np.array([0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0])


def claim(name):
    return known()[f"early_steering/{name}"]


def switches(tmp_path, power, scatter=0.02, seeds=5, ways=(0.3, 0.03), gap=1.0, keep=None):
    """λ and accuracy at the end go from the second rate's to the first's as share^power.

    Each run's batch size stands for its moment (all are set to 16 again), its rate for the way.
    """
    plan = Planted(lr=ways, batch_size=tuple(range(8, 8 + len(SHARES))), seeds=seeds, parts=1,
                   epochs=EPOCHS, run_sd=0.0, cell_sd=0.0, seed_sd=0.0)
    jitter = np.random.default_rng(3)

    def share(f, start=""):
        return SHARES[f[f"{start}batch_size"].to_numpy() - 8]

    def end(f, start=""):
        """1 at the large rate throughout, 0 at the small one."""
        first = f[f"{start}lr"] == 0.3
        moved = share(f, start) ** power
        return np.where(first, moved, 1 - moved)

    def noisy(f):
        seeds_ = f["run_seed"].to_numpy() * 0.01
        ids = f["run_run_id"].unique()
        runs = dict(zip(ids, jitter.normal(0, scatter, len(ids)), strict=True))
        return seeds_ + f["run_run_id"].map(runs).to_numpy()

    return sweeps.planted(tmp_path / "s", plan, runs={
        "config_train_lr_schedule_name": "switch",
        "config_train_lr_schedule_at": lambda f: share(f) * EPOCHS,
        "config_train_lr_schedule_factor": lambda f: np.where(f["lr"] == 0.3, 0.1, 10.0),
        "epochs": EPOCHS,
        "final_test_accuracy": lambda f: 0.8 + 0.1 * gap * end(f) + 0.01 * f["seed"],
        # last: what told the runs apart is not theirs
        "ratio": lambda f: f["lr"] / 16, "effective_ratio": lambda f: f["lr"] / 16,
    }, snapshots={
        "hessian_lambda_max": lambda f: np.exp(3 - 1.5 * end(f, "run_") + noisy(f)),
    }, keep=keep)


def alike(sweep):
    """The same sweep with one batch size."""
    runs = sweep.runs.assign(batch_size=16)
    runs = runs.assign(cell=runs.groupby(["lr", "config_train_lr_schedule_at"]).ngroup())
    return dataclasses.replace(sweep, runs=runs)


@pytest.mark.parametrize(("name", "power", "options", "verdict"), [
    # share^¼: half is decided after a sixteenth, both ways
    ("curvature_is_decided_early", 0.25, {}, HOLDS),
    # share^4: half is decided only by 84 %
    ("curvature_is_decided_early", 4.0, {}, FAILS),
    # all epochs count alike: half by half
    ("curvature_is_decided_early", 1.0, {"scatter": 0.2}, UNDECIDED),
    ("curvature_is_decided_early", 0.25, {"seeds": 1}, UNDECIDED),
    # early decides: at equal shares nets that began with the large rate are flatter
    ("curvature_remembers_the_start", 0.25, {}, HOLDS),
    # late decides: nets that ended with it are
    ("curvature_remembers_the_start", 4.0, {}, FAILS),
    # the order does not matter
    ("curvature_remembers_the_start", 1.0, {"scatter": 0.1}, UNDECIDED),
    ("accuracy_is_decided_early", 0.25, {}, HOLDS),
    ("accuracy_is_decided_early", 4.0, {}, FAILS),
    # no gap to speak of
    ("accuracy_is_decided_early", 1.0, {"gap": 0.0}, UNDECIDED),
    # one way alone has no reverse
    ("curvature_remembers_the_start", 0.25, {"keep": lambda f: f["lr"] == 0.3}, UNTESTED),
    # too few moments
    ("curvature_is_decided_early", 0.25, {"keep": lambda f: f["batch_size"] < 10}, UNTESTED),
])
def test_verdicts(name, power, options, verdict, tmp_path):
    sweep = alike(switches(tmp_path, power, **options))
    assert judge(claim(name), sweep).verdict is verdict


def test_the_half_time_is_the_planted_one(tmp_path):
    """share² is ½ at 0.71; read linearly between 0.5 (¼) and 0.75 (9/16): 0.70."""
    sweep = alike(switches(tmp_path, 2.0, scatter=0.0))
    found = judge(claim("curvature_is_decided_early"), sweep).judgement
    assert [e.interval.value for e in found.effects] == pytest.approx([0.7, 0.7], abs=1e-6)
    told = {row["share"]: row["mean"] for row in found.evidence if row["way"] == "large first"}
    assert told == pytest.approx({float(s): s**2 for s in SHARES})


@pytest.mark.parametrize(("decided", "half"), [
    ([0, 0.5, 1], 0.5),
    ([0, 0.75, 1], 1 / 3),
    ([0, 1.2, 1], 0.25 / 1.1),  # beyond the end: the nearest monotone curve is flat at 1.1
    ([0, -0.2, 1], 0.5 + 0.5 * 0.6 / 1.1),  # back before it goes: flat at −0.1
])
def test_half_times_of_curves(decided, half):
    y = 3.0 - 2.0 * pd.Series(decided, index=[0, 0.5, 1])
    assert early_steering.half_time(early_steering.decided(y)) == pytest.approx(half)


def test_rates_that_end_alike_decide_nothing():
    y = pd.Series([2.0, 1.0, 2.0], index=[0, 0.5, 1])
    assert np.isnan(early_steering.half_time(early_steering.decided(y)))


def lost(sweep, which):
    """The sweep with those runs diverged, after a fifth of their epochs."""
    gone = which(sweep.runs.assign(share=sweep.runs["config_train_lr_schedule_at"] / EPOCHS))
    runs = sweep.runs.assign(status=sweep.runs["status"].mask(gone, "diverged"),
                             epochs=sweep.runs["epochs"].mask(gone, EPOCHS / 5))
    rows = sweep.snapshots
    ids = runs.loc[gone, "run_id"]
    return dataclasses.replace(sweep, runs=runs, snapshots=rows.assign(
        status=rows["status"].mask(rows["run_id"].isin(ids), "diverged")))


def late(seeds):
    """Runs of these seeds that go to the large rate at 75 % and at 90 % of training."""
    return lambda runs: (runs["lr"] == 0.03) & runs["seed"].isin(seeds) & runs["share"].isin(
        [0.75, 0.9])


NAMES = ("curvature_is_decided_early", "curvature_remembers_the_start", "accuracy_is_decided_early")


@pytest.mark.parametrize("name", NAMES)
def test_moments_at_which_a_run_diverged_are_left_out_for_all_seeds(name, tmp_path):
    # the differences are larger at late moments: seeds that lack these would else disagree
    whole = alike(switches(tmp_path, 0.25, scatter=0.0))
    some, every = (judge(claim(name), lost(whole, late(seeds))).judgement
                   for seeds in ([0, 2], range(5)))
    assert some.effects == every.effects
    assert {e.units for e in some.effects} == {5}
    assert ("runs that diverged, by the moment of the switch: with small η, then large, 2 of 5 at "
            "75 % and 2 of 5 at 90 % of training") in some.note
    assert "diverged" not in judge(claim(name), whole).judgement.note


@pytest.mark.parametrize("name", NAMES)
def test_seeds_that_count_are_the_units(name, tmp_path):
    # without a constant run a seed has no gap to take a share of
    sweep = lost(alike(switches(tmp_path, 0.25)), lambda runs: (runs["seed"] == 1)
                 & runs["share"].isin([0.0, 1.0]))
    found = judge(claim(name), sweep).judgement
    assert {e.units for e in found.effects} == {5 if name == NAMES[1] else 4}


@pytest.mark.parametrize("name", NAMES)
def test_a_moment_each_that_diverged_leaves_none(name, tmp_path):
    inner = SHARES[1:-1]
    sweep = lost(alike(switches(tmp_path, 0.25)),
                 lambda runs: runs["share"] == runs["seed"].map(dict(enumerate(inner))))
    found = judge(claim(name), sweep)
    assert found.verdict is UNTESTED
    assert "at which the runs of all seeds finish" in found.needs


def only(sweep, which):
    """The sweep with those runs alone."""
    runs = sweep.runs[which(sweep.runs.assign(
        share=sweep.runs["config_train_lr_schedule_at"] / EPOCHS))]
    rows = sweep.snapshots
    return dataclasses.replace(
        sweep, runs=runs, snapshots=rows[rows["run_id"].isin(runs["run_id"])])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("there", [[0.0, 1.0], [0.0, 0.5, 1.0], [0.0, 0.1, 0.25, 0.5, 0.75, 1.0]])
def test_a_seed_that_lacks_runs_is_left_out_and_costs_the_others_nothing(name, there, tmp_path):
    whole = alike(switches(tmp_path, 0.25, seeds=6))
    begun, without = (judge(claim(name), only(whole, lambda runs, shares=shares: (
        runs["seed"] < 5) | runs["share"].isin(shares))).judgement for shares in (there, []))
    assert begun.effects == without.effects
    assert {e.units for e in begun.effects} == {5}
    assert "left out for want of runs that finished: seed 5" in begun.note
    assert "left out for want" not in without.note


@pytest.mark.parametrize("name", NAMES)
def test_a_moment_that_few_seeds_ran_yet_costs_no_seed(name, tmp_path):
    whole = alike(switches(tmp_path, 0.25))
    begun, without = (judge(claim(name), only(whole, lambda runs, seeds=seeds: runs["seed"].isin(
        seeds) | (runs["share"] != 0.5))).judgement for seeds in ([0, 1], []))
    assert begun.effects == without.effects


@pytest.mark.parametrize(("which", "pairs", "seeds"), [
    # just begun, with a seed that the other pair has not
    (lambda runs: runs[runs["seed"] == 0].assign(seed=9), [0], 5),
    # its constant large rate finished in one seed alone
    (lambda runs: runs.assign(y=runs["y"].mask((runs["seed"] > 0) & runs["share"].isin([0, 1]))),
     [0], 5),
    # nothing of it is measured
    (lambda runs: runs.assign(y=np.nan), [0], 5),
    (lambda runs: runs[runs["seed"] < 4], [0, 1], 4),  # two pairs of four seeds tell more than one
])
def test_a_pair_of_few_seeds_costs_the_others_nothing(which, pairs, seeds, tmp_path):
    runs = switched(alike(switches(tmp_path, 0.25))).runs
    both = Switched(pd.concat([runs, which(runs).assign(pair=1, large=0.7)]))
    for way in WAYS:
        tables = both.of(way)
        assert list(tables) == pairs
        assert {len(t) for t in tables.values()} == {seeds}
    assert ("η = 0.7 and 0.03" in both.omitted) == (pairs == [0])
    assert ("seed 4" in both.omitted) == (seeds == 4)


def test_pairs_of_few_seeds_cost_the_orders_nothing(tmp_path):
    runs = switched(alike(switches(tmp_path, 0.25))).runs
    begun = runs[runs["seed"] == 0].assign(seed=9, pair=1)
    assert early_steering._orders(pd.concat([runs, begun])).equals(early_steering._orders(runs))


def curves_of(middles):
    return [pd.DataFrame([[0.0, m, 1.0] for m in middles], columns=[0.0, 0.5, 1.0])]


def test_half_times_of_a_mean_curve_have_no_interval_below_five_seeds():
    found = early_steering.resampled(curves_of([0.6, 0.7, 0.9, 1.0]))
    assert found.value == pytest.approx(0.25 / 0.8)
    assert np.isnan([found.low, found.high]).all()


def test_half_times_of_a_mean_curve_are_as_uncertain_as_student_says():
    # the mean of five draws goes beyond 0.96 in 0.2 % of samples, beyond 0.92 in 2.2 %; the tail
    # of a t-interval at four degrees of freedom is 0.1 %
    found = early_steering.resampled(curves_of([0.6, 0.7, 0.8, 0.9, 1.0]))
    assert found.value == pytest.approx(0.25 / 0.8)
    assert found.low < 0.25 / 0.95
    assert found.high > 0.25 / 0.65
