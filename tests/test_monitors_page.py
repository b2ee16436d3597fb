"""docs/monitors.md against the code: its table of monitors, its example, what it says of the probe.

``python -m tests.test_monitors_page`` writes the table anew.
"""

import re
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from orchestrator import plan
from orchestrator.session import run_sweep
from tests.orchestrator.specs import tiny
from trainables.monitors import FAMILIES, Sizes, find
from trainables.probe import Probe

PAGE = Path(__file__).parents[1] / "docs" / "monitors.md"
BEGIN, END = "<!-- table: python -m tests.test_monitors_page -->\n", "<!-- end -->"
SIZES = Sizes(train=50_000, test=10_000, measure=2048, batch=128)


def table():
    """Every monitor of ours: its cost, its options with defaults, what it writes."""
    parts = []
    for name in FAMILIES:
        monitor = find(name, PAGE.parent)
        cost = monitor.cost(monitor.resolve({}), SIZES)
        options = ", ".join(f"`{n}` ({_shown(o.default)}: {o.wanted})"
                            for n, o in monitor.options.items())
        lines = [f"### `{name}`", f"{cost:,.3g} GE a snapshot. "
                 + (f"Options: {options}." if options else "No options."), "",
                 "| what | table | meaning |", "|---|---|---|"]
        for kind, place in (("columns", "snapshots"), ("spectra", "spectra"), ("curves", "curves")):
            lines += [f"| `{n}` | `{place}` | {m.replace('|', '∣')} |"
                      for n, m in getattr(monitor, kind).items()]
        parts.append("\n".join(lines) + "\n\n")
    return "\n" + "".join(parts)


def _shown(value):
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def blocks(language):
    """The page's code blocks in that language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_table_is_what_is_declared():
    text = PAGE.read_text()
    written = text[text.index(BEGIN) + len(BEGIN):text.index(END)]
    assert written == table(), "write it anew: python -m tests.test_monitors_page"


def test_the_probe_has_what_the_page_says():
    section = PAGE.read_text().partition("### What the probe offers")[2].partition("\n## ")[0]
    named = {n for row in section.splitlines() if row.startswith("| `")
             for n in re.findall(r"`(\w+)", row.split("|")[1])}
    assert {"gradient", "losses_of", "explain"} < named
    own = {"params", "pack", "step", "seeds"}  # set when it is made
    assert [n for n in named - own if not hasattr(Probe, n)] == []


@pytest.mark.usefixtures("no_report")
def test_the_pages_example_runs(tmp_path):
    (code,) = blocks("python")
    assert code.count("\n") <= 20
    (tmp_path / "my_monitors.py").write_text(code)
    measure = yaml.safe_load(blocks("yaml")[-1])["measure"]
    path = tiny(tmp_path, measure=measure, train={"epochs": 2, "batch_size": 10})
    outcome = run_sweep(plan(path, overrides=["measure.set_size=100"]), inline=True)
    assert outcome.failures == {}
    rows = pd.read_parquet(outcome.folder / "tables" / "snapshots")
    # a Rayleigh quotient lies between the extreme eigenvalues
    above = rows.hessian_lambda_max + rows.hessian_lambda_max_bound
    assert (rows.gradient_curvature <= above * (1 + 1e-4)).all()
    assert (rows.gradient_curvature > 0).all()  # a linear model's loss is convex
    assert rows.loss_quantile.between(0, 2 * rows.train_loss).all()  # Markov, q = 1/2
    unit = pq.read_table(outcome.folder / "tables" / "runs").schema.field("final_loss_quantile")
    assert unit.metadata[b"unit"] == b"nats"


@pytest.fixture
def no_report(monkeypatch):
    """The analysis, which takes seconds, replaced by a stand-in."""
    from types import SimpleNamespace

    import analysis.report

    monkeypatch.setattr(analysis.report, "write", lambda folder, _: SimpleNamespace(
        path=folder.at("report.html"), verdict="", lines=[]))


if __name__ == "__main__":
    page = PAGE.read_text()
    head, _, rest = page.partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}{table()}{END}{rest.partition(END)[2]}")
