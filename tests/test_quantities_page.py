"""docs/quantities.md holds every quantity that is declared, and tests that are there."""

import re
from pathlib import Path

import pytest

from analysis.schema import base_columns
from trainables.landscape import PROBES
from trainables.monitors import FAMILIES, find

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "quantities.md"
HEAD = "| quantity | formula | source | GE | error | test |"


def sections():
    """Heading -> its rows, each a list of cells."""
    found = {}
    for part in PAGE.read_text().partition("## Every quantity\n")[2].split("\n### ")[1:]:
        part = part.partition("\n## ")[0]
        lines = part.splitlines()
        found[lines[0].strip("`")] = [
            [cell.strip() for cell in row.strip("|").split("|")]
            for row in lines if row.startswith("| ") and row != HEAD]
    return found


def declared():
    """Heading -> names: columns, spectra and curves of a monitor; quantities of the probes."""
    found = {name: {n for kind in ("columns", "spectra", "curves")
                    for n in getattr(find(name, TESTS), kind)} for name in FAMILIES}
    found["Probes"] = {n for kind in PROBES.values() for n in kind.quantities}
    found["Of every run"] = set(base_columns("snapshots"))
    return found


def names(rows):
    """Of the first cells."""
    return [n for cells in rows for n in re.findall(r"`(\w+)`", cells[0])]


def test_every_quantity_has_a_row_and_every_row_a_quantity():
    rows = sections()
    for heading, wanted in declared().items():
        listed = names(rows.get(heading, []))
        assert sorted(listed) == sorted(wanted), heading
    assert set(rows) == set(declared())


@pytest.mark.parametrize("heading", [*FAMILIES, "Probes", "Of every run"])
def test_rows_are_whole_and_their_tests_are_there(heading):
    """A row has a formula, an error and a test of its own, or that of the row above it."""
    known = ""
    for cells in sections()[heading]:
        assert len(cells) == 6, cells
        name, formula, _, _, error, pinned = cells
        assert name, cells
        assert formula, name
        assert error, name
        known = known if pinned == "the same" else pinned
        cited = re.findall(r"`([\w/]+\.py)::(test_\w+)`", known)
        assert cited, name
        for file, test in cited:
            assert f"def {test}(" in (TESTS / file).read_text(), f"{name}: {file}::{test}"
