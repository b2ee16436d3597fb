"""One sweep from its plan to its report: open the folder, run what is missing, analyse."""

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from analysis.schema import sweep_schema
from orchestrator import costs, preflight, records
from orchestrator.cluster import Cluster
from orchestrator.columns import config_types, monitor_columns
from orchestrator.compaction import compact_many
from orchestrator.errors import Problem, UserError
from orchestrator.ledger import Ledger
from orchestrator.packrun import run_pack
from orchestrator.parcel import names_functions
from orchestrator.planner import (
    CHOICES,
    Plan,
    check_unchanged,
    folder_of,
    make_plan,
    resolved_tree,
)
from orchestrator.presumed import Presumed
from orchestrator.probeplan import weight_problems
from orchestrator.proberun import run_probe
from orchestrator.spec import Spec, load_spec
from orchestrator.stages import GuidedStage, Stage, Stages
from orchestrator.stores import Place, Store, open_store, reach
from orchestrator.tell import headline
from orchestrator.timeline import phase


@dataclass(frozen=True)
class Outcome:
    """How a session ended: the sweep's folder, the packs that failed, and the analysis.

    ``spent``: the gradient equivalents of measuring and of training, and the budget. ``skipped``:
    the probes that were not made, and why, in words. ``found``: by a search, in lines.
    """

    folder: Place
    failures: Mapping[str, str]
    summary: Any
    seconds: float
    spent: Mapping[str, float | None] = field(default_factory=dict)
    probe_failures: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    found: Sequence[str] = ()


def run(source: str, *, overrides: Sequence[str] = (), yes: bool = False, inline: bool = False,
        address: str | None = None, out: TextIO | None = None) -> Outcome:
    """From a spec to its report. Ray starts while the plan is made, where that is sure to train."""
    spec = load_spec(source, overrides)
    with closing(Cluster(address)) as cluster:
        if not inline and _is_fresh(spec):
            cluster.start()
        with phase("plan"):
            plan = make_plan(spec, yes=yes)
        return _run(plan, cluster, inline=inline, out=out)


def run_sweep(plan: Plan, *, inline: bool = False, address: str | None = None,
              out: TextIO | None = None, probes_only: bool = False) -> Outcome:
    """Runs what is missing of the plan, then writes the report. UserError before anything starts.

    ``probes_only``: of a sweep that was run before, the probes whose runs have ended.

    Ctrl-C raises KeyboardInterrupt after the workers have stopped: nothing committed is lost.
    """
    with closing(Cluster(address)) as cluster:
        return _run(plan, cluster, inline=inline, out=out, probes_only=probes_only)


def _is_fresh(spec: Spec) -> bool:
    """Whether the spec's sweep has no run that could have ended, and will hardly be refused.

    A plan that is refused after all waits for Ray to start and stop. So what a spec names of the
    user's own, and data that cannot be read, keep Ray from starting before the plan is made.
    """
    from trainables.datasets import describe
    from trainables.errors import InputError

    folder = folder_of(spec)
    reach(folder)
    if (open_store(folder).names("") or names_functions(spec)
            or spec.compute.cpus > (os.cpu_count() or 1)
            or preflight.storage_problems(folder)):
        return False
    try:
        describe(spec.data, spec.base_dir)  # which keeps what it reads for the plan
    except InputError:
        return False
    return True


def _run(plan: Plan, cluster: Cluster, *, inline: bool, out: TextIO | None,
         probes_only: bool = False) -> Outcome:
    out, start = out or sys.stderr, time.monotonic()
    if isinstance(plan.data, Presumed):
        raise UserError(plan.spec.problem(plan.data.absent, "data", plan.data.fix))
    with phase("check"):
        check(plan, on_cluster=cluster.address is not None, others=_cluster_problems(
            plan, cluster, out))
    if probes_only and read_resolved(plan.folder) is None:
        raise UserError(plan.spec.problem(f"{plan.folder} holds no sweep", "name",
                                          "run it first: sgdscope run"))
    with phase("open folder"):
        plan = open_folder(plan)
        folder = plan.folder
    out.write(f"{headline(plan)}\n")
    stages = Stages(plan, folder, out)
    with closing(stages.probes() if probes_only else stages.all()) as wanted:
        _work_off(wanted, plan, cluster, inline=inline)
    cluster.release()
    with phase("compaction"):
        compact_many(open_store(folder))
    out.write("analysing …\n")
    with phase("analysis"):
        summary = analyze(folder, plan.spec.base_dir)
    return Outcome(folder, stages.failures, summary, time.monotonic() - start, _spent(plan),
                   stages.probe_failures, stages.skipped, stages.found)


def _spent(plan: Plan) -> dict[str, float | None]:
    """Of the plan's runs that have ended; empty where none has trained."""
    from analysis.tables import read

    table = read(plan.store.folder, "runs", ["run_id", "measure_ge", "train_ge"]).to_pydict()
    wanted = planned_runs(plan.folder)
    rows = [r for r in zip(*table.values(), strict=True) if r[0] in wanted]
    measure, train = sum(r[1] for r in rows), sum(r[2] for r in rows)
    return {"measure_ge": measure, "train_ge": train,
            "budget": plan.spec.measure.budget} if train else {}


def _cluster_problems(plan: Plan, cluster: Cluster, out: TextIO) -> list[Problem]:
    """What stands in the way on the nodes of a running cluster; none where Ray is our own."""
    if cluster.address is None:
        return []
    from orchestrator import clusterdoctor

    found = clusterdoctor.look(cluster, plan.folder)
    out.writelines(f"warning: {w}\n" for w in found.warnings)
    return list(found.problems)


