"""The probes of a plan: which runs each reads, its id, its cost, and what stands in its way."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator import axes, probes
from orchestrator.errors import Problem, UserError
from orchestrator.expressions import Expression
from orchestrator.ledger import Ledger
from orchestrator.packing import Run
from orchestrator.probes import ProbeSpec
from trainables.errors import InputError
from trainables.landscape import find
from trainables.monitors import Sizes

READABLE = ("finished", "stopped")  # outcomes whose weights are worth a look


@dataclass(frozen=True)
class ProbePlan:
    """One probe of finished runs; ``cost`` in gradients of one point over the training set."""

    probe_id: str
    kind: str
    options: Mapping[str, Any]
    seed: int
    runs: tuple[Run, ...]
    cost: float

    @property
    def weights(self) -> bool:
        """Whether it reads the weights of its runs, or their configs only."""
        return find(self.kind).weights


def probe_plans(spec: Any, runs: Sequence[Run], numerics: int) -> tuple[ProbePlan, ...]:
    """All probes of a spec, each once. UserError where an entry finds no runs to read; of a search
    such an entry has no probes, since what it will have asked for in the end is not known."""
    found: dict[str, ProbePlan] = {}
    problems: list[Problem] = []
    for i, chosen in enumerate(spec.probes):
        try:
            for subject in _subjects(chosen, runs, f"probes.{i}.{chosen.kind}"):
                probe = _probe(chosen, subject, numerics)
                found.setdefault(probe.probe_id, probe)
        except InputError as error:
            if not (spec.sweep.search and isinstance(error, _NoRuns)):
                problems.append(spec.problem(error.what, error.key, error.fix))
    if problems:
        raise UserError(*problems)
    return tuple(found.values())


def identity(kind: str, options: Mapping[str, Any], seed: int, run_ids: Sequence[str],
             numerics: int) -> str:
    """probe_id: first 16 hex digits of the SHA-256 of all that can change the probe's rows."""
    whole = {"kind": kind, "options": options, "seed": seed, "run_ids": list(run_ids),
             "numerics": numerics}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _probe(chosen: ProbeSpec, runs: tuple[Run, ...], numerics: int) -> ProbePlan:
    probe_id = identity(chosen.kind, chosen.options, chosen.seed, [r.run_id for r in runs],
                        numerics)
    sizes = Sizes(1, 1, 1, 1)
    if runs:
        data, config = runs[0].config["data"], runs[0].config
        sizes = Sizes(data["train_size"], data["test_size"], config["measure"]["set_size"],
                      config["train"]["batch_size"])
    cost = find(chosen.kind).cost(chosen.options, sizes, len(runs))
    return ProbePlan(probe_id, chosen.kind, chosen.options, chosen.seed, runs, cost)


# which runs

class _NoRuns(InputError):
    """An entry is well formed, but no run is what it asks for."""


def _subjects(chosen: ProbeSpec, runs: Sequence[Run], key: str) -> list[tuple[Run, ...]]:
    """The runs of each probe of an entry. InputError where there is none."""
    kind, given = find(chosen.kind), probes.conditions(chosen, key)
    if kind.arity == "none":
        return [()]
    if len(given) > 1:
        named = tuple(_only(condition, runs, at) for at, condition in given)
        _check_named(named, chosen, f"{key}.runs")
        return [named]
    kept = list(runs)
    for at, condition in given:
        kept = _kept(condition, runs, at)
        if not kept:
            raise _NoRuns(f"no run fulfils `{condition}`", key=at,
                          fix=f"none of {len(runs):,} runs does: change it, or the sweep's axes")
    if kind.arity == "one":  # by its config alone a cell's seeds are alike
        return [(r,) for r in kept] if kind.weights else [g[:1] for g in _groups(kept, ["seed"])]
    return _joined(chosen, kept, key)


def _joined(chosen: ProbeSpec, kept: Sequence[Run], key: str) -> list[tuple[Run, ...]]:
    """The first ``ends`` seeds of each cell; or of runs that differ in ``between`` alone, in the
    order of its values, each ``ends`` that follow one another."""
    if not kept:
        raise _NoRuns("there is no run yet", key=key, fix="its search has to ask for some first")
    ends = chosen.ends
    paths = [axes.scalar(n, kept[0].config["model"]) or n for n in chosen.between] or ["seed"]
    groups = [g for g in _groups(kept, paths) if len(g) >= ends]
    if not groups:
        differ = " and ".join(chosen.between) or "seed"
        raise _NoRuns(
            f"there are no {ends} runs that differ in {differ} alone", key=key,
            fix="say what they differ in (between: lr), or name each run (runs: [lr == 0.1, …])"
            if chosen.between else "give sweep.axes more seeds, or say in what else they differ, "
                                   "like between: lr")
    if not chosen.between:
        return [g[:ends] for g in groups]
    return [g[a : a + ends] for g in groups for a in range(len(g) - ends + 1)]


