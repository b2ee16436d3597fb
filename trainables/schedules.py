"""When things happen: learning-rate factors, measuring steps, segment borders. Pure numbers."""

import math
from collections.abc import Mapping

from trainables.epochs import Calendar, wave


def lr_factor(schedule: Mapping, step: int, calendar: Calendar, steps: int) -> float:
    """The factor on lr for the update that follows ``step`` updates.

    constant: 1. step: factor^⌊epoch/every⌋. switch: factor from epoch ``at`` on. cosine:
    (1 + cos(π step/steps))/2. warmup: linear from 1/n to 1 over the n steps of ``epochs``. cyclic:
    a triangular wave from 1 to ``factor`` and back every ``period`` epochs; ``by: epoch`` holds
    it constant within each epoch.
    """
    name = schedule["name"]
    if name == "constant":
        return 1.0
    epoch = calendar.epoch(step)
    if name == "step":
        return schedule["factor"] ** math.floor(epoch / schedule["every"])
    if name == "switch":
        return schedule["factor"] if epoch >= schedule["at"] else 1.0
    if name == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * step / steps))
    if name == "warmup":
        return min(1.0, (step + 1) / max(1.0, calendar.step(schedule["epochs"])))
    if name == "cyclic":
        whole = schedule.get("by") == "epoch"
        return wave(schedule["period"], schedule["factor"], math.floor(epoch) if whole else epoch)
    raise ValueError(f"unknown lr_schedule {name!r}")


def total_steps(train: Mapping, calendar: Calendar) -> int:
    """Steps of a run, from ``steps``, ``epochs`` or the bound of ``until``."""
    if train.get("steps"):
        return train["steps"]
    epochs = train["epochs"] if train.get("epochs") else train["until"]["max_epochs"]
    return calendar.start(epochs)


def measuring_steps(when: Mapping, calendar: Calendar, steps: int) -> tuple[int, ...]:
    """The steps at which a run is measured, ascending, each once.

    ``early: log``: 1, 2, 4, … up to the first regular measuring (one epoch where there is none);
    ``every_epochs``/``every_steps``: their multiples; ``steps``: as listed; ``initial``: 0;
    ``final``: the last.
    """
    chosen: set[int] = {0} if when.get("initial", True) else set()
    period = None
    if when.get("every_epochs"):
        every = when["every_epochs"]
        period = max(1, round(calendar.step(every)))
        count = int(calendar.epoch(steps) / every + 1e-9)
        chosen |= {max(1, round(calendar.step(i * every))) for i in range(1, count + 1)}
    if when.get("every_steps"):
        period = min(period or steps, when["every_steps"])
        chosen |= set(range(when["every_steps"], steps + 1, when["every_steps"]))
    if when.get("early") == "log":
        limit = min(period or calendar.start(1), steps)
        chosen |= {1 << i for i in range(limit.bit_length()) if 1 << i < limit}
    chosen |= set(when.get("steps") or ())
    if when.get("final", True):
        chosen.add(steps)
    return tuple(sorted(s for s in chosen if 0 <= s <= steps))


def budgeted_steps(count: int, steps: int, *, initial: bool = True,
                   final: bool = True) -> tuple[int, ...]:
    """``count`` measuring steps, or all there are, ascending: early log-spaced, then even.

    0 (``initial``) and the last (``final``); the even part splits the run into as many equal parts
    as there are snapshots for; before it 1, 2, 4, … up to its spacing. Where the powers of two
    would be too many, steps^(i/m) for i < m stands for them: m equal parts of the logarithm.
    """
    ends = {s for s, wanted in ((0, initial), (steps, final)) if wanted}
    within = min(count - len(ends), steps - 1)
    if within <= 0:
        return tuple(sorted(ends))
    for parts in range(within + 1, 0, -1):
        spacing = steps / parts
        first = math.floor(spacing + 0.5)
        if parts - 1 + (first - 1).bit_length() <= within:
            even = {math.floor(i * spacing + 0.5) for i in range(1, parts)}
            early = {1 << i for i in range((first - 1).bit_length())}
            return tuple(sorted(ends | early | even))
    log = {round(steps ** (i / (within + 1))) for i in range(1, within + 1)}
    return tuple(sorted(ends | log))


def segment_borders(steps: int, seconds: float, *, target: float = 30.0) -> tuple[int, ...]:
    """The steps at which a pack commits, the last being ``steps``.

    One segment unless the pack is expected to run for over a minute; then about one every
    ``target`` seconds. Step numbers once and for all: written to the pack's file, never by clock.
    """
    count = 1 if seconds <= 60.0 else min(steps, math.ceil(seconds / target))
    return tuple(dict.fromkeys(max(1, round(steps * (i + 1) / count)) for i in range(count)))
