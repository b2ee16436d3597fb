"""Core seconds by part: they sum to the wall clock times the cores, whatever overlaps."""

import pytest

from bench.overhead import divided


def line(phase, pid, start, end):
    return {"phase": phase, "pid": pid, "start": start, "end": end}


# Pid 1 is the driver. One worker ends early, and one core has no worker at all.
LINES = [
    line("plan", 1, 101, 104), line("analysis", 1, 121, 124),
    line("import", 2, 105, 107), line("build", 2, 107, 108), line("commit", 2, 119, 120),
    line("import", 3, 106, 108), line("begin", 3, 108, 109), line("commit", 3, 111, 112),
]


def test_parts_sum_to_the_wall_clock_of_all_cores():
    found = divided(LINES, {"training": 8.0, "measuring": 2.0}, 100, 125, cores=3)
    parts = found["core_seconds"]
    assert sum(parts.values()) == pytest.approx(25 * 3)
    assert parts == {
        "start: until the first worker imports torch": 15,
        "work: imports of the workers": 4, "work: data and models": 1,
        "work: compiling; timing, to place the commits": 1,
        "work: first state, newest commit": 0, "work: commits": 2,
        "work: training": 8, "work: measuring": 2,
        "work: between trials and beats": 3,  # 15 + 6 of two workers, less what is known of them
        "work: idle cores": 24,               # 15 of the third core, 1 before and 8 after pid 3
        "end: last commit to exit": 15}
    assert found["ratio"] == pytest.approx(25 / (10 / 3))
    assert found["driver"] == {"plan": [1, 4], "analysis": [21, 24]}
