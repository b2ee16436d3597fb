"""The report: the same bytes for the same rows, nothing from elsewhere, nothing unescaped."""

import re

import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.errors import TableError
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
    assert not len(pd.read_parquet(folder / "analysis" / "growth.parquet"))  # N does not vary
    points = pd.read_parquet(folder / "analysis" / "points.parquet")
    assert (points.query("metric == 'train_loss'")["at"] == "end").sum() == 18
    assert set(pd.read_parquet(folder / "analysis" / "breaks.parquet")["quantity"]) == {
        "train_loss",
        "hessian_lambda_max",
        "test_accuracy",
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
    monkeypatch.setattr("analysis.report.sections", lambda _: ())  # quicker
    folder = sow(tmp_path, SMALL.but(lr=(0.02,), batch_size=(8,), seeds=1))
    with pytest.raises(ValueError, match="unknown in meta: colour"):
        write(folder, {"colour": "red"})
    write(folder, {"name": "Another name", "planned": 7})
    html = (folder / "report.html").read_text()
    assert "<title>Another name · sgdscope</title>" in html
    assert "1 of 7 runs" in html


ODD = {
    # sweep -> what the page says of it
    "one seed": (SMALL.but(seeds=1), "one seed"),
    "one ratio": (SMALL.but(lr=(0.02,), batch_size=(8,)), "all at one ratio"),
    "all diverged": (SMALL.but(diverge_above=0.0), "none finished (18 diverged)"),
    "some diverged": (SMALL.but(diverge_above=0.004), "diverged, from η/S"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_poor_sweep_is_reported_as_what_it_is(tmp_path, name):
    planted, said = ODD[name]
    summary = write(sow(tmp_path, planted))
    html = (tmp_path / "report.html").read_text()
    assert said in re.sub(r"<[^>]+>", "", html)
    assert summary.verdict


def test_a_half_finished_sweep_works_on_what_is_there(tmp_path):
    summary = write(sow(tmp_path, SMALL, drop=6), {"planned": 18})
    assert summary.verdict.startswith("So far (12 of 18 runs)")
    html = (tmp_path / "report.html").read_text()
    assert "not ended yet, of 18 planned" in html
    assert "still running" in html


@pytest.mark.parametrize(("harm", "said"), [
    (lambda f: (f / "tables/runs/pack0-0.parquet").write_bytes(b"PAR1 no"), "damaged, or not"),
    (lambda f: (f / "tables/runs/notes.txt").write_text("x"), "a foreign file among the tables"),
    (lambda f: pd.DataFrame({"a": [1]}).to_parquet(f / "tables/runs/a.parquet"), "not a part of"),
    (lambda f: _renumber(f / "tables/runs/pack0-0.parquet", 99), "reads up to 1"),
])
def test_tables_that_cannot_be_read_are_named_and_nothing_is_written(tmp_path, harm, said):
    folder = sow(tmp_path, SMALL)
    harm(folder)
    with pytest.raises(TableError, match=said):
        write(folder)
    assert not (folder / "report.html").exists()


def _renumber(path, version):
    """Says of a part that a newer sgdscope wrote it."""
    table = pq.read_table(path)
    newer = {**table.schema.metadata, b"sgdscope.format": str(version).encode()}
    pq.write_table(table.replace_schema_metadata(newer), path, write_page_checksum=True)


def test_claims_stand_on_the_page_with_their_evidence(reported):
    html = (reported[0] / "report.html").read_text()
    claims = pd.read_parquet(reported[0] / "analysis" / "claims.parquet")
    tested = claims[claims["verdict"] != "not tested"]
    assert len(tested)
    rows = html.split('<table class="claims">')[1].split("</table>\n<p")[0]
    assert rows.count('class="verdict-cell"') == tested["claim"].nunique()
    for claim in claims.loc[claims["verdict"] == "not tested", "claim"]:
        assert f"<code>{claim}</code>: needs" in html
