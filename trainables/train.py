"""Training a pack: a generator. State in; progress, rows and states out. No files, no Ray."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trainables.measure import snapshot_rows
from trainables.narrowing import narrowed
from trainables.outcomes import BY_CODE, Outcome
from trainables.pack import Pack, PackState
from trainables.probe import Probe, blocks
from trainables.step import end_runs, judge, update

Row = dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """Where a pack stands. Counts are of its real runs."""

    step: int
    steps: int
    running: int
    finished: int
    diverged: int


@dataclass(frozen=True)
class Segment:
    """What a commit holds: the rows since the last border, and the state to go on from."""

    index: int
    rows: dict[str, list[Row]]
    state: PackState
    last: bool


@dataclass
class _Rows:
    tables: dict[str, list[Row]] = field(
        default_factory=lambda: {t: [] for t in ("runs", "snapshots", "spectra", "curves")})

    def add(self, more: dict[str, list[Row]]) -> None:
        for table, rows in more.items():
            self.tables[table] += rows


def train(
    pack: Pack, state: PackState, borders: Sequence[int], *, beat: float = 0.5
) -> Iterator[Progress | Segment]:
    """Trains from ``state`` to the end: a Segment at each border, Progress every ``beat`` seconds.

    At a step, in this order: what is due there is measured, runs that end there are closed, the
    segment is committed if the step is a border; then the next update is made. The clock decides
    only when progress is told, never what is computed.
    """
    rows, segment = _Rows(), sum(b <= state.step for b in borders)
    while True:
        if state.observed < state.step:
            rows.add(_observe(pack, state))
        if state.step >= pack.steps or not bool(state.alive.any()):
            rows.add(_close(pack, state))
            yield Segment(segment, rows.tables, state, last=True)
            return
        if segment < len(borders) and state.step == borders[segment]:
            yield Segment(segment, rows.tables, state, last=False)
            rows, segment = _Rows(), segment + 1
        _advance(pack, state, _next_event(pack, state.step, borders), beat)
        yield progress(pack, state)


def progress(pack: Pack, state: PackState) -> Progress:
    """Counts of the real runs by their present outcome."""
    status = [BY_CODE[c].status for c in state.outcome[: len(pack.members)].tolist()]
    running, diverged = status.count("running"), status.count("diverged")
    return Progress(
        state.step, pack.steps, running, len(status) - running - diverged, diverged)


def _next_event(pack: Pack, step: int, borders: Sequence[int]) -> int:
    due = [s for s in (*pack.measuring, *borders, pack.steps) if s > step]
    if pack.train.get("until"):
        due.append(pack.calendar.start(pack.calendar.locate(step)[0] + 1))
    return min(due)


def _advance(pack: Pack, state: PackState, stop: int, beat: float) -> None:
    """Updates until ``stop``, or until a beat has passed."""
    start = time.monotonic()
    with narrowed(pack, state) as (some, of_some):
        while of_some.step < stop:
            update(some, of_some)
            if of_some.step % 8 == 0 and time.monotonic() - start > beat:
                break
    if pack.device.type == "cuda":
        torch.cuda.synchronize()
    state.seconds["train"] += time.monotonic() - start


def _observe(pack: Pack, state: PackState) -> dict[str, list[Row]]:
    """Measures what is due at this step and ends the runs that reached their target."""
    start, due = time.monotonic(), state.step in pack.measuring
    reached = _reached(pack, state)
    last = reached & pack.measure["when"].get("final", True)
    rows = snapshot_rows(pack, state, state.alive if due else last)
    end_runs(state, reached, Outcome.REACHED, state.step, torch.zeros_like(pack.lr))
    state.observed = state.step
    state.seconds["measure"] += time.monotonic() - start
    return rows


def _reached(pack: Pack, state: PackState) -> Tensor:
    until = pack.train.get("until")
    if not until or state.step == 0 or pack.calendar.locate(state.step)[1]:
        return torch.zeros_like(state.alive)
    _, accuracy, spent = _evaluate_train(pack, state)
    state.measure_ge += spent * state.alive.cpu()
    return state.alive & (accuracy >= until["train_accuracy"])


def _close(pack: Pack, state: PackState) -> dict[str, list[Row]]:
    """One final row a run; the runs that are still alive end here."""
    if bool(state.alive.any()):
        # No further update would judge the last one. Evaluated anew whatever was measured, so that
        # the schedule of measuring has no say in how a run ends.
        losses, _, _ = _evaluate_train(pack, state)
        judge(state, state.alive, losses, pack.train["max_loss"], state.step)
    until = pack.train.get("until")
    outcome = Outcome.NOT_REACHED if until else Outcome.FINISHED
    end_runs(state, state.alive, outcome, state.step, torch.zeros_like(pack.lr))
    return {"runs": [_final_row(pack, state, r) for r in range(len(pack.members))]}


def _evaluate_train(pack: Pack, state: PackState) -> tuple[Tensor, Tensor, Tensor]:
    """(R,) mean loss and accuracy of every run over its whole training set, and the GE spent."""
    probes = [Probe(pack, state, b) for b in blocks(pack)]
    loss, accuracy = zip(*(p.evaluate_train() for p in probes), strict=True)
    return torch.cat(loss), torch.cat(accuracy), torch.cat([p.ge for p in probes])


def _final_row(pack: Pack, state: PackState, r: int) -> Row:
    outcome = BY_CODE[int(state.outcome[r])]
    steps, loss = int(state.end_step[r]), float(state.end_loss[r])
    epochs = pack.calendar.epoch(steps)
    target = (pack.train.get("until") or {}).get("train_accuracy", math.nan)
    detail = outcome.sentence(
        epochs=epochs, steps=steps, target=target, loss=loss, max_loss=pack.train["max_loss"])
    row = {
        "run_id": pack.members[r].run_id, "status": outcome.status, "status_detail": detail,
        "steps": steps, "epochs": epochs, "train_size": pack.train_size,
        "test_size": pack.test_size, "parameters": pack.parameters,
        "measure_ge": float(state.measure_ge[r]),
        "train_ge": pack.calendar.examples(steps) / len(pack.measure_set)
        + float(state.extra_ge[r]),
        "engine": pack.engine.name, "width": pack.width, "data_sha256": pack.data_sha256,
        "time_train_s": state.seconds["train"] / len(pack.members),
        "time_measure_s": state.seconds["measure"] / len(pack.members),
    }
    final = state.final.get(pack.members[r].run_id, {})
    if outcome.status != "diverged" and final.get("step") == steps:
        row |= {f"final_{k}": v for k, v in final.items() if k not in ("step", "measure_ge")}
    return row
