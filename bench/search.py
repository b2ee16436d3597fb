# ruff: noqa: T201
"""Sample efficiency of searches in packs: runs needed for what one at a time has after T runs.

    python -m bench.search [--repeats 30] [--runs 160] [FUNCTION ...]

For each function, many searches with packs of 8 (all eight asked for before any is told) and as
many with one run at a time. The target is the median over the latter of what T runs have reached
(the best value, or the hypervolume of the front); the figure is the median number of runs that the
former need for it, over T. A pack's runs count when the whole pack has been told.
"""

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.search import section
from orchestrator.search.proposer import Outcome, Setup

WIDTH = 8


@dataclass(frozen=True)
class Function:
    """A test function on a space; ``shared``: names that a pack has in common. All objectives are
    minimised; ``reference`` is the corner for the hypervolume of several."""

    sampler: str
    space: dict
    value: Callable[..., Sequence[float]]
    shared: frozenset[str] = frozenset()
    reference: tuple[float, float] | None = None
    times: int = 1  # the budget, over that of the others


def branin(x: float, y: float) -> float:
    """Three minima of 0.397887; x in [-5, 10], y in [0, 15]."""
    return ((y - 5.1 * x**2 / (4 * math.pi**2) + 5 * x / math.pi - 6) ** 2
            + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


_A = np.array([[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14],
               [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]])
_P = 1e-4 * np.array([[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
                      [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]])


def hartmann6(x: np.ndarray) -> float:
    """Minimum −3.32237 in the unit cube."""
    return -float(np.array([1.0, 1.2, 3.0, 3.2]) @ np.exp(-(_A * (x - _P) ** 2).sum(axis=1)))


def rosenbrock(x: np.ndarray) -> float:
    """Minimum 0 at 1, at the end of a bent valley."""
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def zdt(x: np.ndarray, *, concave: bool) -> tuple[float, float]:
    """ZDT1, or the concave ZDT2: fronts f2 = 1 − √f1 and 1 − f1², where all but x1 are 0."""
    g = 1 + 9 * x[1:].mean()
    return float(x[0]), float(g * (1 - (x[0] / g) ** (2 if concave else 0.5)))


def _cube(n: int, low: float = 0.0, high: float = 1.0) -> dict:
    return {f"x{i}": {"linear": [low, high]} for i in range(n)}


def _vector(values: dict) -> np.ndarray:
    return np.array([values[f"x{i}"] for i in range(len(values))])


_BRANIN = {"x": {"linear": [-5.0, 10.0]}, "y": {"linear": [0.0, 15.0]}}
_STEPS = [round(-5 + 15 * i / 7, 6) for i in range(8)]
FUNCTIONS = {
    "branin": Function("tpe", _BRANIN, lambda v: [branin(**v)]),
    "hartmann6": Function("tpe", _cube(6), lambda v: [hartmann6(_vector(v))]),
    "rosenbrock4": Function("tpe", _cube(4, -2.0, 2.0), lambda v: [rosenbrock(_vector(v))]),
    # one of two scalars has eight values and is common to a pack, as a batch size is
    "branin-shared": Function("tpe", {**_BRANIN, "x": _STEPS}, lambda v: [branin(**v)],
                              frozenset({"x"})),
    "zdt1": Function("nsga2", _cube(10), lambda v: zdt(_vector(v), concave=False),
                     reference=(1.1, 11.0), times=4),
    "zdt2": Function("nsga2", _cube(10), lambda v: zdt(_vector(v), concave=True),
                     reference=(1.1, 11.0), times=4),
}


def trace(function: Function, width: int, runs: int, seed: int) -> list[float]:
    """What is lost still (lower is better) after each run of one search."""
    import optuna

    from orchestrator.search.optuna_search import OptunaProposer

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    count = 2 if function.reference else 1
    search = section.read(section.complete({
        "sampler": function.sampler, "runs": runs, "seed": seed, "space": function.space,
        "objectives": {f"f{i}": "minimize" for i in range(count)}}))
    setup = Setup(search, function.shared, lambda _: True, Path(), "bench")
    proposer = OptunaProposer(setup, optuna.storages.InMemoryStorage())
    points: list[Sequence[float]] = []
    found: list[float] = []
    while len(found) < runs:
        asked = [(p, function.value(dict(p.values))) for p in proposer.ask(width)]
        for point, values in asked:
            proposer.tell(point, Outcome("finished", {f"f{i}": v for i, v in enumerate(values)}))
        points += [v for _, v in asked]
        found += [_rest(points, function)] * len(asked)
    return found[:runs]


def _rest(points: Sequence[Sequence[float]], function: Function) -> float:
    if function.reference is None:
        return min(p[0] for p in points)
    right, top = function.reference
    area, edge = 0.0, top
    for x, y in sorted(points):
        if x < right and y < edge:
            area += (right - x) * (edge - y)
            edge = y
    return right * top - area


def needed(losses: Sequence[float], target: float) -> float:
    """Runs until the target; infinite where it is not reached."""
    return next((i + 1 for i, loss in enumerate(losses) if loss <= target), math.inf)


def compare(name: str, repeats: int, runs: int) -> list[str]:
    """Lines of the table for one function."""
    function = FUNCTIONS[name]
    runs = runs * function.times
    started = time.monotonic()
    one, packs = ([trace(function, width, runs, seed) for seed in range(repeats)]
                  for width in (1, WIDTH))
    lines = []
    for after in (runs // 4, runs // 2):
        target = statistics.median(t[after - 1] for t in one)
        singly, packed = (statistics.median(needed(t, target) for t in ts) for ts in (one, packs))
        seconds = time.monotonic() - started
        lines.append(f"{name:<14} {function.sampler:<6} {after:>5} {target:>10.4g} {singly:>7g} "
                     f"{packed:>7g} {packed / singly:>6.2f}   {seconds:.0f}")
    return lines


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("functions", nargs="*", default=list(FUNCTIONS), metavar="FUNCTION")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--runs", type=int, default=160)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"packs of {WIDTH} against one at a time, {given.repeats} searches each\n"
          "function       sampler    T     target  singly   packs  ratio   s", flush=True)
    for name in given.functions:
        print("\n".join(compare(name, given.repeats, given.runs)), flush=True)


if __name__ == "__main__":
    main()
