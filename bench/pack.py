# ruff: noqa: T201
"""What packing and compiling gain a step: our engines against well written loops over single runs.

    python -m bench.pack [--quick] [--only CNN] [--width 16] [--repeats 5] [--target 0.15]
                         [--json FILE]

One process, one thread. Each number is the CPU time of one step of one run, ours with all that the
host does for it (orders of examples, schedules), the loops with their batches made beforehand:

eager      one run: torch's kernels, autograd.grad, torch._foreach_add_ (``bench.rivals``)
compiled   the same step, from its batch to its update, under torch.compile
vmap …     our engines at ``--width`` runs
auto       the engine and width that a sweep gets whose runs are long enough to pay for compiling

Convolutional loops are tried in both memory layouts and keep the faster. Every repeat times all
ways one after another; a ratio is the median over repeats of the repeat's own ratio. A way that is
over 3 times slower than the fastest is timed once. ``auto/best`` compares with the fastest of all
other ways: the bar is 0.95. First calls, which compile, are told apart (``first_s``).
"""

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench import report, rivals, shapes
from bench.shapes import Shape
from orchestrator.packrun import settle
from trainables import suitability
from trainables.step import update

BAR = 0.95
# Of the shapes with bars: (over the eager loop, over the compiled one), at width 16.
BARS: Mapping[str, tuple[float, float]] = {
    "MLP 64-64-64-10, S = 8": (8, 4.5), "MLP 64-64-64-10, S = 32": (6, 3.5),
    "MLP 64-64-64-10, S = 128": (3.5, 2), "digits CNN, S = 8": (3.5, 2.5),
    "digits CNN, S = 32": (1.8, 1.3)}
ENGINES = ("loop", "loop-compiled", "vmap", "vmap-compiled")
LOOPS: Mapping[str, Callable[..., rivals.Step]] = {
    "eager": rivals.eager, "compiled": rivals.compiled}
SLOW = 3.0
COLUMNS = {"shape": "<26", "eager_us": ">9.1f", "packed": "<19", "packed_us": ">9.1f",
           "over_eager": ">10.2f", "over_compiled": ">13.2f", "auto": "<19",
           "auto_over_eager": ">15.2f", "auto_over_best": ">14.2f", "best": "<19", "bars": "<7"}


@dataclass
class Way:
    """One way of training: its step of ``runs`` runs, and what has been timed of it."""

    step: Callable[[int], None]
    runs: int
    first_s: float  # of the clock, up to the end of its first steps
    steps: int      # that one timing makes
    per_run: list[float]  # CPU seconds of a step of one run, one a repeat

    @classmethod
    def of(cls, make: Callable[[], tuple[Callable[[int], None], int]], target: float) -> "Way":
        """Made, called until it is warm, and timed once."""
        start = time.perf_counter()
        step, runs = make()
        for t in range(2):
            step(t)
        first = time.perf_counter() - start
        begun, count = time.process_time(), 0
        while count < 1 or time.process_time() - begun < target / 3:
            step(count)
            count += 1
        one = (time.process_time() - begun) / count
        return cls(step, runs, first, max(1, round(target / one)), [one / runs])

    def time(self) -> None:
        """One repeat more."""
        begun = time.process_time()
        for t in range(self.steps):
            self.step(t)
        self.per_run.append((time.process_time() - begun) / self.steps / self.runs)


def ours(shape: Shape, engine: str, width: int, device: str = "cpu"
         ) -> tuple[Callable[[int], None], int]:
    """The step of a pack, and its width."""
    made = shapes.pack(shape, engine, width, device=device)
    state = made.init()

    def step(_: int) -> None:
        update(made, state)

    step.state, step.pack = state, made  # type: ignore[attr-defined]
    return step, width


def automatic(shape: Shape, device: str = "cpu") -> tuple[str, int]:
    """The engine and width of a sweep of that shape, compiled where that is possible."""
    found = suitability.examine(
        shapes.config(shape), shape.input, shapes.CLASSES, shapes.ROOT, device=device)
    return getattr(found, "compiled", None) or found.engine, found.limit


def compare(shape: Shape, asked: argparse.Namespace) -> dict[str, Any]:
    """All ways at one shape: medians, ratios, what failed."""
    torch._dynamo.reset()
    engine, width = automatic(shape)
    auto = f"{engine} × {width}"
    made: dict[str, Callable[[], Any]] = {}
    for name, loop in LOOPS.items():
        for layout in (False, True) if shape.convolves else (False,):
            made[name + " nhwc" * layout] = (
                lambda m=loop, c=layout: (m(shape, channels_last=c), 1))
    for name in ENGINES:
        made[f"{name} × {asked.width}"] = lambda e=name: ours(shape, e, asked.width)
    made[auto] = lambda: ours(shape, engine, width)
    ways, failed = {}, {}
    for name, make in made.items():
        try:
            ways[name] = Way.of(make, asked.target)
        except Exception as error:  # noqa: BLE001 (one way must not end the others)
            failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    _interleave(ways, asked.repeats)
    return _row(shape, auto, f"× {asked.width}", ways, failed)


