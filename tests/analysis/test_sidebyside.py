"""Several sweeps on one page: named, told apart, never mixed."""

import re

import pytest

from analysis.errors import TableError
from analysis.sidebyside import write
from tests.analysis.planted import Planted, tables, write_frames
from tests.analysis.planted import write as sow

SMALL = Planted(lr=(0.02, 0.04, 0.08), batch_size=(8, 16, 32), seeds=2, epochs=4.0)


@pytest.fixture(scope="module", autouse=True)
def no_claims():
    """The claims have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.study.judge_all", lambda *_: ())
        yield


def other_data(folder, planted):
    runs, snapshots = tables(planted)
    return write_frames(folder, planted, runs.assign(data_sha256="e" * 64), snapshots)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    base = tmp_path_factory.mktemp("several")
    one = sow(base / "one", SMALL.but(name="one"))
    two = sow(base / "two", SMALL.but(name="two", a=-0.5, b=0.5))
    far = other_data(base / "far", SMALL.but(name="far"))
    alike = write([(one, {}), (two, {})], base, "alike.html")
    apart = write([(one, {}), (far, {})], base, "apart.html")
    return base, alike, apart


def test_sweeps_that_belong_together_share_their_axes(pages):
    base, alike, _ = pages
    html = (base / "alike.html").read_text()
    figures = re.findall(r'<figure id="([^"]+)"', html)
    assert "beside-0-hessian-lambda-max-end" in figures
    assert "What does not belong together" not in html
    assert alike.lines[-1] == f"comparison: {base / 'alike.html'}"
    links = re.findall(r'href="([^"#]+)"', html)
    assert links
    assert all((base / link).is_file() for link in links)
    text = re.sub(r"<[^>]+>", "", html)
    assert "−0.7" in text  # the planted exponents, side by side
    assert "−0.5" in text


def test_other_data_are_said_and_not_mixed(pages):
    base, _, apart = pages
    html = (base / "apart.html").read_text()
    assert "<figure " not in html
    assert any(line.startswith("different data: one; far.") for line in apart.lines)
    assert "What does not belong together" in html


def test_the_same_sweeps_give_the_same_page_and_may_replace_it(pages):
    base, _, _ = pages
    before = (base / "alike.html").read_bytes()
    write([(base / "one", {}), (base / "two", {})], base, "alike.html")
    assert (base / "alike.html").read_bytes() == before
    assert str(base).encode() not in before


@pytest.mark.parametrize("content", ["<html>mine</html>", ""])
def test_a_file_that_is_not_ours_is_left_alone(pages, content):
    base, _, _ = pages
    (base / "mine.html").write_text(content)
    with pytest.raises(TableError, match="is no comparison"):
        write([(base / "one", {}), (base / "two", {})], base, "mine.html")
    assert (base / "mine.html").read_text() == content


def test_sweeps_of_one_name_an_empty_one_and_the_same_runs(pages, tmp_path):
    base, _, _ = pages
    runs, snapshots = tables(SMALL.but(name="void"))
    empty = write_frames(tmp_path / "empty", SMALL.but(parts=1), runs[:0], snapshots[:0])
    found = write([(base / "one", {}), (sow(tmp_path / "copy", SMALL.but(name="one")), {}),
                   (empty, {})], tmp_path, "c.html")
    said = "\n".join(found.lines)
    assert "one (2): 18 runs" in said
    assert "no finished run in empty" in said
    assert "18 runs are in more than one of the sweeps" in said
