"""A Hessian-vector product for a pack of MLPs at once against one for each run alone."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from bench import curvature_nets as nets
from trainables.probe import Probe

RUNS, SIZES = 8, (1500, 200)
MLP = nets.Net("digits", {"name": "mlp", "width": 64, "depth": 1}, {"lr": 0.1}, 1500, (), ())


def products(*, repeats: int) -> list[dict[str, Any]]:
    """Per size of the measurement set: seconds of a product, a run of the pack and a run alone.

    Interleaved: the pack's product, then one run's alone, in turn over the runs. The graphs are
    built beforehand. ``relative`` is the median over the repeats of (pack / RUNS) / alone.
    """
    return [_at(size, repeats) for size in SIZES]


def _at(size: int, repeats: int) -> dict[str, Any]:
    data = nets.data_of(replace(MLP, size=size), None)
    pack = nets.pack_of([nets.config(
        MLP.model, MLP.train, seed=s, precision="fp32", tolerance=1e-2) for s in range(RUNS)], data)
    state = pack.init()
    together = Probe(pack, state, slice(0, RUNS))
    alone = [Probe(pack, state, slice(r, r + 1)) for r in range(RUNS)]
    vectors = together.normals("bench", 1)[:, 0]
    for probe, v in [(together, vectors), *((a, vectors[r:r + 1]) for r, a in enumerate(alone))]:
        probe.curvature.product(v)
    pairs = []
    for i in range(repeats):
        r = i % RUNS
        pairs.append((_seconds(together, vectors) / RUNS, _seconds(alone[r], vectors[r:r + 1])))
    return {"size": size, "runs": RUNS, "parameters": pack.parameters, "engine": pack.engine.name,
            "pack_seconds": statistics.median(p for p, _ in pairs),
            "alone_seconds": statistics.median(a for _, a in pairs),
            "relative": statistics.median(p / a for p, a in pairs)}


def _seconds(probe: Probe, vectors: torch.Tensor) -> float:
    start = time.process_time()
    probe.curvature.product(vectors)
    return time.process_time() - start


def lines(found: Sequence[dict[str, Any]]) -> list[str]:
    """What is printed."""
    return [f"{f['runs']} MLPs of {f['parameters']} parameters, n = {f['size']:>4}: a product a "
            f"run {1e3 * f['pack_seconds']:.2f} ms in the pack, {1e3 * f['alone_seconds']:.2f} ms "
            f"alone, relative {f['relative']:.2f}" for f in found]
