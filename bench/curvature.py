# ruff: noqa: T201
"""The five largest Hessian eigenvalues to 1 % true error along trajectories: ours and peers.

    python -m bench.curvature [--quick] [--only nets,packs,bounds] [--ours-only] [--seeds 1]
                              [--tolerance 1e-2] [--doubt 0.01] [--cifar TRAIN.parquet]
                              [--cache DIR] [--json FILE]

One thread, fp32, all in one run, interleaved: at each snapshot a gradient, ours, a gradient, a
peer, … Ours is warm from snapshot to snapshot. It runs at one tolerance throughout; each peer is
given, snapshot by snapshot, the loosest setting of a ladder that brings all five values within
1 % of the truth (an oracle that its user does not have):

pyhessian    PyHessian's power iteration with deflation, largest magnitude
curvlinops   SciPy's eigsh(which="LA", ncv=20, SciPy's choice) on HessianLinearOperator.to_scipy()
  best ncv   the same, ncv also chosen by the oracle

Truth: block Lanczos in float64 at the same float32 weights, to 1e-6. Cost: GE (gradient
equivalents) counted: the first gradient 1, a product on a retained graph 2 (ours, PyHessian), one
that is rebuilt 3 (curvlinops); and measured: CPU seconds over those of a plain full-batch gradient.
Further sections: ``packs``, a product for 8 MLPs at once over 8 alone, and ``bounds``, the share
of cases in which the error is within its bound (``bench.curvature_bounds``).
``--ours-only`` leaves the peers out, ``--cache`` keeps trajectories and truths: for tuning.
Needs the extra ``bench`` (``make bench-curvature`` installs it).
"""

import argparse
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import curvature_bounds as bounds
from bench import curvature_nets as nets
from bench import curvature_packs as packs
from bench import curvature_solvers as solvers
from bench import report
from orchestrator.packrun import settle

GOAL = 0.01
PEERS = ("pyhessian", "curvlinops", "  best ncv")
SECTIONS = ("nets", "packs", "bounds")
GRADIENTS = 3  # timed between two solvers


def main() -> None:
    """Runs the sections and prints them."""
    asked = _arguments()
    settle()  # as a worker does
    result: dict[str, Any] = {"machine": report.machine(), "quick": asked.quick, "goal": GOAL}
    print(report.told(result["machine"]))
    for section in asked.only:
        result[section] = RUN[section](asked)
    report.finish("curvature", result, asked.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.curvature",
                                     description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small sets, few snapshots")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, by commas")
    parser.add_argument("--net", choices=list(nets.QUICK), help="one net alone")
    parser.add_argument("--ours-only", action="store_true", help="no peers")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tolerance", type=float, default=1e-2, help="of ours")
    parser.add_argument("--doubt", type=float, default=0.01, help="of ours; 1: no bounds")
    parser.add_argument("--cifar", type=Path, help="CIFAR-10's train.parquet; else made-up images")
    parser.add_argument("--cache", type=Path, help="folder for trajectories and truths")
    report.option(parser)
    asked = parser.parse_args()
    asked.only = asked.only.split(",")
    if set(asked.only) - set(SECTIONS) or asked.seeds < 1:
        parser.error(f"--only takes {', '.join(SECTIONS)}; --seeds is at least 1")
    return asked


def compare(asked: argparse.Namespace) -> dict[str, Any]:
    """Ours and the peers over all nets, seeds and snapshots."""
    chosen = nets.QUICK if asked.quick else {"digits": nets.DIGITS, "cifar": nets.CIFAR}
    rows: list[dict[str, Any]] = []
    for name, net in chosen.items():
        if asked.net in (None, name):
            data = nets.data_of(net, asked.cifar)
            for seed in range(asked.seeds):
                rows += _along(net, data, seed, asked)
    summary = summarise(rows)
    print_summary(summary)
    missed = Counter((r["net"], r["phase"], way.strip()) for r in rows for way in r["missed"])
    for key, count in missed.items():
        print(f"{' '.join(key)}: no setting within 1 % at {count} snapshots")
    return {"tolerance": asked.tolerance, "made_up_images": asked.cifar is None,
            "rows": rows, "summary": summary}


