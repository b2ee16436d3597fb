# ruff: noqa: T201
"""Runs × steps per second of our engines on a GPU, against an eager loop and 8 processes on it.

    python -m bench.gpu [--minutes 8] [--seconds 0.5] [--models mlp,cnn,resnet]
                        [--batches 8,32,128] [--widths 1,2,…,256] [--engines …] [--json FILE]

Needs torch and numpy alone: no installation, no network, from a bare checkout. Without CUDA it
runs the same on the CPU in a small form. Prints one JSON line a measurement, in the order of their
weight: the loops, width 64 (which has a bar: 20 times the eager loop for MLP and SimpleCNN),
whether engines agree, the grid of one law on 50,000 images, then all other widths until the minutes
are over. What failed says why; what there was no time for is counted. A table comes last.

eager loop    one run by torch's own kernels (``bench.rivals``)
processes     as many of them, each with its own eager loop, at once: their sum
run_steps_per_s   updates of one run a second, all runs of the pack together
order_us      of a step, for drawing the orders of examples on the host
first_s       the first six steps: compiling (kept in ~/.cache/sgdscope) and the capture
"""

import argparse
import gc
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from bench import gpu_measures as measures
from bench import report, shapes
from bench.neighbours import Neighbours, plain, speed
from bench.shapes import IMAGES, Shape

ENGINES = ("vmap", "vmap-compiled", "loop", "loop-compiled")
LOOPED = (1, 8)  # widths at which looping engines are tried: their rate hardly depends on it
BAR, BARRED, AT = 20.0, ("mlp", "cnn"), 64
MODELS: Mapping[str, Shape] = {
    "mlp": Shape("MLP 64-64-64-10", shapes.MLP, shapes.DIGITS, 32),
    "cnn": Shape("SimpleCNN", shapes.SIMPLE_CNN, IMAGES, 32, examples=10_000),
    "resnet": Shape("ResNet-8", shapes.RESNET, IMAGES, 32, examples=10_000)}
SMALL: Mapping[str, Shape] = {
    "mlp": replace(MODELS["mlp"], examples=200),
    "cnn": Shape("SimpleCNN, narrow", {"name": "simple_cnn", "width": 2, "dense": 8}, IMAGES, 32,
                 examples=200),
    "resnet": Shape("ResNet-8, narrow", {"name": "resnet8", "width": 2}, IMAGES, 32,
                    examples=200)}
COLUMNS = {"model": "<8", "batch_size": ">10d", "eager_loop": ">12,.0f", "processes": ">12,.0f",
           "width_64": ">12,.0f", "engine": "<14", "over_loop": ">9.1f", "over_processes": ">14.1f",
           "best": ">12,.0f", "best_at": "<20", "peak_mib": ">8d", "bar": "<4"}


