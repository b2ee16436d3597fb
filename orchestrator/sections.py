"""The sections of a spec: which keys each has, what is accepted, the defaults.

Where a bound's reason is not said, it stands where nothing sensible lies beyond: it turns a slip of
the keyboard into an error instead of a week of computing.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator import measuring, training
from orchestrator.search import section as search_section
from orchestrator.stores.place import fault
from orchestrator.training import finite
from trainables.errors import InputError
from trainables.options import (
    Option,
    Table,
    choice,
    did_you_mean,
    fill,
    flag,
    number,
    optional,
    text,
    whole,
)

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")  # a folder's name, on every file system and in URLs
DIGITS = 12
TOP = ("name", "storage", "data", "model", "train", "sweep", "measure", "save", "compute", "claims",
       "probes")


# Below 1e-12 an update is lost in rounding, even in float64 and at weights of order 1e-3.
LR = number(None, finite(1e-12, 1e6), "a number above 0 (from 1e-12 to 1e6)")
FRACTION = number(0.0, finite(0, 1), "a fraction from 0 to 1")
SEED = whole(0, 0, 2**31 - 1)  # what every generator takes
TRAIN_SIZE = whole(None)
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
    "epochs": optional(whole(None, 1, 10**9)),
    "steps": optional(whole(None, 1, 10**9)),  # a year at 30 steps a second
    "until": Option(None, lambda v: v is None or isinstance(v, Mapping),
                    "{train_accuracy: 1.0, max_epochs: 400}"),
    "loss": choice("cross_entropy", ("cross_entropy", "mse")),
    # From 1 on the velocity never decays.
    "momentum": number(0.0, lambda v: 0 <= v < 1, "a number from 0 to below 1"),
    "nesterov": flag(False),
    "weight_decay": number(0.0, finite(0, 1e6), "a number from 0"),
    "lr_schedule": Option("constant", lambda v: isinstance(v, str | Mapping),
                          "a schedule like cosine, or {name: step, every: 10, factor: 0.1}"),
    "batch_schedule": Option("constant", lambda v: isinstance(v, str | Mapping),
                             "constant, or {name: cyclic, period: 4, factor: 5}"),
    "optimizer": Option("sgd", lambda v: isinstance(v, str | Mapping),
                        "sgd, adam, or {name: nudged_sgd, k: 5, gamma: 0.1}"),
    "fisher_penalty": number(0.0, finite(0, 1e6), "a number from 0"),
    "fisher_every": whole(1, 1, 10**9),
    "sampling": choice("without_replacement", ("without_replacement", "with_replacement")),
    "max_loss": number(1e4, finite(0, 1e30, open_low=True), "a number above 0"),  # float32's range
}
UNTIL: Table = {
    "train_accuracy": number(1.0, finite(0, 1, open_low=True), "a fraction above 0, at most 1"),
    "max_epochs": whole(None, 1, 10**9),
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
    "when": Option({}, lambda v: v is None or isinstance(v, Mapping),
                   "{early: log, every_epochs: 2, final: true}", lambda v: v or {}),
    "budget": optional(number(None, finite(0, 1e6, open_low=True), "a number above 0, the cost of "
                              "measuring over that of training")),
    "set_size": optional(whole(None, 1, 10**9)),
    "monitors": Option(["spectrum"], lambda v: isinstance(v, list), "a list of monitors"),
}
SAVE: Table = {"weights": choice("none", ("none", "final"))}
COMPUTE: Table = {
    "device": choice("auto", ("auto", "cpu", "cuda")),
    "pack": Option("auto", lambda v: v == "auto" or whole(1, 1, 4096).accepts(v),
                   "auto, or the widest pack as a whole number"),
    "compile": Option("auto", lambda v: v == "auto" or isinstance(v, bool), "auto, true or false"),
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
    monitors: measuring.Chosen
    budget: float | None = None


@dataclass(frozen=True)
class Save:
    """What is kept beside the tables."""

    weights: str


@dataclass(frozen=True)
class Compute:
    """Where and how trials run; of it only ``precision`` is part of a run."""

    device: str
    pack: int | str
    compile: bool | str
    cpus: float
    gpus: float | str
    precision: str


@dataclass(frozen=True)
class Sweep:
    """The section ``sweep`` as given; orchestrator/grid.py makes cells of it."""

    axes: Mapping[str, Any] = field(default_factory=dict)
    derived: Mapping[str, Any] = field(default_factory=dict)
    keep: str | None = None
    zip: Sequence[Sequence[str]] = ()
    include: Sequence[Mapping[str, Any]] = ()
    search: Mapping[str, Any] | None = None  # orchestrator/search/section.py reads it


def rounded(value: Any) -> Any:
    """Floats to 12 significant digits and without -0.0, within maps and lists too.

    So a value has one form, and a run one id, however it was come by: as a constant, on a log axis
    or derived, and with whichever C library.
    """
    if isinstance(value, Mapping):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.{DIGITS}g}") + 0.0
    return value


def train(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, float]]:
    """(train, noise): all options of training, and the constant noises."""
    table = {**TRAIN, **{n: o for n, (_, o) in NOISE.items()}}
    full = fill(given, table, section="train", subject="train")
    for name, resolve in training.NAMED.items():
        full[name] = resolve(full[name])
    if full["until"] is not None:
        full["until"] = fill(full["until"], UNTIL, section="train.until", subject="train.until")
        if full["until"]["max_epochs"] is None:
            raise InputError("until has no max_epochs", key="train.until.max_epochs",
                             fix=f"write until: {TRAIN['until'].wanted}")
    full = rounded(full)
    return full, {short: full.pop(name) for name, (short, _) in NOISE.items()}


def sweep(given: Mapping[str, Any]) -> Sweep:
    """The section ``sweep``, of which only the form is checked here.

    Null is as good as absent, so that ``-s sweep.axes.momentum=`` takes an axis away.
    """
    kinds = {"axes": (dict, "a map"), "derived": (dict, "a map"), "keep": (str, "a condition"),
             "zip": (list, "a list of lists of axes"), "include": (list, "a list of maps"),
             "search": (dict, "a map: {sampler: tpe, runs: 200, space: {…}, objectives: {…}}")}
    for key, value in given.items():
        if key not in kinds:
            raise InputError(f"sweep has no option `{key}`", key=f"sweep.{key}",
                             fix=did_you_mean(key, kinds, "options"))
        kind, form = kinds[key]
        if not isinstance(value, kind | None):
            raise InputError(f"sweep.{key} is {value!r}", key=f"sweep.{key}", fix=f"write {form}")
    found = {key: {n: v for n, v in value.items() if v is not None}
             if isinstance(value, Mapping) else value
             for key, value in given.items() if value is not None}
    if "search" in found:
        found["search"] = search_section.complete(found["search"])
        for key in ("axes", "zip", "include"):
            if found.get(key):
                raise InputError(f"a search takes no {key}: its space says what is varied",
                                 key=f"sweep.{key}", fix="move them to sweep.search.space; for "
                                 "several seeds a point write search: {seeds: 3}")
    return Sweep(**found)


def measure(given: Mapping[str, Any], base_dir: Path) -> Measure:
    """The resolved section ``measure``; users' monitors are looked for in ``base_dir``."""
    full = fill(given, MEASURE, section="measure", subject="measure")
    when = fill(full["when"], WHEN, section="measure.when", subject="measure.when")
    if when["steps"] is not None:
        when["steps"] = sorted(set(when["steps"]))
    measuring.check_when(full["when"], full["budget"])
    if full["budget"] is not None:
        when["early"] = None  # its default
    monitors = measuring.choose(full["monitors"], base_dir)
    return Measure(when, full["set_size"], monitors, full["budget"])


