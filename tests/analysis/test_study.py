"""A sweep studied at any moment: complete, half finished, all diverged, empty."""

import pandas as pd
import pytest

from analysis import report
from analysis.errors import TableError
from analysis.points import END
from analysis.study import lines, study
from tests.analysis.planted import Planted, tables, write, write_frames

SMALL = Planted(lr=(0.02, 0.04, 0.08), batch_size=(8, 16, 32), seeds=2, epochs=6.0)
SMALL = SMALL.but(cell_sd=0.005, run_sd=0.005)
RUNS = 18


@pytest.mark.parametrize(
    ("planted", "drop", "planned", "verdict", "progress"),
    [
        (SMALL, 0, None, "λ_max at the end follows η/S", "18 runs"),
        (SMALL, 6, RUNS, "So far (12 of 18 runs): λ_max at the end", "12 of 18 runs"),
        (SMALL.but(b=0.2), 0, RUNS, "λ_max at the end does not follow η/S", "18 runs"),
        (SMALL.but(a=0.0, b=0.0), 0, None, "λ_max at the end depends on neither", "18 runs"),
        (SMALL.but(lr=(0.02,), batch_size=(8,)), 0, None, "λ_max at the end is known in", "2 runs"),
        (
            SMALL.but(diverge_above=0.0),
            0,
            None,
            "No law: of 18 runs that ended, none finished (18 diverged).",
            "18 runs",
        ),
    ],
)
def test_the_verdict_of_a_sweep(tmp_path, planted, drop, planned, verdict, progress):
    found = study(write(tmp_path, planted, drop), planned=planned)
    assert found.verdict.startswith(verdict)
    assert found.progress == progress
    assert lines(found)[0] == f"planted: {progress}"
    assert lines(found)[-1] == found.verdict


def test_a_sweep_that_has_only_begun(tmp_path):
    runs, snapshots = tables(SMALL)
    found = study(write_frames(tmp_path, SMALL.but(parts=1), runs.iloc[:0], snapshots), planned=18)
    assert found.verdict == "No run has ended yet."
    assert (found.fits, found.breaks, found.edges, found.level) == ((), (), (), None)
    assert lines(found)[-2] == "left out: 18 still running"


def test_every_run_is_used_or_counted(tmp_path):
    runs, snapshots = tables(SMALL.but(diverge_above=0.004))
    folder = write_frames(tmp_path, SMALL, runs.iloc[1:], snapshots)
    found = study(folder, run_ids=runs["run_id"][:17])
    reasons = {e.reason: e.count for e in found.exclusions}
    assert found.planned == 17
    # three of nine cells lie above the ratio where runs diverge
    assert reasons == {"diverged": 6, "still running": 1, "not in the current grid": 1}
    assert found.fits[0].runs == RUNS - 6 - 1 - 1


def test_points_are_those_of_the_fits(tmp_path):
    found = study(write(tmp_path, SMALL), level=0.5)
    names = [(f.metric, f.at.kind) for f in found.fits]
    assert names == [
        ("hessian_lambda_max", "end"),
        ("hessian_lambda_max", "peak"),
        ("hessian_lambda_max", "loss"),
        ("train_loss", "end"),
        ("test_accuracy", "end"),
        ("test_accuracy", "loss"),
    ]
    assert [(c.metric, c.at) for c in found.chosen] == [(f.metric, f.at) for f in found.fits]
    assert {f.at.level for f in found.fits if f.at.kind == "loss"} == {0.5}
    assert found.find("test_accuracy", "loss") == 5
    assert found.find("test_accuracy", "peak") is None


def test_a_sweep_without_curvature_is_judged_by_its_loss(tmp_path):
    runs, snapshots = tables(SMALL)
    found = study(write_frames(tmp_path, SMALL, runs, snapshots.assign(hessian_lambda_max=None)))
    assert [f.metric for f in found.fits] == ["train_loss", "test_accuracy", "test_accuracy"]
    assert found.verdict.startswith("train loss at the end")


@pytest.mark.parametrize(("margin", "verdict"), [(0.001, "undecided"), (0.3, "holds")])
def test_the_margin_given_beforehand_is_the_one_tested(tmp_path, margin, verdict):
    found = study(write(tmp_path, SMALL), margin=margin)
    assert found.fits[0].verdict == verdict


