"""Named choices of the section ``train``: schedules and optimisers, each with its own options."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from trainables.epochs import calendar
from trainables.errors import InputError
from trainables.options import Option, Table, choice, did_you_mean, fill, number, whole
from trainables.schedules import total_steps


def finite(low: float, high: float, *, open_low: bool = False) -> Callable[[float], bool]:
    """Whether a number is finite and within bounds."""
    return lambda v: math.isfinite(v) and (v > low if open_low else v >= low) and v <= high


_EPOCHS = number(1.0, finite(0, 1e6, open_low=True), "a number of epochs above 0")
_FROM = number(1.0, finite(0, 1e6), "a number of epochs from 0")
_FACTOR = number(1.0, finite(0, 1e6, open_low=True), "a factor above 0")
SCHEDULES: Mapping[str, Table] = {
    "constant": {}, "cosine": {}, "warmup": {"epochs": _EPOCHS},
    "step": {"every": _EPOCHS, "factor": _FACTOR}, "switch": {"at": _FROM, "factor": _FACTOR},
    "cyclic": {"period": _EPOCHS, "factor": _FACTOR, "by": choice("step", ("step", "epoch"))},
}
BATCH_SCHEDULES: Mapping[str, Table] = {
    "constant": {}, "cyclic": {"period": _EPOCHS, "factor": _FACTOR},
}
_DECAY = "a number from 0 to below 1"  # at 1 a moment never takes anything in
OPTIMIZERS: Mapping[str, Table] = {
    "sgd": {},
    "adam": {
        "beta1": number(0.9, lambda v: 0 <= v < 1, _DECAY),
        "beta2": number(0.999, lambda v: 0 <= v < 1, _DECAY),
        "epsilon": number(1e-8, finite(0, 1e6, open_low=True), "a number above 0"),
    },
    "nudged_sgd": {
        "k": whole(5, 1, 1000),
        "gamma": number(0.1, finite(0, 1e6), "a factor from 0"),
        "every_epochs": whole(1, 1, 10**9),
        "tolerance": number(1e-3, finite(0, 0.5, open_low=True), "a number above 0, at most 0.5"),
    },
}


def schedule(given: Any, key: str = "train.lr_schedule") -> dict[str, Any]:
    """A learning-rate schedule's whole map, from its bare name or a map."""
    return _named(given, SCHEDULES, key, "lr_schedule", "schedules", optional={"by"})


def batch_schedule(given: Any, key: str = "train.batch_schedule") -> dict[str, Any]:
    """A batch-size schedule's whole map, from its bare name or a map."""
    return _named(given, BATCH_SCHEDULES, key, "batch_schedule", "schedules")


def optimizer(given: Any, key: str = "train.optimizer") -> dict[str, Any]:
    """An optimiser's whole map, from its bare name or a map."""
    return _named(given, OPTIMIZERS, key, "optimizer", "optimizers", optional=options("optimizer"))


NAMED: Mapping[str, Callable[..., dict[str, Any]]] = {
    "lr_schedule": schedule, "batch_schedule": batch_schedule, "optimizer": optimizer}
_TABLES: Mapping[str, Mapping[str, Table]] = {
    "lr_schedule": SCHEDULES, "batch_schedule": BATCH_SCHEDULES, "optimizer": OPTIMIZERS}


def options(name: str) -> dict[str, Option]:
    """All options of one of NAMED, whichever of its choices has them."""
    return {n: o for table in _TABLES[name].values() for n, o in table.items()}


def _named(given: Any, tables: Mapping[str, Table], key: str, noun: str, nouns: str, *,
           optional: Collection[str] = ()) -> dict[str, Any]:
    asked = dict(given) if isinstance(given, Mapping) else {"name": given}
    name = asked.pop("name", None)
    if not isinstance(name, str) or name not in tables:
        raise InputError(f"unknown {noun} {name!r}", key=key,
                         fix=did_you_mean(name, tables, nouns))
    if asked and not tables[name]:
        raise InputError(f"{noun} {name} has no options", key=f"{key}.{min(asked)}",
                         fix=f"write {noun}: {name}")
    full = fill(asked, tables[name], section=key, subject=f"{noun} {name}")
    for option in tables[name]:
        if option not in asked and option not in optional:
            wanted = ", ".join(f"{n}: …" for n in tables[name] if n not in optional)
            raise InputError(f"{noun} {name} has no {option}", key=f"{key}.{option}",
                             fix=f"write {{name: {name}, {wanted}}}")
    return {"name": name, **full}


def option(path: str) -> Option | None:
    """The option that "optimizer.gamma" or "lr_schedule.at" names, if it names one."""
    name, _, key = path.partition(".")
    return options(name).get(key) if name in NAMED else None


def nested() -> list[str]:
    """All that ``option`` knows: "lr_schedule.at", …"""
    return [f"{name}.{key}" for name in NAMED for key in options(name)]


def folded(train: Mapping[str, Any]) -> dict[str, Any]:
    """The section with its keys like "optimizer.gamma" moved into ``optimizer``, in a new map.

    InputError where the cell's optimiser or schedule has no such option.
    """
    found = {k: v for k, v in train.items() if "." not in k}
    for path, value in train.items():
        name, dot, key = path.partition(".")
        if not dot or value is None:
            continue
        named = found[name]["name"]
        if key not in _TABLES[name][named]:
            raise InputError(f"{name} {named} has no {key}", key=f"train.{name}",
                             fix=f"sweep {path} where {name} has it: {_having(name, key)}")
        found[name] = {**found[name], key: value}
    return found


def _having(name: str, key: str) -> str:
    return ", ".join(n for n, table in _TABLES[name].items() if key in table)


def check(train: Mapping[str, Any], train_size: int) -> None:
    """InputError where options of a run's whole section do not go together."""
    if train["optimizer"]["name"] == "adam" and train["momentum"]:
        raise InputError("adam with momentum", key="train.momentum",
                         fix="remove momentum; adam's own is {name: adam, beta1: 0.9}")
    if train["fisher_penalty"] and train["loss"] != "cross_entropy":
        raise InputError(f"fisher_penalty with the loss {train['loss']}",
                         key="train.fisher_penalty",
                         fix="use cross_entropy: labels are drawn from the model's softmax")
    batch = train["batch_schedule"]
    if batch["name"] != "constant":
        far = round(train["batch_size"] * batch["factor"])
        if not 1 <= far <= train_size:
            raise InputError(
                f"the batch size goes from {train['batch_size']} to {far}",
                key="train.batch_schedule.factor",
                fix=f"choose a factor that keeps it from 1 to {train_size}, the training set")
    _check_switch(train, train_size)


def _check_switch(train: Mapping[str, Any], train_size: int) -> None:
    """A switch at the very end is one that never comes; beyond it, it is a slip."""
    schedule = train["lr_schedule"]
    if schedule["name"] != "switch":
        return
    days = calendar(train_size, train)
    end = days.epoch(total_steps(train, days))
    if schedule["at"] > end * (1 + 1e-9):
        raise InputError(
            f"lr_schedule switches at epoch {schedule['at']:g}, and the run ends at {end:g}",
            key="train.lr_schedule.at", fix=f"at most {end:g}, where it never switches")


def smallest_batch(train: Mapping[str, Any]) -> int:
    """The smallest batch size on a run's way."""
    batch = train["batch_schedule"]
    factor = 1.0 if batch["name"] == "constant" else batch["factor"]
    return round(train["batch_size"] * min(1.0, factor))
