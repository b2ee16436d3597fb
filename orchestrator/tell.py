"""What the commands print: plans, endings and presets, as text and as JSON."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from analysis.labels import count
from orchestrator import costs, measuring
from orchestrator.planner import Plan
from orchestrator.presumed import Presumed
from orchestrator.progress import clock
from orchestrator.status import last_line


def headline(plan: Plan) -> str:
    """One line before a sweep starts."""
    if plan.search is not None:
        return f"{plan.spec.name}: {plan.search} → {plan.folder}" + _without_compiler(plan.whole)
    done = f", {len(plan.ended)} of them done" if plan.ended else ""
    return (f"{plan.spec.name}: {count(len(plan.runs), 'run')}{done};"
            f" {count(len(plan.packs), 'pack')} to do"
            + (f", {count(len(plan.probes), 'probe')} to do" if plan.probes else "")
            + f" → {plan.folder}") + _without_compiler(plan)


def _without_compiler(plan: Plan) -> str:
    """A line where steps could have been compiled, had this machine a compiler; else nothing."""
    from trainables.choice import can_compile

    if not plan.packs or plan.spec.compute.compile is False or can_compile():
        return ""
    return ("\nno C++ compiler is on the PATH (g++ or clang++): steps are not compiled, the plain"
            " engines serve")


def plan_facts(plan: Plan) -> dict[str, Any]:
    """A plan as plain values; of a search, work and time are what is expected."""
    whole = plan.whole
    estimate = costs.estimate(whole)
    steps = sum(costs.lengths(p)[0] * len(p.members) for p in whole.packs)
    snapshots = sum(costs.lengths(p)[1] * len(p.members) for p in whole.packs)
    return {
        "name": plan.spec.name, "folder": str(plan.folder), "runs": len(plan.runs),
        "done": len(plan.ended), "missing": len(plan.missing), "strangers": plan.strangers,
        "packs": len(whole.packs), "packs_begun": len(plan.begun), "steps": steps,
        "snapshots": snapshots, "parameters": plan.parameters,
        "train_size": plan.data.train_size, "test_size": plan.data.test_size,
        "compute_s": round(estimate.compute_s, 1), "wall_s": round(estimate.wall_s, 1),
        "gpu_s": None if estimate.gpu_s is None else round(estimate.gpu_s, 1),
        "slots": estimate.slots, "disk_bytes": estimate.disk_bytes, "source": estimate.source,
        **measuring_facts(whole),
        **({} if plan.search is None else {"search": plan.search.facts()}),
        "probes": len(plan.probes), "probes_done": len(plan.probe_ids) - len(plan.probes),
        "probes_ge": sum(p.cost for p in plan.probes),
    }


def measuring_facts(plan: Plan) -> dict[str, Any]:
    """What measuring all of the plan's runs costs beside training, as their monitors declare."""
    every = measuring.of_runs(
        [r.config for r in plan.runs], plan.spec.base_dir, plan.data.classes)
    measure, train = sum(c.measuring for c in every), sum(c.training for c in every)
    return {
        "snapshots_of_a_run": [f(c.snapshots for c in every) for f in (min, max)],
        "snapshot_ge": [f(c.snapshot for c in every) for f in (min, max)],
        "measure_ge": measure, "train_ge": train, "measure_share": measure / train,
        "budget": plan.spec.measure.budget,
    }


def _measuring_line(f: Mapping[str, Any]) -> str:
    snapshots, ge = ("–".join(dict.fromkeys(f"{v:,.4g}" for v in f[n]))
                     for n in ("snapshots_of_a_run", "snapshot_ge"))
    return (f"measure  {snapshots} snapshots a run, each of {ge} GE (gradient equivalents): about"
            f" {f['measure_ge']:,.0f} GE beside {f['train_ge']:,.0f} of training,"
            f" {_share(f['measure_share'], f['budget'])}")


def _share(share: float, budget: float | None) -> str:
    return f"a share of {share:.2g}" + ("" if budget is None else f" (budget {budget:g})")


def spent_line(spent: Mapping[str, Any]) -> str:
    """What measuring cost beside training, as counted in a sweep's rows."""
    return (f"measured {spent['measure_ge']:,.0f} GE (gradient equivalents) beside"
            f" {spent['train_ge']:,.0f} of training,"
            f" {_share(spent['measure_ge'] / spent['train_ge'], spent['budget'])}")


