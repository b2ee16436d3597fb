"""From a spec to what has to be done: runs with ids, packs, and their cost."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from orchestrator import measuring
from orchestrator.errors import Problem, UserError
from orchestrator.ledger import Ledger
from orchestrator.names import SIZE, places
from orchestrator.packing import PackPlan, Run, group
from orchestrator.presumed import Presumed, presumed
from orchestrator.probeplan import ProbePlan, probe_plans
from orchestrator.stores import Place, Store, open_store, reach
from orchestrator.stores.place import inside, placed

NUMERICS = 1  # raised only when results change on purpose
MOST_RUNS = 100_000
CHOICES = "engines.json"  # in a sweep's folder: engine and width of each group of runs
# Where a data set lies does not change its content; its hash is part of the identity.
_PLACES = ("path", "test_path", "root", "download")


@dataclass(frozen=True)
class Plan:
    """A spec's runs and the packs that are still to do."""

    spec: Any
    data: Any                     # trainables.datasets.DataInfo
    parameters: int               # of the first model
    runs: tuple[Run, ...]
    ended: frozenset[str]         # ids of this plan's runs whose final row is published
    packs: tuple[PackPlan, ...]   # to do; begun ones with exactly their members, first
    begun: frozenset[str]         # pack_ids that have a state or were fixed
    strangers: int                # runs in the tables that the spec no longer names
    choices: Mapping[str, Any]    # choosing.Choice by group_id, the folder's earlier ones too
    probe_ids: tuple[str, ...]    # of all probes of the spec
    probes: tuple[ProbePlan, ...]  # to do
    search: Any = None            # search.planning.SearchPlan, where runs are asked for as it goes

    @property
    def folder(self) -> Place:
        return folder_of(self.spec)

    @property
    def store(self) -> Store:
        return open_store(self.folder)

    @property
    def whole(self) -> "Plan":
        """The plan with the packs that a search is expected to ask for; else the plan itself."""
        return self if self.search is None else self.search.expected(self)

    @property
    def missing(self) -> tuple[Run, ...]:
        return tuple(r for r in self.runs if r.run_id not in self.ended)


def folder_of(spec: Any) -> Place:
    """The sweep's folder: <storage>/<name>."""
    return inside(placed(spec.storage), spec.name)


def identity(config: Mapping[str, Any], data_sha256: str) -> str:
    """run_id: first 16 hex digits of the SHA-256 of everything that can change the run's rows."""
    return identities([config], [data_sha256])[0]


def identities(configs: Sequence[Mapping[str, Any]], data_sha256: Sequence[str]) -> list[str]:
    """The ``identity`` of each; the text of a section that configs share is made once."""
    known: dict[tuple[str, int], str] = {}  # the configs keep what the ids stand for

    def text(name: str, value: Any, sha256: str) -> str:
        if (name, id(value)) not in known:
            content = _placeless(value) | {"sha256": sha256} if name == "data" else value
            known[name, id(value)] = f"{_canonical(name)}:{_canonical(content)}"
        return known[name, id(value)]

    found = []
    for config, sha256 in zip(configs, data_sha256, strict=True):
        parts = sorted({**config, "numerics": NUMERICS}.items())
        whole = ",".join(text(n, v, sha256) for n, v in parts)
        found.append(hashlib.sha256(f"{{{whole}}}".encode()).hexdigest()[:16])
    return found


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def make_plan(spec: Any, *, yes: bool = False, presume: bool = False) -> Plan:
    """The plan of a spec against what its folder already holds. Reads only; writes nothing.

    ``presume``: data that are not here are taken to be as their name says, for the costs alone.
    """
    from orchestrator.grid import count_cells, expand, run_configs

    reach(folder_of(spec))
    if spec.sweep.search is not None:
        from orchestrator.search.planning import plan_search

        return plan_search(spec)
    count = count_cells(spec)
    if count > MOST_RUNS and not yes:
        raise UserError(spec.problem(
            f"the grid has {count:,} cells, more than {MOST_RUNS:,}", "sweep.axes",
            "make it coarser, or say --yes if you mean it"))
    info = (presumed(spec) if presume else None) or data_of(spec)
    runs = runs_of(spec, info, run_configs(spec, expand(spec, info.train_size)))
    return against(spec, info, runs, suits_of(spec, info, runs))


def data_of(spec: Any) -> Any:
    """What the section ``data`` describes; UserError where it cannot be read."""
    return _told(spec, _describe, "data")


def runs_of(spec: Any, info: Any, configs: Sequence[Mapping[str, Any]]) -> tuple[Run, ...]:
    """The runs of configs, each once; their data described, what is measured within the budget."""
    infos = _infos(spec, configs, info)
    sized = _sized(configs, infos)
    full = _told(
        spec, lambda s: measuring.budgeted(sized, s.measure.budget, s.base_dir, info.classes),
        "measure.budget")
    ids = identities(full, [infos[c["data"]["train_size"]].sha256 for c in full])
    return tuple({i: Run(i, c) for i, c in zip(ids, full, strict=True)}.values())


def suits_of(spec: Any, info: Any, runs: Sequence[Run]) -> Any:
    """choosing.Suits, which has built each model of the runs; UserError where one cannot be."""
    from orchestrator.choosing import Suits  # imports torch: Ray starts meanwhile

    suits = Suits(spec, info)
    for config in {id(r.config["model"]): r.config for r in runs}.values():
        _told(spec, lambda _, c=config: suits(c), "model")
    return suits


