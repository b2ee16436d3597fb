"""`sgdscope doctor`: what this machine has, and what stands in the way of a sweep."""

import importlib.metadata
import json
import os
import sys
from dataclasses import asdict, dataclass

from orchestrator import authentication, preflight
from orchestrator.errors import UserError
from orchestrator.stores import Place, open_store, placed
from orchestrator.stores.place import inside

PACKAGES = ("torch", "torchvision", "ray", "optuna", "pandas", "pyarrow")


@dataclass(frozen=True)
class Check:
    """One thing looked at. ``fine`` is False only for what would stop a sweep."""

    what: str
    found: str
    fine: bool = True
    fix: str = ""


def examine(storage: Place) -> list[Check]:
    """All checks; takes seconds, writes nothing that stays."""
    return [_python(), *map(_package, PACKAGES), _cpus(), _gpus(), _compiler(), _token(),
            _storage(storage), _space(storage)]


def _python() -> Check:
    return Check("python", sys.version.split()[0], sys.version_info >= (3, 11),
                 "use Python 3.11 or newer")


def _package(name: str) -> Check:
    try:
        return Check(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "missing", fine=False, fix="pip install sgdscope")


def _cpus() -> Check:
    return Check("CPUs", f"{os.cpu_count()}")


def _gpus() -> Check:
    count = preflight.gpu_count()
    return Check("GPUs", f"{count}" if count else "none: packs run on CPUs")


def _compiler() -> Check:
    from trainables.choice import can_compile

    return Check("C++ compiler", "found: steps are compiled where that pays" if can_compile()
                 else "none on the PATH (g++ or clang++): steps are not compiled, the plain "
                 "engines serve")


def _token() -> Check:
    file = authentication.token_file(os.environ)
    if not authentication.token_of(os.environ):
        return Check("Ray's token", "none: made up for each run; a cluster needs one (ray "
                     "get-auth-token --generate)")
    if authentication.readable_by_others(os.environ):
        return Check("Ray's token", f"there, but other users may read it: chmod 600 {file}")
    return Check("Ray's token", "there, and yours alone")


def _storage(folder: Place) -> Check:
    problems = preflight.storage_problems(inside(placed(folder), "doctor"))
    if problems:
        return Check("storage", problems[0].what, fine=False, fix=problems[0].fix)
    return Check("storage", f"{folder}: files can be created there once and for all")


def _space(folder: Place) -> Check:
    try:
        free = open_store(folder).free()
    except UserError as error:
        return Check("free space", error.problems[0].what, fine=False, fix=error.problems[0].fix)
    if free is None:
        return Check("free space", "an object store has no end")
    return Check("free space", f"{free / 1e9:.1f} GB", free > 1e9, "free at least 1 GB")


def as_text(checks: list[Check]) -> str:
    """A line a check; what to do where one fails."""
    lines = []
    for c in checks:
        lines.append(f"{'ok ' if c.fine else 'BAD'} {c.what.ljust(13)} {c.found}")
        if not c.fine:
            lines.append(f"    {c.fix}")
    return "\n".join(lines)


def as_json(checks: list[Check]) -> str:
    """The checks, for programs."""
    return json.dumps([asdict(c) for c in checks])
