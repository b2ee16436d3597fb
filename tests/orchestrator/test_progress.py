"""One line that says how far a sweep is."""

import io

import pytest

from orchestrator.progress import ProbeProgress, Progress, clock

FACTS = {"step": 5, "steps": 10, "running": 2, "finished": 1, "diverged": 1}


def progress(*weights):
    orders = [{"pack": {"pack_id": f"p{i}", "members": [{}] * 4}} for i in range(len(weights))]
    return Progress(orders, weights, io.StringIO())


def test_packs_count_by_their_weight():
    found = progress(3.0, 1.0)
    assert found.fraction == 0
    found.told("p1", FACTS, ended=False)
    assert found.fraction == pytest.approx(0.125)
    found.told("p0", FACTS, ended=True)
    assert found.fraction == pytest.approx(0.875)
    assert "runs 4/8 (2 finished, 2 diverged)" in found.line()
    assert "packs 1/2" in found.line()


def test_a_failed_pack_is_over_and_its_reason_kept():
    found = progress(1.0, 1.0)
    found.failed("p0", "Traceback …\nValueError: bad")
    found.told("p1", FACTS, ended=True)
    assert found.failures == {"p0": "Traceback …\nValueError: bad"}
    assert found.fraction == 1
    found.close()
    last = found.out.getvalue().splitlines()[-1]
    assert last.startswith("100%")
    assert "failed" in last


def test_probes_count_by_their_cost():
    orders = [{"probe": {"probe_id": f"p{i}"}} for i in range(3)]
    found = ProbeProgress(orders, [6.0, 3.0, 1.0], io.StringIO())
    found.told("p0", {"step": 0, "steps": 1, "finished": 0, "diverged": 0}, ended=False)
    assert found.fraction == 0
    found.told("p0", {"step": 1, "steps": 1, "finished": 0, "diverged": 0}, ended=True)
    found.failed("p2", "bad")
    assert found.fraction == pytest.approx(0.7)
    assert found.line().startswith(" 70%  probes 1/3  ")
    assert found.line().endswith("  1 probe failed")


def test_where_nobody_watches_lines_are_few():
    found = progress(1.0)
    for step in range(1000):
        found.told("p0", {**FACTS, "step": step, "steps": 1000}, ended=False)
    found.close()
    text = found.out.getvalue()
    assert text.count("\n") <= 3
    assert "\x1b" not in text


def test_nothing_to_do_is_done():
    assert progress().fraction == 1
    progress().close()


@pytest.mark.parametrize(("seconds", "text"), [
    (0, "0 s"), (12.4, "12 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"),
])
def test_clock(seconds, text):
    assert clock(seconds) == text
