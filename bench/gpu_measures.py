"""What is measured of our engines on a device: throughput, agreement, the grid of a law."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench import shapes
from bench.neighbours import finished, speed
from bench.shapes import Shape
from trainables.losses import per_example
from trainables.pack import Pack, PackState
from trainables.step import advance, update
from trainables.stepgraph import StepGraph

_WARM_STEPS = 6  # a capture is made at the fourth
_AGREE_STEPS = 20
BATCH_SIZES, RATIOS, SEEDS = (8, 16, 32, 64, 128), 5, 3
Facts = dict[str, Any]


def settle() -> None:
    """As a worker does: one thread, plain fp32, kernels that give the same bits each time."""
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True


def throughput(shape: Shape, engine: str, width: int, device: str, seconds: float,
               runs: Sequence[Mapping[str, Any]] = ()) -> tuple[Facts, Pack, PackState]:
    """Run-steps per second of one pack, and what it took to get there."""
    settle()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    pack = shapes.pack(shape, engine, width, device=device, runs=runs)
    state = pack.init()
    begun = time.perf_counter()
    for _ in range(_WARM_STEPS):
        update(pack, state)
    finished(device)
    first = time.perf_counter() - begun
    rate = speed(lambda _: update(pack, state), seconds, device)
    facts = {"run_steps_per_s": rate * width, "step_us": 1e6 / rate, "first_s": first,
             "order_us": _order_s(pack) * 1e6, "alive": int(state.alive.sum()),
             "captured": captured(pack), **_memory(device)}
    return facts, pack, state


def _order_s(pack: Pack) -> float:
    """Of that, seconds a step for drawing the orders of examples."""
    begun = time.perf_counter()
    pack.epoch(10**6)
    finished(pack.device.type)
    return (time.perf_counter() - begun) / pack.calendar.steps_in(0)


def _memory(device: str) -> Facts:
    if device != "cuda":
        return {}
    return {"peak_mib": round(torch.cuda.max_memory_allocated() / 2**20),
            "reserved_mib": round(torch.cuda.max_memory_reserved() / 2**20)}


def captured(pack: Pack) -> bool:
    """Whether its step has been captured as a CUDA graph, and is replayed."""
    capture = getattr(pack.graph, "_capture", None)
    return getattr(capture, "_replay", None) is not None


def agreement(shape: Shape, engines: Sequence[str], width: int, device: str) -> list[Facts]:
    """How far the engines are apart after some steps: a row each, differences from the first.

    ``repeatable``: whether a second pack has the same bits. ``same_bits_uncaptured``: whether those
    of the same graph called kernel by kernel are the same too; None where nothing is captured.
    """
    settle()
    base: Tensor | None = None
    rows = []
    for engine in engines:
        try:
            one, pack = _trained(shape, engine, width, device)
            again, _ = _trained(shape, engine, width, device)
            uncaptured = _trained(shape, engine, width, device, capture=False)[0] if captured(
                pack) else None
        except Exception as error:  # noqa: BLE001 (one engine must not end the others)
            rows.append({"engine": engine, "error": told(error)})
            continue
        base = one if base is None else base
        rows.append({
            "engine": engine, "steps": _AGREE_STEPS, "largest_difference":
            float((one - base).abs().max()), "scale": float(base.abs().max()),
            "repeatable": torch.equal(one, again), "captured": captured(pack),
            "same_bits_uncaptured": None if uncaptured is None else torch.equal(one, uncaptured)})
    return rows


def _trained(shape: Shape, engine: str, width: int, device: str, *, capture: bool = True
             ) -> tuple[Tensor, Pack]:
    pack = shapes.pack(shape, engine, width, device=device)
    state = pack.init()
    if not capture:
        pack.graph = StepGraph(advance)
        pack.graph._capture._refused = True
    for _ in range(_AGREE_STEPS):
        update(pack, state)
    finished(device)
    if not bool(state.alive.all()):
        raise RuntimeError("a run has ended: nothing is compared")
    return torch.cat([p.flatten(1) for p in state.params.values()], 1).double().cpu(), pack


def grid(shape: Shape, engine: str, device: str, seconds: float, epochs: int) -> list[Facts]:
    """A row a batch size of the grid of one law: 5 ratios × 3 seeds in one pack, run for a while.

    ``whole_s``: what its training to the end would take at the measured step.
    """
    rows = []
    for size in BATCH_SIZES:
        here = replace(shape, batch_size=size)
        runs = [shapes.config(here, seed=s, lr=size * 10 ** (-4 + r / (RATIOS - 1)))
                for r in range(RATIOS) for s in range(SEEDS)]
        facts, pack, state = throughput(here, engine, 16, device, seconds, runs)
        before, after = (_loss(pack, s) for s in (pack.init(), state))
        steps = epochs * pack.calendar.steps_in(0)
        rows.append({"batch_size": size, "engine": engine, "runs": len(runs), "epochs": epochs,
                     "steps": steps, "steps_run": state.step, "loss_before": before,
                     "loss_after": after, **facts,
                     "whole_s": steps * facts["step_us"] / 1e6 + facts["first_s"]})
    return rows


@torch.no_grad()
def _loss(pack: Pack, state: PackState) -> float:
    """Mean over runs and some training examples."""
    x, y, _ = pack.examples(pack.calibration_set[:200], slice(0, pack.width))
    out = pack.engine.outputs(pack.evaluator, state.params, pack.statistics, x, shared=True)
    return float(per_example(pack.train["loss"], out, y).mean())


def attempt(make: Callable[[], Facts]) -> Facts:
    """The facts, or what went wrong."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 (one configuration must not end the others)
        return {"error": told(error)}


def told(error: Exception) -> str:
    """An error in a line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"
