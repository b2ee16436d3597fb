# ruff: noqa: T201
"""Sample efficiency of searches in packs: runs needed for what one at a time has after T runs.

    python -m bench.search [--repeats 30] [--runs 96] [--first-seed 0] [--width 8] [FUNCTION ...]

For each function, many searches in packs (all of a pack asked for before any is told; its runs
count when the whole pack has been told) and as many with one run at a time, of the same seeds. Of
each kind the median over searches of what T runs have reached is told (best value − minimum, or
what lacks of the front's hypervolume). The ratio is the median number of runs that packs need for
what one at a time has at T, over the median number that one at a time needs for it, with its 90 %
bootstrap interval over searches. Options of our samplers were chosen on TUNED with seeds from 0:
what is told of packs is to be measured on the others, from another ``--first-seed``.
"""

import argparse
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.search import section
from orchestrator.search.proposer import Outcome, Setup

TUNED = ("branin", "hartmann6", "branin-shared")
RESAMPLES = 1000


@dataclass(frozen=True)
class Function:
    """A test function on a space; ``shared``: names that a pack has in common. All objectives are
    minimised; ``least``: of one objective, its minimum; of several, what lacks of the box up to
    the corner ``reference`` for the whole front. ``times``: the budget, over that of others."""

    sampler: str
    space: dict
    value: Callable[..., Sequence[float]]
    shared: frozenset[str] = frozenset()
    reference: tuple[float, float] | None = None
    least: float = 0.0
    times: int = 1