class Bench:
    """What has been measured so far, and the time that is left."""

    def __init__(self, asked: argparse.Namespace):
        self.asked, self.device = asked, asked.device
        self.models = MODELS if self.device == "cuda" else SMALL
        self.rows: list[dict[str, Any]] = []
        self.left_out = 0
        self._end = time.monotonic() + 60 * asked.minutes
        self._too_wide: dict[tuple[str, int, str], int] = {}  # where memory ran out

    def shape(self, model: str, batch_size: int) -> Shape:
        """That model at that batch size."""
        return replace(self.models[model], batch_size=batch_size)

    def timely(self) -> bool:
        """Whether there is time for one measurement more; counts those that there is none for."""
        over = time.monotonic() > self._end
        self.left_out += over
        return not over

    def emit(self, kind: str, facts: Mapping[str, Any], **what: Any) -> None:
        """One line, as soon as it is there."""
        row = {"kind": kind, **what, **facts}
        self.rows.append(row)
        print(json.dumps({k: round(v, 3) if isinstance(v, float) and abs(v) > 1e-2 else v
                          for k, v in row.items()}), flush=True)

    def loops(self) -> None:
        """The eager loop, alone and in several processes."""
        asked = self.asked
        with Neighbours(asked.processes, self.device) as neighbours:
            for model in asked.models:
                for size in asked.batches:
                    shape = self.shape(model, size)
                    alone = lambda s=shape: {  # noqa: E731
                        "run_steps_per_s": speed(plain(s, self.device), asked.seconds, self.device)}
                    several = lambda s=shape: {  # noqa: E731
                        "run_steps_per_s": neighbours.speed(s, asked.seconds)}
                    what = {"model": model, "batch_size": size}
                    if self.timely():
                        self.emit("eager loop", measures.attempt(alone), **what)
                        self.emit("processes", measures.attempt(several), **what,
                                  processes=asked.processes)

    def engines(self, models: Sequence[str], widths: Sequence[int], engines: Sequence[str]) -> None:
        """Our engines at some widths, all batch sizes of a width one after another."""
        for model, width, engine, size in (
                (m, w, e, s) for m in models for w in widths for e in engines
                for s in self.asked.batches):
            looped = engine.startswith("loop") and width not in LOOPED
            too_wide = width >= self._too_wide.get((model, size, engine), 1 << 30)
            if looped or too_wide or not self.timely():
                continue
            found = measures.attempt(lambda m=model, w=width, e=engine, s=size: (
                measures.throughput(self.shape(m, s), e, w, self.device, self.asked.seconds)[0]))
            gc.collect()  # a pack, its graph and its capture hold each other
            if "OutOfMemory" in found.get("error", ""):
                self._too_wide[model, size, engine] = width
            self.emit("engine", found, model=model, batch_size=size, engine=engine, width=width)

    def agreement(self, model: str, precision: str) -> None:
        """Whether the engines compute the same."""
        if self.timely():
            shape = replace(self.shape(model, 8), precision=precision)
            for row in measures.agreement(shape, self.asked.engines, 4, self.device):
                self.emit("agreement", row, model=model, precision=precision)

    def grid(self) -> None:
        """SimpleCNN on images like those of CIFAR-10: the time of all runs of one law."""
        images = 50_000 if self.device == "cuda" else 200
        shape = replace(self.shape("cnn", 32), examples=images)
        packed = [e for e in ("vmap-compiled", "vmap") if e in self.asked.engines]
        for engine in packed if self.timely() else ():
            try:
                rows = measures.grid(shape, engine, self.device, 4 * self.asked.seconds,
                                     self.asked.epochs)
            except Exception as error:  # noqa: BLE001 (the next engine may do)
                self.emit("grid", {"error": measures.told(error)}, engine=engine)
                continue
            for row in rows:
                self.emit("grid", row, model="cnn", images=images)
            total = sum(r["whole_s"] for r in rows)
            self.emit("grid total", {
                "whole_s": total, "minutes": total / 60, "runs": sum(r["runs"] for r in rows),
                "epochs": self.asked.epochs}, model="cnn", images=images, engine=engine)
            return

    def all(self) -> None:
        """Everything that was asked for, the weightiest first."""
        asked = self.asked
        fast = [e for e in asked.engines if "compiled" in e] or asked.engines
        barred = [m for m in asked.models if m in BARRED]
        others = [m for m in asked.models if m not in BARRED]
        at, rest = [w for w in asked.widths if w == AT], [w for w in asked.widths if w != AT]
        self.loops()
        self.engines(barred, at, asked.engines)
        for model, precision in (("mlp", "fp32"), ("mlp", "fp64"), ("cnn", "fp32")):
            if model in asked.models:
                self.agreement(model, precision)
        if "cnn" in asked.models:
            self.grid()
        if "mlp" in asked.models:
            self.engines(["mlp"], rest, asked.engines)
        self.engines([m for m in barred if m != "mlp"], rest[::-2], fast)
        self.engines(others, at, asked.engines)
        for model in others:
            self.agreement(model, "fp32")
        done = {(r["model"], r["width"], r["engine"]) for r in self.rows if r["kind"] == "engine"}
        for model, width, engine in (
                (m, w, e) for w in rest for m in asked.models for e in asked.engines):
            if (model, width, engine) not in done:
                self.engines([model], [width], [engine])

    def summary(self) -> list[dict[str, Any]]:
        """A row a model and batch size."""
        return list(_summary(self.rows, self.asked))