def check(plan: Plan, *, on_cluster: bool = False, others: Sequence[Problem] = ()) -> None:
    """All that would go wrong later, at once; ``others``: what is known to."""
    problems = [*others, *([] if on_cluster else preflight.machine_problems(plan.spec))]
    problems += preflight.storage_problems(plan.folder) or preflight.space_problems(
        plan.folder, costs.disk_bytes(plan.whole))
    problems += weight_problems(plan, Ledger(plan.store))
    if problems:
        raise UserError(*problems)
    earlier = read_resolved(plan.folder)
    if earlier is not None:
        check_unchanged(plan, earlier)


def open_folder(plan: Plan) -> Plan:
    """Writes what a sweep's folder begins with: the spec, resolved, and the empty tables.

    The plan that holds there, which is another where another driver was first (see ``_agreed``).
    """
    import yaml

    store = plan.store
    types = config_types(r.config for r in (plan.search.star if plan.search else plan.runs))
    measured = monitor_columns(plan.spec.measure.monitors, plan.spec.base_dir)
    Ledger(store).create_tables(sweep_schema(types, measured))
    plan = _agreed(plan, store)
    tree = yaml.safe_dump(json.loads(json.dumps(resolved_tree(plan))), sort_keys=False,
                          allow_unicode=True)
    files = {"spec.yaml": plan.spec.text.encode(), "resolved.yaml": tree.encode()}
    for name, content in files.items():
        if store.read(name) != content:
            store.replace(name, content)
    planned = {"planned_probes.txt": plan.probe_ids,
               "planned.txt": [r.run_id for r in plan.runs]}
    for name, ids in planned.items():
        content = "".join(f"{i}\n" for i in ids).encode()
        if (store.read(name) or b"") != content:
            store.replace(name, content)
    return plan


def _agreed(plan: Plan, store: Store) -> Plan:
    """The plan of the engines and widths that its folder holds: whoever writes them first decides.

    Drivers on unlike machines that plan a new sweep at once would else cut its runs into different
    packs, and train them twice. Later choices join the first ones, or replace them where the user
    asks for others.
    """
    from orchestrator.choosing import read_choices, written

    if store.create(CHOICES, written(plan.choices)):
        return plan
    held = read_choices(store.read(CHOICES))
    if not held.items() <= plan.choices.items():  # not what the plan was made from, or to change
        plan = make_plan(plan.spec, yes=True)
    if plan.choices != held:
        store.replace(CHOICES, written(plan.choices))
    return plan


def read_resolved(folder: Place) -> dict[str, Any] | None:
    """The resolved spec of a sweep's folder, or None where there is none yet."""
    return records.resolved(open_store(folder))


def planned_runs(folder: Place) -> set[str]:
    """The ids of the runs that the folder's newest spec names."""
    return set(records.ids(open_store(folder), "planned.txt"))


def analyze(
    folder: Place, base_dir: Path | None = None, metrics: Sequence[str] = (),
    places: Sequence[str] = ()
) -> Any:
    """The analysis of what the tables hold now; writes analysis/ and report.html.

    ``base_dir``: where the user's own claims are looked for; the current directory if not given.
    ``metrics``: further columns to fit laws to, each at all ``places`` (end, peak, epoch:5,
    loss:0.1; the end if there is none).
    """
    from analysis import report
    from analysis.points import At

    wanted = [(metric, At.read(place)) for metric in metrics for place in places or ("end",)]
    return report.write(open_store(folder).folder, {**meta(folder, base_dir), "metrics": wanted})


def meta(folder: Place, base_dir: Path | None = None) -> dict[str, Any]:
    """What the analysis is told of a sweep beside its tables: the grid, the spec, the claims."""
    from orchestrator import claims

    spec = records.text(open_store(folder), "spec.yaml")
    listed = (read_resolved(folder) or {}).get("claims", [])
    chosen = claims.untree(listed)
    told = {"run_ids": sorted(planned_runs(folder)) or None, "spec": spec,
            "claims": dict(chosen), "own_claims": claims.own(chosen, base_dir or Path.cwd())}
    margin = dict(chosen).get("three_factors/ratio_law", {}).get("margin")
    return told if margin is None else {**told, "margin": margin}


def _work_off(stages: Iterable[Stage | GuidedStage], plan: Plan, cluster: Cluster, *,
              inline: bool) -> None:
    if inline:
        for stage in stages:
            _run_inline(stage)
    elif plan.packs or plan.probes or plan.search:
        from orchestrator.sweep import run_on_ray

        compute = plan.spec.compute
        gpus = 0 if compute.device == "cpu" else compute.gpus
        run_on_ray(stages, cluster, cpus=compute.cpus, gpus=gpus, idle=_prepare_analysis)


def _prepare_analysis() -> None:
    """Imports what the analysis needs, on a core that a worker has left."""
    from analysis.report import prepare

    threading.Thread(target=prepare, name="prepare").start()


def _run_inline(stage: Stage | GuidedStage) -> None:
    import traceback

    for name, one in stage:
        try:
            facts = {"step": 0, "steps": 1, "finished": 0, "diverged": 0}
            for facts in run_probe(one) if "probe" in one else run_pack(one):
                stage.listener.told(name, facts, ended=False)
            stage.listener.told(name, facts, ended=True)
        except Exception:  # noqa: BLE001  (whatever a user's model raises is shown to the user)
            stage.listener.failed(name, traceback.format_exc())
