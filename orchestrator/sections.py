"""The sections of a spec: which keys each has, what is accepted, the defaults. Each bound has a reason."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainables.errors import InputError
from trainables.options import Option, Table, choice, did_you_mean, fill, flag, number, optional, text, whole

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")  # a folder's name, everywhere
CLAIMS = ("three_factors/ratio_law",)
TOP = ("name", "storage", "data", "model", "train", "sweep", "measure", "save", "compute", "claims")


def finite(low: float, high: float = math.inf, *, open_low: bool = False) -> Callable[[float], bool]:
    """Whether a number is finite and within bounds."""
    return lambda v: math.isfinite(v) and (v > low if open_low else v >= low) and v <= high


# Below 1e-12 an update is lost in rounding; above 1e6 nothing is meant.
LR = number(0.1, finite(1e-12, 1e6), "a number above 0 (from 1e-12 to 1e6)")
FRACTION = number(0.0, finite(0, 1), "a fraction from 0 to 1")
SEED = whole(0, 0, 2**31 - 1)
NOISE: Mapping[str, tuple[str, Option]] = {
    "label_noise": ("label", FRACTION),
    "input_noise": ("input", FRACTION),
    "gradient_noise": ("gradient", number(0.0, finite(0, 1e6), "a standard deviation from 0")),
}


def _is_batch(value: Any) -> bool:
    return value == "full" or whole(1, 1, 10**9).accepts(value)


TRAIN: Table = {
    "lr": optional(LR),
    "batch_size": optional(Option(None, _is_batch, "a whole number from 1, or `full`")),
    "epochs": optional(whole(None, 1, 10**6)),
    "steps": optional(whole(None, 1, 10**9)),
    "until": Option(None, lambda v: v is None or isinstance(v, Mapping),
                    "{train_accuracy: 1.0, max_epochs: 400}"),
    "loss": choice("cross_entropy", ("cross_entropy", "mse")),
    "momentum": number(0.0, lambda v: 0 <= v < 1, "a number from 0 to below 1"),
    "nesterov": flag(False),
    "weight_decay": number(0.0, finite(0, 1e6), "a number from 0"),
    "lr_schedule": Option("constant", lambda v: isinstance(v, str | Mapping), "a schedule's name or map"),
    "sampling": choice("without_replacement", ("without_replacement", "with_replacement")),
    "max_loss": number(1e4, finite(0, 1e30, open_low=True), "a number above 0"),
}
_EPOCHS = number(1.0, finite(0, 1e6, open_low=True), "a number of epochs above 0")
_FACTOR = number(1.0, finite(0, 1e6, open_low=True), "a factor above 0")
SCHEDULES: Mapping[str, Table] = {
    "constant": {}, "cosine": {}, "warmup": {"epochs": _EPOCHS},
    "step": {"every": _EPOCHS, "factor": _FACTOR}, "switch": {"at": _EPOCHS, "factor": _FACTOR},
    "cyclic": {"period": _EPOCHS, "factor": _FACTOR},
}
UNTIL: Table = {
    "train_accuracy": number(1.0, finite(0, 1, open_low=True), "a fraction above 0, at most 1"),
    "max_epochs": whole(None, 1, 10**6),
}
WHEN: Table = {
    "early": optional(choice("log", ("log",))),
    "every_epochs": optional(number(None, finite(0, 1e6, open_low=True), "a number above 0")),
    "every_steps": optional(whole(None, 1, 10**9)),
    "steps": optional(Option(None, lambda v: isinstance(v, list) and all(
        whole(0, 0, 10**9).accepts(s) for s in v), "a list of step numbers")),
    "final": flag(True),
    "initial": flag(True),
}
MEASURE: Table = {
    "when": Option({}, lambda v: isinstance(v, Mapping), "{early: log, every_epochs: 2, final: true}"),
    "set_size": optional(whole(None, 1, 10**9)),
    "monitors": Option(["spectrum"], lambda v: isinstance(v, list), "a list of monitors"),
}
SAVE: Table = {"weights": choice("none", ("none", "final"))}
COMPUTE: Table = {
    "device": choice("auto", ("auto", "cpu", "cuda")),
    "pack": Option("auto", lambda v: v == "auto" or whole(1, 1, 4096).accepts(v),
                   "auto, or the widest pack as a whole number"),
    "cpus": number(1.0, finite(0, 4096, open_low=True), "a number of CPUs above 0"),
    "gpus": Option("auto", lambda v: v == "auto" or number(0.0, finite(0, 4096), "").accepts(v),
                   "auto, or a number of GPUs from 0"),
    "precision": choice("fp32", ("fp32", "fp64")),
}


@dataclass(frozen=True)
class Measure:
    """When, on how many examples, and what."""

    when: Mapping[str, Any]
    set_size: int | None
    monitors: tuple[tuple[str, Mapping[str, Any]], ...]


@dataclass(frozen=True)
class Save:
    """What is kept beside the tables."""

    weights: str


@dataclass(frozen=True)
class Compute:
    """Where and how trials run; of it only ``precision`` is part of a run."""

    device: str
    pack: int | str
    cpus: float
    gpus: float | str
    precision: str


def train(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, float]]:
    """(train, noise): all options of training, and the constant noises."""
    table = {**TRAIN, **{n: o for n, (_, o) in NOISE.items()}}
    full = fill(given, table, section="train", subject="train")
    full["lr_schedule"] = schedule(full["lr_schedule"])
    if full["until"] is not None:
        full["until"] = fill(full["until"], UNTIL, section="train.until", subject="train.until")
        if full["until"]["max_epochs"] is None:
            raise InputError("until needs max_epochs", key="train.until",
                             fix=f"write until: {TRAIN['until'].wanted}")
    lengths = [n for n in ("epochs", "steps", "until") if full[n] is not None]
    if len(lengths) != 1:
        found = " and ".join(lengths) or "none"
        raise InputError(f"train needs one of epochs, steps and until; found {found}",
                         key="train", fix="write for instance `epochs: 40`")
    return full, {short: full.pop(name) for name, (short, _) in NOISE.items()}


def schedule(given: Any) -> dict[str, Any]:
    """A schedule's whole map, from its bare name or a map."""
    asked = {"name": given} if isinstance(given, str) else dict(given)
    name, key = asked.pop("name", None), "train.lr_schedule"
    if name not in SCHEDULES:
        raise InputError(f"unknown lr_schedule {name!r}", key=key,
                         fix=did_you_mean(name, SCHEDULES, "schedules"))
    missing = [n for n in SCHEDULES[name] if n not in asked]
    if missing:
        raise InputError(f"lr_schedule {name} needs {' and '.join(missing)}", key=key,
                         fix=f"options of {name}: {', '.join(SCHEDULES[name])}")
    return {"name": name, **fill(asked, SCHEDULES[name], section=key, subject=f"schedule {name}")}


