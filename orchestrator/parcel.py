"""What a cluster is sent to run a sweep: the spec, the code beside it, and the command.

Only what the sweep needs travels: Python files where the spec names functions, and small data that
its relative paths name. Nothing hidden, no environment, no results.
"""

import json
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, UserError

MOST_BYTES, MOST_FILES = 64 << 20, 2000
_DATA_PATHS = ("path", "test_path")
_LEFT_OUT = ("sweeps", "data", "node_modules", "site-packages", "__pycache__", "build", "dist")


@dataclass(frozen=True)
class Parcel:
    """``files``: path in the job's folder -> file here. ``arguments``: of ``sgdscope``.

    ``sweep`` names what the job writes, <storage>/<name>: no two jobs may do so at once.
    """

    name: str
    sweep: str
    files: Mapping[str, Path]
    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        """The job's command line."""
        return shlex.join(("sgdscope", *self.arguments))

    @property
    def metadata(self) -> dict[str, str]:
        """What the cluster keeps of the job; ``jobs.Job`` reads it."""
        return {"sgdscope_name": self.name, "sgdscope_sweep": self.sweep}

    def unpack(self, folder: Path) -> None:
        """Copies the files into an empty folder, as they lie on the cluster."""
        for path, file in self.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)

    def plain_line(self, address: str, job: str, *, wait: bool) -> str:
        """The `ray job submit` that does the same, from a folder that holds the files."""
        return (f"ray job submit --address {shlex.quote(address)} --submission-id {job}"
                f" --metadata-json {shlex.quote(json.dumps(self.metadata))}"
                f" --working-dir {'.' if self.files else '…'}"
                f"{'' if wait else ' --no-wait'} -- {self.command}")


def pack(spec: Any, *, yes: bool = False) -> Parcel:
    """The parcel of a spec; UserError with all that would not be found on the cluster."""
    problems = [*_storage_problems(spec)]
    data, told = _data_files(spec)
    files = dict(_code(spec.base_dir)) if names_functions(spec) else {}
    files |= data
    source, is_file = spec.source, Path(spec.source).is_file()
    if is_file:
        source = Path(spec.source).name
        files[source] = Path(spec.source)
    problems += told or _size_problems(spec, files)
    if problems:
        raise UserError(*problems)
    overrides = [part for text in spec.overrides for part in ("-s", text)]
    arguments = ("run", source, "--address", "auto", *(["--yes"] if yes else []), *overrides)
    return Parcel(spec.name, f"{spec.storage.rstrip('/')}/{spec.name}", files, arguments)


def names_functions(spec: Any) -> bool:
    """Whether a model, data or whatever else of the spec is given as module:function."""
    from trainables.userfunction import NAME

    values = re.findall(r'"([^"]*)"', json.dumps(spec.resolved(), default=str))
    return any(NAME.fullmatch(v) for v in values)


def _storage_problems(spec: Any) -> list[Problem]:
    if spec.storage.startswith(("/", "~")) or "://" in spec.storage:
        return []
    return [spec.problem(
        f"storage {spec.storage!r} is relative: on the cluster it would lie in the job's own"
        " folder, which no other node sees and which goes with the job", "storage",
        "give a folder that all nodes share, like --storage /mnt/shared/sweeps, or a bucket:"
        " --storage s3://bucket/sweeps")]


def _data_files(spec: Any) -> tuple[dict[str, Path], list[Problem]]:
    """The data that relative paths name, where it is here and small; and what is neither."""
    found, problems = {}, []
    for option in _DATA_PATHS:
        given = spec.data.get(option)
        if not isinstance(given, str) or given.startswith(("/", "~")) or "://" in given:
            continue
        place = spec.base_dir / given
        if ".." in Path(given).parts or not place.exists():
            problems.append(spec.problem(
                f"{option} {given!r} is not in the spec's folder, so it cannot be sent",
                f"data.{option}", "give the absolute path that it has on every node"))
        else:
            files = [place] if place.is_file() else sorted(p for p in place.rglob("*")
                                                           if p.is_file())
            found |= {str(p.relative_to(spec.base_dir)): p for p in files[:MOST_FILES + 1]}
    return found, problems


def _code(folder: Path) -> Iterator[tuple[str, Path]]:
    """The Python files of a folder and the folders in it."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or (path.is_symlink() and path.is_dir()):
            continue
        if path.is_file() and path.suffix == ".py":
            yield path.name, path
        elif path.is_dir() and not _is_left_out(path):
            yield from ((f"{path.name}/{name}", file) for name, file in _code(path))


def _is_left_out(folder: Path) -> bool:
    """Results, data and environments."""
    return folder.name in _LEFT_OUT or any(
        (folder / mark).exists() for mark in ("pyvenv.cfg", "resolved.yaml", "conda-meta"))


def _size_problems(spec: Any, files: Mapping[str, Path]) -> list[Problem]:
    size = sum(f.stat().st_size for f in files.values())
    if size <= MOST_BYTES and len(files) <= MOST_FILES:
        return []
    return [Problem(
        f"{len(files)} files of {size / 1e6:.0f} MB would be sent, at most {MOST_FILES} of"
        f" {MOST_BYTES / 1e6:.0f} MB can be", str(spec.base_dir),
        "keep spec and code in a folder of their own, and data where every node sees it")]
