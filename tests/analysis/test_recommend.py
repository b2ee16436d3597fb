"""A learning rate for a batch size: from planted sweeps, and the sentence where there is none."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.advice import lines, plain
from analysis.errors import TableError
from analysis.recommend import _one, recommend
from tests.analysis.curves import sweep
from tests.analysis.planted import Planted, tables, write_frames

RATIO = 0.004
GRID = Planted(lr=tuple(RATIO * 8 * 2.0**k for k in range(-4, 9)), batch_size=(8, 16, 32, 64),
               seeds=5)


def root(size):
    """η* = 0.05·√(S / 8)."""
    return 0.05 * (size / 8) ** 0.5


def linear(size):
    return RATIO * size


def advised(folder, size, planted=GRID, best=root, **options):
    return recommend(load(sweep(folder / "sweep", planted, best)), size, **options)


@pytest.mark.parametrize("size", [8, 24, 64])
def test_the_planted_optimum_lies_in_the_interval(tmp_path, size):
    (found,) = advised(tmp_path, size)
    assert found.best.lr.low < root(size) < found.best.lr.high
    assert found.best.lr.value == pytest.approx(root(size), rel=0.4)
    assert found.best.sound
    assert found.scaling.exponent.holds(0.5)


def test_beyond_the_batch_sizes_run_it_is_an_extrapolation(tmp_path):
    (found,) = advised(tmp_path, 256)
    assert found.best.lr.holds(root(256))
    assert not found.best.sound
    assert found.best.validity == ("S = 256 lies outside of the batch sizes run (8 to 64): "
                                   "extrapolated")


def test_equal_ratio_scales_the_best_at_the_smallest_batch(tmp_path):
    (found,) = advised(tmp_path, 64, best=linear)
    first = found.optima[0]
    assert found.equal_ratio.lr.value == pytest.approx(8 * first.lr.value)
    assert found.equal_ratio.sound
    assert "coincide up to S = 64" in found.equal_ratio.validity
    assert found.scaling.compatible()[0].startswith("linear")


def test_beyond_the_break_point_equal_ratio_says_so(tmp_path):
    (found,) = advised(tmp_path, 64, GRID.but(break_batch=16), linear)
    assert not found.equal_ratio.sound
    assert "beyond the break point: curves of equal η/S part from S = 32 on" in \
        found.equal_ratio.validity


def test_it_stays_below_where_training_is_lost(tmp_path):
    """Ratios above 0.012 diverge; the law of the optima would lead beyond."""
    (found,) = advised(tmp_path, 64, GRID.but(diverge_above=0.012), lambda s: 0.02 * s)
    stable, lost = found.limit.at(64)
    assert found.best.lr.value <= stable
    assert found.best.lr.high <= lost
    assert stable / 64 <= 0.012 < lost / 64
    assert all(o.kind == "bracketed" for o in found.optima)


def ratios(*sizes, lost=0.007, best=0.002):
    """Ratios in steps of two about ``best`` at S = 8 to 512, five seeds; at ``sizes`` those above
    ``lost`` diverge. As ``_one`` takes it: the sweep, its runs, and the points of those that
    finished."""
    rng = np.random.default_rng(0)
    runs = pd.DataFrame([
        {"run_id": f"{size}-{k}-{seed}", "lr": 0.001 * 2.0**k * size, "batch_size": size,
         "seed": seed, "final_train_loss": 0.1, "ratio": 0.001 * 2.0**k,
         "status": "diverged" if size in sizes and 0.001 * 2.0**k > lost else "finished"}
        for size in (8, 32, 128, 512) for k in range(-2, 4) for seed in range(5)])
    first = runs[["run_id"]].assign(step=0, train_loss=2.3)
    ended = runs[runs["status"] == "finished"]
    off = np.log(ended["ratio"] / best)
    frame = ended.assign(y=3 - 0.5 * off**2 + rng.normal(0, 0.05, len(ended)))
    return SimpleNamespace(name="x", snapshots=first), runs, frame


def test_no_rate_is_cut_below_one_that_finished_at_that_batch_size():
    """Only at S = 8 was anything lost: that says nothing of S = 512, 64 times as large."""
    found = _one(*ratios(8), [], 512, "test_accuracy", "")
    assert found.best.lr.holds(0.002 * 512)
    assert found.best.lr.value == pytest.approx(0.002 * 512, rel=0.1)
    assert found.best.validity == ""
    assert found.best.sound
    assert "lost" not in found.equal_ratio.validity


def test_what_lies_above_all_that_ran_is_not_cut_but_told():
    """Nothing was lost at S = 512, and the best at S = 8, in steps of 64, lies beyond its η."""
    sweep, runs, frame = ratios(8)
    few = frame["batch_size"].eq(8) | frame["lr"].lt(0.0011 * 512) & frame["batch_size"].eq(512)
    runs = runs[runs["run_id"].isin(frame[few]["run_id"]) | runs["status"].eq("diverged")]
    found = _one(sweep, runs, frame[few], [], 512, "test_accuracy", "")
    words = "above the largest η known to train (at S = 512 none was lost up to η = 0.512)"
    assert words in found.equal_ratio.validity
    assert not found.equal_ratio.sound
    assert found.equal_ratio.lr.value > 0.512


def test_a_batch_size_whose_smallest_rate_was_mostly_lost_has_no_optimum():
    """Two of five seeds finished there: points without any η below the limit."""
    sweep, runs, frame = ratios(8)
    gone = runs["batch_size"].eq(8) & runs["seed"].gt(1)
    runs = runs.assign(status=runs["status"].where(~gone, "diverged"))
    found = _one(sweep, runs, frame[~frame["run_id"].isin(runs[gone]["run_id"])], [], 512,
                 "test_accuracy", "")
    assert [o.batch_size for o in found.optima] == [32, 128, 512]
    assert found.best.lr.holds(0.002 * 512)
    assert "at S = 8 most runs were lost from the smallest η on: no optimum there" in found.cautions
    there = _one(sweep, runs, frame[~frame["run_id"].isin(runs[gone]["run_id"])], [], 8,
                 "test_accuracy", "")
    assert there.best is None  # what the law says, 0.016, lies above 0.002, which was lost
    assert "0.002], n: 8}, batch_size: [8]" in there.axes  # below it


def test_where_most_is_lost_at_every_rate_there_is_no_answer():
    sweep, runs, frame = ratios()
    gone = runs["seed"].gt(1)
    runs = runs.assign(status=runs["status"].where(~gone, "diverged"))
    found = _one(sweep, runs, frame[frame["seed"].lt(2)], [], 512, "test_accuracy", "")
    assert found.best is found.equal_ratio is None
    assert found.cautions == (
        "no η: most runs were lost at every η; run smaller learning rates than 0.002",)


@pytest.mark.parametrize(("best", "side"), [(lambda _: 1e3, "upper"), (lambda _: 1e-5, "lower")])
def test_optima_at_the_edge_are_bounds_only(tmp_path, best, side):
    """What to run then goes beyond that edge."""
    (found,) = advised(tmp_path, 24, best=best)
    assert found.best is None
    assert "so that no optimum is known" in found.cautions[0]
    assert found.equal_ratio is None
    assert found.cautions[1] == ("equal ratio needs the best η at the smallest batch size, S = 8: "
                                 "it lies at the edge of those run")
    assert found.axes.endswith("  # S = 8 first: no best η is known yet, and that at S = 8 tells "
                               "where to look at S = 24")
    low, high = json.loads(found.axes.split("log: ")[1].split("]")[0] + "]")
    assert high > max(GRID.lr) if side == "upper" else low < min(GRID.lr)


def test_one_seed_and_few_batch_sizes_say_so(tmp_path):
    (found,) = advised(tmp_path, 128, GRID.but(seeds=1, batch_size=(8, 32)))
    assert any(words.startswith("one seed") for words in found.cautions)
    assert "2 batch sizes only: no law could be fitted" in found.best.validity
    assert found.best.lr.low <= found.optima[1].lr.low
    assert found.best.lr.high >= 4 * found.optima[1].lr.high * (1 - 1e-9)


def test_single_rates_say_so_and_json_knows_no_infinity(tmp_path):
    found = advised(tmp_path, 24, GRID.but(lr=(0.05,), seeds=3))
    assert found[0].best is None
    assert found[0].cautions[0] == ("at S = 8, 16, 32 and 64 a single η was run to its end: no "
                                    "optimum there")
    (facts,) = json.loads(json.dumps(plain(found), allow_nan=False))
    assert all(o["low"] is o["high"] is None for o in facts["optima"])


def test_each_setting_gets_its_own(tmp_path):
    found = advised(tmp_path, 24, GRID.but(momentum=(0.0, 0.9), lr=GRID.lr[2:9], seeds=3))
    assert [one.setting_label for one in found] == ["momentum 0", "momentum 0.9"]


def both(folder, small, large):
    """Two sweeps as one, with the size of the training set as the spec gives it."""
    made = [tables(one) for one in (small, large)]
    runs, snapshots = (pd.concat(parts, ignore_index=True) for parts in zip(*made, strict=True))
    runs["config_data_train_size"] = runs["train_size"]
    runs["name"] = large.name
    return load(write_frames(folder / "sweep", large, runs, snapshots))


def test_a_setting_answers_for_its_own_size(tmp_path):
    """512 fits 1,500 training examples, not 240; N is said once though the spec has it too."""
    one = GRID.but(lr=(0.05,), batch_size=(8,), seeds=2, epochs=4.0)
    found = recommend(both(tmp_path, one.but(name="small", train_size=240), one), 512)
    assert [each.setting_label for each in found] == ["train size 240", "train size 1500"]
    assert found[0].cautions == ("no η: batch size 512 does not fit 240 training examples",)
    assert lines(found)[:3] == [
        "planted (train size 240): η for S = 512, by test accuracy at the end",
        "  note         no η: batch size 512 does not fit 240 training examples",
        "planted (train size 1500): η for S = 512, by test accuracy at the end"]
    assert plain(found)[0]["best"] is None


def test_a_setting_of_which_no_run_finished_says_so(tmp_path):
    one = GRID.but(lr=(0.05,), batch_size=(8,), seeds=2, epochs=4.0)
    gone = one.but(name="small", train_size=240, diverge_above=0)
    found = recommend(both(tmp_path, gone, one), 8)
    assert found[0].cautions == (
        "no η: none of 2 runs finished (diverged); run smaller learning rates than 0.05",)


def test_noise_selects_and_loss_is_minimised(tmp_path):
    planted = GRID.but(label_noise=(0.1, 0.3), seeds=3, lr=GRID.lr[2:9])
    (found,) = advised(tmp_path, 24, planted, noise=0.3)
    assert found.setting_label == "label noise 0.3"
    (found,) = recommend(load(tmp_path / "sweep"), 24, noise=0.1, metric="train_loss")
    assert all(o.best == max(planted.lr) for o in found.optima)  # a larger η trains faster here


@pytest.mark.parametrize(("options", "size", "what", "fix"), [
    ({"noise": 0.2}, 24, "no run of this sweep has label noise 0.2",
     "this sweep has no label noise: leave --noise out"),
    ({"metric": "hessian_lambda_max"}, 24, "no accuracy or loss", "with one of test_accuracy"),
    ({}, 5000, "does not fit 1500 training examples", "from 1 to 1500"),
    ({}, 0, "batch size 0 does not fit", "from 1 to 1500")])
def test_what_cannot_be_is_refused_in_a_sentence(tmp_path, options, size, what, fix):
    with pytest.raises(TableError) as error:
        advised(tmp_path, size, GRID.but(lr=(0.02, 0.04), seeds=1), **options)
    assert what in error.value.what
    assert fix in error.value.fix


def test_no_noise_where_all_is_noisy_is_refused(tmp_path):
    with pytest.raises(TableError, match="no run of this sweep has no label noise"):
        advised(tmp_path, 24, GRID.but(label_noise=(0.1, 0.3), lr=(0.02, 0.04), seeds=1))


def test_a_sweep_in_which_all_diverged_names_the_smallest_rate(tmp_path):
    with pytest.raises(TableError, match="none of 8 runs finished") as error:
        advised(tmp_path, 24, GRID.but(lr=(0.02, 0.04), seeds=1, diverge_above=0))
    assert error.value.fix == "run smaller learning rates than 0.02"


def test_an_empty_sweep_is_told(tmp_path):
    runs, snapshots = tables(GRID.but(lr=(0.02,), seeds=1))
    folder = write_frames(tmp_path / "sweep", GRID, runs.iloc[:0], snapshots.iloc[:0])
    with pytest.raises(TableError, match="no run has ended yet"):
        recommend(load(folder), 24)


def test_lines_and_plain_say_the_same(tmp_path):
    found = advised(tmp_path, 24)
    text = "\n".join(lines(found))
    (facts,) = json.loads(json.dumps(plain(found)))
    assert f"η = {facts['best']['value']:.3g} [" in text
    assert facts["axes"] in text
    assert "η_best ∝ S^" in text
    assert [o["batch_size"] for o in facts["optima"]] == [8, 16, 32, 64]
    assert all(math.isfinite(v) for v in facts["best"].values() if isinstance(v, float))
    assert np.isclose(facts["best"]["value"], found[0].best.lr.value)
