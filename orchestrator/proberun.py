"""One probe, from the weights of its runs to its committed curves."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator import __version__
from orchestrator.ledger import Ledger
from orchestrator.packrun import device_for, device_kind, host_name, settle
from orchestrator.planner import NUMERICS
from orchestrator.probeplan import ProbePlan
from orchestrator.stores import Place, Store, open_store

FORMAT = 1
_FACTS = {"steps": 1, "running": 0, "finished": 0, "diverged": 0}


def order(probe: ProbePlan, spec: Any, folder: Place, step: int) -> dict[str, Any]:
    """All that a worker needs to know, as plain values; ``step``: where the runs' weights are."""
    return {
        "folder": str(folder), "base_dir": str(spec.base_dir), "device": spec.compute.device,
        "probe": {"probe_id": probe.probe_id, "kind": probe.kind, "options": dict(probe.options),
                  "seed": probe.seed, "step": step, "weights": probe.weights,
                  "members": [{"run_id": r.run_id, "config": dict(r.config)} for r in probe.runs]},
    }


def run_probe(order: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Makes the probe and commits it, whole; yields its progress as plain values.

    One that was committed already, here or by another writer, is published and not made again.
    """
    import torch

    from trainables import landscape

    settle()
    ledger, wanted = Ledger(open_store(order["folder"])), order["probe"]
    yield {"step": 0, **_FACTS}
    left = ledger.committed_probe(wanted["probe_id"])
    if left is not None:
        ledger.publish_probe(left)
    elif wanted["probe_id"] not in ledger.ended_probes():
        device, start = torch.device(device_for(order["device"])), time.monotonic()
        subject = _subject(order, ledger.store, device)
        found = landscape.run(wanted["kind"], subject, wanted["options"])
        ledger.commit_probe(
            {**record(wanted), "device_kind": device_kind(device),
             "torch_version": torch.__version__, "threads": torch.get_num_threads(),
             "time_s": time.monotonic() - start, "host_name": host_name()},
            curve_rows(found, subject_id=wanted["probe_id"], step=wanted["step"]))
    yield {"step": 1, **_FACTS}


def curve_rows(found: Sequence[tuple[str, Any]], **shared: Any) -> list[dict[str, Any]]:
    """The rows of a probe's curves; those of one quantity and series are one curve in pieces."""
    rows, points = [], Counter()
    for quantity, curve in found:
        place = quantity, curve.series
        rows += [{**shared, "quantity": quantity, **point, "index": points[place] + point["index"]}
                 for point in curve.rows(0)]
        points[place] += curve.value.shape[-1]
    return rows


def skip(order: Mapping[str, Any], reason: str) -> None:
    """Commits that a probe will never be made, and why, so that nobody waits for it."""
    Ledger(open_store(order["folder"])).commit_probe(
        {**record(order["probe"]), "status": "skipped", "status_detail": reason}, [])


def record(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What ``probes/<probe_id>.json`` says of a probe, whichever way it ended."""
    return {"format": FORMAT, "probe_id": wanted["probe_id"], "kind": wanted["kind"],
            "options": wanted["options"], "seed": wanted["seed"],
            "run_ids": [m["run_id"] for m in wanted["members"]], "numerics": NUMERICS,
            "sgdscope_version": __version__, "status": "finished", "status_detail": ""}


def _subject(order: Mapping[str, Any], store: Store, device: Any) -> Any:
    from trainables.datasets import load
    from trainables.landscape import Subject

    wanted, base_dir = order["probe"], Path(order["base_dir"])
    configs = tuple(m["config"] for m in wanted["members"])
    ids: Sequence[str] = [m["run_id"] for m in wanted["members"]] if wanted["weights"] else []
    return Subject(
        configs=configs, weights=tuple(_weights(store, i) for i in ids),
        data=load(configs[0]["data"], base_dir) if configs else None,
        seed=wanted["seed"], device=device, base_dir=base_dir)


def _weights(store: Store, run_id: str) -> Mapping[str, Any]:
    from safetensors.torch import load

    content = store.read(f"weights/{run_id}.safetensors")
    if content is None:
        raise FileNotFoundError(f"weights/{run_id}.safetensors is missing")
    return load(content)
