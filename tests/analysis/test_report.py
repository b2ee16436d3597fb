"""The report: the same bytes for the same rows, nothing from elsewhere, nothing unescaped."""

import re

import pandas as pd
import pytest

from analysis.report import write
from tests.analysis.planted import Planted, tables, write_frames
from tests.analysis.planted import write as sow

SMALL = Planted(lr=(0.02, 0.04, 0.08), batch_size=(8, 16, 32), seeds=2, epochs=4.0)
EVIL = '<script src="https://evil.example/x.js">alert(1)</script>'


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    folder = sow(tmp_path_factory.mktemp("one"), SMALL)
    return folder, write(folder)


def files(folder):
    found = [folder / "report.html", *(folder / "analysis").rglob("*.*")]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found if p.is_file()}


def test_the_same_rows_give_the_same_bytes(reported, tmp_path):
    # in another folder, at another time, cut into other parts: page, figures and tables alike
    write(sow(tmp_path, SMALL.but(parts=7)))
    one, other = files(reported[0]), files(tmp_path)
    assert {name for name in one if one[name] != other.get(name)} == set()
    assert one.keys() == other.keys()
    assert {name.rsplit(".")[-1] for name in one} == {"html", "svg", "pdf", "csv", "parquet"}


def test_the_page_stands_alone(reported):
    html = (reported[0] / "report.html").read_text()
    assert not re.findall(r"\w+://|(?:src|href|url)\s*[=(]\s*[\"']?//|@import", html)
    links = re.findall(r'href="([^"#]+)"', html)
    assert links
    assert all((reported[0] / link).is_file() for link in links)
    assert str(reported[0]) not in html
    assert "<script" not in html


def test_the_page_says_what_the_summary_says(reported):
    folder, summary = reported
    html = (folder / "report.html").read_text()
    assert summary.path == str(folder / "report.html")
    assert summary.lines[-1] == f"report: {summary.path}"
    assert "Verdicts on the laws</h2>" in html
    assert set(re.findall(r'<figure id="([^"]+)"', html)) == {
        "collapse", "trajectories", "matched", "accuracy", "batches", "pareto"}
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))  # else one figure would use another's clip paths


def test_the_tables_behind_it_hold_the_fits(reported):
    folder, summary = reported
    laws = pd.read_parquet(folder / "analysis" / "laws.parquet")
    pd.testing.assert_frame_equal(laws, pd.DataFrame(summary.laws))
    points = pd.read_parquet(folder / "analysis" / "points.parquet")
    assert (points.query("metric == 'train_loss'")["at"] == "end").sum() == 18
    assert set(pd.read_parquet(folder / "analysis" / "breaks.parquet")["quantity"]) == {
        "train_loss",
        "hessian_lambda_max",
    }


def test_names_and_specs_are_escaped(tmp_path):
    # whatever a sweep, a model or a spec is called, it is text; a failed run's nulls are no floats
    planted = SMALL.but(name=EVIL, lr=(0.02, 0.04), batch_size=(8, 16))
    runs, snapshots = tables(planted)
    runs["config_model_name"] = [EVIL, "$x^"] * 4
    runs["parameters"] = runs["parameters"].astype("Int64")
    runs.loc[0, ["status", "parameters"]] = ["failed", None]
    snapshots["test_accuracy"] = None  # a figure less
    folder = write_frames(tmp_path, planted, runs, snapshots)
    write(folder, {"spec": f"name: {EVIL}"})
    html = (folder / "report.html").read_text()
    assert "<script" not in html
    assert html.count("&lt;script src=") >= 3  # title, heading, spec
    assert "<dd>5,000</dd>" in html


@pytest.mark.parametrize("begun", [True, False])
def test_a_sweep_without_an_ended_run_is_reported(tmp_path, begun):
    runs, snapshots = tables(SMALL)
    planted = SMALL.but(parts=1)
    folder = write_frames(tmp_path, planted, runs[:0], snapshots if begun else snapshots[:0])
    summary = write(folder, {"planned": 18})
    html = (folder / "report.html").read_text()
    assert summary.verdict == "No run has ended yet."
    assert summary.laws == ()
    assert "No figure yet" in html
    assert ("still running" in html) is begun
    assert len(pd.read_parquet(folder / "analysis" / "laws.parquet")) == 0


def test_meta_is_checked_and_used(tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.report.figures", lambda _: ())  # quicker
    folder = sow(tmp_path, SMALL.but(lr=(0.02,), batch_size=(8,), seeds=1))
    with pytest.raises(ValueError, match="unknown in meta: colour"):
        write(folder, {"colour": "red"})
    write(folder, {"name": "Another name", "planned": 7})
    html = (folder / "report.html").read_text()
    assert "<title>Another name · sgdscope</title>" in html
    assert "1 of 7 runs" in html