def _interleave(ways: Mapping[str, Way], repeats: int) -> None:
    fastest = min(w.per_run[0] for w in ways.values())
    near = [w for w in ways.values() if w.per_run[0] <= SLOW * fastest]
    for way in near:
        way.per_run.clear()  # timed alone, at another load than the others
    for _ in range(repeats):
        for way in near:
            way.time()
    for name, way in ways.items():
        state = getattr(way.step, "state", None)
        if state is not None and not bool(state.alive.all()):
            raise RuntimeError(f"{name}: a run has ended, its steps cost nothing")


def _row(shape: Shape, auto: str, width: str, ways: Mapping[str, Way],
         failed: Mapping[str, str]) -> dict[str, Any]:
    medians = {n: statistics.median(w.per_run) for n, w in ways.items()}
    fastest = lambda names: min(names, key=medians.__getitem__, default=None)  # noqa: E731
    eager, fast = (fastest([n for n in medians if n.startswith(start)]) for start in LOOPS)
    packed = fastest([n for n in medians if n.endswith(width)])
    best = fastest([n for n in medians if n != auto])

    def over(one: str | None, base: str | None) -> float | None:
        if one not in ways or base not in ways:
            return None
        a, b = ways[one].per_run, ways[base].per_run
        return report.ratio(a, b) if len(a) == len(b) else medians[base] / medians[one]

    row = {
        "shape": shape.title, "auto": auto, "best": best, "packed": packed,
        "eager_us": medians[eager] * 1e6 if eager else None,
        "packed_us": medians[packed] * 1e6 if packed else None,
        "over_eager": over(packed, eager), "over_compiled": over(packed, fast),
        "auto_over_eager": over(auto, eager), "auto_over_compiled": over(auto, fast),
        "auto_over_best": over(auto, best), "failed": dict(failed),
        "us": {n: m * 1e6 for n, m in medians.items()},
        "first_s": {n: w.first_s for n, w in ways.items()}}
    return {**row, "bars": _bars(row)}


def _bars(row: Mapping[str, Any]) -> str:
    """What of its bars a shape reaches: ``ok``, or the names of those that it does not."""
    wanted = {"best": (row["auto_over_best"], BAR)}
    if row["shape"] in BARS:
        wanted |= dict(zip(("eager", "comp."), zip(
            (row["over_eager"], row["over_compiled"]), BARS[row["shape"]], strict=True),
            strict=True))
    missed = [n for n, (found, bar) in wanted.items() if found is None or found < bar]
    return "ok" if not missed else "no: " + " ".join(missed)


def rows(chosen: Sequence[Shape], asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row a shape, printed as soon as it is there."""
    print(report.table([], COLUMNS), flush=True)
    for shape in chosen:
        row = compare(shape, asked)
        print(report.line(row, COLUMNS), flush=True)
        for way, why in row["failed"].items():
            print(f"    {way} failed: {why}", flush=True)
        yield row


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.pack",
                                     description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="the five shapes with bars alone")
    parser.add_argument("--only", default="", help="shapes with this in their name and batch size")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--target", type=float, default=0.15, help="CPU seconds of one timing")
    report.option(parser)
    asked = parser.parse_args()
    settle()  # as a worker does: one thread, memory that is kept
    print(report.told(report.machine()) + "\n")
    chosen = [s for s in (shapes.QUICK if asked.quick else shapes.SHAPES) if asked.only in s.title]
    found: list[dict[str, Any]] = []
    with contextlib.suppress(KeyboardInterrupt):  # what is there by then is told and written
        for row in rows(chosen, asked):
            found.append(row)
    least = min((r["auto_over_best"] or 0.0 for r in found), default=0.0)
    short = [r["shape"] for r in found if r["bars"] != "ok"]
    print(f"\n{len(found)} shapes; the automatic choice is at least {least:.2f} times the best "
          f"other way (bar {BAR}); bars missed at: {', '.join(short) or 'none'}")
    report.finish("pack", {"width": asked.width, "repeats": asked.repeats, "quick": asked.quick,
                           "bars": BARS, "rows": found}, asked.json)


if __name__ == "__main__":
    main()
