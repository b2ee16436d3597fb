# ruff: noqa: T201
"""Measuring λ_max along the path of a pack: Hessian products run by run against all at once.

    python -m bench.measuring [--repeats 3] [--json FILE]

One thread, CPU seconds, interleaved: at each snapshot of a short path of 8 runs both ways measure
all that a snapshot with ``spectrum`` (k = 1, tolerance 1e-2) holds, one after the other, each with
its own memory of the snapshots before. Printed are the medians over the repeats, in milliseconds a
run and snapshot, and those of a single product.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from bench import curvature_nets as nets
from bench import report
from orchestrator.packrun import settle
from trainables import hessian
from trainables.measure import snapshot_rows
from trainables.pack import Pack
from trainables.probe import Probe, blocks
from trainables.step import update

RUNS, STEPS = 8, (0, 8, 128, 600)
WAYS = ("all at once", "run by run")
NETS = {
    "mlp 64-64": ({"name": "mlp", "width": 64, "depth": 2}, 1500, RUNS),
    "mlp 64-64, 200 examples": ({"name": "mlp", "width": 64, "depth": 2}, 200, RUNS),
    "simple_cnn": ({"name": "simple_cnn", "width": 16, "dense": 128}, 500, 1),
}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.measuring")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(NETS), choices=list(NETS))
    report.option(parser)
    asked = parser.parse_args()
    settle()
    result: dict[str, Any] = {"machine": report.machine(), "nets": {}}
    print(report.told(result["machine"]))
    for name in asked.only:
        found = result["nets"][name] = _compared(name, asked.repeats)
        print("\n".join(lines(name, found)), flush=True)
    report.finish("measuring", result, asked.json)


def _compared(name: str, repeats: int) -> dict[str, Any]:
    model, size, runs = NETS[name]
    pack = _pack(model, size, runs)
    places = _path(pack)
    chosen, snapshots, products = hessian._one_by_one, {w: [] for w in WAYS}, {w: [] for w in WAYS}
    for _ in range(repeats + 1):  # the first is not counted
        states = {w: pack.init() for w in WAYS}
        spent, single = ({w: [] for w in WAYS} for _ in range(2))
        for step, params in places:
            for way in WAYS:
                hessian._one_by_one = lambda _, way=way: way == "run by run"
                state = states[way]
                state.step, state.params = step, params
                spent[way].append(_seconds(lambda s=state: snapshot_rows(pack, s, s.alive)))
                probe = Probe(pack, state, blocks(pack)[0])
                vectors = probe.normals("bench", 1)[:, 0]
                probe.curvature.product(vectors)
                single[way].append(_seconds(
                    lambda p=probe, v=vectors: p.curvature.product(v)) / len(vectors))
        for way in WAYS:
            snapshots[way].append(1e3 * statistics.mean(spent[way]) / runs)
            products[way].append(1e3 * statistics.median(single[way]))
    hessian._one_by_one = chosen
    return {"size": size, "runs": runs, "parameters": pack.parameters, "engine": pack.engine.name,
            "chosen": WAYS[chosen(pack)],
            "snapshot_ms": {w: statistics.median(v[1:]) for w, v in snapshots.items()},
            "product_ms": {w: statistics.median(v[1:]) for w, v in products.items()}}


def _pack(model: dict[str, Any], size: int, runs: int) -> Pack:
    net = replace(nets.DIGITS, model=model, size=size)
    configs = [nets.config(model, {"lr": 0.05, "batch_size": 32}, seed=s, precision="fp32",
                           tolerance=1e-2) for s in range(runs)]
    for c in configs:
        c["measure"]["monitors"][0][1]["k"] = 1
    return nets.pack_of(configs, nets.data_of(net, None))


def _path(pack: Pack) -> list[tuple[int, dict[str, torch.Tensor]]]:
    state, found = pack.init(), []
    for step in STEPS:
        while state.step < step:
            update(pack, state)
        found.append((step, {n: p.clone() for n, p in state.params.items()}))
    return found


def _seconds(work: Any) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def lines(name: str, found: dict[str, Any]) -> Sequence[str]:
    """What is printed of one net."""
    told_of = [f"{name}: {found['parameters']} parameters, n = {found['size']}, {found['engine']},"
               f" {found['runs']} runs; chosen: {found['chosen']}"]
    for what in ("snapshot_ms", "product_ms"):
        before, now = (found[what][w] for w in WAYS)
        told_of.append(f"  {what.split('_')[0]:<9} ms a run: {WAYS[0]} {before:.2f}, "
                       f"{WAYS[1]} {now:.2f}, {before / now:.2f} times less")
    return told_of


if __name__ == "__main__":
    main()
