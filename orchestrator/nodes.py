"""The nodes of a cluster: what each tells of itself, and what of that stands in a sweep's way."""

import contextlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import Problem

PACKAGES = ("ray", "torch", "sgdscope")
WAYS_OUT = ("give a folder that every node mounts at the same path (NFS), or a bucket: --storage"
            " s3://bucket/sweeps; or run on one node: sgdscope run without --address")
_LISTEN = "0A"
_LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")


@dataclass(frozen=True)
class Node:
    """A node as it was found. ``silent``: why it told nothing of itself; empty where it did.

    ``reads``: whether it sees what the driver wrote to the storage; None where none was given.
    ``wrote``: the file that it wrote there, for the driver to look for; ``refused``: why it could
    not. ``listening``: "port program" of what others may reach.
    """

    name: str
    address: str
    cpus: float
    gpus: float
    silent: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    token: bool = True
    reads: bool | None = None
    wrote: str = ""
    refused: str = ""
    free_bytes: int | None = None
    listening: Sequence[str] = ()


def look(storage: str, marker: str) -> dict[str, Any]:
    """What a node tells of itself; runs there. Takes a second, leaves ``wrote`` in the storage."""
    told: dict[str, Any] = {"versions": versions(), "listening": list(listening()),
                            "token": os.environ.get("RAY_AUTH_MODE", "").lower() == "token"}
    if not storage:
        return told
    from analysis.errors import StorageError
    from orchestrator.errors import UserError
    from orchestrator.stores import QUICK_S, open_store

    told["reads"] = False
    try:
        if "://" not in storage and not Path(storage).is_dir():
            return {**told, "refused": "no such folder"}  # not to be made here: it hides the fault
        store = open_store(storage, QUICK_S)
        told |= {"reads": store.read(marker) is not None, "free_bytes": store.free()}
        mine = f"{marker}.{platform.node()}.{os.getpid()}"
        store.create(mine, b"")
        told["wrote"] = mine
    except (StorageError, UserError, OSError) as error:
        told["refused"] = str(getattr(error, "what", "") or error).splitlines()[0]
    return told


def versions() -> dict[str, str]:
    """Python's and the packages', without what a build adds to them (+cu128)."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def listening() -> Iterator[str]:
    """"port program" of each of Ray's sockets here that listens beyond loopback; on Linux."""
    owners = dict(_owners())
    seen = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                parts = line.split()
                address, _, port = parts[1].partition(":")
                if parts[3] == _LISTEN and address not in _LOOPBACK and parts[9] in owners:
                    seen.add((int(port, 16), owners[parts[9]]))
    yield from (f"{port} {program}" for port, program in sorted(seen))


def _owners() -> Iterator[tuple[str, str]]:
    """(inode of a socket, program) of Ray's processes, as far as they may be looked at."""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes()
            if b"ray" in line:
                name = (process / "comm").read_text().strip()
                for handle in (process / "fd").iterdir():
                    with contextlib.suppress(OSError):
                        target = str(handle.readlink())
                        if target.startswith("socket:["):
                            yield target[8:-1], name


def problems(nodes: Sequence[Node], here: Mapping[str, str], storage: str,
             unseen: Sequence[str] = ()) -> list[Problem]:
    """All that would fail later. ``here``: the driver's versions; ``unseen``: files that nodes
    wrote and the driver does not find."""
    found = [Problem(f"node {n.name} does not answer: {n.silent}", n.address,
                     "is sgdscope installed there? see its log, and `ray status`")
             for n in nodes if n.silent]
    told = [n for n in nodes if not n.silent]
    found += _version_problems(told, here)
    if not storage:
        return found
    blind = [n for n in told if not n.reads]
    if blind:
        why = {n.refused for n in blind if n.refused}
        found.append(Problem(
            f"the storage {storage} is not the same folder on all nodes: {_names(blind)} "
            f"{'does' if len(blind) == 1 else 'do'} not see what the driver wrote"
            + (f" ({'; '.join(sorted(why))})" if why else ""), "storage", WAYS_OUT))
    mute = [n for n in told if n.reads and n.refused]
    found += [Problem(f"node {n.name} cannot write to {storage}: {n.refused}", "storage",
                      "let its user write there") for n in mute]
    lost = [n for n in told if n.reads and n.wrote in unseen]
    if lost:
        found.append(Problem(f"the driver does not see what {_names(lost)} wrote to {storage}",
                             "storage", WAYS_OUT))
    return found


def _version_problems(nodes: Sequence[Node], here: Mapping[str, str]) -> Iterator[Problem]:
    for package, version in here.items():
        others = [n for n in nodes if n.versions.get(package) != version]
        if others:
            which = ", ".join(f"{n.name} has {n.versions.get(package, 'none')}" for n in others)
            yield Problem(f"{package} is {version} at the driver, but {which}", "the nodes",
                          "install the same versions on all nodes (setup_commands in cluster.yaml)")


def warnings(nodes: Sequence[Node]) -> list[str]:
    """What does not stop a sweep, but should be known."""
    open_nodes = [n for n in nodes if not n.silent and not n.token]
    return [f"{_names(open_nodes)} answer{'s' if len(open_nodes) == 1 else ''} without a token: "
            "whoever reaches it runs code there. Start Ray with RAY_AUTH_MODE=token, as "
            "cluster.yaml does"] if open_nodes else []


def _names(nodes: Sequence[Node]) -> str:
    return ", ".join(n.name for n in nodes)


def as_text(nodes: Sequence[Node]) -> str:
    """A table, a line a node; then what others may reach on each."""
    rows = [("node", "address", "CPUs", "GPUs", "python", *PACKAGES, "storage", "free", "token")]
    for n in nodes:
        shared = "-" if n.reads is None else "shared" if n.reads and n.wrote else "NOT SHARED"
        free = "-" if n.free_bytes is None else f"{n.free_bytes / 1e9:.0f} GB"
        rows.append((n.name, n.address, f"{n.cpus:g}", f"{n.gpus:g}", *(
            ["does not answer"] if n.silent else
            [*(n.versions.get(p, "?") for p in ("python", *PACKAGES)), shared, free,
             "on" if n.token else "OFF"])))
    whole = [r for r in rows if len(r) == len(rows[0])]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=False)).rstrip() for r in rows]
    return "\n".join([*lines, *(
        f"{n.name} listens beyond loopback: {', '.join(n.listening) or 'nothing of Ray'}"
        for n in nodes if not n.silent)])


def as_json(nodes: Sequence[Node], found: Sequence[Problem]) -> str:
    """The same, for programs."""
    return json.dumps({"nodes": [asdict(n) for n in nodes], "problems": [p.what for p in found]})
