"""Ray Tune: the only file that runs a sweep on Ray. One pack or probe a trial, actors reused.

Tune schedules and restarts; it keeps nothing that matters. Rows and states are committed by the
workers themselves, so whatever Tune forgets is found again by its id.
"""

import itertools
import json
import logging
import re
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.cluster import Cluster  # isort: skip  (Ray reads its environment at import)

import ray
from ray import tune
from ray.tune.search import Searcher

from orchestrator.errors import Problem, UserError
from orchestrator.packrun import run_pack
from orchestrator.proberun import run_probe
from orchestrator.stages import GuidedStage, Stage
from orchestrator.timeline import phase

# Times in a row that an order may kill the process it runs in, without a commit in between.
WORKER_LOSSES = 5
# Of Ray's errors, those that tell of a node or a network: no order's fault, tried for ever.
_NODE_LOST = ("node has died", "node was", "node is", "preempt", "unavailable")
BEAT_S = 1.0  # a trial is told about as often; each telling costs the driver and a round trip


class OrderTrial(tune.Trainable):
    """A trial: one pack or one probe, told a beat at a time."""

    def setup(self, config: dict, orders: Sequence[str] = ()) -> None:
        """Called once an actor; ``orders`` are the packs or probes of a stage as JSON."""
        self._orders = orders
        self.reset_config(config)

    def reset_config(self, config: dict) -> bool:
        """Takes up another order in the same process."""
        order = json.loads(config.get("order") or self._orders[config["index"]])
        self._events = run_probe(order) if "probe" in order else run_pack(order)
        self._facts = {"step": 0, "steps": 1, "running": 0, "finished": 0, "diverged": 0}
        self._given_up = config.get("given_up", "")
        return True

    def step(self) -> dict:
        """Trains for a beat. An exception is the run's own: it is told, and not tried again."""
        if self._given_up:
            return {**self._facts, "done": True, "failure": self._given_up}
        start, failure = time.monotonic(), ""
        try:
            for facts in self._events:
                self._facts = facts
                if time.monotonic() - start >= BEAT_S:
                    return {**self._facts, "done": False, "failure": ""}
        except Exception:  # noqa: BLE001  (whatever a user's model raises is shown to the user)
            failure = traceback.format_exc()
        return {**self._facts, "done": True, "failure": failure}

    def save_checkpoint(self, checkpoint_dir: str) -> dict:  # noqa: ARG002
        """Nothing: what a pack needs to go on lies in its newest commit."""
        return {}

    def load_checkpoint(self, checkpoint: dict | None) -> None:
        """Nothing: see ``save_checkpoint``."""


class _Told(tune.Callback):
    """Passes Tune's events on to our own progress, and gives up what kills its workers."""

    def __init__(self, stage: Stage | GuidedStage, idle: Callable[[], None]):
        self._ids = stage.ids if isinstance(stage, Stage) else ()
        self._listener, self._idle, self._losses = stage.listener, idle, Losses(stage.mark)

    def _id(self, trial: Any) -> str:
        return trial.config.get("id") or self._ids[trial.config["index"]]

    def on_trial_result(self, iteration, trials, trial, result, **info):  # noqa: ARG002
        """A beat of one trial."""
        if result["failure"]:
            self._listener.failed(self._id(trial), result["failure"])
        else:
            self._listener.told(self._id(trial), result, ended=result["done"])

    def on_trial_complete(self, iteration, trials, trial, **info):  # noqa: ARG002
        """A worker is free; for good, where no trial waits for one."""
        if self._ids and all(t.status != "PENDING" for t in trials):
            self._idle()

    def on_trial_recover(self, iteration, trials, trial, **info):  # noqa: ARG002
        """A worker was lost, and its trial will be tried again: to fail, where it is given up."""
        one, why = self._id(trial), _why_lost(trial)
        trial.config["given_up"] = self._losses.another(one, why)
        self._listener.lost(one, why)

    def on_trial_error(self, iteration, trials, trial, **info):  # noqa: ARG002
        """Tune itself gave a trial up."""
        self._listener.failed(self._id(trial), _why_lost(trial))


class Losses:
    """How often each order has lost its worker. ``mark(id)`` changes with each of its commits."""

    def __init__(self, mark: Callable[[str], Any]):
        self._mark, self._known = mark, {}

    def another(self, one: str, why: str) -> str:
        """Takes note of a loss; why the order is given up, or empty where it is tried again."""
        if any(words in why.lower() for words in _NODE_LOST):
            return ""
        mark, (before, count) = self._mark(one), self._known.get(one, (None, 0))
        count = count + 1 if mark == before else 1
        self._known[one] = mark, count
        if count < WORKER_LOSSES:
            return ""
        return (f"given up: its worker process died {count} times in a row before it had anything "
                f"more to commit\nthe last time: {why}")


