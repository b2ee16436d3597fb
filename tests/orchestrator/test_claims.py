"""The section `claims` and `sgdscope claims`: names, options, functions of the user's own."""

import json
from pathlib import Path

import pytest

from orchestrator import claims, verdicts
from orchestrator.errors import UserError
from tests.analysis.planted import Planted
from tests.analysis.planted import write as write_planted
from trainables.errors import InputError

OWN = '''
from analysis.claims.claim import Effect
from analysis.crossed import Interval

def flat(sweep, options):
    spread = sweep.finished.final_test_accuracy.std()
    return Effect("spread", Interval(spread, 0.0, options["top"] / 2), options["top"], "below", 3)
flat.words, flat.test = "accuracy is flat", "spread below top"
flat.options = {"top": 1.0}

def raises(sweep, options):
    raise KeyError("oh")
raises.words = raises.test = "a claim whose function is wrong"

def no_words(sweep, options):
    return 1
'''


@pytest.fixture
def beside(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("given", "options"), [
    (["three_factors/ratio_law"], {}),
    ([{"three_factors/ratio_law": {"margin": 0.2}}], {"margin": 0.2}),
    ([{"three_factors/ratio_law": {"margin": 1}}], {"margin": 1.0}),  # whole numbers are numbers
    ([{"mine:flat": {"top": 3}}], {"top": 3.0}),
])
def test_a_claim_and_its_options(beside, given, options):
    chosen = claims.section(given, beside)
    assert dict(chosen[0][1]) == options
    assert claims.untree(claims.tree(chosen)) == chosen  # as resolved.yaml keeps it


@pytest.mark.parametrize(("given", "what", "key"), [
    (["three_factor/ratio_law"], "unknown claim", "claims.0"),
    ([3], "in claims", "claims.0"),
    ([{"a": {}, "b": {}}], "in claims", "claims.0"),
    ([{"three_factors/ratio_law": {"margn": 1}}], "no option `margn`",
     "claims.0.three_factors/ratio_law.margn"),
    ([{"three_factors/ratio_law": {"margin": "x"}}], "margin is 'x'",
     "claims.0.three_factors/ratio_law.margin"),
    (["three_factors/ratio_law"] * 2, "listed twice", "claims.1"),
    (["mine:gone"], "no function", "claims.0"),
    (["mine:no_words"], "no attribute `words`", "claims.0"),
    (["nowhere:flat"], "nowhere", "claims.0"),
])
def test_what_is_wrong_is_said_with_its_place(beside, given, what, key):
    with pytest.raises(ExceptionGroup) as caught:
        claims.section(given, beside)
    told = caught.value.exceptions[0]
    assert what in told.what
    assert told.key == key
    assert isinstance(told, InputError)


def _folder(path: Path) -> Path:
    write_planted(path, Planted())
    (path / "resolved.yaml").write_text("claims: ['mine:flat', 'mine:raises', 'gone:claim']\n")
    (path / "spec.yaml").write_text("name: planted\n")
    return path


def test_claims_of_a_folder_those_of_its_spec_first(beside):
    folder = _folder(beside / "sweep")
    found = verdicts.judge([folder])[str(folder)]
    assert [j.claim.id for j in found[:3]] == ["mine:flat", "mine:raises", "gone:claim"]
    assert [str(j.verdict) for j in found[:3]] == ["holds", "not tested", "not tested"]
    assert "KeyError" in found[1].needs
    assert "gone" in found[2].needs  # its module is nowhere: said, and no traceback
    falls = next(j for j in found if j.claim.id == "three_factors/sharpness_falls")
    assert str(falls.verdict) == "holds"  # planted: λ_max ∝ (η/S)^-0.7


def test_one_claim_alone_and_several_sweeps(beside):
    folders = [_folder(beside / name) for name in ("one", "two")]
    found = verdicts.judge(folders, ["three_factors/ratio_law"])
    assert [len(judged) for judged in found.values()] == [1, 1]
    text = verdicts.as_text(found)
    assert text.count("1 claim tested: 1 holds") == 2
    assert text.count("three_factors/ratio_law") == 4  # in each sweep, and twice in the table
    told = json.loads(verdicts.as_json(found))
    assert {row["verdict"] for row in told} == {"holds"}
    assert all(row["low"] <= row["value"] <= row["high"] for row in told)


def test_a_claim_that_does_not_exist(beside):
    with pytest.raises(UserError) as caught:
        verdicts.judge([_folder(beside / "sweep")], ["three_factors/ratio"])
    assert caught.value.problems[0].where == "--claim"