def measure(given: Mapping[str, Any]) -> Measure:
    """The resolved section ``measure``."""
    full = fill(given, MEASURE, section="measure", subject="measure")
    when = fill(full["when"], WHEN, section="measure.when", subject="measure.when")
    if when["steps"] is not None:
        when["steps"] = sorted(set(when["steps"]))
    monitors = tuple(_monitor(m, f"measure.monitors.{i}") for i, m in enumerate(full["monitors"]))
    names = [n for n, _ in monitors]
    if len(set(names)) != len(names):
        raise InputError("a monitor stands here twice", key="measure.monitors", fix="keep one")
    return Measure(when, full["set_size"], monitors)


def _monitor(given: Any, key: str) -> tuple[str, dict[str, Any]]:
    from trainables.monitors import MONITORS

    if isinstance(given, Mapping) and len(given) == 1:
        ((name, options),) = given.items()
    else:
        name, options = given, {}
    if not isinstance(name, str) or name not in MONITORS:
        raise InputError(f"unknown monitor {name!r}", key=key,
                         fix=did_you_mean(name, MONITORS, "monitors"))
    if not isinstance(options, Mapping | None):
        raise InputError(f"the options of {name} must be a map", key=key,
                         fix=f"write {{{name}: {{…}}}}")
    return name, MONITORS[name].resolve(options)


def claims(given: Any) -> tuple[str, ...]:
    """The claims to judge."""
    for i, claim in enumerate(given):
        if claim not in CLAIMS:
            raise InputError(f"unknown claim {claim!r}", key=f"claims.{i}",
                             fix=did_you_mean(claim, CLAIMS, "claims"))
    return tuple(given)


def name(given: Any) -> str:
    """The sweep's name."""
    if not isinstance(given, str) or not NAME.fullmatch(given):
        raise InputError(f"name is {given!r}", key="name",
                         fix="use a-z, 0-9, _ and -, at most 64, the first a letter or a digit")
    return given


def storage(given: Any) -> str:
    """The storage."""
    if not text(None).accepts(given) or "\n" in given:
        raise InputError(f"storage is {given!r}", key="storage", fix="give a folder")
    return given