def _along(net: nets.Net, data: Any, seed: int, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """One trajectory, snapshot by snapshot."""
    pack, twin = (nets.pack_of([nets.config(
        net.model, net.train, seed=seed, precision=p, tolerance=asked.tolerance,
        doubt=asked.doubt)], data)
        for p in ("fp32", "fp64"))
    print(f"\n{net.name}, seed {seed}: {pack.parameters} parameters, n = {net.size}", flush=True)
    memory: dict[str, torch.Tensor] = {}
    rows = []
    for snapshot in nets.trail(pack, twin, net, asked.cache):
        snapshot.state.memory = memory
        plain = solvers.Plain.of(pack, snapshot.state)
        ways = {"ours": lambda s=snapshot: solvers.ours(pack, s.state)}
        asks_peers = not asked.ours_only and net.phase(snapshot.step)
        if asks_peers:
            ways |= _peers(pack, plain, snapshot)
        row = {"net": net.name, "seed": seed, "step": snapshot.step,
               "phase": net.phase(snapshot.step), "loss": snapshot.loss,
               "missed": [p for p in PEERS if p not in ways] if asks_peers else [],
               "overlap": snapshot.overlap, "truth": snapshot.values.tolist(),
               "truth_error": snapshot.error, **_interleaved(plain, ways, snapshot.values)}
        memory = snapshot.state.memory
        rows.append(row)
        _print_row(row)
    return rows


def _peers(pack: Any, plain: solvers.Plain, snapshot: nets.Snapshot
           ) -> dict[str, Callable[[], solvers.Found]]:
    """Each peer at its cheapest setting; None as a setting: none of the ladder reached the goal."""
    power = solvers.cheapest_pyhessian(plain, snapshot.values, GOAL)
    usual, best = (solvers.cheapest_arpack(pack, snapshot.state, snapshot.values, GOAL, bases)
                   for bases in (solvers.ARPACK_BASES[-1:], solvers.ARPACK_BASES))
    settings = dict(zip(PEERS, (power and (power,), usual, best), strict=True))
    make = {"pyhessian": solvers.pyhessian}
    return {name: lambda n=name, s=setting: make.get(n, solvers.curvlinops)(plain, *s)
            for name, setting in settings.items() if setting}


def _interleaved(plain: solvers.Plain, ways: Mapping[str, Callable[[], solvers.Found]],
                 truth: torch.Tensor) -> dict[str, Any]:
    """Each way once, with gradients timed before, between and after."""
    gradients = plain.gradient_seconds(GRADIENTS)
    found = {}
    for name, way in ways.items():
        one = way()
        gradients += plain.gradient_seconds(GRADIENTS)
        found[name] = {
            "values": one.values.tolist(), "bounds": one.bounds.tolist(),
            "products": one.products, "ge": one.ge, "seconds": one.seconds,
            "setting": one.setting, "error": one.error(truth)}
    gradient = statistics.median(gradients)
    for one in found.values():
        one["ge_measured"] = one["seconds"] / gradient
    return {"gradient_seconds": gradient, "found": found}


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per net, phase and way: cost, error, and the ratio to ours, snapshot by snapshot."""
    groups: dict[tuple, list[tuple]] = defaultdict(list)
    for row in rows:
        for way, one in row["found"].items():
            if row["phase"]:
                groups[row["net"], row["phase"], way].append((one, row["found"]["ours"]))
    total = {key: sum(r["net"] == key[0] and r["phase"] == key[1] for r in rows) for key in groups}
    return [{
        "net": key[0], "phase": key[1], "way": key[2], "of": total[key],
        "reached": sum(one["error"] <= GOAL for one, _ in pairs),
        **{f"{of}_{name}": float(np.quantile([one[of] for one, _ in pairs], q))
           for of in ("products", "ge", "ge_measured", "error")
           for name, q in (("median", 0.5), ("p90", 0.9), ("max", 1.0))},
        "ratio": statistics.median(one["ge"] / base["ge"] for one, base in pairs),
        "ratio_measured": statistics.median(
            one["ge_measured"] / base["ge_measured"] for one, base in pairs),
    } for key, pairs in groups.items()]


def _print_row(row: Mapping[str, Any]) -> None:
    told = ", ".join(f"{n.strip()} {o['products']} ({o['error']:.2%})"
                     for n, o in row["found"].items())
    print(f"  step {row['step']:>5} {row['phase'] or '(lead-in)':<9} loss {row['loss']:.4f} "
          f"λ_1 {row['truth'][0]:.3g} overlap {row['overlap']:.3f}  products (error): {told}",
          flush=True)


def print_summary(summary: Sequence[Mapping[str, Any]]) -> None:
    """The table; errors are the largest of the five."""
    print(f"\n{'':<28}{'products':>9}{'GE counted':>16}{'GE measured':>16}{'true error':>20}"
          f"{'ratio to ours':>20}{'within':>8}\n{'':<28}{'median':>9}{'median    p90':>16}"
          f"{'median    p90':>16}{'median      max':>20}{'counted measured':>20}{'1 %':>8}")
    for s in summary:
        print(f"{s['net']:<8}{s['phase']:<9}{s['way']:<11}{s['products_median']:>9.0f}"
              f"{s['ge_median']:>9.1f}{s['ge_p90']:>7.1f}"
              f"{s['ge_measured_median']:>9.1f}{s['ge_measured_p90']:>7.1f}"
              f"{s['error_median']:>11.2%}{s['error_max']:>9.2%}"
              f"{s['ratio']:>12.2f}{s['ratio_measured']:>8.2f}{s['reached']:>5}/{s['of']}")


def together(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """The cost of a product in a pack."""
    found = packs.products(repeats=40 if asked.quick else 200)
    print("", *packs.lines(found), sep="\n")
    return found


def covered(asked: argparse.Namespace) -> dict[str, Any]:
    """Whether the bounds hold."""
    found = bounds.cases(asked.tolerance, quick=asked.quick)
    return {"summary": bounds.summarise(found), "violations": [
        f for f in found if not abs(f["value"] - f["truth"]) <= f["bound"]]}


RUN: Mapping[str, Callable[[argparse.Namespace], Any]] = {
    "nets": compare, "packs": together, "bounds": covered}

if __name__ == "__main__":
    sys.exit(main())
