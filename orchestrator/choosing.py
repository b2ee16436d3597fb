"""Which engine and width each group of runs gets: the rule table, applied to a whole sweep."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.packing import PackPlan, Run, cut, rung
from trainables import choice
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
        key = json.dumps([config["model"], config["train"]["batch_size"]], sort_keys=True)
        if key not in self._known:
            self._known[key] = examine(
                config, self._info.input_shape, self._info.classes, self._spec.base_dir,
                device=self._spec.compute.device)
            self.parameters = self.parameters or self._known[key].parameters
        return self._known[key]


def packs_of(groups: Sequence[Sequence[Run]], todo: set[str], suits: Suits,
             compute: Any) -> list[PackPlan]:
    """Packs of the runs ``todo``, a group's engine and width chosen from all of its runs.

    Not from those that are still to do: going on with a sweep must not change what its packs are.
    Where there are few runs the packs are narrower, so that every slot gets some (balance costs
    less than waiting for the last pack).
    """
    slots = max(1, int((os.cpu_count() or 1) / compute.cpus))
    share = rung(sum(map(len, groups)) // (PACKS_A_SLOT * slots) + 1) // 2
    limits, saved = [], {}
    for group in groups:
        found = suits(group[0].config)
        limit = min(found.limit, max(FLOOR, share)) if compute.pack == "auto" else compute.pack
        limits.append(limit)
        key = _graph(group[0].config, limit, found.work)
        saved[key] = saved.get(key, 0.0) + _saving(group, limit, found)
    packs = []
    for group, limit in zip(groups, limits, strict=True):
        found = suits(group[0].config)
        pays = saved[_graph(group[0].config, limit, found.work)] > GAIN * choice.cost(found.work)
        wanted = pays if compute.compile == "auto" else compute.compile
        engine = found.compiled if wanted and found.compiled else found.engine
        packs += cut([r for r in group if r.run_id in todo], limit, engine)
    return packs


def _graph(config: Mapping[str, Any], limit: int, work: choice.Work) -> str:
    """Equal for groups that one compiled graph serves."""
    train = config["train"]
    return json.dumps([config["model"], config["precision"], train["loss"], train["optimizer"],
                       train["nesterov"], limit if work.convolves else 0], sort_keys=True)


def _saving(group: Sequence[Run], limit: int, found: Suitability) -> float:
    """Seconds that compiled steps save over the group; the bound of ``until`` counts as length."""
    config = group[0].config
    steps = total_steps(config["train"], calendar(config["data"]["train_size"], config["train"]))
    each = [limit] * (len(group) // limit) + [rung(len(group) % limit)] * (len(group) % limit > 0)
    return steps * sum(choice.saving(found.work, engine=found.engine, width=w,
                                     batch_size=config["train"]["batch_size"]) for w in each)
