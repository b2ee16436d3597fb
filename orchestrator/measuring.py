"""The section ``measure``: which monitors, and what measuring costs beside training.

A budget is resolved here, when planning, from the monitors' declared costs into explicit steps:
they stand in each run's config, so a run is what it does, however its steps were come by.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.columns import monitor_columns
from orchestrator.errors import each
from trainables import monitors
from trainables.costs import GE_FORWARD, GE_PRODUCT
from trainables.epochs import calendar
from trainables.errors import InputError
from trainables.monitors.declared.spectrum import products
from trainables.schedules import budgeted_steps, measuring_steps, total_steps

DECIDED = ("early", "every_epochs", "every_steps", "steps")  # of `when`: what a budget decides
MOST_SNAPSHOTS = 10_000  # of a budget: its steps are listed in every run's config
LENGTH = ("batch_size", "batch_schedule", "steps", "epochs", "until", "sampling", "optimizer",
          "fisher_penalty", "fisher_every")  # of `train`: what costs
CLASSES = monitors.Sizes.classes  # of data whose classes are not said
T = TypeVar("T")
Chosen = tuple[tuple[str, Mapping[str, Any]], ...]


@dataclass(frozen=True)
class Costs:
    """What one run costs, in gradient equivalents, as its monitors declare.

    ``watching`` is what ``until`` spends on the training accuracy after each epoch. The bound of
    ``until`` counts as a run's length; one that ends early spends less on both sides.
    """

    snapshots: int
    snapshot: float
    watching: float
    training: float

    @property
    def measuring(self) -> float:
        """GE of all snapshots, and of watching the target."""
        return self.snapshots * self.snapshot + self.watching

    @property
    def share(self) -> float:
        """Measuring over training."""
        return self.measuring / self.training


def check_when(when: Mapping[str, Any], budget: float | None) -> None:
    """InputError where both ``when`` as given and a budget say when to measure."""
    both = [n for n in DECIDED if when.get(n) is not None]
    if budget is not None and both:
        raise InputError(f"a budget decides when to measure, and {' and '.join(both)} too",
                         key="measure.budget",
                         fix="keep one: of `when`, only initial and final go with a budget "
                             "(-s measure.when= takes it away)")


def choose(given: Sequence[Any], base_dir: Path) -> Chosen:
    """(name, all options) of each monitor; an ExceptionGroup or InputError of what is wrong."""
    chosen = tuple(each(partial(_monitor, base_dir=base_dir), given, "measure.monitors"))
    names = [n for n, _ in chosen]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise InputError(f"the monitor {name} stands here twice", key=f"measure.monitors.{i}",
                             fix="keep one of the two")
    monitor_columns(chosen, base_dir)
    return chosen


def _monitor(given: Any, key: str, base_dir: Path) -> tuple[str, dict[str, Any]]:
    name, options = given, None
    if isinstance(given, Mapping) and len(given) == 1:
        ((name, options),) = given.items()
    if not isinstance(options, Mapping | None):
        raise InputError(f"the options of {name} are {options!r}", key=f"{key}.{name}",
                         fix=f"write {{{name}: {{option: value}}}}")
    try:
        return name, monitors.find(name, base_dir).resolve(options)
    except InputError as error:  # the monitor does not know where in the list it stands
        option = error.key.removeprefix("measure.monitors").removeprefix(f".{name}")
        inside = f".{name}" if isinstance(given, Mapping) and option else ""
        raise InputError(error.what, key=f"{key}{inside}{option}", fix=error.fix) from None


def costs(config: Mapping[str, Any], base_dir: Path, classes: int = CLASSES) -> Costs:
    """The costs of a run whose sizes are known.

    Not known before a model is built, and left out: whether a model that is not one of ours has
    BatchNorm, whose calibration costs a snapshot, and a look at the target, at most 1024/(3 n) GE
    for n measured examples.
    """
    data, train, measure = config["data"], config["train"], config["measure"]
    size, n = data["train_size"], measure["set_size"]
    days = calendar(size, train)
    steps = total_steps(train, days)
    snapshot = monitors.snapshot_cost(measure["monitors"], sizes_of(config, classes), base_dir)
    calibration = GE_FORWARD * min(size, 1024) / n if config["model"].get("batch_norm") else 0.0
    watched = days.locate(steps)[0] if train.get("until") else 0
    return Costs(snapshots=len(measuring_steps(measure["when"], days, steps)),
                 snapshot=snapshot + calibration,
                 watching=watched * (GE_FORWARD * size / n + calibration),
                 training=days.examples(steps) / n + _beside_gradients(train, days, steps, n))


def _beside_gradients(train: Mapping[str, Any], days: Any, steps: int, n: int) -> float:
    """GE of what updates cost beside their minibatches' gradients: nudges, Fisher penalty.

    The products of a nudge's search vary; typical is what a search of that k and tolerance takes.
    """
    spent, optimizer = 0.0, train.get("optimizer") or {"name": "sgd"}
    if optimizer["name"] == "nudged_sgd":
        search = {"k": optimizer["k"], "tolerance": optimizer["tolerance"], "lambda_min": False,
                  "max_products": 200}
        refreshes = days.locate(max(0, steps - 1))[0] // optimizer["every_epochs"] + 1
        spent += refreshes * (1 + GE_PRODUCT * products(search))
    if train.get("fisher_penalty"):
        spent += 3 * days.examples(steps) / n / train["fisher_every"]
    return spent


def sizes_of(config: Mapping[str, Any], classes: int) -> monitors.Sizes:
    """The sizes of a run; the batch is the mean one, where its size follows a schedule."""
    data, train = config["data"], config["train"]
    days = calendar(data["train_size"], train)
    steps = total_steps(train, days)
    return monitors.Sizes(
        train=data["train_size"], test=data["test_size"], measure=config["measure"]["set_size"],
        batch=round(days.examples(steps) / steps), classes=classes,
        replacement=train.get("sampling") == "with_replacement")


def _steady(config: Mapping[str, Any], base_dir: Path, classes: int) -> dict[str, Any]:
    """``measure`` with the options by which each monitor spends what it declares."""
    chosen = monitors.steadied(
        config["measure"]["monitors"], sizes_of(config, classes), base_dir)
    return {**config["measure"], "monitors": [list(m) for m in chosen]}


def of_runs(configs: Iterable[Mapping[str, Any]], base_dir: Path,
            classes: int = CLASSES) -> list[Costs]:
    """The costs of many runs, those of runs that are alike computed once."""
    known: dict[str, Costs] = {}

    def cost(config: Mapping[str, Any]) -> Costs:
        train = {k: v for k, v in config["train"].items() if k in LENGTH}
        key = json.dumps([config["data"], train, config["model"].get("batch_norm"),
                          config["measure"]], sort_keys=True)
        if key not in known:
            known[key] = costs(config, base_dir, classes)
        return known[key]

    return _once(cost, list(configs))


def _once(make: Callable[[Mapping[str, Any]], T], configs: Sequence[Mapping[str, Any]]) -> list[T]:
    """``make`` of each config, once for those that share all sections and differ in the seed."""
    known: dict[tuple[int, ...], T] = {}
    result = []
    for config in configs:
        key = tuple(id(config[name]) for name in ("data", "model", "train", "measure"))
        if key not in known:
            known[key] = make(config)
        result.append(known[key])
    return result


def budgeted(configs: Sequence[Mapping[str, Any]], budget: float | None,
             base_dir: Path, classes: int = CLASSES) -> list[dict[str, Any]]:
    """The configs with the measuring steps that the budget affords each; as given without one.

    Measuring may cost ``budget`` times what training costs, to the nearest whole snapshot: within
    a fifth from two snapshots on. InputError where the first and last snapshot cost more, and,
    with a budget or without, where a monitor's cost is no number.
    """
    if budget is None:
        of_runs(configs, base_dir, classes)
        return [dict(c) for c in configs]
    steady = _once(partial(_steady, base_dir=base_dir, classes=classes), configs)
    configs = [{**c, "measure": measure} for c, measure in zip(configs, steady, strict=True)]
    result: list[dict[str, Any]] = []
    short: list[tuple[float, Costs, Mapping[str, Any]]] = []
    resolved: dict[tuple[int, int], dict[str, Any]] = {}
    for config, cost in zip(configs, of_runs(configs, base_dir, classes), strict=True):
        measure, key = config["measure"], (id(config["measure"]), id(cost))
        if key not in resolved:
            when = measure["when"]
            least = max(1, when["initial"] + when["final"])
            needed = (least * cost.snapshot + cost.watching) / cost.training
            if budget < needed * (1 - 1e-9):
                short.append((needed, cost, when))
            steps = _steps(config, cost, budget)
            resolved[key] = {**measure, "when": {**when, "steps": steps}}
        result.append({**config, "measure": resolved[key]})
    if short:
        raise _too_small(budget, *max(short, key=lambda s: s[0]))
    return result


def _steps(config: Mapping[str, Any], cost: Costs, budget: float) -> list[int]:
    train, when = config["train"], config["measure"]["when"]
    steps = total_steps(train, calendar(config["data"]["train_size"], train))
    affords = (budget * cost.training - cost.watching) / cost.snapshot
    count = min(math.floor(affords + 0.5), steps + 1)
    if count > MOST_SNAPSHOTS:
        raise InputError(
            f"a budget of {budget:g} affords a run {count:,} snapshots", key="measure.budget",
            fix=f"give less (at most {MOST_SNAPSHOTS:,} snapshots), or use when: every_steps")
    return list(budgeted_steps(count, steps, initial=when["initial"], final=when["final"]))


def _too_small(budget: float, least: float, cost: Costs, when: Mapping[str, Any]) -> InputError:
    what = "the first and the last snapshot" if when["initial"] and when["final"] else "a snapshot"
    watched = f" and {cost.watching:.4g} for `until`" if cost.watching else ""
    return InputError(
        f"a budget of {budget:g} does not afford {what}: one costs {cost.snapshot:.4g} GE{watched},"
        f" training {cost.training:.4g}",
        key="measure.budget",
        fix=f"give at least {_up(least):g}, train longer, lower measure.set_size, or ask the "
            "monitors for less")


def _up(value: float) -> float:
    """Rounded up to three significant digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.ceil(value / unit - 1e-9) * unit:.12g}")
