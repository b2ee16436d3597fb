"""What a plan costs: relative weights for ordering, seconds for people, bytes for the disk."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator import measuring
from orchestrator.measuring import sizes_of
from orchestrator.packing import PackPlan, group_key
from orchestrator.planner import Plan
from orchestrator.presumed import Presumed
from trainables import cache, monitors
from trainables.epochs import calendar
from trainables.schedules import measuring_steps, total_steps

# Single-precision operations a second that small nets get, to a factor of about three: of a core of
# a server CPU, of a GPU; and seconds that a step of a pack takes whatever its size.
CORE_RATE, GPU_RATE, STEP_S = 15e9, 1e12, 1e-3
ROW_BYTES = {"runs": 1000, "snapshots": 220, "spectra": 48, "curves": 40}
PART_BYTES, PROBE_BYTES, START_S = 40_000, 10_000, 8.0


@dataclass(frozen=True)
class Estimate:
    """Seconds of computing over all packs; of the clock with ``slots`` packs at once; bytes.

    ``gpu_s``: seconds on one GPU; None where the time was measured and not counted.
    """

    compute_s: float
    wall_s: float
    slots: int
    disk_bytes: int
    source: str
    gpu_s: float | None = None


def weight(pack: PackPlan) -> float:
    """A pack's relative cost, without measuring anything: its updates and its snapshots."""
    steps, snapshots = lengths(pack)
    config = pack.members[0].config
    runs = pack.width if pack.engine.startswith("vmap") else len(pack.members)
    size, batch = config["measure"]["set_size"], config["train"]["batch_size"]
    return steps * (4.0 + runs * (0.1 + batch / 64)) + snapshots * runs * size / 32


def lengths(pack: PackPlan) -> tuple[int, int]:
    """(steps, snapshots) of a pack; the bound of ``until`` counts as its length."""
    config = pack.members[0].config
    days = calendar(config["data"]["train_size"], config["train"])
    steps = total_steps(config["train"], days)
    return steps, len(measuring_steps(config["measure"]["when"], days, steps))


def disk_bytes(plan: Plan) -> int:
    """Bytes that what is missing will add for good: tables, and weights if asked for."""
    total = PROBE_BYTES * len(plan.probes)
    for pack in plan.packs:
        runs, (_, snapshots) = len(pack.members), lengths(pack)
        total += PART_BYTES + runs * (
            ROW_BYTES["runs"] + snapshots * _snapshot_bytes(pack.members[0].config, plan))
        total += 4 * plan.parameters * runs * (plan.spec.save.weights == "final")
    return total


def _snapshot_bytes(config: Mapping[str, Any], plan: Plan) -> int:
    """Bytes of the rows of one snapshot of a run, as its monitors declare how many there are."""
    sizes, total = sizes_of(config, plan.data.classes), ROW_BYTES["snapshots"]
    for name, options in config["measure"]["monitors"]:
        rows = monitors.find(name, plan.spec.base_dir).expected_rows(options, sizes)
        total += rows.spectra * ROW_BYTES["spectra"] + rows.curves * ROW_BYTES["curves"]
    return total


def estimate(plan: Plan) -> Estimate:
    """From the rows of earlier runs of the same shape if there are some, else from a calibration.

    A calibration trains a few steps and takes one gradient of one pack a shape; it is remembered on
    this machine. Where the data are not here, from the operations that gradients take.
    """
    if isinstance(plan.data, Presumed):
        return _counted(plan)
    slots = _slots(plan)
    earlier, remembered, used = _earlier(plan), _Timings(), set()
    seconds = []
    for pack in plan.packs:
        key = group_key(pack.members[0].config)
        if key in earlier:
            used.add("earlier runs")
            seconds.append(earlier[key] * len(pack.members))
        else:
            used.add("a calibration")
            seconds.append(remembered.pack_seconds(pack, plan))
    remembered.save()
    total = sum(seconds)
    wall = max([total / slots, *seconds]) + START_S if seconds else 0.0
    return Estimate(total, wall, slots, disk_bytes(plan), " and ".join(sorted(used)) or "nothing")