def plan_text(plan: Plan) -> str:
    """A plan as a person reads it."""
    f = plan_facts(plan)
    shape = "×".join(map(str, plan.data.input_shape))
    data = plan.spec.data.get("function") or plan.spec.data["name"]
    lines = [
        f"{f['name']} → {f['folder']}",
        f"data     {data}: {_sizes(plan)} training and {f['test_size']} test"
        f" examples of {shape}, {plan.data.classes} classes",
        *_absent_lines(plan),
        f"model    {plan.spec.model['name']}: {f['parameters']:,} parameters",
        *_run_lines(plan, f),
        *_engine_lines(plan.whole),
        f"work     {f['steps']:,} steps and {f['snapshots']:,} snapshots of single runs",
        _measuring_line(f),
        f"time     about {clock(f['wall_s'])} with {f['slots']} packs at once"
        f" ({clock(f['compute_s'])} of computing; by {f['source']})"
        if f["packs"] else "time     nothing to train",
        *_hours_lines(f),
        *_probe_lines(plan, f),
        f"disk     about {f['disk_bytes'] / 1e6:.1f} MB",
    ]
    for pack in plan.packs[:40]:
        lines.append(_pack_line(pack))
    if len(plan.packs) > 40:
        lines.append(f"         … and {len(plan.packs) - 40} more packs")
    return "\n".join(lines)


def _absent_lines(plan: Plan) -> list[str]:
    """That the data are not here, what is presumed of them, and how to get them."""
    if not isinstance(plan.data, Presumed):
        return []
    return [f"         {plan.data.absent}: taken to be like {plan.data.like} as published",
            f"         {plan.data.fix}"]


def _hours_lines(f: Mapping[str, Any]) -> list[str]:
    """Core-hours and GPU-hours where no step was timed."""
    if f["gpu_s"] is None:
        return []
    core, gpu = (_hours(f[n] / 3600) for n in ("compute_s", "gpu_s"))
    return [f"         {core} core-hours, or {gpu} GPU-hours, to a factor of three or so;"
            " where the data are, a few steps are timed instead"]


def _hours(hours: float) -> str:
    return f"{float(f'{hours:.2g}'):,g}" if hours >= 0.1 else "under 0.1"


def _run_lines(plan: Plan, f: Mapping[str, Any]) -> list[str]:
    if plan.search is not None:
        return plan.search.lines(f["packs"], f["done"])
    return [f"runs     {f['runs']}: {f['done']} done, {f['missing']} missing"
            + (f"; {f['strangers']} more in the tables, of cells that the spec no longer names"
               if f["strangers"] else ""),
            f"packs    {f['packs']} to do"
            + (f", {f['packs_begun']} of them begun" if f["packs_begun"] else "")]


def _sizes(plan: Plan) -> str:
    """1500; or 100, 300, 1500 where the training set is swept; of many the ends."""
    sizes = sorted({r.config["data"]["train_size"] for r in plan.whole.runs})
    if len(sizes) > 6:
        return f"{sizes[0]} to {sizes[-1]} ({len(sizes)} sizes)"
    return ", ".join(map(str, sizes))


def _probe_lines(plan: Plan, f: Mapping[str, Any]) -> list[str]:
    if not plan.spec.probes:
        return []
    kinds = Counter(p.kind for p in plan.probes)
    to_do = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
    ends = [f"probes   {f['probes']} to do" + (f" ({to_do})" if to_do else ""),
            f"{f['probes_done']} done" if f["probes_done"] else "",
            f"about {f['probes_ge']:,.0f} gradients over the training set, beside the time above"
            if f["probes_ge"] else "",
            "they imply save: {weights: final}" if any(p.weights for p in plan.probes) else ""]
    return ["; ".join(filter(None, ends))]


ENGINES = {
    "vmap": "all runs of a pack at once", "loop": "one run after another",
    "vmap-compiled": "all runs of a pack at once, by a compiled step",
    "loop-compiled": "one run after another, by a compiled step"}


def _engine_lines(plan: Plan) -> list[str]:
    """Which engines the packs to do have, and whether their steps are compiled."""
    if not plan.packs:
        return []
    names = Counter(p.engine for p in plan.packs)
    told = "; ".join(f"{name} ({ENGINES.get(name, name)}): {count(n, 'pack')}"
                     for name, n in names.items())
    if any(n.endswith("-compiled") for n in names):
        why = "compiled once on this machine, which takes some seconds"
    elif plan.spec.compute.compile == "auto":
        why = "steps not compiled: too few of them to pay for it, or it cannot be"
    else:
        why = "steps not compiled, or they cannot be"
    return [f"engines  {told}; {why}"]