def _summary(rows: Sequence[Mapping[str, Any]], asked: argparse.Namespace
             ) -> Iterator[dict[str, Any]]:
    def rates(kind: str, **where: Any) -> list[Mapping[str, Any]]:
        found = [r for r in rows if r["kind"] == kind and "error" not in r
                 and all(r[k] == v for k, v in where.items())]
        return sorted(found, key=lambda r: -r["run_steps_per_s"])

    for model in asked.models:
        for size in asked.batches:
            here = {"model": model, "batch_size": size}
            loop, several, at, every = (
                rates("eager loop", **here), rates("processes", **here),
                rates("engine", **here, width=AT), rates("engine", **here))
            row: dict[str, Any] = dict(here)
            row["eager_loop"] = loop[0]["run_steps_per_s"] if loop else None
            row["processes"] = several[0]["run_steps_per_s"] if several else None
            if every:
                row["best"] = every[0]["run_steps_per_s"]
                row["best_at"] = f"{every[0]['engine']} × {every[0]['width']}"
            if at:
                row |= {"width_64": at[0]["run_steps_per_s"], "engine": at[0]["engine"],
                        "peak_mib": at[0].get("peak_mib")}
                row |= {f"over_{n}": at[0]["run_steps_per_s"] / base[0]["run_steps_per_s"]
                        for n, base in (("loop", loop), ("processes", several)) if base}
            if model in BARRED and size <= 128 and "over_loop" in row:
                row["bar"] = "ok" if row["over_loop"] >= BAR else "no"
            yield row


def _arguments() -> argparse.Namespace:
    has = torch.cuda.is_available()
    words = lambda text: text.split(",")  # noqa: E731
    numbers = lambda text: [int(n) for n in text.split(",")]  # noqa: E731
    parser = argparse.ArgumentParser(prog="python -m bench.gpu",
                                     description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="nothing is begun after these")
    parser.add_argument("--seconds", type=float, default=0.5 if has else 0.05,
                        help="of one measurement")
    parser.add_argument("--models", type=words, default=list(MODELS))
    parser.add_argument("--batches", type=numbers, default=[8, 32, 128] if has else [8])
    parser.add_argument("--widths", type=numbers,
                        default=[2**i for i in range(9)] if has else [1, 2])
    parser.add_argument("--engines", type=words, default=list(ENGINES))
    parser.add_argument("--processes", type=int, default=8 if has else 2)
    parser.add_argument("--epochs", type=int, default=15, help="of each run of the grid")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if has else "cpu")
    report.option(parser)
    asked = parser.parse_args()
    for given, known in ((asked.models, MODELS), (asked.engines, ENGINES)):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return asked


def main() -> None:
    """The command."""
    asked = _arguments()
    on_gpu = asked.device == "cuda"
    machine = report.machine(("torch", "triton", "numpy")) | {
        "device": torch.cuda.get_device_name() if on_gpu else "no GPU: a small form of the same",
        "cuda": torch.version.cuda}
    print(report.told(machine), flush=True)
    measures.settle()
    bench = Bench(asked)
    begun = time.monotonic()
    bench.all()
    summary = bench.summary()
    print(f"\nruns × steps per second; the bar: {BAR:.0f} × the eager loop at width {AT}\n")
    print(report.table(summary, COLUMNS))
    for row in (r for r in bench.rows if r["kind"] == "grid total"):
        print(f"\nthe grid of one law, {row['runs']} runs of {row['epochs']} epochs of "
              f"{row['images']:,} images by {row['engine']}: {row['minutes']:.1f} minutes")
    failed = sum("error" in r for r in bench.rows)
    print(f"\n{time.monotonic() - begun:.0f} s, {len(bench.rows)} measurements, {failed} failed, "
          f"{bench.left_out} left out for want of time")
    report.finish("gpu", {"machine": machine, "asked": vars(asked) | {"json": None},
                          "rows": bench.rows, "summary": summary}, asked.json)


if __name__ == "__main__":
    main()
