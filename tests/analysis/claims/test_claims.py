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
