"""The section ``claims`` of a spec: names of the field's claims, and functions of the user's own.

    claims: [three_factors/sharpness_falls, {three_factors/ratio_law: {margin: 0.2}}, my:claim]
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from analysis.claims import NAMES, known
from orchestrator.errors import each
from trainables import userfunction
from trainables.errors import InputError
from trainables.options import did_you_mean

if TYPE_CHECKING:
    from analysis.claims.claim import Claim

Chosen: TypeAlias = tuple[tuple[str, Mapping[str, float]], ...]


def section(given: Sequence[Any], base_dir: Path) -> Chosen:
    """(id, options) of each entry, the options as given. InputErrors for what is unknown."""
    found: dict[str, Mapping[str, float]] = {}

    def one(entry: Any, key: str) -> None:
        name, options = _entry(entry, key)
        if name in found:
            raise InputError(f"the claim {name} is listed twice", key=key, fix="remove one")
        _check_name(name, base_dir, key)
        known = _options(name, base_dir, key) if options else {}
        for option, value in options.items():
            where = f"{key}.{name}.{option}"
            if option not in known:
                raise InputError(
                    f"the claim {name} has no option `{option}`", key=where,
                    fix=did_you_mean(option, known, "options") if known else "it has none")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"{option} is {value!r}", key=where, fix="write a number")
        found[name] = {option: float(value) for option, value in options.items()}

    each(one, given, "claims")
    return tuple(found.items())


def tree(chosen: Chosen) -> list[Any]:
    """The section as it is written: bare names, and one-key maps where there are options."""
    return [{name: dict(options)} if options else name for name, options in chosen]


def untree(written: Sequence[Any]) -> Chosen:
    """What ``tree`` wrote, read back; nothing is checked."""
    pairs = ((entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
             for entry in written)
    return tuple(pairs)


def own(chosen: Chosen, base_dir: Path) -> "tuple[Claim, ...]":
    """The user's own claims among them; one whose function is gone says so when it is judged."""
    from analysis.claims.own import missing

    found = []
    for name, _ in chosen:
        if ":" in name:
            try:
                found.append(_claim(name, base_dir, "claims"))
            except InputError as error:
                found.append(missing(name, f"its function ({error.what}): give this command in the "
                                           "folder of that module, the spec's"))
    return tuple(found)


def _entry(entry: Any, key: str) -> tuple[str, Mapping[str, Any]]:
    if isinstance(entry, Mapping) and len(entry) == 1:
        (name, options), = entry.items()
        if isinstance(name, str) and (options is None or isinstance(options, Mapping)):
            return name, options or {}
    if isinstance(entry, str):
        return entry, {}
    raise InputError(f"{entry!r} in claims", key=key,
                     fix="write a name, {name: {option: 0.1}}, or module:function")


def _claim(name: str, base_dir: Path, key: str) -> "Claim":
    from analysis.claims.own import claim_of, problems

    function = userfunction.find(name, base_dir, key=key)
    if wrong := problems(function):
        raise InputError(f"the claim {name} {wrong[0]}", key=key,
                         fix='give it: my_claim.words = "…"; my_claim.test = "…"')
    return claim_of(name, function)


def _check_name(name: str, base_dir: Path, key: str) -> None:
    if ":" in name:
        _claim(name, base_dir, key)
    elif name not in NAMES:
        raise InputError(f"unknown claim {name!r}", key=key,
                         fix=did_you_mean(name, NAMES, "claims"))


def _options(name: str, base_dir: Path, key: str) -> Mapping[str, float]:
    return (_claim(name, base_dir, key) if ":" in name else known()[name]).options