def branin(x: float, y: float) -> float:
    """Three minima of 0.397887; x in [-5, 10], y in [0, 15]."""
    return ((y - 5.1 * x**2 / (4 * math.pi**2) + 5 * x / math.pi - 6) ** 2
            + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


_A = np.array([[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14],
               [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]])
_P = 1e-4 * np.array([[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
                      [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]])


_A3 = np.array([[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]])
_P3 = 1e-4 * np.array([[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547],
                       [381, 5743, 8828]])


def hartmann(x: np.ndarray, steep: np.ndarray = _A, at: np.ndarray = _P) -> float:
    """Minimum −3.32237 in the unit cube of 6, −3.86278 in that of 3."""
    return -float(np.array([1.0, 1.2, 3.0, 3.2]) @ np.exp(-(steep * (x - at) ** 2).sum(axis=1)))


def ackley(x: np.ndarray) -> float:
    """Minimum 0 at 0, amid many others."""
    return float(20 + math.e - 20 * np.exp(-0.2 * np.sqrt((x**2).mean()))
                 - np.exp(np.cos(2 * math.pi * x).mean()))


def levy(x: np.ndarray) -> float:
    """Minimum 0 at 1, amid many others."""
    w = 1 + (x - 1) / 4
    middle = (w[:-1] - 1) ** 2 * (1 + 10 * np.sin(math.pi * w[:-1] + 1) ** 2)
    last = (w[-1] - 1) ** 2 * (1 + np.sin(2 * math.pi * w[-1]) ** 2)
    return float(np.sin(math.pi * w[0]) ** 2 + middle.sum() + last)


def rosenbrock(x: np.ndarray) -> float:
    """Minimum 0 at 1, at the end of a bent valley."""
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def zdt(x: np.ndarray, number: int) -> tuple[float, float]:
    """ZDT1, the concave ZDT2, ZDT3 in pieces: their fronts are where all but x1 are 0."""
    g = 1 + 9 * x[1:].mean()
    part = x[0] / g
    shape = {1: part**0.5, 2: part**2,
             3: part**0.5 + part * math.sin(10 * math.pi * x[0])}[number]
    return float(x[0]), float(g * (1 - shape))


def _cube(n: int, low: float = 0.0, high: float = 1.0) -> dict:
    return {f"x{i}": {"linear": [low, high]} for i in range(n)}


def _vector(values: dict) -> np.ndarray:
    return np.array([values[f"x{i}"] for i in range(len(values))])


def _front(number: int) -> Function:
    return Function("nsga2", _cube(10), lambda v: zdt(_vector(v), number),
                    reference=(1.1, 11.0), times=4)


_BRANIN = {"x": {"linear": [-5.0, 10.0]}, "y": {"linear": [0.0, 15.0]}}
_STEPS = [round(-5 + 15 * i / 7, 6) for i in range(8)]
_SIZES = [0.2, 0.4, 0.6, 0.8]
FUNCTIONS = {
    "branin": Function("tpe", _BRANIN, lambda v: [branin(**v)], least=0.397887),
    "hartmann6": Function("tpe", _cube(6), lambda v: [hartmann(_vector(v))], least=-3.32237),
    "hartmann3": Function("tpe", _cube(3), lambda v: [hartmann(_vector(v), _A3, _P3)],
                          least=-3.86278),
    "rosenbrock4": Function("tpe", _cube(4, -2.0, 2.0), lambda v: [rosenbrock(_vector(v))]),
    "ackley5": Function("tpe", _cube(5, -20.0, 30.0), lambda v: [ackley(_vector(v))]),
    "levy4": Function("tpe", _cube(4, -10.0, 10.0), lambda v: [levy(_vector(v))]),
    # one scalar is a list that is common to a pack, as batch sizes are
    "branin-shared": Function("tpe", {**_BRANIN, "x": _STEPS}, lambda v: [branin(**v)],
                              frozenset({"x"}), least=0.397887),
    "hartmann3-shared": Function("tpe", {**_cube(3), "x2": _SIZES},
                                 lambda v: [hartmann(_vector(v), _A3, _P3)], frozenset({"x2"}),
                                 least=-3.86278),
    "levy4-shared": Function("tpe", {**_cube(4, -10.0, 10.0), "x0": [-8.0, -3.0, 2.0, 7.0]},
                             lambda v: [levy(_vector(v))], frozenset({"x0"})),
    "rosenbrock4-shared": Function("tpe", {**_cube(4, -2.0, 2.0), "x0": [-1.5, -0.5, 0.5, 1.5]},
                                   lambda v: [rosenbrock(_vector(v))], frozenset({"x0"})),
    "ackley3-shared": Function("tpe", {**_cube(3, -20.0, 30.0), "x0": [-15.0, -7.0, 1.0, 9.0, 17.0]
                                       }, lambda v: [ackley(_vector(v))], frozenset({"x0"})),
    "hartmann6-shared": Function("tpe", {**_cube(6), "x3": [0.1, 0.3, 0.5, 0.7, 0.9]},
                                 lambda v: [hartmann(_vector(v))], frozenset({"x3"}),
                                 least=-3.32237),
    "zdt1": _front(1), "zdt2": _front(2), "zdt3": _front(3),
}


class Memory:
    """A search's journal that is on no disk."""

    def __init__(self):
        self._logs: list[dict] = []

    def read_logs(self, log_number_from: int) -> list[dict]:
        """Those from a number on."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: Sequence[dict]) -> None:
        """More of them."""
        self._logs += logs

    def flush(self) -> None:
        """There is nothing to write."""


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
    proposer = OptunaProposer(setup, Memory())
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


def needed(losses: np.ndarray, target: float) -> np.ndarray:
    """Runs until the target, for losses (searches, runs); infinite where it is not reached."""
    there = losses <= target
    return np.where(there.any(axis=1), there.argmax(axis=1) + 1.0, math.inf)


def ratio(one: np.ndarray, packs: np.ndarray, after: int) -> float:
    """Runs that packs need for what one at a time has at T = ``after``, over those it needs."""
    target = float(np.median(one[:, after - 1]))
    return float(np.median(needed(packs, target)) / np.median(needed(one, target)))


def interval(one: np.ndarray, packs: np.ndarray, after: int) -> tuple[float, float]:
    """The ratio's middle 90 % when searches are drawn anew."""
    rng = np.random.default_rng(0)
    draws = [ratio(*(t[rng.integers(len(t), size=len(t))] for t in (one, packs)), after)
             for _ in range(RESAMPLES)]
    draws = np.nan_to_num(draws, nan=math.inf, posinf=math.inf)  # nan: neither gets there
    low, high = np.quantile(draws, [0.05, 0.95], method="inverted_cdf")
    return float(low), float(high)


def compare(name: str, seeds: Sequence[int], runs: int, width: int) -> list[str]:
    """Lines of the table for one function."""
    function = FUNCTIONS[name]
    runs = runs * function.times
    started = time.process_time()
    one, packs = (np.array([trace(function, w, runs, seed) for seed in seeds])
                  for w in (1, width))
    lines = []
    for after in (runs // 4, runs // 2):
        reached = [np.median(t[:, after - 1]) - function.least for t in (one, packs)]
        low, high = interval(one, packs, after)
        seconds = time.process_time() - started
        lines.append(f"{name:<17} {function.sampler:<6} {after:>4} {reached[0]:>9.4g} "
                     f"{reached[1]:>9.4g} {ratio(one, packs, after):>6.2f} "
                     f"{f'{low:.2f} to {high:.2f}':>13} {seconds:>5.0f}")
    return lines


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("functions", nargs="*", default=list(FUNCTIONS), metavar="FUNCTION")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--runs", type=int, default=96, help="the budget of a search; T is a "
                        "quarter and a half of it")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=8, help="runs a pack")
    given = parser.parse_args()
    if unknown := set(given.functions) - set(FUNCTIONS):
        parser.error(f"no function {', '.join(sorted(unknown))}; there are {', '.join(FUNCTIONS)}")
    warnings.simplefilter("ignore")
    seeds = range(given.first_seed, given.first_seed + given.repeats)
    print(f"packs of {given.width} against one at a time, {given.repeats} searches each, seeds "
          f"{seeds[0]} to {seeds[-1]}\n"
          "function          sampler   T    singly     packs  ratio  90 % interval     s",
          flush=True)
    for name in given.functions:
        print("\n".join(compare(name, seeds, given.runs, given.width)), flush=True)


if __name__ == "__main__":
    main()