def _why_lost(trial: Any) -> str:
    """What Ray last said, on one line: Tune notes each error in a file of the trial's."""
    try:
        said = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except (OSError, TypeError):
        said = ""
    last = re.split(r"^Failure # \d+ .*$", said, flags=re.MULTILINE)[-1]
    return " ".join(last.split()) or "the worker process died"


class PackSearcher(Searcher):
    """Asks a guided stage for a pack whenever a worker is free, and tells it which have ended."""

    def __init__(self, stage: GuidedStage):
        super().__init__()
        self._stage, self._count, self._ids = stage, itertools.count(), {}

    def __getstate__(self) -> dict:
        """Nothing: Tune keeps a copy for ``restore``, which is not used."""
        return {}

    def __deepcopy__(self, _: Any) -> "PackSearcher":
        return self

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        """The stage knows its objectives."""
        return True

    def suggest(self, trial_id: str) -> dict | str | None:
        """An order; None where there is none before another has ended."""
        one = self._stage.next()
        if one is None:
            return self.FINISHED if self._stage.searching.over else None
        self._ids[trial_id], order = one
        return {"index": next(self._count), "id": one[0], "order": json.dumps(order)}

    def on_trial_complete(self, trial_id: str, *_: Any, **__: Any) -> None:
        """The rows of what has ended lie in the tables; of what failed there are none."""
        if trial_id in self._ids:
            self._stage.ended(self._ids.pop(trial_id))

    def save(self, *_: Any) -> None:
        """Nothing: the search has its journal."""

    def restore(self, *_: Any) -> None:
        """Nothing: see ``save``."""


def run_on_ray(stages: Iterable[Stage | GuidedStage], cluster: Cluster, *, cpus: float,
               gpus: float | str, idle: Callable[[], None] = lambda: None) -> None:
    """Runs stage after stage, the orders of each as Tune trials in the order given.

    Returns when all have ended or failed. A stage is asked for when the one before has ended;
    where there is none, nothing is started. ``idle`` is called whenever a worker has nothing left
    to do while others have.
    """
    stages = iter(stages)
    first = next(stages, None)
    if first is None:
        return
    cluster.wait()
    resources = _resources(cpus, gpus)
    for stage in itertools.chain([first], stages):
        _run_stage(stage, resources, idle)


def _run_stage(stage: Stage | GuidedStage, resources: dict[str, float],
               idle: Callable[[], None]) -> None:
    scratch = tempfile.mkdtemp(prefix="sgdscope-tune-")
    orders, guided = [], {}
    if isinstance(stage, GuidedStage):
        # Without a limit a searcher is asked for one trial at a time.
        guided = {"search_alg": PackSearcher(stage), "num_samples": -1,
                  "max_concurrent_trials": _at_once(resources)}
    else:
        orders = [json.dumps(o) for o in stage.orders]
    try:
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # errors are told by us
        trainable = tune.with_parameters(OrderTrial, orders=orders)
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            param_space={} if guided else {
                "index": tune.grid_search(list(range(len(orders))))},
            tune_config=tune.TuneConfig(
                **guided, reuse_actors=True, trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name),
            run_config=tune.RunConfig(
                name="sweep", storage_path=scratch, verbose=0, log_to_file=False,
                failure_config=tune.FailureConfig(max_failures=-1),  # see Losses
                # Tune's folder is the driver's own: a node that saved there would fail.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[_Told(stage, idle)]),
        )
        with phase("tune"):
            tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _at_once(resources: dict[str, float]) -> int:
    """Trials that the cluster has room for."""
    there = ray.cluster_resources()
    return max(1, int(min(there.get(kind.upper(), 0.0) / amount
                          for kind, amount in resources.items())))


def _trial_name(trial: Any) -> str:
    return f"trial-{trial.config['index']}"


def _resources(cpus: float, gpus: float | str) -> dict[str, float]:
    """What one trial asks for; UserError where no node can give it, instead of waiting for ever."""
    nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    most = {kind: max((n.get(kind, 0.0) for n in nodes), default=0.0) for kind in ("CPU", "GPU")}
    wanted = {"CPU": cpus, "GPU": (1.0 if most["GPU"] else 0.0) if gpus == "auto" else float(gpus)}
    problems = [
        Problem(f"a trial asks for {amount:g} {kind}s, but no node has more than {most[kind]:g}",
                f"compute.{kind.lower()}s", f"ask for at most {most[kind]:g}")
        for kind, amount in wanted.items() if amount > most[kind]]
    if problems:
        raise UserError(*problems)
    return {kind.lower(): amount for kind, amount in wanted.items() if amount}
