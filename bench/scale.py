# ruff: noqa: T201
"""How planning, ledger, commits, compaction and analysis grow with the number of runs.

    python -m bench.scale [--runs 100 1000 10000 100000] [--snapshots 20] [--work DIR] [--json FILE]

Nothing is trained: each pack's rows are made up by a planted law and committed by the ledger, as a
worker would, under the schema of a real sweep. Every phase is a process of its own; its seconds are
of processor time over the phase itself, in brackets beside them those of the clock (imports left
out, except for ``plan (command)``, which is the command with all of its start); its memory is the
process's peak. The factor is that of the seconds from the column before: 10 is linear. One tenth of
the packs is left begun and not ended, so that the ledger has something to find.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import report

SPEC = """\
name: scale
storage: {storage}
data: {{name: digits}}
model: {{name: mlp, width: 64, depth: 2}}
train: {{epochs: 40}}
sweep:
  axes: {{ratio: {{log: [1.0e-4, 1.0e-2], n: {ratios}}}, batch_size: [8, 16, 32, 64, 128],
         seed: {{count: {seeds}}}}}
  derived: {{lr: ratio * batch_size}}
measure:
  when: {{every_epochs: 2}}
  set_size: 256
  monitors: [{{spectrum: {{k: 1, trace: false}}}}]
"""
PHASES = ("plan (command)", "plan", "commit", "ledger", "plan again", "open parts", "compact",
          "compact again", "ledger again", "open", "analyze")


def write_spec(folder: Path, runs: int) -> Path:
    """A grid of that many runs: 5 batch sizes, up to 20 ratios, the rest seeds."""
    ratios = min(20, max(2, runs // 25))
    path = folder / "scale.yaml"
    path.write_text(SPEC.format(storage=json.dumps(str(folder)), ratios=ratios,
                                seeds=max(1, runs // (5 * ratios))))
    return path


class Clock:
    """What a phase took, its making of inputs left out."""

    def __init__(self) -> None:
        self.cpu_s = self.wall_s = 0.0
        self.facts: dict[str, Any] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Counts what happens inside."""
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self.cpu_s += time.process_time() - cpu
        self.wall_s += time.perf_counter() - wall


