"""The common form of what a bench tells: the machine, the versions, a table, one JSON file.

    report.option(parser)                        # --json PATH
    report.finish("scale", found, asked.json)    # adds the machine, writes, says where

Standard library alone, so that a machine without our dependencies can use it too.
"""
# ruff: noqa: T201

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "numpy", "scipy", "ray", "pandas", "pyarrow", "PyHessian",
            "curvlinops-for-pytorch")


def option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--json``; left out, ``finish`` makes up a name in bench/results."""
    parser.add_argument("--json", type=Path, metavar="FILE", dest="json",
                        help="write the result there (default: bench/results/NAME-DATE.json)")


def machine(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Processor, cores, memory, load, and the versions of those packages that are there."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    return {"processor": _listed("/proc/cpuinfo", "model name") or platform.machine(),
            "cores": cores, "memory_gib": _memory_gib(), "load_1_min": os.getloadavg()[0],
            "system": platform.system(), "python": platform.python_version(),
            "versions": {p: v for p in packages if (v := _version(p))}}


def _listed(path: str, key: str) -> str | None:
    file = Path(path)
    lines = file.read_text().splitlines() if file.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(key))
    return next(named, None)


def _memory_gib() -> float | None:
    """Of the machine, or of the container where that has less."""
    total = (_listed("/proc/meminfo", "MemTotal") or "").split()
    limit = Path("/sys/fs/cgroup/memory.max")
    known = [int(total[0]) / 2**20] if total else []
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        known.append(int(text) / 2**30)
    return round(min(known), 1) if known else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def told(of: Mapping[str, Any]) -> str:
    """The machine in a line."""
    versions = ", ".join(f"{n} {v}" for n, v in of["versions"].items())
    device = f"{of['device']}, " if of.get("device") else ""
    return (f"{device}{of['processor']}, {of['cores']} cores, {of['memory_gib']} GiB, "
            f"load {of['load_1_min']:.1f}; Python {of['python']}, {versions}")


def finish(name: str, found: Mapping[str, Any], path: Path | None = None) -> Path:
    """Writes ``found`` with the machine and the date (unless it has its own); says where."""
    now = time.localtime()
    place = path or RESULTS / f"{name}-{time.strftime('%Y%m%d-%H%M%S', now)}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    whole = {"bench": name, "date": time.strftime("%Y-%m-%dT%H:%M:%S%z", now),
             "machine": machine(), **found}
    place.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    print(f"\nwritten: {place}")
    return place


def newest(name: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    """The last result of that bench in a folder, by the date within it."""
    found = [json.loads(p.read_text()) for p in folder.glob("*.json")]
    return max((f for f in found if f.get("bench") == name), key=lambda f: f["date"], default=None)


def ratio(times: Sequence[float], base: Sequence[float]) -> float:
    """How many times faster ``times`` are than ``base``: the median over interleaved repeats.

    Repeat by repeat, because a machine that others load slows neighbours in time alike.
    """
    return statistics.median(b / t for t, b in zip(times, base, strict=True))


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """Rows under the columns' names; a format like ``>8.2f`` a column, absent values as ``-``."""
    head = "  ".join(f"{n:{spec.split('.')[0].rstrip('sdf,%')}}" for n, spec in columns.items())
    return "\n".join([head, *(line(r, columns) for r in rows)])


def line(row: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """One row of a table."""
    def cell(name: str, spec: str) -> str:
        value = row.get(name)
        plain = spec.split(".")[0].rstrip("sdf,%")
        return f"{'-':{plain}}" if value is None else f"{value:{spec}}"

    return "  ".join(cell(n, spec) for n, spec in columns.items()).rstrip()
