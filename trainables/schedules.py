"""When things happen: learning-rate factors, measuring steps, segment borders. Pure numbers."""

import math
from collections.abc import Mapping


def lr_factor(schedule: Mapping, step: int, steps_per_epoch: int, steps: int) -> float:
    """The factor on lr for the update that follows ``step`` updates.

    constant: 1. step: factor^⌊epoch/every⌋. switch: factor from epoch ``at`` on. cosine:
    (1 + cos(π step/steps))/2. warmup: linear from 1/n to 1 over n = epochs·⌊N/S⌋ steps. cyclic:
    a triangular wave from 1 to ``factor`` and back every ``period`` epochs.
    """
    epoch, name = step / steps_per_epoch, schedule["name"]
    if name == "constant":
        return 1.0
    if name == "step":
        return schedule["factor"] ** math.floor(epoch / schedule["every"])
    if name == "switch":
        return schedule["factor"] if epoch >= schedule["at"] else 1.0
    if name == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * step / steps))
    if name == "warmup":
        return min(1.0, (step + 1) / max(1.0, schedule["epochs"] * steps_per_epoch))
    if name == "cyclic":
        phase = (epoch / schedule["period"]) % 1.0
        return 1.0 + (schedule["factor"] - 1.0) * (1.0 - abs(2.0 * phase - 1.0))
    raise ValueError(f"unknown lr_schedule {name!r}")


def total_steps(train: Mapping, steps_per_epoch: int) -> int:
    """Steps of a run, from ``steps``, ``epochs`` or the bound of ``until``."""
    if train.get("steps"):
        return train["steps"]
    epochs = train["epochs"] if train.get("epochs") else train["until"]["max_epochs"]
    return epochs * steps_per_epoch


def measuring_steps(when: Mapping, steps_per_epoch: int, steps: int) -> tuple[int, ...]:
    """The steps at which a run is measured, ascending, each once.

    ``early: log``: 1, 2, 4, … up to the first regular measuring (one epoch where there is none);
    ``every_epochs``/``every_steps``: their multiples; ``steps``: as listed; ``initial``: 0;
    ``final``: the last.
    """
    chosen: set[int] = {0} if when.get("initial", True) else set()
    period = None
    if when.get("every_epochs"):
        period = max(1, round(when["every_epochs"] * steps_per_epoch))
        count = int(steps / (when["every_epochs"] * steps_per_epoch) + 1e-9)
        chosen |= {
            max(1, round(i * when["every_epochs"] * steps_per_epoch)) for i in range(1, count + 1)
        }
    if when.get("every_steps"):
        period = min(period or steps, when["every_steps"])
        chosen |= set(range(when["every_steps"], steps + 1, when["every_steps"]))
    if when.get("early") == "log":
        limit = min(period or steps_per_epoch, steps)
        chosen |= {1 << i for i in range(limit.bit_length()) if 1 << i < limit}
    chosen |= set(when.get("steps") or ())
    if when.get("final", True):
        chosen.add(steps)
    return tuple(sorted(s for s in chosen if 0 <= s <= steps))


def segment_borders(steps: int, seconds: float, *, target: float = 30.0) -> tuple[int, ...]:
    """The steps at which a pack commits, the last being ``steps``.

    One segment unless the pack is expected to run for over a minute; then about one every
    ``target`` seconds. Step numbers once and for all: written to the pack's file, never by clock.
    """
    count = 1 if seconds <= 60.0 else min(steps, math.ceil(seconds / target))
    return tuple(dict.fromkeys(max(1, round(steps * (i + 1) / count)) for i in range(count)))