def _groups(runs: Sequence[Run], paths: Sequence[str]) -> list[tuple[Run, ...]]:
    """Runs that train alike in all but the scalars at ``paths``, in the order of these."""
    groups: dict[str, list[tuple[list[tuple[bool, Any]], Run]]] = {}
    for run in runs:
        rest = {k: v for k, v in run.config.items() if k != "measure"}
        values = [_taken(rest, path) for path in paths]
        key = json.dumps(rest, sort_keys=True)
        groups.setdefault(key, []).append(([_ordered(v) for v in values], run))
    return [tuple(run for _, run in sorted(g, key=lambda pair: pair[0])) for g in groups.values()]


def _taken(tree: dict[str, Any], path: str) -> Any:
    """The value at a dotted path, taken out of the tree; None where it has none."""
    head, _, rest = path.partition(".")
    if not rest:
        return tree.pop(head, None)
    tree[head] = dict(tree.get(head) or {})  # what lies deeper is shared with other runs
    return _taken(tree[head], rest)


def _ordered(value: Any) -> tuple[bool, Any]:
    """Numbers before everything else, which goes by its text."""
    number = isinstance(value, int | float)
    return not number, value if number else json.dumps(value)


def _kept(condition: str, runs: Sequence[Run], key: str) -> list[Run]:
    expression, kept = Expression(condition, key), []
    for run in runs:
        value = expression.value(probes.names(run.config))
        if not isinstance(value, bool):
            raise InputError(f"runs is {value!r}, not a condition", key=key,
                             fix="compare something: seed == 0 and batch_size <= 32")
        if value:
            kept.append(run)
    return kept


def _only(condition: str, runs: Sequence[Run], key: str) -> Run:
    kept = _kept(condition, runs, key)
    if len(kept) != 1:
        many = f"{len(kept):,} runs fulfil" if kept else "no run fulfils"
        raise (InputError if kept else _NoRuns)(
            f"{many} `{condition}`", key=key, fix="each condition of the list names one run: "
            + ("add what tells it apart" if kept else "change it"))
    return kept[0]


def _check_named(named: Sequence[Run], chosen: ProbeSpec, key: str) -> None:
    if len({r.run_id for r in named}) < len(named):
        raise InputError("two of the conditions name the same run", key=key, fix="name another")
    if any(r.config["model"] != named[0].config["model"] for r in named):
        raise InputError(f"the runs of one {chosen.kind} have different models", key=key,
                         fix="name runs of one model")
    if any(r.config["data"] != named[0].config["data"] for r in named):
        raise InputError(f"the runs of one {chosen.kind} have different training sets", key=key,
                         fix="name runs of one train_size")


# what stands in the way

def unmet(probe: ProbePlan, outcomes: Mapping[str, tuple[str, int]]) -> str:
    """Why a probe cannot be made yet: which of its runs has not ended; "" if it can."""
    missing = [r.run_id for r in probe.runs if r.run_id not in outcomes] if probe.weights else []
    return f"its run {missing[0]} has not ended" if missing else ""


def hopeless(probe: ProbePlan, outcomes: Mapping[str, tuple[str, int]]) -> str:
    """Why a probe will never be made: which of its runs has no weights worth a look; else ""."""
    for run in probe.runs if probe.weights else ():
        status, steps = outcomes.get(run.run_id, (READABLE[0], 0))
        if status not in READABLE:
            return f"its run {run.run_id} {status} at step {steps}"
    return ""


def weight_problems(plan: Any, ledger: Ledger) -> list[Problem]:
    """The runs that have ended without the weights that probes to do would read."""
    lacking = sorted(set(_weightless(plan, ledger)))
    if not lacking:
        return []
    shown = ", ".join(lacking[:4]) + (f" and {len(lacking) - 4} more" if len(lacking) > 4 else "")
    return [plan.spec.problem(
        f"probes read the weights of runs that ended without saving them: {shown}", "probes",
        "run the sweep under another name with save: {weights: final}, which probes imply")]


def _weightless(plan: Any, ledger: Ledger) -> Iterator[str]:
    reading = [p for p in plan.probes if p.weights]
    if reading:
        outcomes, there = ledger.outcomes(), set(ledger.store.names("weights"))
        for run in (r for p in reading for r in p.runs):
            status = outcomes.get(run.run_id, ("", 0))[0]
            if status in READABLE and f"{run.run_id}.safetensors" not in there:
                yield run.run_id
