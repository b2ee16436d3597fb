"""The section ``probes`` of a spec: which kinds, of which runs, with which options."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator import axes, sections
from orchestrator.errors import Problem, each
from orchestrator.expressions import Expression
from orchestrator.names import SIZE, chosen
from orchestrator.sections import Save
from orchestrator.training import NAMED, nested
from trainables.errors import InputError
from trainables.landscape import ARITIES, ProbeKind, find
from trainables.options import Option, Table, did_you_mean, fill, optional, text, whole


@dataclass(frozen=True)
class ProbeSpec:
    """One entry: a kind with its options, and the runs that each probe of it reads.

    ``runs``: none for every run, one condition that they fulfil, or one condition for each run of
    a single probe. ``between``: the scalars in which the runs of a probe differ; none for the first
    seeds of each cell. ``ends``: how many runs a probe reads.
    """

    kind: str
    options: Mapping[str, Any]
    seed: int
    runs: tuple[str, ...]
    between: tuple[str, ...]
    ends: int

    def tree(self) -> dict[str, Any]:
        """The entry as it may be written in a spec, all options filled in."""
        own: dict[str, Any] = {"seed": self.seed}
        if self.runs:
            own["runs"] = list(self.runs) if len(self.runs) > 1 else self.runs[0]
        if self.between:
            own["between"] = list(self.between)
        if "ends" in _own(find(self.kind)) and len(self.runs) < 2:
            own["ends"] = self.ends
        return {self.kind: {**self.options, **own}}


def _own(kind: ProbeKind) -> Table:
    """The keys beside a kind's options: the probe's own seed, and which runs it reads."""
    least, most = ARITIES[kind.arity]
    found = {"seed": sections.SEED}
    if most:
        wanted = "a condition, like seed == 0 and batch_size <= 32"
        found["runs"] = optional(Option(None, lambda v: _is_texts(v, several=most > 1), wanted + (
            "; or a list of conditions, one for each run" if most > 1 else "")))
    if most > 1:
        found["between"] = optional(Option(None, lambda v: _is_texts(v, several=True),
                                           "a scalar, like seed or lr, or a list of them"))
    if most > least:
        found["ends"] = whole(least, least, most)
    return found


def _is_texts(value: Any, *, several: bool) -> bool:
    if several and isinstance(value, list):
        return bool(value) and all(map(text(None).accepts, value))
    return text(None).accepts(value)


def section(given: Sequence[Any]) -> tuple[ProbeSpec, ...]:
    """The resolved section ``probes``."""
    return tuple(each(_entry, given, "probes"))


def _entry(given: Any, key: str) -> ProbeSpec:
    name, options = given, None
    if isinstance(given, Mapping):
        if len(given) != 1:
            raise InputError(f"a probe with {len(given)} names", key=key,
                             fix="write each as an item of its own: - interpolation: {points: 31}")
        ((name, options),) = given.items()
    if not isinstance(options, Mapping | None):
        raise InputError(f"the options of {name} are {options!r}", key=f"{key}.{name}",
                         fix=f"write {{{name}: {{option: value}}}}")
    try:
        kind = find(name)
    except InputError as error:  # the registry does not know where in the list it stands
        raise InputError(error.what, key=key, fix=error.fix) from None
    own = _own(kind)
    full = fill(options or {}, {**kind.options, **own}, section=f"{key}.{name}",
                subject=f"probe {name}")
    runs, between = (tuple([v] if isinstance(v, str) else v or ())
                     for v in (full.get("runs"), full.get("between")))
    least = ARITIES[kind.arity][0]
    ends = len(runs) if len(runs) > 1 else full.get("ends", least)
    rest = {n: v for n, v in full.items() if n not in own}
    return ProbeSpec(name, sections.rounded(rest), full["seed"], runs, between, ends)


def reads_weights(chosen: Collection[ProbeSpec]) -> bool:
    """Whether any of them needs the weights of the runs."""
    return any(find(c.kind).weights for c in chosen)


def save(given: Mapping[str, Any], chosen: Collection[ProbeSpec]) -> Save:
    """The resolved section ``save``: probes that read weights imply ``weights: final``."""
    found = sections.save(given)
    if not reads_weights(chosen):
        return found
    if given.get("weights") == "none":
        raise InputError("save.weights is none, but there are probes that read weights",
                         key="save.weights", fix="remove it, or write weights: final")
    return dataclasses.replace(found, weights="final")


def check(spec: Any) -> list[Problem]:
    """What is wrong with the conditions and scalars of the probes, before there are any runs."""
    return [spec.problem(e.what, e.key, e.fix) for i, chosen in enumerate(spec.probes)
            for e in _wrong(chosen, f"probes.{i}.{chosen.kind}", spec)]


def _wrong(chosen: ProbeSpec, key: str, spec: Any) -> Iterator[InputError]:
    kind = find(chosen.kind)
    for at, condition in conditions(chosen, key):
        try:
            unknown = sorted(Expression(condition, at).names - _known(spec))
        except InputError as error:
            yield error
            continue
        if unknown and spec.model:
            known = sorted(n for n in _known(spec) if "." not in n)
            yield InputError(f"`{condition}` uses `{unknown[0]}`, which no run has", key=at,
                             fix=did_you_mean(unknown[0], known, "names"))
    if len(chosen.runs) > 1 and not kind.accepts(len(chosen.runs)):
        yield InputError(f"{chosen.kind} of {len(chosen.runs)} runs", key=f"{key}.runs",
                         fix=f"it reads {kind.arity}; for all that fulfil one of these conditions "
                             "join them by `or`")
    if len(chosen.runs) > 1 and chosen.between:
        yield InputError("runs names each run, and between too", key=f"{key}.between",
                         fix="remove one of the two")
    for name in chosen.between if spec.model else ():
        try:
            yield from _wrong_between(name, axes.scalar(name, spec.model), key, spec)
        except InputError as error:
            yield InputError(error.what, key=f"{key}.between", fix=error.fix)


def _wrong_between(name: str, path: str | None, key: str, spec: Any) -> Iterator[InputError]:
    if path is None:
        yield InputError(f"`{name}` names no scalar of a run", key=f"{key}.between",
                         fix=axes.nearest(name, spec.model))
    elif path.startswith(("model.", "data.")):
        what = "models" if path.startswith("model.") else "training sets"
        yield InputError(f"runs that differ in {name} have different {what}", key=f"{key}.between",
                         fix="name seed, or a scalar of train")


def conditions(chosen: ProbeSpec, key: str) -> list[tuple[str, str]]:
    """(dotted key, condition) of each condition of an entry that stands at ``key``."""
    listed = len(chosen.runs) > 1
    return [(f"{key}.runs.{i}" if listed else f"{key}.runs", c) for i, c in enumerate(chosen.runs)]


def _known(spec: Any) -> set[str]:
    found = {"seed", "ratio", "effective_ratio", "true", "false"}
    scalars = [*(f"train.{n}" for n in spec.train if n != "until"), *sections.NOISE,
               SIZE, *(f"train.{n}" for n in nested()),
               *(f"model.{n}" for n in spec.model or () if n != "name")]
    return found.union(*(axes.aliases(n, spec.model or {}) for n in scalars))


def names(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a condition sees of a run: its scalars under all their names, and its ratios."""
    train, model = config["train"], config["model"]
    scalars: dict[str, Any] = {SIZE: config["data"]["train_size"]}
    scalars |= {f"train.{n}": v for n, v in train.items() if n not in NAMED}
    for name in NAMED:
        scalars |= chosen(name, train[name])
    scalars |= {f"model.{n}": v for n, v in model.items() if n != "name"}
    scalars |= {n: config["noise"][short] for n, (short, _) in sections.NOISE.items()}
    found: dict[str, Any] = {"seed": config["seed"], "true": True, "false": False}
    for name, value in scalars.items():
        if isinstance(value, int | float | str):
            found |= dict.fromkeys(axes.aliases(name, model), value)
    ratio = train["lr"] / train["batch_size"]
    effective = ratio / (1 - train["momentum"])
    # To ten digits, as the columns of these names are.
    return found | {"ratio": float(f"{ratio:.10g}"), "effective_ratio": float(f"{effective:.10g}")}
