"""The first crossing of lines whose crossing is known."""

import math

import pytest
import torch

from trainables.landscape.crossing import first_crossing

GRID = torch.linspace(0, 2, 9, dtype=torch.float64)
# (why, line, level, crossing)
CASES = [
    ("a straight line: the secant is exact", lambda x: 3 * x, 1.0, 1 / 3),
    ("a parabola, to the bisections' square", lambda x: x**2, 0.5, math.sqrt(0.5)),
    ("already above at the start", lambda x: x + 1, 0.5, 0.0),
    ("never above", lambda x: 0 * x, 0.5, math.inf),
    ("the first of two", lambda x: torch.sin(4 * x), 0.5, math.pi / 24),
    ("infinite beyond 1: the end of the bracket", lambda x: torch.where(
        x < 1, 0.0, torch.inf), 0.5, 1.0),
    ("NaN is above", lambda x: torch.where(x < 1, 0.0, torch.nan), 0.5, 1.0),
]


@pytest.mark.parametrize(("why", "line", "level", "crossing"), CASES, ids=[c[0] for c in CASES])
def test_first_crossing(why, line, level, crossing):
    levels = torch.tensor([level, level], dtype=torch.float64)
    values = torch.stack([line(GRID), torch.full_like(GRID, -1.0)])
    found = first_crossing(lambda x: torch.stack([line(x[0]), torch.tensor(-1.0).double()]),
                           GRID, values, levels, 12)
    assert found[0].item() == pytest.approx(crossing, abs=1e-7)
    assert found[1] == math.inf, "lines are independent"
