"""A pack that does not fit into memory goes on as packs of half its width, one after the other.

Giving a pack up is its first commit, in place of the first state: whoever creates that file first
decides for everybody whether the pack trains whole or by halves, however many work on it and
whenever they die. A pack that has a commit is never halved. The halves are packs like any other,
run by whoever runs the pack that they are of; it has ended when they all have.
"""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.ledger import Halved, Ledger
from orchestrator.packing import Run, cut
from orchestrator.stores import open_store
from orchestrator.timeline import phase

Facts = dict[str, Any]
Order = Mapping[str, Any]
Whole = Callable[[Order], Iterator[Facts]]
_BEFORE: Facts = {"step": 0, "steps": 1, "running": 0, "finished": 0, "diverged": 0}


class HalvesFailed(RuntimeError):
    """Some halves of a pack failed; the tracebacks of all of them, and what they say last."""


def run(order: Order, whole: Whole, kind: Callable[[], str]) -> Iterator[Facts]:
    """Runs a pack by ``whole(order)``, or by halves where it does not fit; yields its progress.

    ``kind()``: the device kind, for the packs that are given up before they were begun. A pack of
    one run, or that has a commit, is tried once more with all caches freed. MemoryError in words
    where that does not help; HalvesFailed when all halves were tried and some have failed.
    """
    ledger = Ledger(open_store(order["folder"]))
    halves = yield from _whole(order, ledger, whole, kind)
    if halves:
        yield from _in_turn(order, ledger, halves, whole, kind)


def _whole(order: Order, ledger: Ledger, whole: Whole, kind: Callable[[], str],
           ) -> Iterator[Facts]:
    """Returns the halves of a pack that was given up, by whomever, before its first commit."""
    pack_id, tried = order["pack"]["pack_id"], None
    while True:
        if halves := ledger.halves(pack_id):
            return halves
        with phase("import"):
            # now: when memory has run out it might not succeed
            from trainables import memory, shortage
        try:
            yield from whole(order)
            return None
        except Halved as found:
            return found.halves
        except Exception as error:
            if not shortage.is_out_of_memory(error):
                raise
            trace = traceback.format_exc()
        # Only here are the error, its frames and the pack in them gone.
        memory.release()
        if halves := _give_up(order, ledger, kind):
            return halves
        commit = ledger.newest(pack_id)
        at = -1 if commit is None else commit.facts["segment"]
        if at == tried:
            raise MemoryError(f"\n{trace}\n{_reason(order, at)}")
        tried = at


def _reason(order: Order, segment: int) -> str:
    members = order["pack"]["members"]
    fix = ("free memory or run fewer packs at once (more compute.cpus, or compute.gpus: 1), then "
           "give the same command again")
    if segment < 0:
        return (f"out of memory: run {members[0]['run_id']} does not fit, alone in its pack: {fix};"
                " else a smaller batch_size, model or measure.set_size is a sweep by another name")
    return ("out of memory, with commits made already, so that the pack may no longer be halved:"
            f" {fix}: it goes on from the newest commit")


def _give_up(order: Order, ledger: Ledger, kind: Callable[[], str]) -> Sequence[Facts] | None:
    """Fixes the pack, if nobody has, and its halves, if it has no commit; those that hold."""
    wanted = order["pack"]
    if wanted["width"] == 1:
        return None
    # With its file it is found, and held together, by all later plans.
    fixed = ledger.fixed(wanted["pack_id"]) or ledger.begin(
        {**wanted, "borders": [], "device_kind": kind()})
    members = [Run(m["run_id"], m["config"]) for m in fixed["members"]]
    halves = [{"pack_id": p.pack_id, "width": p.width, "engine": p.engine,
               "run_ids": [m.run_id for m in p.members]}
              for p in cut(members, fixed["width"] // 2, fixed["engine"])]
    return ledger.halve(fixed["pack_id"], halves)


def _in_turn(order: Order, ledger: Ledger, halves: Sequence[Facts], whole: Whole,
             kind: Callable[[], str]) -> Iterator[Facts]:
    """Runs the halves that have not ended; one that fails does not keep the others from ending."""
    counts = [(len(h["run_ids"]), ledger.counts(h["pack_id"])) for h in halves]
    failed = []
    for i, half in enumerate(halves):
        counts[i] = counts[i][0], ledger.counts(half["pack_id"])
        if counts[i][1] is None:
            try:
                for facts in run(_order(order, half), whole, kind):
                    counts[i] = counts[i][0], facts
                    yield _together(counts)
            except Exception:  # noqa: BLE001  (told when the others have had their turn)
                failed.append(traceback.format_exc())
    if failed:
        raise HalvesFailed("\n" + "\n".join(failed))
    ledger.end_halved(order["pack"]["pack_id"])
    facts = _together(counts)
    yield {**facts, "step": facts["steps"]}


def _order(order: Order, half: Facts) -> dict[str, Any]:
    """The order of a half: a pack ``of`` the one that it was cut from."""
    members = {m["run_id"]: m for m in order["pack"]["members"]}
    wanted = {**order["pack"], "pack_id": half["pack_id"], "width": half["width"],
              "engine": half["engine"], "members": [members[i] for i in half["run_ids"]],
              "of": order["pack"]["pack_id"]}
    return {**order, "pack": wanted}


def _together(counts: Sequence[tuple[int, Facts | None]]) -> Facts:
    """The facts of all halves as those of one pack; those not begun count as running."""
    told = [(n, f or {**_BEFORE, "running": n}) for n, f in counts]
    steps = max(f["steps"] for _, f in told)
    done = sum(n * f["step"] / f["steps"] for n, f in told) / sum(n for n, _ in told)
    return {"step": int(done * steps), "steps": steps,
            **{k: sum(f[k] for _, f in told) for k in ("running", "finished", "diverged")}}
