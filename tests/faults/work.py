"""What a driver does of a sweep, from its opened tables to the compacted ones: the real code, on
packs that compute nothing."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from analysis import tables
from orchestrator.compaction import compact
from orchestrator.packrun import run_pack
from orchestrator.proberun import run_probe
from tests.faults import packs
from tests.faults.checker import violations
from tests.faults.memory import MemoryStore, files_of
from trainables import landscape
from trainables.curves import Curve

PROBE = {"base_dir": "/", "device": "cpu", "probe": {
    "probe_id": "f" * 16, "kind": "interpolation", "options": {}, "seed": 0, "step": packs.STEPS,
    "weights": False, "members": []}}


def sweep(orders: Sequence[Mapping[str, Any]], fits: int = 99,
          only: Sequence[Mapping[str, Any]] | None = None) -> Callable[[Any], None]:
    """The work of a driver: as ``session`` does it. ``fits``: the widest pack that its memory
    takes. ``only``: those of the orders that it works on. What failed on the way is raised at the
    end."""

    def work(store: Any) -> None:
        packs.open_tables(store, orders)
        failed: list[Exception] = []
        for order in packs.missing(store, orders if only is None else only):
            try:
                for _ in run_pack({**order, "folder": store, "base_dir": f"/{fits}"}):
                    pass
            except Exception as error:  # noqa: BLE001  (the others go on)
                failed.append(error)
        if failed:
            raise ExceptionGroup("packs failed", failed)
        for _ in run_probe({**PROBE, "folder": store}):
            pass
        compact(store)

    return work


@contextmanager
def without_computing() -> Any:
    """Packs and probes compute nothing."""
    with packs.instead(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(landscape, "run", lambda *_: [
            ("height", Curve(torch.arange(3), torch.tensor([[1.0, 2.0, 3.0]]), ""))])
        patch.setattr(tables, "ThreadPoolExecutor", _InTurn)
        yield


class _InTurn:
    """An executor that does each thing at once: other threads have to wait for a busy machine."""

    def __init__(self, _: int):
        self.map = map

    def __enter__(self) -> "_InTurn":
        return self

    def __exit__(self, *_: Any) -> None:
        pass


def unbroken(orders: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """The files of a sweep that nothing has disturbed."""
    store = MemoryStore()
    sweep(orders)(store)
    return store.files


def judged(store: Any, orders: Sequence[Mapping[str, Any]], whole: Mapping[str, bytes], *,
           ended: bool) -> list[str]:
    """What is wrong with a store's files; where a sweep has ended, with doing it again as well."""
    found = files_of(store)
    wrong = violations(found, whole, ended=ended)
    if ended and not wrong:
        sweep(orders)(store)
        changed = {p for p, b in files_of(store).items() if found.get(p) != b}
        wrong = [f"{p} is written again" for p in sorted(changed)]
    return wrong
