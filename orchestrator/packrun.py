"""One pack, from its newest commit to its end: trainables' generator joined to the ledger."""

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator import __version__, building, halving
from orchestrator.columns import identity_columns
from orchestrator.ledger import Ledger
from orchestrator.packing import PackPlan
from orchestrator.planner import NUMERICS
from orchestrator.stores import Place, open_store
from orchestrator.timeline import phase

FORMAT = 1


def order(pack: PackPlan, spec: Any, folder: Place) -> dict[str, Any]:
    """All that a worker needs to know, as plain values."""
    return {
        "folder": str(folder), "name": spec.name, "base_dir": str(spec.base_dir),
        "weights": spec.save.weights == "final", "device": spec.compute.device,
        "pack": {
            "format": FORMAT, "pack_id": pack.pack_id, "width": pack.width, "engine": pack.engine,
            "members": [{"run_id": m.run_id, "config": dict(m.config)} for m in pack.members],
        },
    }


def run_pack(order: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Runs the pack, committing at its borders; yields its progress as plain values.

    Whatever restarts it, it goes on from the newest commit: one mechanism for every fault. Where
    memory does not suffice, by halves (see ``halving``).
    """
    return halving.run(order, _run_whole, lambda: device_kind(_device(order)))


def _run_whole(order: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    with phase("import"):
        from trainables import snapshot
        from trainables.measure import final_weights
        from trainables.train import Segment, train

    settle()
    ledger, wanted = Ledger(open_store(order["folder"])), order["pack"]
    device, base_dir = _device(order), Path(order["base_dir"])
    fixed = ledger.fixed(wanted["pack_id"])
    begun = fixed is not None
    with phase("build"):
        pack = (building.build(fixed, base_dir, device) if fixed
                else building.build_working(wanted, base_dir, device))
    with phase("begin"):
        fixed = fixed or ledger.begin({
            **wanted, "engine": pack.engine.name, "borders": _borders(pack),
            "device_kind": device_kind(device)})
        if fixed["engine"] != pack.engine.name:  # another was first, on a machine unlike this one
            pack = building.build(fixed, base_dir, device)
    with phase("restore"):
        state, commit = pack.init(), ledger.newest(fixed["pack_id"])
    ended = ledger.counts(fixed["pack_id"]) if begun and commit is None else None
    if ended is not None:  # its worker was lost between its end and the telling of it
        yield ended
        return
    if commit is not None:
        ledger.publish(fixed["pack_id"], commit)
        _check_device(fixed["device_kind"], device_kind(device))
        state = snapshot.load(commit.state, pack)
    if commit is None or not commit.facts["last"]:
        building.check_works(pack)
        shared = _provenance(order, fixed["pack_id"], device)
        for event in train(pack, state, fixed["borders"]):
            if not isinstance(event, Segment):
                yield vars(event)
                continue
            if event.last and order["weights"]:
                # A half's outlast what the pack that was given up may write at the same time.
                put = ledger.store.replace if "of" in fixed else ledger.store.create
                for run_id, weights in final_weights(pack, state).items():
                    put(f"weights/{run_id}.safetensors", snapshot.dump_weights(weights))
            facts = {"segment": event.index, "step": state.step, "last": event.last}
            with phase("commit"):
                rows = {**event.rows, "runs": _with_config(pack, event.rows["runs"], shared)}
                ledger.commit(fixed["pack_id"], facts, snapshot.dump(state), rows)
    yield vars(_ended(pack, state))


def _check_device(begun: str, here: str) -> None:
    if begun != here:
        raise RuntimeError(f"the pack was begun on {begun} and cannot go on on {here}, whose bits "
                           "differ: run it there, or the sweep under another name")


def settle() -> None:
    """Process settings of a worker: one thread and plain fp32, so that bits are reproducible."""
    import torch

    _keep_freed_memory()
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


def _keep_freed_memory() -> None:
    """Lets glibc keep what is freed. Else each large temporary of a step is returned to the kernel
    and faulted in again page by page (measured: a quarter of the time of a Hessian product)."""
    import ctypes
    import sys

    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)
        trim_threshold, mmap_threshold = -1, -3  # glibc's malloc.h
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, (1 << 31) - 1)


def _borders(pack: Any) -> list[int]:
    from trainables.schedules import segment_borders
    from trainables.timing import quick

    return list(segment_borders(pack.steps, quick(pack).pack_s(pack)))


def _ended(pack: Any, state: Any) -> Any:
    from trainables.train import progress

    return progress(pack, state)


def _device(order: Mapping[str, Any]) -> Any:
    import torch

    return torch.device(device_for(order["device"]))


def device_for(wanted: str) -> str:
    """cpu or cuda, from the spec's ``compute.device``."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def device_kind(device: Any) -> str:
    """cpu, or the accelerator's name."""
    import torch

    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)


def _provenance(order: Mapping[str, Any], pack_id: str, device: Any) -> dict[str, Any]:
    import torch

    return {"name": order["name"], "pack_id": pack_id, "threads": torch.get_num_threads(),
            "device_kind": device_kind(device), "numerics": NUMERICS,
            "torch_version": torch.__version__, "sgdscope_version": __version__,
            "host_name": host_name()}


def host_name() -> str:
    """This machine's name."""
    return socket.gethostname() or os.uname().nodename


def _with_config(pack: Any, rows: list[dict], shared: Mapping[str, Any]) -> list[dict]:
    configs = {m.run_id: m.config for m in pack.members}
    return [{**identity_columns(configs[row["run_id"]]), **row, **shared} for row in rows]
