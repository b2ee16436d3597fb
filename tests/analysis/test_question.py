"""What a sweep was made to ask decides what its report leads with."""

import pytest

from analysis import question
from analysis.claims import NAMES, known
from analysis.claims.claim import Effect, Judged, Judgement
from analysis.crossed import Interval
from analysis.figures.book import sections
from analysis.frames import same_ratio
from analysis.report import write
from analysis.study import lines, study
from tests.analysis.planted import Planted, tables, write_frames
from tests.analysis.planted import write as sow

SMALL = Planted(lr=(0.02, 0.04, 0.08), batch_size=(8, 16, 32), seeds=5, epochs=6.0)
HELD = Judgement((Effect("x", Interval(1.0, 0.5, 1.5), 0.0, "above", 5),), "x is 1", "")


def judged(name, *, listed=True, tested=True):
    return Judged(known()[name], "s", HELD if tested else None, "a monitor", listed)


@pytest.mark.parametrize(("given", "lead"), [
    ([], ()),  # no list: the law
    ([judged("stiffness/classes_are_stiff", listed=False)], ()),  # judged, but not asked for
    ([judged("three_factors/ratio_law")], ()),
    # the first says what the sweep is about
    ([judged("three_factors/sharpness_falls"), judged("break_even/noise_falls")], ()),
    ([judged("break_even/noise_falls"), judged("three_factors/sharpness_falls")],
     ("break_even/noise_falls", "three_factors/sharpness_falls")),
    # one that cannot be tested is told with the others, but none alone leads
    ([judged("stiffness/classes_are_stiff", tested=False)], ()),
    ([judged("stiffness/classes_are_stiff"), judged("stiffness/falls_with_distance", tested=False)],
     ("stiffness/classes_are_stiff", "stiffness/falls_with_distance")),
])
def test_the_first_claim_says_what_a_sweep_is_about(given, lead):
    assert tuple(one.claim.id for one in question.leading(given)) == lead


def test_every_paper_has_its_figures():
    papers = {name.partition("/")[0] for name in NAMES}
    assert papers <= set(question.FIGURES) <= papers | set(NAMES)
    assert question.figures([judged("fisher/early_trace_falls"),
                             judged("memorization/fits_patterns_first")]) == (
        "fisher", "memorization", "noise", "first-epoch")
    # one claim of a paper may be about something of its own
    assert question.figures([judged("three_factors/wider_on_the_line")]) == ("interpolation",)


def test_claims_lead_the_lines_the_page_and_the_figures(tmp_path):
    folder = sow(tmp_path, SMALL)
    asked = {"sharpest/peak_falls": {}, "linear_scaling/momentum_enters_the_noise_scale": {}}
    found = study(folder, claims=asked)
    assert found.verdict.startswith("of its claims peak_falls (C2) ")
    assert "momentum_enters_the_noise_scale (K1) cannot be tested" in found.verdict
    told = lines(found)
    assert any(line.startswith("λ_max at the end ") for line in told)  # the law, further up
    assert told[-2].startswith("not tested: momentum_enters_the_noise_scale (K1): needs ")
    assert told[-1] == found.verdict
    drawn = sections(found)
    # of its papers' figures, those that there are
    assert (drawn[0].name, [f.name for f in drawn[0].figures]) == (
        "question", ["trajectories", "accuracy"])
    assert drawn[-1].name == "law"
    names = [f.name for section in drawn for f in section.figures]
    assert len(names) == len(set(names))
    assert [s.first for s in drawn] == [
        1 + sum(len(s.figures) for s in drawn[:i]) for i in range(len(drawn))]


def test_a_law_that_cannot_be_fitted_is_not_told_beside_claims(tmp_path):
    # one batch size: η and S do not vary apart
    folder = sow(tmp_path, SMALL.but(batch_size=(16,)))
    summary = write(folder, {"claims": {"sharpest/peak_falls": {}}})
    html = (folder / "report.html").read_text()
    assert 'id="collapse"' not in html
    assert "do not vary apart in this sweep" in html
    assert html.index('class="lead"') < html.index("<figure")
    assert not any("cannot be told to follow" in line for line in summary.lines)


def test_runs_of_one_effective_ratio_are_not_drawn_against_it(tmp_path):
    # momentum and η change together, so that η/(S(1 − μ)) is one number
    runs, snapshots = tables(SMALL.but(lr=(0.02, 0.2), batch_size=(8, 80), momentum=(0.0, 0.9)))
    keep = runs[same_ratio(runs["effective_ratio"].to_numpy()) == 0.0025]
    assert keep["ratio"].nunique() > 1
    path = snapshots[snapshots["run_id"].isin(keep["run_id"])]
    found = study(write_frames(tmp_path, SMALL.but(parts=1), keep, path))
    drawn = [f.name for section in sections(found) for f in section.figures]
    assert not {"collapse", "accuracy", "matched"} & set(drawn)


def test_a_law_that_is_asked_for_is_told_even_where_it_cannot_be_fitted(tmp_path):
    rates = tuple(0.01 * 2.0**i for i in range(6))
    found = study(sow(tmp_path, SMALL.but(batch_size=(16,), lr=rates)),
                  claims={"three_factors/ratio_law": {}})
    assert "cannot be told to follow η/S" in found.verdict
