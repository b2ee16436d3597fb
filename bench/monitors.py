# ruff: noqa: T201
"""What each monitor adds to training: gradient equivalents and seconds.

    python -m bench.monitors [--quick] [--monitors a,b] [--tasks digits_mlp,…] [--images 10000]
                             [--sizes 512,2048,all] [--runs 4] [--device cpu] [--json FILE]

Each task is trained for an epoch as one pack of ``--runs`` runs, then snapshots are taken of the
same state: one with losses and gradient alone, and one with each monitor at its default options.
A row says, of a run: what the monitor adds in GE (counted) beside what it declares, in seconds,
and over the seconds of an epoch of training. ``image_cnn`` is SimpleCNN on 3×32×32: cost does not
depend on what is in the images, so they are random. Timings are of one process and one thread.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import report
from trainables import datasets, models, monitors
from trainables.measure import snapshot_rows
from trainables.pack import Member, Pack, PackState
from trainables.step import update
from trainables.suitability import examine

HERE = Path(__file__).parent
TASKS: Mapping[str, Mapping[str, Any]] = {
    "digits_mlp": {"model": {"name": "mlp", "width": 64, "depth": 2}, "batch_size": 64},
    "digits_cnn": {"model": {"name": "simple_cnn"}, "batch_size": 64},
    "image_cnn": {"model": {"name": "simple_cnn"}, "batch_size": 128},
}
BASE = "losses, gradient"


@dataclass(frozen=True)
class Cost:
    """What one monitor costs a run at one snapshot, beside losses and gradient (the BASE row)."""

    task: str
    parameters: int
    train_size: int
    measure_size: int
    monitor: str
    ge: float            # counted
    declared_ge: float
    seconds: float
    of_epoch: float      # seconds over those of a training epoch
    failure: str = ""


def main() -> None:
    """Measures all rows and prints them."""
    asked = _arguments()
    torch.set_num_threads(1)
    rows: list[Cost] = []
    for task in asked.tasks:
        for row in _task(task, asked):
            print(_line(row) if rows else f"{_head()}\n{_line(row)}", flush=True)
            rows.append(row)
    report.finish("monitors", {"device": asked.device, "runs": asked.runs,
                               "repeats": asked.repeats, "rows": [asdict(r) for r in rows]},
                  asked.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.monitors",
                                     description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true",
                        help="small: one run, 64 measured examples, 256 images, narrow nets")
    parser.add_argument("--monitors", type=_names, default=list(monitors.FAMILIES))
    parser.add_argument("--tasks", type=_names, default=list(TASKS))
    parser.add_argument("--sizes", type=_names, default=["512", "2048", "all"],
                        help="measurement sets")
    parser.add_argument("--images", type=int, default=10_000, help="training images of image_cnn")
    parser.add_argument("--runs", type=int, default=4, help="runs of a pack")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    report.option(parser)
    asked = parser.parse_args()
    if asked.quick:
        asked.sizes, asked.images, asked.runs = ["64"], 256, 1
    for given, known in ((asked.monitors, monitors.FAMILIES), (asked.tasks, TASKS)):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return asked


def _names(text: str) -> list[str]:
    return text.split(",")


def _task(task: str, asked: argparse.Namespace) -> Iterator[Cost]:
    data = _data(task, asked.images)
    pack = _pack(task, data, asked, len(data.x_train))
    state, epoch_s = _trained(pack)
    if task == asked.tasks[0]:  # what is done once a process is no monitor's cost
        small = _pack(task, data, asked, 16)
        for name in asked.monitors:
            _snapshot(small, state, name, 1)
    sizes = dict.fromkeys(len(data.x_train) if s == "all" else min(int(s), len(data.x_train))
                          for s in asked.sizes)
    for size in sizes:
        pack = _pack(task, data, asked, size)
        base_ge, base_s, _ = _snapshot(pack, state, None, asked.repeats + 1)
        yield _cost(task, pack, BASE, base_ge, _declared(pack, None), base_s, epoch_s)
        for name in asked.monitors:
            ge, seconds, failure = _snapshot(pack, state, name, asked.repeats)
            yield _cost(task, pack, name, ge - base_ge, _declared(pack, name), seconds - base_s,
                        epoch_s, failure)


def _data(task: str, images: int) -> datasets.Dataset:
    if task != "image_cnn":
        return datasets.load(datasets.resolve({"name": "digits"}), HERE)
    source = np.random.default_rng(0)
    x = source.normal(size=(images + images // 5, 3, 32, 32)).astype(np.float32)
    y = source.integers(10, size=len(x))
    return datasets.Dataset(x[:images], y[:images], x[images:], y[images:], 10, "0" * 64)


def _pack(task: str, data: datasets.Dataset, asked: argparse.Namespace, size: int) -> Pack:
    """A pack of runs that differ in their seeds, measured on ``size`` examples."""
    model = TASKS[task]["model"] | ({"width": 8} if asked.quick else {})
    config = {
        "data": {"name": task, "seed": 0}, "model": models.resolve(model),
        "train": {"lr": 0.05, "batch_size": TASKS[task]["batch_size"], "epochs": 2, "steps": None,
                  "until": None, "loss": "cross_entropy", "momentum": 0.9, "nesterov": False,
                  "weight_decay": 0.0, "lr_schedule": {"name": "constant"},
                  "sampling": "without_replacement", "max_loss": 1e4},
        "noise": {"label": 0.0, "input": 0.0, "gradient": 0.0},
        "measure": {"when": {"early": None, "initial": True, "final": True}, "set_size": size,
                    "monitors": []},
        "seed": 0, "precision": "fp32"}
    found = examine(config, data.x_train.shape[1:], data.classes, HERE, device=asked.device)
    members = [Member(f"r{i}", {**config, "seed": i}) for i in range(asked.runs)]
    return Pack(members, data, width=asked.runs, engine=found.engine,
                device=torch.device(asked.device), base_dir=HERE)


def _trained(pack: Pack) -> tuple[PackState, float]:
    """The state after an epoch, and the seconds of an epoch of one run."""
    state, times = pack.init(), []
    for _ in range(pack.steps // 2):
        start = time.monotonic()
        update(pack, state)
        _finish(pack)
        times.append(time.monotonic() - start)
    return state, statistics.median(times) * len(times) / pack.width


def _snapshot(pack: Pack, state: PackState, name: str | None,
              times: int) -> tuple[float, float, str]:
    """(GE, seconds) of a run for one snapshot with that monitor, the median of a few.

    And what went wrong; both are NaN then.
    """
    chosen = [] if name is None else [[name, monitors.find(name, HERE).resolve({})]]
    pack.measure = {**pack.measure, "monitors": chosen}
    seconds, ge = [], 0.0
    for _ in range(times):
        fresh = state.copy()
        fresh.memory, fresh.final, fresh.measure_ge = {}, {}, torch.zeros_like(state.measure_ge)
        start = time.monotonic()
        try:
            snapshot_rows(pack, fresh, torch.ones(pack.width, dtype=torch.bool))
        except Exception as error:  # noqa: BLE001  (a monitor that fails is a row)
            return math.nan, math.nan, f"{type(error).__name__}: {error}"
        _finish(pack)
        seconds.append(time.monotonic() - start)
        ge = float(fresh.measure_ge.mean())
    return ge, statistics.median(seconds) / pack.width, ""


def _finish(pack: Pack) -> None:
    if pack.device.type == "cuda":
        torch.cuda.synchronize()


def _declared(pack: Pack, name: str | None) -> float:
    sizes = monitors.Sizes(pack.train_size, pack.test_size, len(pack.measure_set),
                           pack.batch_size, pack.classes)
    base = monitors.snapshot_cost([], sizes, HERE)
    if name is None:
        return base
    chosen = [(name, monitors.find(name, HERE).resolve({}))]
    return monitors.snapshot_cost(chosen, sizes, HERE) - base


def _cost(task: str, pack: Pack, monitor: str, ge: float, declared: float, seconds: float,
          epoch_s: float, failure: str = "") -> Cost:
    return Cost(task, pack.parameters, pack.train_size, len(pack.measure_set), monitor, ge,
                declared, seconds, seconds / epoch_s, failure)


COLUMNS: Sequence[tuple[str, int]] = (
    ("task", -12), ("P", 9), ("N", 7), ("n", 7), ("monitor", -18), ("GE", 9), ("declared", 9),
    ("seconds", 9), ("of an epoch", 12))


def _head() -> str:
    return " ".join(f"{n:{'<' if w < 0 else '>'}{abs(w)}}" for n, w in COLUMNS)


def _line(row: Cost) -> str:
    values = (row.task, f"{row.parameters:,}", f"{row.train_size:,}", f"{row.measure_size:,}",
              row.monitor, f"{row.ge:.3g}", f"{row.declared_ge:.3g}", f"{row.seconds:.3g}",
              f"{row.of_epoch:.3g}")
    told = " ".join(f"{v:{'<' if w < 0 else '>'}{abs(w)}}"
                    for v, (_, w) in zip(values, COLUMNS, strict=True))
    return f"{told}  {row.failure}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
