"""The registry: every name leads to a claim that says what it tests; every robust row is there."""

import pytest

from analysis.claims import CONTENTS, NAMES, known
from analysis.claims.claim import Claim


def test_contents_are_the_claims_of_the_files():
    claims = known()
    assert tuple(claims) == NAMES
    for name, claim in claims.items():
        assert isinstance(claim, Claim)
        assert claim.id == name


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_says_its_words_its_test_and_its_paper(name):
    claim = known()[name]
    for text in (claim.words, claim.test, claim.paper, claim.number):
        assert text == text.strip() != ""


def test_no_paper_keeps_a_claim_to_itself():
    from importlib import import_module

    for paper in CONTENTS:
        found = [v.id for v in vars(import_module(f"analysis.claims.{paper}")).values()
                 if isinstance(v, Claim)]
        assert sorted(found) == sorted(n for n in NAMES if n.startswith(f"{paper}/"))


def test_numbers_are_used_once():
    numbers = [claim.number for claim in known().values()]
    assert len(set(numbers)) == len(numbers)


def test_a_test_that_fails_costs_the_report_one_claim(monkeypatch, tmp_path):
    from dataclasses import replace

    from analysis import load
    from analysis.claims import judging
    from analysis.errors import Note
    from tests.analysis.planted import Planted, write

    def breaks(sweep, options):
        return 1 / 0

    name = "three_factors/ratio_law"
    broken = {**known(), name: replace(known()[name], judge=breaks)}
    monkeypatch.setattr(judging, "known", lambda: broken)
    with pytest.warns(Note, match="ratio_law failed"):
        judged = judging.judge_all(load(write(tmp_path, Planted())), {name: {}})
    assert str(judged[0].verdict) == "not tested"
    assert "ZeroDivisionError" in judged[0].needs
    assert judged[0].listed
    assert not judged[1].listed
    falls = next(j for j in judged if j.claim.id == "three_factors/sharpness_falls")
    assert str(falls.verdict) == "holds"
