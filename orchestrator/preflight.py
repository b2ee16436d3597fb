"""Checks before anything starts: what would fail late is said at once."""

import contextlib
import os
import uuid
import warnings
from pathlib import Path
from typing import Any

from analysis.errors import Note, StorageError
from orchestrator.errors import Problem, UserError
from orchestrator.stores import Place, Store, open_store, reach

_TRIAL = ".trial"  # a file that shows whether files can be created


def machine_problems(spec: Any) -> list[Problem]:
    """What this machine lacks for the spec's ``compute``; without starting Ray."""
    problems = []
    if spec.compute.cpus > (os.cpu_count() or 1):
        problems.append(spec.problem(
            f"a trial asks for {spec.compute.cpus:g} CPUs, this machine has {os.cpu_count()}",
            "compute.cpus", f"ask for at most {os.cpu_count()}"))
    there = gpu_count()
    wanted = 0 if spec.compute.gpus == "auto" else spec.compute.gpus
    if wanted > there:
        problems.append(spec.problem(
            f"a trial asks for {wanted:g} GPUs, this machine has {there}", "compute.gpus",
            "ask for at most that, or leave it `auto`"))
    elif spec.compute.device == "cuda" and not there:
        problems.append(spec.problem(
            "device is cuda, but torch sees no GPU on this machine", "compute.device",
            "write `device: auto` or `device: cpu`"))
    return problems


def gpu_count() -> int:
    """GPUs that torch can use here."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def storage_problems(folder: Place) -> list[Problem]:
    """Whether files can be created once and for all in the sweep's folder; nothing is left."""
    try:
        reach(folder)
        store = open_store(folder)
        return _foreign(store) or _unwritable(_tried(store))
    except StorageError as error:
        return [Problem(f"{error.where}: {error.what}", "storage", error.fix)]
    except UserError as error:
        return list(error.problems)


def _tried(store: Store) -> Store:
    """Where creating is tried: of a local folder that is not there, in the nearest above it."""
    anchor = getattr(store, "anchor", None)
    return store if anchor is None else open_store(anchor)


def _foreign(store: Store) -> list[Problem]:
    tried = Path(_tried(store).where)
    if tried.is_file():
        return [Problem(f"the storage {tried} is a file", "storage", "give a folder")]
    names = [n for n in store.names("") if not n.endswith(_TRIAL)]
    # A folder begins with its tables; one that was left then is ours too.
    ours = "resolved.yaml" in names or "runs" in store.names("tables")
    if names and not ours:
        return [Problem(f"{store.where} is not empty and no sweep of ours", "storage",
                        "choose another storage or name")]
    return []


def _unwritable(store: Store) -> list[Problem]:
    """Creates a file twice: the second time must not succeed."""
    trial = f"sgdscope-{uuid.uuid4().hex}{_TRIAL}"
    try:
        once, twice = store.create(trial, b"1"), store.create(trial, b"2")
    except StorageError as error:
        return [Problem(f"cannot write to {store.where}: {error.what}", "storage", error.fix)]
    finally:
        _left_nothing(store, trial)
    if once and (twice or not store.exclusive):
        warnings.warn(Note(f"{store.where}: two drivers at once are not protected from one another "
                           "there: let one end before another begins"), stacklevel=2)
    return []


def _left_nothing(store: Store, name: str) -> None:
    with contextlib.suppress(StorageError):
        store.delete(name)


def space_problems(folder: Place, needed: int) -> list[Problem]:
    """Whether the disk has room for the estimated bytes."""
    store = open_store(folder)
    free = store.free()
    if free is None or needed <= free:
        return []
    return [Problem(f"the sweep needs about {needed / 1e9:.1f} GB, {_tried(store).where} has "
                    f"{free / 1e9:.1f}", "storage", "free some space, or choose another storage")]