def _slots(plan: Plan) -> int:
    return max(1, int((os.cpu_count() or 1) / plan.spec.compute.cpus))


def _counted(plan: Plan) -> Estimate:
    """3 times the operations of a forward pass a gradient of one example, of all gradients that
    training and measuring take by the monitors' declared costs, and a fixed time a step."""
    configs = [r.config for p in plan.packs for r in p.members]
    spent = measuring.of_runs(configs, plan.spec.base_dir, plan.data.classes)
    forward = _forward_operations(plan, configs)
    work = sum(3 * forward[_model(c)] * c["measure"]["set_size"] * (s.training + s.measuring)
               for c, s in zip(configs, spent, strict=True))
    fixed = STEP_S * sum(lengths(p)[0] for p in plan.packs)
    core_s, gpu_s = (work / rate + fixed for rate in (CORE_RATE, GPU_RATE))
    slots = _slots(plan)
    source = f"counted operations, at {CORE_RATE / 1e9:g} billion a second"
    return Estimate(core_s, core_s / slots + START_S, slots, disk_bytes(plan), source, gpu_s)


def _model(config: Mapping[str, Any]) -> str:
    return json.dumps(config["model"], sort_keys=True)


def _forward_operations(plan: Plan, configs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Of one example's forward pass, by model."""
    import torch

    from trainables import choice, models

    info, found = plan.data, {}
    for config in configs:
        if _model(config) not in found:
            net = models.build(config["model"], info.input_shape, info.classes, plan.spec.base_dir)
            found[_model(config)] = choice.work_of(
                net.eval(), torch.zeros(2, *info.input_shape), vectorises=True).flops
    return found


def _earlier(plan: Plan) -> dict[str, float]:
    """group_key -> mean seconds a run, of the plan's runs that have ended."""
    ended = [r for r in plan.runs if r.run_id in plan.ended]
    if not ended or not plan.packs:
        return {}
    from analysis.tables import read

    columns = read(plan.store.folder, "runs", ["run_id", "time_train_s", "time_measure_s"])
    spent = {i: t + m for i, t, m in zip(*columns.to_pydict().values(), strict=True)}
    groups: dict[str, list[float]] = {}
    for run in ended:
        groups.setdefault(group_key(run.config), []).append(spent[run.run_id])
    return {k: sum(v) / len(v) for k, v in groups.items()}


class _Timings:
    """Calibrations of this machine, kept in the user's cache folder."""

    def __init__(self) -> None:
        self._path = cache.folder() / "timings.json"
        try:
            known = json.loads(self._path.read_text())
        except (OSError, ValueError):
            known = None
        self._known = known if isinstance(known, dict) else {}
        self._new = False

    def pack_seconds(self, pack: PackPlan, plan: Plan) -> float:
        key = self._key(pack, plan)
        if key not in self._known:
            timing = _calibrate(pack, plan)
            self._known[key], self._new = [timing.step_s, timing.snapshot_s], True
        step_s, snapshot_s = self._known[key]
        steps, snapshots = lengths(pack)
        return steps * step_s + snapshots * snapshot_s

    def save(self) -> None:
        if not self._new:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(self._known, indent=0))
        except OSError:
            pass  # a cache that cannot be written costs time, nothing else

    def _key(self, pack: PackPlan, plan: Plan) -> str:
        import torch

        from orchestrator import __version__

        facts = [group_key(pack.members[0].config), plan.data.sha256, pack.width, pack.engine,
                 plan.spec.compute.device, torch.__version__, __version__, platform.processor(),
                 platform.node()]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def _calibrate(pack: PackPlan, plan: Plan) -> Any:
    import torch

    from orchestrator.building import build_working
    from orchestrator.packrun import device_for
    from trainables.timing import quick

    wanted = {"members": [vars(m) for m in pack.members], "width": pack.width,
              "engine": pack.engine}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        device = torch.device(device_for(plan.spec.compute.device))
        return quick(build_working(wanted, plan.spec.base_dir, device))
    finally:
        torch.set_num_threads(threads)
