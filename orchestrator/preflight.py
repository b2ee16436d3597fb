"""Checks before anything starts: what would fail late is said at once."""

import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from orchestrator.errors import Problem


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


def storage_problems(folder: Path) -> list[Problem]:
    """Whether files can be created once and for all in the sweep's folder; nothing is left."""
    anchor = next(p for p in (folder, *folder.parents) if p.exists())
    if not anchor.is_dir():
        return [Problem(f"the storage {anchor} is a file", "storage", "give a folder")]
    # A folder begins with its tables; one that was left then is ours too.
    ours = (folder / "tables" / "runs").is_dir() or (folder / "resolved.yaml").exists()
    if folder.is_dir() and any(folder.iterdir()) and not ours:
        return [Problem(f"{folder} is not empty and no sweep of ours", "storage",
                        "choose another storage or name")]
    draft = anchor / f".sgdscope-{uuid.uuid4().hex}"
    linked = draft.with_suffix(".link")
    try:
        draft.write_bytes(b"x")
        os.link(draft, linked)
    except OSError as error:
        return [Problem(f"cannot write to {anchor}: {error.strerror or error}", "storage",
                        "give a folder that you can write to, on a disk with hard links")]
    finally:
        for left in (draft, linked):
            if os.access(anchor, os.W_OK):
                left.unlink(missing_ok=True)
    return []


def space_problems(folder: Path, needed: int) -> list[Problem]:
    """Whether the disk has room for the estimated bytes."""
    anchor = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(anchor).free
    if needed <= free:
        return []
    return [Problem(f"the sweep needs about {needed / 1e9:.1f} GB, {anchor} has {free / 1e9:.1f}",
                    "storage", "free some space, or choose another storage")]