def contents_of(spec: Any, sizes: Iterable[int], info: Any) -> dict[int, str]:
    """SHA-256 of the data's content by training size; a size that the data cannot have is left out.
    """
    found = {info.train_size: info.sha256}
    for size in sizes:
        if size not in found:
            with suppress(UserError):
                found[size] = _described(spec, size).sha256
    return found


def _infos(spec: Any, configs: Sequence[Mapping[str, Any]], info: Any) -> dict[int | None, Any]:
    """The data by their size, each described once; ``info`` is that of the section ``data``."""
    infos = {spec.data["train_size"]: info, info.train_size: info}
    for size in {c["data"]["train_size"]: None for c in configs}:
        if size not in infos:
            infos[size] = (info.of_size(size) if isinstance(info, Presumed)
                           else _described(spec, size))
    return infos


def _described(spec: Any, size: int) -> Any:
    from trainables.errors import InputError

    try:
        return _describe(replace(spec, data={**spec.data, "train_size": size}))
    except InputError as error:
        key = [*places(spec, SIZE), "data"][0]
        raise UserError(spec.problem(error.what, key, error.fix)) from error


def _sized(configs: Sequence[Mapping[str, Any]], infos: Mapping[int | None, Any]
           ) -> list[dict[str, Any]]:
    """The configs with the sizes that their data have; those of one size share both sections."""
    known: dict[int | None, dict[str, Any]] = {}
    for config in configs:
        data, measure = config["data"], config["measure"]
        if data["train_size"] not in known:
            info = infos[data["train_size"]]
            known[data["train_size"]] = {
                "data": {**data, "train_size": info.train_size, "test_size": info.test_size},
                "measure": {**measure,
                            "set_size": min(info.train_size, measure.get("set_size") or 2048)}}
    return [{**c, **known[c["data"]["train_size"]]} for c in configs]


def against(spec: Any, info: Any, runs: Sequence[Run], suits: Any) -> Plan:
    """The plan of runs, against what the sweep's folder holds of them."""
    ledger = Ledger(open_store(folder_of(spec)))
    wanted = {r.run_id: r for r in runs}
    taken: list[PackPlan] = []
    for fixed in ledger.open_packs():
        members = tuple(Run(m["run_id"], m["config"]) for m in fixed["members"])
        if any(m.run_id in wanted for m in members):
            taken.append(PackPlan(fixed["pack_id"], members, fixed["width"], fixed["engine"]))
    tabled = ledger.ended_runs()  # in this order no pack can end unseen between the two
    held = {m.run_id for p in taken for m in p.members}
    probes, made = probe_plans(spec, runs, NUMERICS), ledger.ended_probes()
    todo = {r.run_id for r in runs} - tabled - held
    from orchestrator.choosing import choices_of, packs_of, read_choices

    groups, fixed = group(runs), read_choices(ledger.store.read(CHOICES))
    choices = choices_of(groups, suits, spec.compute, fixed)
    fresh = packs_of(groups, todo, choices)
    return Plan(
        spec=spec, data=info, parameters=suits.parameters, runs=tuple(runs),
        ended=frozenset(tabled & set(wanted)), packs=(*taken, *fresh),
        begun=frozenset(p.pack_id for p in taken), strangers=len(tabled - set(wanted)),
        choices={**fixed, **choices}, probe_ids=tuple(p.probe_id for p in probes),
        probes=tuple(p for p in probes if p.probe_id not in made))


def _describe(spec: Any) -> Any:
    from trainables.datasets import describe

    return describe(spec.data, spec.base_dir)


def _told(spec: Any, ask: Any, key: str) -> Any:
    """What ``ask(spec)`` says, its InputError turned into a located problem of the spec."""
    from trainables.errors import InputError

    try:
        return ask(spec)
    except InputError as error:
        raise UserError(spec.problem(error.what, error.key or key, error.fix)) from error


def resolved_tree(plan: Plan) -> dict[str, Any]:
    """What resolved.yaml holds: the whole spec, the data's hash, and versions."""
    from orchestrator import __version__

    return {**plan.spec.resolved(), "data_sha256": plan.data.sha256,
            "numerics": NUMERICS, "sgdscope_version": __version__}


FROZEN = ("data", "model", "train", "measure")


def check_unchanged(plan: Plan, earlier: Mapping[str, Any]) -> None:
    """Refuses a spec that differs, in what may not change, from the one its folder was made by."""
    now = resolved_tree(plan)
    before = {**earlier, "data": _placeless(earlier.get("data"))
              | {"sha256": earlier.get("data_sha256")}}
    now = {**now, "data": _placeless(now["data"]) | {"sha256": now["data_sha256"]}}
    problems: list[Problem] = []
    for section in FROZEN:
        for key, old, new in _differences(before.get(section), now.get(section), section):
            problems.append(plan.spec.problem(
                f"`{key}` was {old!r} and is now {new!r}, but {plan.folder} was made by the former",
                key, "choose another name: (or storage:), or restore the value"))
    if problems:
        raise UserError(*problems)


def _placeless(data: Mapping[str, Any] | None) -> dict[str, Any]:
    return {k: v for k, v in (data or {}).items() if k not in _PLACES}


def _differences(old: Any, new: Any, key: str) -> list[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [d for k in dict.fromkeys((*old, *new))
                for d in _differences(old.get(k), new.get(k), f"{key}.{k}")]
    plain_old, plain_new = (json.loads(json.dumps(v)) for v in (old, new))
    return [] if plain_old == plain_new else [(key, plain_old, plain_new)]
