"""A whole tiny sweep: two packs of three segments, their weights, a probe, compacted tables."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from orchestrator import cli, compaction, packrun, session
from orchestrator.stores import s3
from tests.faults import disk
from tests.faults.bucket import Bucket, Clock
from tests.faults.nemesis import Killed, Nemesis
from trainables import landscape
from trainables.curves import Curve

TREE = {
    "name": "tiny", "data": {"name": "digits", "train_size": 40, "test_size": 20},
    "model": {"name": "linear"}, "train": {"epochs": 2, "lr": 0.1},
    "sweep": {"axes": {"batch_size": [10, 20], "seed": {"count": 2}}},
    "measure": {"when": {"every_epochs": 1}, "set_size": 10, "monitors": []},
    "probes": [{"interpolation": {"points": 4}}],
    "compute": {"pack": 2, "compile": False, "device": "cpu"}, "claims": [],
}


@dataclass
class Ended:
    """How a command ended: its exit code, None where it was killed; and what it said."""

    code: int | None
    said: str


@contextmanager
def quick() -> Iterator[None]:
    """Three segments a pack, a probe that is computed at once, tables that are always compacted,
    and no report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packrun, "_borders", lambda pack: [
            pack.steps // 3, 2 * pack.steps // 3, pack.steps])
        patch.setattr(landscape, "run", _probe)
        patch.setattr(compaction, "MANY", 0)
        patch.setattr(session, "analyze", _no_report)
        yield


def _probe(kind: str, subject: Any, options: Any) -> list[tuple[str, Curve]]:
    sums = [sum(float(t.double().sum()) for t in w.values()) for w in subject.weights]
    return [("sum", Curve(torch.arange(len(sums)), torch.tensor([sums], dtype=torch.float64), ""))]


def _no_report(folder: Any, *_: Any) -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(path=f"{folder}/report.html", verdict="", lines=[""])


@dataclass
class Storage:
    """Where a sweep lies. ``files``: all that is in its folder, by path."""

    place: str

    def files(self) -> dict[str, bytes]:
        raise NotImplementedError

    def under(self, nemesis: Nemesis) -> Any:
        raise NotImplementedError


@dataclass
class OnDisk(Storage):
    """A folder of this machine."""

    def files(self) -> dict[str, bytes]:
        return disk.files(Path(self.place) / TREE["name"])

    def put(self, path: str, content: bytes) -> None:
        (Path(self.place) / TREE["name"] / path).write_bytes(content)

    def under(self, nemesis: Nemesis) -> Any:
        return disk.under(Path(self.place), nemesis)


@dataclass
class InBucket(Storage):
    """A bucket of this process."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def files(self) -> dict[str, bytes]:
        start = f"{TREE['name']}/"
        return {k[len(start):]: b for k, b in self.objects.items() if k.startswith(start)}

    def put(self, path: str, content: bytes) -> None:
        self.objects[f"{TREE['name']}/{path}"] = content

    @contextmanager
    def under(self, nemesis: Nemesis) -> Iterator[None]:
        bucket = Bucket(self.objects, nemesis)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(s3, "_client", lambda *_: bucket)
            patch.setattr(s3, "time", Clock())
            yield


class Sweeps:
    """Makes storages, and runs the sweep in them."""

    def __init__(self, base: Path):
        self.base, self._made = base, 0
        self.spec = base / "tiny.yaml"
        self.spec.write_text(json.dumps(TREE))

    def new(self, storage: str) -> Any:
        self._made += 1
        if storage == "S3-like":
            return InBucket("s3://bucket")
        return OnDisk(str(self.base / str(self._made)))

    def run(self, storage: Any, nemesis: Nemesis | None = None, *more: str) -> Ended:
        """`sgdscope run`, as a user gives it."""
        command = ["run", str(self.spec), "--inline", "--storage", storage.place, *more]
        with ExitStack() as stack:
            stack.enter_context(storage.under(nemesis or Nemesis()))
            try:
                ended = CliRunner().invoke(cli.main, command)
            except Killed:
                return Ended(None, "")
        if ended.exception is not None and not isinstance(ended.exception, SystemExit):
            return Ended(-1, f"{ended.output}\nraised {ended.exception!r}")
        return Ended(ended.exit_code, ended.output)