def save(given: Mapping[str, Any]) -> Save:
    """The resolved section ``save``."""
    return Save(**fill(given, SAVE, section="save", subject="save"))


def compute(given: Mapping[str, Any]) -> Compute:
    """The resolved section ``compute``."""
    return Compute(**fill(given, COMPUTE, section="compute", subject="compute"))


def name(given: Any) -> str:
    """The sweep's name."""
    if isinstance(given, str) and NAME.fullmatch(given):
        return given
    what = "name is missing" if given is None else f"name is {given!r}"
    hint = "" if isinstance(given, str | None) else f'; write "{given}" if you mean the text'
    raise InputError(what, key="name", fix="use a-z, 0-9, _ and -, at most 64 characters, the "
                                           f"first a letter or a digit{hint}")


def storage(given: Any) -> str:
    """The storage as given: a folder, or an address that the store knows."""
    if not text(None).accepts(given) or not given.isprintable() or len(given) > 1000:
        raise InputError(f"storage is {given!r}", key="storage", fix="give a folder")
    if wrong := fault(given):
        raise InputError(wrong[0], key="storage", fix=wrong[1])
    try:
        Path(given).expanduser()
    except RuntimeError:
        raise InputError(f"storage is {given!r}, and there is no such user", key="storage",
                         fix="give the folder's whole path") from None
    return given
