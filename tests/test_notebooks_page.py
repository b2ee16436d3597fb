"""docs/notebooks.md: every block of Python runs as it stands, one after the other."""

import re
from pathlib import Path

import pytest

from tests.analysis.planted import Planted, write

PAGE = Path(__file__).parents[1] / "docs" / "notebooks.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    where = tmp_path_factory.mktemp("notebooks")
    write(where / "sweeps" / "digits-ratio", Planted())
    return where, {}


def test_the_page_has_blocks_for_all_three_libraries():
    text = "".join(BLOCKS)
    assert all(f"import {name}" in text for name in ("analysis", "pandas", "duckdb", "polars"))


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_runs(number, names, monkeypatch):
    where, found = names
    monkeypatch.chdir(where)
    exec(compile(BLOCKS[number], f"{PAGE.name}:{number}", "exec"), found)  # noqa: S102 - our page


def test_what_they_find_agrees(names):
    _, found = names
    curve = found["curve"]
    assert len(curve) > 20
    assert (curve.runs >= 3).all()
    assert found["verdicts"]["three_factors/sharpness_falls"] == "holds"
    late = found["late"].to_pandas()
    snapshots = found["sweep"].snapshots
    by_pandas = snapshots[snapshots.epoch > 10].groupby(["ratio", "batch_size"])
    expected = by_pandas.hessian_lambda_max.median().to_numpy()
    assert late.hessian_lambda_max.to_numpy() == pytest.approx(expected)
