"""docs/claims.md against the registry: its table of claims, and its example.

``python -m tests.test_claims_page`` writes the table anew.
"""

import re
from importlib import import_module
from itertools import groupby
from pathlib import Path

import yaml

from analysis.claims import known
from analysis.claims.claim import Verdict, judge
from analysis.claims.own import claim_of, problems
from analysis.frames import load
from analysis.labels import number
from tests.analysis.planted import Planted, write

PAGE = Path(__file__).parents[1] / "docs" / "claims.md"
BEGIN, END = "<!-- table: python -m tests.test_claims_page -->\n", "<!-- end -->"


def table():
    """Every claim, paper by paper: number, id, what is claimed, the test, its options, its grade.
    """
    parts = []
    for _, of_file in groupby(known().values(), lambda c: c.id.partition("/")[0]):
        claims = list(of_file)
        lines = [f"### {claims[0].paper}", "",
                 "| | claim | what is claimed | test | options | grade |",
                 "|---|---|---|---|---|---|"]
        for claim in claims:
            options = ", ".join(f"`{n}` {number(v)}" for n, v in claim.options.items())
            cells = (claim.number, f"`{claim.id}`", claim.words, claim.test, options, claim.grade)
            lines.append("| " + " | ".join(str(c).replace("|", "∣") for c in cells) + " |")
        parts.append("\n".join(lines) + "\n\n")
    return "\n" + "".join(parts)


def blocks(language):
    """The page's code blocks in that language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_table_is_what_is_registered():
    text = PAGE.read_text()
    written = text[text.index(BEGIN) + len(BEGIN):text.index(END)]
    assert written == table(), "write it anew: python -m tests.test_claims_page"


def test_the_verdicts_are_those_there_are():
    section = PAGE.read_text().partition("| verdict |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| ([a-z ]+) \|", section, re.MULTILINE) == [str(v) for v in Verdict]


def test_the_spec_of_the_page_names_claims_and_their_options():
    (block,) = blocks("yaml")
    for entry in yaml.safe_load(block)["claims"]:
        ((name, options),) = entry.items() if isinstance(entry, dict) else [(entry, {})]
        if ":" not in name:
            assert set(options) <= set(known()[name].options)


def test_the_claim_of_the_page_is_judged(tmp_path, monkeypatch):
    (code,) = blocks("python")
    (tmp_path / "claims_of_the_page.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    function = import_module("claims_of_the_page").test_accuracy_is_high
    assert problems(function) == []
    sweep = load(write(tmp_path / "sweep", Planted()))
    judged = judge(claim_of("my_claims:test_accuracy_is_high", function), sweep)
    assert judged.verdict is Verdict.HOLDS
    low = judge(claim_of("my_claims:test_accuracy_is_high", function), sweep, {"bound": 0.99})
    assert low.verdict is Verdict.FAILS


if __name__ == "__main__":
    page = PAGE.read_text()
    head, _, rest = page.partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}{table()}{END}{rest.partition(END)[2]}")
