"""When things happen."""

import pytest

from trainables.epochs import Calendar
from trainables.schedules import (
    budgeted_steps,
    lr_factor,
    measuring_steps,
    segment_borders,
    total_steps,
)

TEN = Calendar(100, 10)
# (schedule, step, factor) at 10 steps an epoch, 100 steps in all
FACTORS = [
    ({"name": "constant"}, 57, 1.0),
    ({"name": "step", "every": 3, "factor": 0.5}, 29, 1.0),
    ({"name": "step", "every": 3, "factor": 0.5}, 30, 0.5),
    ({"name": "step", "every": 3, "factor": 0.5}, 60, 0.25),
    ({"name": "switch", "at": 4, "factor": 10.0}, 39, 1.0),
    ({"name": "switch", "at": 4, "factor": 10.0}, 40, 10.0),
    ({"name": "cosine"}, 0, 1.0),
    ({"name": "cosine"}, 50, 0.5),
    ({"name": "cosine"}, 100, 0.0),
    ({"name": "warmup", "epochs": 2}, 0, 0.05),
    ({"name": "warmup", "epochs": 2}, 19, 1.0),
    ({"name": "warmup", "epochs": 2}, 80, 1.0),
    ({"name": "cyclic", "period": 4, "factor": 5.0}, 0, 1.0),
    ({"name": "cyclic", "period": 4, "factor": 5.0}, 20, 5.0),
    ({"name": "cyclic", "period": 4, "factor": 5.0}, 30, 3.0),
    ({"name": "cyclic", "period": 4, "factor": 5.0}, 40, 1.0),
]


@pytest.mark.parametrize(("schedule", "step", "factor"), FACTORS)
def test_lr_factor(schedule, step, factor):
    assert lr_factor(schedule, step, TEN, 100) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize(("train", "steps"), [
    ({"epochs": 4, "steps": None, "until": None}, 40),
    ({"epochs": None, "steps": 7, "until": None}, 7),
    ({"epochs": None, "steps": None, "until": {"train_accuracy": 1.0, "max_epochs": 9}}, 90),
])
def test_total_steps(train, steps):
    assert total_steps(train, TEN) == steps


@pytest.mark.parametrize(("when", "steps"), [
    # early log stops before the first regular measuring
    ({"early": "log", "every_epochs": 2}, (0, 1, 2, 4, 8, 16, 20, 40, 45)),
    ({"early": None, "every_epochs": 0.5, "final": False, "initial": False},
     (5, 10, 15, 20, 25, 30, 35, 40, 45)),
    ({"early": None, "steps": [3, 99]}, (0, 3, 45)),  # beyond the end: not measured
    ({"early": None, "every_steps": 20}, (0, 20, 40, 45)),
    ({"early": "log"}, (0, 1, 2, 4, 8, 45)),
])
def test_measuring_steps(when, steps):
    assert measuring_steps(when, TEN, 45) == steps


@pytest.mark.parametrize(("count", "steps"), [
    (2, (0, 2000)),
    # fewer than there are powers of two: equal parts of the logarithm
    (3, (0, 45, 2000)),
    (6, (0, 5, 21, 96, 437, 2000)),
    # all powers of two below the half, then halves
    (13, (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000)),
    # powers of two up to the spacing of the thirds
    (14, (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 500, 1000, 1500, 2000)),
    (20, (0, 1, 2, 4, 8, 16, 32, 64, 128, 182, 364, 545, 727, 909, 1091, 1273, 1455, 1636, 1818,
          2000)),
])
def test_budgeted_steps(count, steps):
    assert budgeted_steps(count, 2000) == steps


def test_a_budget_is_used_up():
    """As many steps as it affords, or all there are, whatever the length."""
    for steps in (1, 2, 3, 5, 8, 31, 64, 100, 257):
        for count in range(1, steps + 4):
            found = budgeted_steps(count, steps)
            assert len(found) == min(max(count, 2), steps + 1)
            assert (found[0], found[-1]) == (0, steps)
            assert list(found) == sorted(set(found))


@pytest.mark.parametrize(("ends", "steps"), [
    ({"initial": False}, (10, 100, 1000)), ({"final": False}, (0, 10, 100)),
    ({"initial": False, "final": False}, (6, 32, 178)),
])
def test_a_budget_without_the_ends_has_more_within(ends, steps):
    assert budgeted_steps(3, 1000, **ends) == steps


def test_borders_are_step_numbers_and_end_with_the_last():
    assert segment_borders(100, 59.0) == (100,)
    assert segment_borders(100, 120.0) == (25, 50, 75, 100)
    assert segment_borders(2, 1e6) == (1, 2)  # never more segments than steps
