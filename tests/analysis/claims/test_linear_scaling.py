"""Linear scaling on planted sweeps: where each claim holds, fails, and cannot be told."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.claims import known, linear_scaling
from analysis.claims.claim import Verdict, judge
from analysis.frames import load
from tests.analysis.claims import sweeps
from tests.analysis.planted import Planted, tables, write, write_frames

HOLDS, FAILS, UNDECIDED, UNTESTED = (
    Verdict.HOLDS, Verdict.FAILS, Verdict.UNDECIDED, Verdict.UNTESTED)


def claim(name):
    return known()[f"linear_scaling/{name}"]


MOMENTUM = Planted(lr=(0.008, 0.08), batch_size=(16,), momentum=(0.0, 0.9), seeds=5, parts=1,
                   cell_sd=0.0)


@pytest.mark.parametrize(("plan", "verdict"), [
    # the planted paths follow η/(S(1−μ)): 0.008 with 0.9 is 0.08 without
    (MOMENTUM, HOLDS),
    (MOMENTUM.but(seeds=1), UNDECIDED),  # no seed noise to compare with
    (MOMENTUM.but(momentum=(0.0,)), UNTESTED),
    (MOMENTUM.but(lr=(0.08,)), UNTESTED),  # none at an equal η/(1−μ)
])
def test_momentum_on_planted_laws(plan, verdict, tmp_path):
    assert judge(claim("momentum_enters_the_noise_scale"),
                 load(write(tmp_path / "s", plan))).verdict is verdict


def test_momentum_that_does_more_than_that(tmp_path):
    sweep = sweeps.planted(tmp_path / "s", MOMENTUM, snapshots={
        "train_loss": lambda f: f["train_loss"] * np.where(f["run_momentum"] > 0, 3.0, 1.0)})
    assert judge(claim("momentum_enters_the_noise_scale"), sweep).verdict is FAILS


SCHEDULES = {"sizes": ("cyclic", 5.0, "constant", np.nan),
             "rates": ("constant", np.nan, "cyclic", 0.2),
             "root": ("constant", np.nan, "cyclic", 0.4472)}


def schedules(tmp_path, off, kinds=tuple(SCHEDULES), by="epoch"):
    """Runs of three schedules, told apart by their rates at first; log train loss and accuracy are
    off by ``off`` of the schedule, which is 0 for the cyclic batch size."""
    plan = Planted(lr=(0.1, 0.2, 0.3)[:len(kinds)], batch_size=(16,), seeds=5, parts=1,
                   cell_sd=0.0)
    place = {lr: kind for lr, kind in zip(plan.lr, kinds, strict=True)}
    sweep = sweeps.planted(tmp_path / "s", plan, snapshots={
        "train_loss": lambda f: np.exp(-f["epoch"] / 5 + 0.1 * f["run_seed"]
                                       + f["run_lr"].map(place).map(off))})

    def column(i):
        return sweep.runs["lr"].map(place).map(lambda kind: SCHEDULES[kind][i])

    names = ("batch_schedule_name", "batch_schedule_factor", "lr_schedule_name",
             "lr_schedule_factor")
    runs = sweep.runs.assign(
        **{f"config_train_{name}": column(i) for i, name in enumerate(names)},
        config_train_batch_schedule_period=8.0, config_train_lr_schedule_period=8.0,
        config_train_lr_schedule_by=by, ratio_group=0.1 / 16, lr=0.1,
        final_test_accuracy=0.9 + 0.01 * sweep.runs["seed"])
    return dataclasses.replace(sweep, runs=runs)


@pytest.mark.parametrize(("off", "options", "verdict"), [
    ({"sizes": 0.0, "rates": 0.02, "root": 0.5}, {}, HOLDS),
    ({"sizes": 0.0, "rates": 1.0, "root": 2.0}, {}, FAILS),  # beyond seed noise
    ({"sizes": 0.0, "rates": 0.1, "root": 0.05}, {}, FAILS),  # the root follows more closely
    ({"sizes": 0.0, "rates": 0.02}, {"kinds": ("sizes", "rates")}, HOLDS),  # without the root
    ({"sizes": 0.0, "root": 0.02}, {"kinds": ("sizes", "root")}, UNTESTED),
    # a rate that moves within epochs has no equal among batch sizes
    ({"sizes": 0.0, "rates": 0.02, "root": 0.5}, {"by": "step"}, UNTESTED),
])
def test_schedules(off, options, verdict, tmp_path):
    found = judge(claim("schedules_interchange"), schedules(tmp_path, off, **options))
    assert found.verdict is verdict
    if verdict is not UNTESTED:
        expected = off["rates"] / (0.1 * np.sqrt(5))  # rms between seeds 0, 0.1, …, 0.4
        assert found.judgement.effects[0].interval.value == pytest.approx(expected, rel=1e-6)


def sizes(tmp_path, breaks, ends=None, keep=None):
    """Accuracy falls by 0.2 from the batch size on that ``breaks`` names for each N; the grid of N
    ends at ``ends[N]``, if it is there."""
    plan = Planted(lr=(0.01, 0.02, 0.04, 0.08, 0.16), batch_size=(4, 8, 16, 32, 64), seeds=8,
                   parts=1, cell_sd=0.0)
    frames = []
    for size in breaks:
        runs, path = tables(plan.but(name=f"n{size}", train_size=size))
        end = (ends or {}).get(size, 64)
        kept = np.isclose(runs["ratio"], 0.0025) & (runs["batch_size"] <= end)
        kept &= True if keep is None else keep(runs)
        frames.append((runs[kept], path[path["run_id"].isin(runs.loc[kept, "run_id"])]))
    runs, path = (pd.concat(part, ignore_index=True) for part in zip(*frames, strict=True))
    jitter = np.random.default_rng(0).normal(0, 0.003, len(runs))
    fallen = runs["batch_size"] >= runs["train_size"].map(breaks)
    accuracy = pd.Series((0.9 + jitter - 0.2 * fallen).to_numpy(), index=runs["run_id"])
    path = path.assign(test_accuracy=path["run_id"].map(accuracy))
    runs = runs.assign(final_test_accuracy=accuracy.to_numpy(), data_sha256=runs[
        "train_size"].map(lambda n: f"{n:064d}"), name="sizes")
    return load(write_frames(tmp_path / "s", plan, runs, path))


NEVER = 1000


@pytest.mark.parametrize(("breaks", "ends", "verdict"), [
    ({240: 16, 1200: 64}, {}, HOLDS),
    ({240: 64, 1200: 16}, {}, FAILS),
    ({1200: 16}, {}, UNTESTED),  # one size
    # S <= N: that its grid ends earlier is no break of a small N
    ({240: NEVER, 600: NEVER, 1200: NEVER}, {240: 16, 600: 32}, UNTESTED),
    ({240: NEVER, 1200: 64}, {240: 32}, UNTESTED),
    ({240: 32, 1200: 32}, {240: 32}, UNDECIDED),
    ({240: 16, 600: NEVER, 1200: NEVER}, {240: 32}, HOLDS),  # censored, the order is known
    ({240: 8, 1200: 64}, {240: 16}, HOLDS),
    ({240: NEVER, 1200: 16}, {240: 32}, FAILS),  # the small N breaks later, if ever
    ({240: 8, 1200: 64}, {240: 4}, UNTESTED),  # no factor but 1 in common
])
def test_where_scaling_breaks(breaks, ends, verdict, tmp_path):
    found = judge(claim("critical_factor_grows"), sizes(tmp_path, breaks, ends))
    assert found.verdict is verdict
    if verdict is HOLDS and not ends:
        rows = {row["train_size"]: row["critical_factor"] for row in found.judgement.evidence}
        # accuracy falls by 0.2 between factors 2 and 4 (8 and 16): two deviations are soon there
        assert 2 < rows[240] < 2.3
        assert 8 < rows[1200] < 8.7


def test_where_nothing_breaks_larger_factors_are_asked_for(tmp_path):
    never = sizes(tmp_path, {240: NEVER, 1200: NEVER}, {240: 32})
    assert judge(claim("critical_factor_grows"), never).needs.startswith(
        "larger factors: accuracy holds for every N up to 8, the largest that all N have")


def test_a_factor_beyond_the_grid_is_told_as_at_least(tmp_path):
    found = judge(claim("critical_factor_grows"), sizes(tmp_path, {240: 16, 1200: NEVER}))
    assert "at least 16 at N = 1200" in found.judgement.said
    assert "nearer to 0" in found.judgement.note
    both = judge(claim("critical_factor_grows"), sizes(tmp_path / "b", {240: 16, 1200: 64}))
    assert both.judgement.note == ""


def test_seeds_that_one_size_lacks_are_left_out_of_all(tmp_path):
    # resampled jointly, a row must be one seed's in all sizes
    lacking = sizes(tmp_path, {240: 16, 1200: 64}, keep=lambda runs: (
        runs["train_size"] > 240) | (runs["seed"] > 0))
    (effect,) = judge(claim("critical_factor_grows"), lacking).judgement.effects
    assert effect.units == 7


@pytest.mark.parametrize(("seeds", "verdict"), [(2, UNDECIDED), (4, UNDECIDED), (5, HOLDS)])
def test_a_few_seeds_that_agree_do_not_decide_where_scaling_breaks(seeds, verdict, tmp_path):
    found = judge(claim("critical_factor_grows"), sizes(
        tmp_path, {240: 16, 1200: 64}, keep=lambda runs: runs["seed"] < seeds))
    assert found.verdict is verdict
    assert found.judgement.effects[0].units == seeds
    if verdict is UNDECIDED:
        assert found.decides == f"more seeds: there is no interval from {seeds}"


def with_another_ratio(sweep, seeds):
    """Beside it the same runs at another ratio, of those seeds (old -> new name)."""
    more = sweep.runs[sweep.runs["seed"].isin(seeds)]
    more = more.assign(seed=more["seed"].map(seeds), run_id=more["run_id"] + "-more",
                       ratio_group=0.005, cell=more["cell"] + 1000)
    return dataclasses.replace(sweep, runs=pd.concat([sweep.runs, more], ignore_index=True))


@pytest.mark.parametrize(("seeds", "units", "lost"), [
    ({0: 0}, 8, "η/S = 0.005"),  # just begun
    ({0: 20, 1: 21}, 8, "η/S = 0.005"),  # of other seeds
    ({s: s for s in range(2, 8)}, 6, "seed 0 and seed 1"),
    ({s: s for s in range(8)}, 8, ""),
])
def test_a_ratio_of_few_seeds_costs_the_others_nothing(seeds, units, lost, tmp_path):
    both = with_another_ratio(sizes(tmp_path, {240: 16, 1200: 64}), seeds)
    families, told = linear_scaling._balanced(linear_scaling._families(both))
    curves = [c for by_size in families.values() for c in by_size.values()]
    assert {len(c.accuracy) for c in curves} == {units}
    assert len({c.seeds for c in curves}) == 1  # a seed has one place in all of them
    assert told.endswith(lost)
    assert bool(told) == bool(lost)


def test_adam_has_no_linear_scaling(tmp_path):
    sweep = sizes(tmp_path, {240: 16, 1200: 64})
    adam = dataclasses.replace(sweep, runs=sweep.runs.assign(config_train_optimizer_name="adam"))
    assert judge(claim("critical_factor_grows"), adam).needs.startswith("runs of SGD")