def test_a_full_batch_sweep_tells_its_edge(tmp_path):
    planted = SMALL.but(batch_size=(1500,))
    found = study(write(tmp_path, planted))
    assert "full batch: η·λ_max late in training" in "\n".join(lines(found))
    assert len(found.edges) == 3
    assert "\n".join(lines(found)).count("full batch:") == 1


def test_cells_too_few_for_a_law_are_judged_by_their_edge(tmp_path):
    found = study(write(tmp_path, SMALL.but(batch_size=(1500,), lr=(0.02,))))
    assert found.verdict.startswith("full batch: η·λ_max late in training is")
    assert lines(found)[-1] == found.verdict


def test_metrics_that_are_asked_for_are_fitted_beside_the_usual(tmp_path):
    asked = [("grad_norm", END), ("hessian_lambda_max", END), ("steps", END)]
    found = study(write(tmp_path, SMALL), metrics=asked)
    names = [(f.metric, f.at) for f in found.fits]
    assert names[-2:] == [("grad_norm", END), ("steps", END)]
    assert names.count(("hessian_lambda_max", END)) == 1  # asked for, and usual
    assert {f.metric for f in found.asked} == {metric for metric, _ in asked}
    told = "\n".join(lines(found))
    assert "steps at the end does not follow η/S: a + b = −1.0" in told
    steps = found.fits[-1].laws["free"].exponents  # ⌊N/S⌋ of them an epoch, whatever η is
    assert [steps["a"].value, steps["b"].value] == pytest.approx([0.0, -1.0], abs=0.02)


@pytest.mark.parametrize(
    ("metric", "hint"),
    [
        ("hessian_lambda_mx", "did you mean `hessian_lambda_max`?"),
        ("lr", "metrics: "),  # what a run is given is no metric
        ("status", "metrics: "),
    ],
)
def test_a_metric_that_is_no_column_is_named_with_what_it_may_have_meant(tmp_path, metric, hint):
    with pytest.raises(TableError) as raised:
        study(write(tmp_path, SMALL), metrics=[(metric, END)])
    assert raised.value.what == f"the sweep has no metric `{metric}`"
    assert hint in raised.value.fix


def test_a_sweep_over_n_is_asked_about_n(tmp_path):
    parts = [tables(SMALL.but(train_size=n, name=f"n{n}", seeds=3)) for n in (500, 2000)]
    runs, snapshots = (pd.concat([p[i] for p in parts], ignore_index=True) for i in (0, 1))
    found = study(write_frames(tmp_path, SMALL, runs, snapshots))
    assert {f.metric for f in found.sizes} >= {"hessian_lambda_max", "train_loss"}
    assert {g.quantity for g in found.growths} >= {"train_loss", "test_accuracy"}
    assert any(" doublings of S a doubling of N" in said or "at any N" in said
               for said in found.findings)


def test_what_n_does_is_written_as_tables(tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.report.sections", lambda _: ())  # quicker
    parts = [tables(SMALL.but(train_size=n, name=f"n{n}", seeds=3)) for n in (500, 2000)]
    runs, snapshots = (pd.concat([p[i] for p in parts], ignore_index=True) for i in (0, 1))
    found = report.study_of(write_frames(tmp_path, SMALL, runs, snapshots), {})
    report.write(tmp_path)
    grown, sizes = (pd.read_parquet(tmp_path / "analysis" / f"{name}.parquet")
                    for name in ("growth", "sizes"))
    assert set(grown["train_size"]) == {500, 2000}
    assert len(grown) == sum(len(g.breaks) for g in found.growths)
    assert set(sizes["law"]) == {"free", "scale", "noise_scale", "ratio"}
    assert len(sizes) == 4 * len(found.sizes)


def test_times_and_the_boundary_are_part_of_a_study(tmp_path):
    # runs above a ratio diverge, and the slowest do not reach the matched loss
    found = study(write(tmp_path, SMALL.but(diverge_above=0.004, batch_size=(8, 16, 32, 64))))
    assert found.times
    assert found.times[0].words.startswith("epochs to train loss")
    assert found.boundary.diverged > 0
    assert any("η that does not diverge" in said for said in found.findings)
    assert set(found.findings) <= set(lines(found))