def plan_command(folder: Path, _: int, clock: Clock) -> None:
    """The command ``sgdscope plan``, from its start to its last line."""
    with clock.running():
        command = [sys.executable, "-m", "orchestrator.cli", "plan", str(folder / "scale.yaml")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    clock.cpu_s += spent.ru_utime + spent.ru_stime
    clock.facts["peak_mib"] = spent.ru_maxrss / 1024


def plan(folder: Path, _: int, clock: Clock) -> None:
    """The plan itself: cells, configs, ids, packs, checks; without the first call's imports."""
    import torch  # noqa: F401  (half of the command; it does not grow)

    import orchestrator
    from orchestrator import session

    with clock.running():
        planned = orchestrator.plan(str(folder / "scale.yaml"))
        session.check(planned)
    clock.facts |= {"runs": len(planned.runs), "packs": len(planned.packs)}


def commit(folder: Path, snapshots: int, clock: Clock) -> None:
    """Opens the folder, then begins, commits and publishes nine tenths of the packs."""
    import orchestrator
    from orchestrator import session
    from orchestrator.ledger import Ledger
    from orchestrator.stores.local import LocalStore

    planned = orchestrator.plan(str(folder / "scale.yaml"))
    with clock.running():
        session.open_folder(planned)
    ledger = Ledger(LocalStore(planned.folder))
    for i, pack in enumerate(planned.packs):
        rows = pack_rows(pack, snapshots)
        with clock.running():
            ledger.begin({"pack_id": pack.pack_id, "width": pack.width, "engine": pack.engine,
                          "borders": [1], "members": [{"run_id": m.run_id, "config": m.config}
                                                      for m in pack.members]})
            if i % 10 != 9:
                ledger.commit(pack.pack_id, {"segment": 0, "step": 1, "last": True}, b"", rows)
    clock.facts["packs"] = len(planned.packs)


def ledger(folder: Path, _: int, clock: Clock) -> None:
    """What a plan and a status ask of the ledger."""
    from orchestrator.ledger import Ledger
    from orchestrator.stores.local import LocalStore

    asked = Ledger(LocalStore(folder / "scale"))
    with clock.running():
        ended, begun = asked.ended_runs(), sum(1 for _ in asked.open_packs())
    clock.facts |= {"ended": len(ended), "begun": begun}


def compact(folder: Path, _: int, clock: Clock) -> None:
    """``sgdscope compact``; once more, it finds nothing to do."""
    from orchestrator import compaction
    from orchestrator.stores.local import LocalStore

    with clock.running():
        made = compaction.compact(LocalStore(folder / "scale"))
    clock.facts["parts"] = sum(c.parts for c in made)


def open_tables(folder: Path, _: int, clock: Clock) -> None:
    """The tables as the analysis' frames."""
    import pandas  # noqa: F401

    from analysis.frames import load

    with clock.running():
        sweep = load(folder / "scale")
    clock.facts["rows"] = len(sweep.snapshots)


def analyze(folder: Path, _: int, clock: Clock) -> None:
    """``sgdscope analyze``: laws, break points, figures, report."""
    from orchestrator import session

    with clock.running():
        summary = session.analyze(folder / "scale")
    clock.facts["verdict"] = summary.verdict


_WORK: Mapping[str, Callable[[Path, int, Clock], None]] = {
    "plan (command)": plan_command, "plan": plan, "commit": commit, "ledger": ledger,
    "ledger again": ledger,
    "plan again": plan, "open parts": open_tables, "compact": compact, "compact again": compact,
    "open": open_tables, "analyze": analyze}


def pack_rows(pack: Any, snapshots: int) -> dict[str, list[dict[str, Any]]]:
    """The rows of a pack that has ended, by λ = 2 (η/S)^-0.5 and some noise of the run's own."""
    from orchestrator.columns import identity_columns

    found: dict[str, list[dict[str, Any]]] = {"runs": [], "snapshots": [], "spectra": [],
                                              "curves": []}
    for member in pack.members:
        columns = identity_columns(member.config)
        size, batch = member.config["data"]["train_size"], columns["batch_size"]
        noise = int(member.run_id[:8], 16) / 2**32 - 0.5
        end = 2.0 * columns["ratio"] ** -0.5 * (1 + 0.2 * noise)
        path = []
        for i in range(snapshots):
            epoch = 40.0 * i / (snapshots - 1)
            values = {"train_loss": 2.3 / (1 + epoch * (1 + 1e3 * columns["ratio"])) + 1e-3,
                      "train_accuracy": min(1.0, 0.1 + 0.02 * epoch), "grad_norm": 1.0 + noise,
                      "test_loss": 0.5 + noise, "test_accuracy": 0.9 + 0.1 * noise,
                      "param_norm": 10.0, "init_distance": epoch}
            values["hessian_lambda_max"] = 5.0 + (end - 5.0) * min(1.0, epoch / 20) + 0.01 * noise
            path.append({"run_id": member.run_id, "step": round(epoch * (size // batch)),
                         "epoch": epoch, "lr": columns["lr"], "measure_size": 256,
                         "measure_ge": 60.0, "time_measure_s": 0.1, **values})
            found["spectra"].append({"run_id": member.run_id, "step": path[-1]["step"], "index": 1,
                                     "operator": "hessian", "bound": 1e-3,
                                     "value": values["hessian_lambda_max"]})
        found["snapshots"] += path
        final = {f"final_{k}": v for k, v in values.items()}
        found["runs"].append({
            **columns, **final, "run_id": member.run_id, "name": "scale", "status": "finished",
            "status_detail": "all steps made", "steps": path[-1]["step"], "epochs": 40.0,
            "train_size": size, "test_size": 297, "parameters": 8970, "measure_ge": 1200.0,
            "train_ge": 234.0, "pack_id": pack.pack_id, "engine": pack.engine, "width": pack.width,
            "threads": 1, "device_kind": "cpu", "precision": "fp32", "numerics": 1,
            "torch_version": "2", "sgdscope_version": "0", "data_sha256": "d" * 64,
            "time_train_s": 1.0, "time_measure_s": 2.0, "host_name": "none"})
    return found


def measured(phase: str, folder: Path, snapshots: int) -> dict[str, Any]:
    """One phase in a process of its own."""
    command = [sys.executable, "-m", "bench.scale", "--phase", phase, "--work", str(folder),
               "--snapshots", str(snapshots)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _phase(phase: str, folder: Path, snapshots: int) -> dict[str, Any]:
    clock = Clock()
    _WORK[phase](folder, snapshots, clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"phase": phase, "cpu_s": clock.cpu_s, "wall_s": clock.wall_s, "peak_mib": peak,
            **clock.facts}


def scale(runs: Sequence[int], snapshots: int, work: Path) -> dict[str, list[dict[str, Any]]]:
    """phase -> one entry a number of runs; progress goes to stderr."""
    found: dict[str, list[dict[str, Any]]] = {phase: [] for phase in PHASES}
    for count in runs:
        folder = work / str(count)
        folder.mkdir(parents=True)
        write_spec(folder, count)
        # the packs' shapes are calibrated once a machine; here that is no part of it
        plan_command(folder, 0, Clock())
        for phase in PHASES:
            one = {"asked": count, **measured(phase, folder, snapshots)}
            found[phase].append(one)
            print(f"{count:>8,} {phase:15} {one['cpu_s']:8.2f} s {one['peak_mib']:7.0f} MiB",
                  file=sys.stderr)
    return found


def table(found: Mapping[str, Sequence[Mapping[str, Any]]], runs: Sequence[int]) -> str:
    """Seconds (of the clock), the growth from the column before, MiB."""
    lines = ["phase          " + "".join(f"{f'{n:,} runs':>36}" for n in runs)]
    for phase, row in found.items():
        text, before = f"{phase:15}", None
        for one in row:
            growth = f"×{one['cpu_s'] / max(before, 1e-3):.1f}" if before is not None else ""
            text += (f"{one['cpu_s']:10.2f} s ({one['wall_s']:6.2f}) {growth:>5}"
                     f" {one['peak_mib']:6.0f} MiB")
            before = one["cpu_s"]
        lines.append(text)
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--snapshots", type=int, default=20)
    parser.add_argument("--work", type=Path, help="an empty folder, kept; else a temporary one")
    report.option(parser)
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.phase:
        print(json.dumps(_phase(given.phase, given.work, given.snapshots)))
        return
    with tempfile.TemporaryDirectory(prefix="sgdscope-scale-") as temporary:
        found = scale(given.runs, given.snapshots, given.work or Path(temporary))
    print(table(found, given.runs))
    report.finish("scale", {"snapshots": given.snapshots, "phases": found}, given.json)


if __name__ == "__main__":
    main()
