"""Faults tell what they were, so that a run of them ends with a table: kind, moment, storage."""

from collections import Counter

import pytest

from tests.faults.work import without_computing


@pytest.fixture
def told(request):
    """Notes a case that was tried: ``told(kind, moment, storage)``."""
    cases = Counter()
    yield lambda *case: cases.update([case])
    request.node.user_properties.append(("faults", [[*c, n] for c, n in cases.items()]))


@pytest.fixture(scope="module")
def no_computing():
    """Packs and probes that compute nothing."""
    with without_computing():
        yield


def pytest_terminal_summary(terminalreporter):
    """The table, where it was asked for with -m faults."""
    if not terminalreporter.config.getoption("markexpr").startswith("faults"):
        return
    cases = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                for *case, count in value if name == "faults" else ():
                    cases[tuple(case)] += count
    storages = sorted({storage for _, _, storage in cases})
    terminalreporter.section("faults")
    head = "".join(f"{s:>12}" for s in storages)
    terminalreporter.write_line(f"{'kind':34}{'moment':22}{head}")
    for kind, moment in sorted({(k, m) for k, m, _ in cases}):
        counts = "".join(f"{cases[kind, moment, s] or '-':>12}" for s in storages)
        terminalreporter.write_line(f"{kind:34}{moment:22}{counts}")
    sums = "".join(f"{sum(n for c, n in cases.items() if c[2] == s):>12}" for s in storages)
    terminalreporter.write_line(f"{'all':34}{'':22}{sums}")
    terminalreporter.write_line(f"{cases.total()} cases")