def _pack_line(pack: Any) -> str:
    steps, snapshots = costs.lengths(pack)
    batch = pack.members[0].config["train"]["batch_size"]
    runs = count(len(pack.members), "run")
    return (f"  pack {pack.pack_id}  S = {batch:<5} {runs:>8}, width {pack.width}"
            f" ({pack.engine}), {steps:,} steps, {snapshots} snapshots")


def plan_json(plan: Plan) -> str:
    """A plan with its runs and the probes to do, for programs."""
    runs = [{"run_id": r.run_id, "done": r.run_id in plan.ended, "config": dict(r.config)}
            for r in plan.runs]
    probes = [{"probe_id": p.probe_id, "kind": p.kind, "options": dict(p.options), "seed": p.seed,
               "run_ids": [r.run_id for r in p.runs], "ge": p.cost} for p in plan.probes]
    return json.dumps({**plan_facts(plan), "run_list": runs, "probe_list": probes})


def runs_text(plan: Plan) -> str:
    """Every run in a line: its id, whether it is done, and what distinguishes it."""
    from orchestrator.columns import identity_columns

    rows = [identity_columns(r.config) for r in plan.runs]
    varying = [c for c in rows[0] if len({json.dumps(r[c]) for r in rows}) > 1]
    lines = ["  ".join(["run_id".ljust(16), "done", *varying])]
    for run, row in zip(plan.runs, rows, strict=True):
        mark = "yes " if run.run_id in plan.ended else "no  "
        values = (_short(row[c]).ljust(len(c)) for c in varying)
        lines.append("  ".join([run.run_id, mark, *values]).rstrip())
    return "\n".join(lines)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def summary_text(summary: Any) -> str:
    """The analysis in a few lines; the verdict and the report's path last."""
    return "\n".join(summary.lines)


def summary_json(summary: Any) -> str:
    """The analysis, for programs."""
    return json.dumps({"verdict": summary.verdict, "report": str(summary.path),
                       "lines": list(summary.lines)})


def ended_text(ended: Any) -> str:
    """How a sweep ended, its failures first."""
    spent = [spent_line(ended.spent)] if ended.spent else []
    return "\n".join([*_failure_lines(ended.failures, ended.folder), *_probe_endings(ended), *spent,
                      *ended.found, summary_text(ended.summary)])


def ended_json(ended: Any) -> str:
    """How a sweep ended, for programs."""
    return json.dumps({
        "folder": str(ended.folder), "seconds": round(ended.seconds, 1),
        "spent": dict(ended.spent),
        "failures": {p: last_line(w) for p, w in ended.failures.items()},
        "probe_failures": {p: last_line(w) for p, w in ended.probe_failures.items()},
        "probes_skipped": dict(ended.skipped), "found": list(ended.found),
        **json.loads(summary_json(ended.summary))})


def _failure_lines(failures: Mapping[str, str], folder: Any) -> list[str]:
    lines = []
    for pack_id, why in list(failures.items())[:5]:
        lines += [f"pack {pack_id} failed: {last_line(why)}",
                  f"  log: {folder}/packs/{pack_id}/error.txt"]
    if len(failures) > 5:
        lines.append(f"… and {len(failures) - 5} more packs failed")
    if failures:
        lines.append("the other runs are whole; the same command tries the failed packs again")
    return lines


def _probe_endings(ended: Any) -> list[str]:
    lines = []
    for probe_id, why in list(ended.probe_failures.items())[:5]:
        lines += [f"probe {probe_id} failed: {last_line(why)}",
                  f"  log: {ended.folder}/probes/{probe_id}.error.txt"]
    if len(ended.probe_failures) > 5:
        lines.append(f"… and {len(ended.probe_failures) - 5} more probes failed")
    lines += [f"probe {p} was not made: {why}" for p, why in list(ended.skipped.items())[:5]]
    if len(ended.skipped) > 5:
        lines.append(f"… and {len(ended.skipped) - 5} more probes were not made")
    return lines


def presets_text(name: str | None, *, scale: str = "", as_json: bool = False,
                 bare: bool = False) -> str:
    """The list of presets, their names alone (``bare``), or one preset's YAML."""
    from orchestrator.presets import find_preset, list_presets

    if name is not None:
        return find_preset(name).path.read_text(encoding="utf-8")
    found = list_presets(scale)
    if as_json:
        return json.dumps([{"name": p.name, "scale": p.scale, "title": p.title,
                            "path": str(p.path)} for p in found])
    if bare:
        return "\n".join(p.name for p in found)
    width = max((len(p.name) for p in found), default=0)
    return "\n".join(f"{p.name.ljust(width)}  {p.title}" for p in found)
