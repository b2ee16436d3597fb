"""Which engine and width each group of runs gets: the rule table, applied to a whole sweep.

Chosen once, when a sweep is first written, and kept in its folder: going on with it, on whatever
machine, changes nothing.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from orchestrator.packing import PackPlan, Run, cut, group_key, rung
from trainables import cache, choice
from trainables.compiling import versions
from trainables.epochs import calendar
from trainables.schedules import total_steps
from trainables.suitability import Suitability, examine

FLOOR, PACKS_A_SLOT = 8, 4  # narrower than the floor no pack is made for the sake of balance
GAIN = 1.5  # times its own cost that compiling must save, as far as the rules can tell


class Suits:
    """What suits a config, from the built model; each model is built once. InputError where none.

    ``parameters``: of the first model that was asked for.
    """

    def __init__(self, spec: Any, info: Any):
        self._spec, self._info = spec, info
        self._known: dict[str, Suitability] = {}
        self.parameters = 0

    def __call__(self, config: Mapping[str, Any]) -> Suitability:
        key = group_key(config)
        if key not in self._known:
            self._known[key] = examine(
                config, self._info.input_shape, self._info.classes, self._spec.base_dir,
                device=self._spec.compute.device, sharing=_slots(self._spec.compute).sharing)
            self.parameters = self.parameters or self._known[key].parameters
        return self._known[key]


@dataclass(frozen=True)
class _Slots:
    """Packs at once on this machine, at once in one memory, and how many each is to get."""

    packs: int
    sharing: int
    each: int


def _slots(compute: Any) -> _Slots:
    """Of the machine's processors, or of its GPUs, which a wider pack fills better than two."""
    if compute.device == "cpu" or not (compute.device == "cuda" or torch.cuda.is_available()):
        packs = max(1, int((os.cpu_count() or 1) / compute.cpus))
        return _Slots(packs, packs, PACKS_A_SLOT)
    gpus = 1.0 if compute.gpus in ("auto", 0) else float(compute.gpus)
    return _Slots(max(1, int(max(1, torch.cuda.device_count()) / gpus)), max(1, int(1 / gpus)), 1)


@dataclass(frozen=True)
class Choice:
    """The engine and the widest pack of a group of runs."""

    engine: str
    limit: int


Choices = Mapping[str, Choice]  # by ``group_id``


def group_id(config: Mapping[str, Any]) -> str:
    """16 hex digits, equal for runs that may share a pack."""
    return hashlib.sha256(group_key(config).encode()).hexdigest()[:16]


def choices_of(groups: Sequence[Sequence[Run]], suits: Suits, compute: Any, fixed: Choices
               ) -> dict[str, Choice]:
    """A choice for each group, by ``group_id``, from all runs of the sweep.

    ``fixed``: the choices made when the sweep was begun; they stay, whatever has changed since
    (runs that are done, the machine, its caches), but for what the user now asks for. Where there
    are few runs the packs are narrower, so that every slot gets some (balance costs less than
    waiting for the last pack).
    """
    slots = _slots(compute)
    share = rung(sum(map(len, groups)) // (slots.each * slots.packs) + 1) // 2
    limits: dict[str, int] = {}
    saved: dict[str, float] = {}
    for group in groups:
        one, config = group_id(group[0].config), group[0].config
        found = suits(config)
        if compute.pack != "auto":
            limits[one] = compute.pack
        else:
            limits[one] = fixed[one].limit if one in fixed else min(
                found.limit, max(FLOOR, share))
        graph = graph_id(config, limits[one], convolves=found.work.convolves)
        saved[graph] = saved.get(graph, 0.0) + _saving(group, limits[one], found)
    chosen = {}
    for group in groups:
        one, config = group_id(group[0].config), group[0].config
        found = suits(config)
        compiled = None if _always_penalised(group) else found.compiled
        if one in fixed and compute.compile == "auto":
            engine = fixed[one].engine
        else:
            graph = graph_id(config, limits[one], convolves=found.work.convolves)
            price = choice.LOAD_S if is_made(graph) else GAIN * choice.cost(found.work)
            pays = saved[graph] > price if compute.compile == "auto" else compute.compile
            engine = compiled if pays and compiled else found.engine
        chosen[one] = Choice(engine, limits[one])
    return chosen


def read_choices(content: bytes | None) -> dict[str, Choice]:
    """The choices of a sweep's folder; none where there is no file, or a damaged one."""
    try:
        return {one: Choice(**c) for one, c in json.loads(content or b"{}").items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def written(choices: Choices) -> bytes:
    """What ``read_choices`` reads."""
    return json.dumps({one: vars(c) for one, c in choices.items()}, indent=0).encode() + b"\n"


def packs_of(groups: Sequence[Sequence[Run]], todo: Container[str], choices: Choices
             ) -> list[PackPlan]:
    """Packs of the runs ``todo``."""
    packs = []
    for group in groups:
        chosen = choices[group_id(group[0].config)]
        packs += cut([r for r in group if r.run_id in todo], chosen.limit, chosen.engine)
    return packs


def graph_id(config: Mapping[str, Any], width: int, *, convolves: bool) -> str:
    """Equal for groups that one compiled graph serves on one kind of machine."""
    train = config["train"]
    facts = [config["model"], config["precision"], train["loss"], train["optimizer"]["name"],
             train["nesterov"], width if convolves else 0, *versions()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def is_made(graph: str) -> bool:
    """Whether such a graph was compiled on this machine before: then it is loaded in no time."""
    return (_made() / graph).exists() and any((cache.folder() / "graphs").glob("*.so"))


def note_made(graph: str) -> None:
    """Remembers that it was; a cache that cannot be written costs time, nothing else."""
    with contextlib.suppress(OSError):
        _made().mkdir(parents=True, exist_ok=True)
        (_made() / graph).touch()


def _made() -> Path:
    return cache.folder() / "made"


def _always_penalised(group: Sequence[Run]) -> bool:
    """Whether packs of the group may have the Fisher penalty at every step: such a step is never
    compiled."""
    return group[0].config["train"]["fisher_every"] == 1 and any(
        r.config["train"]["fisher_penalty"] > 0 for r in group)


def _saving(group: Sequence[Run], limit: int, found: Suitability) -> float:
    """Seconds that compiled steps save over the group; the bound of ``until`` counts as length."""
    if _always_penalised(group):
        return 0.0
    config = group[0].config
    steps = total_steps(config["train"], calendar(config["data"]["train_size"], config["train"]))
    each = [limit] * (len(group) // limit) + [rung(len(group) % limit)] * (len(group) % limit > 0)
    return steps * sum(choice.saving(found.work, engine=found.engine, width=w,
                                     batch_size=config["train"]["batch_size"]) for w in each)
