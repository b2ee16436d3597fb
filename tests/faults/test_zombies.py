"""A writer that stops at any moment, while another ends the sweep, and then wakes: it changes
nothing. And several writers at once, in turns."""

import random
from contextlib import contextmanager

import pytest

from orchestrator.stores import open_store, s3
from orchestrator.stores.local import LocalStore
from tests.faults import disk, packs
from tests.faults.bucket import Bucket
from tests.faults.checker import violations
from tests.faults.memory import files_of
from tests.faults.nemesis import moment
from tests.faults.work import judged, sweep, unbroken
from tests.faults.world import World

pytestmark = pytest.mark.usefixtures("no_computing")
STORAGES = ("local", "S3-like")
SOME = 15  # of so many calls the short tier stops a writer at one


@contextmanager
def world_on(storage, folder):
    """A world whose drivers stop at system calls, or at requests."""
    with pytest.MonkeyPatch.context() as patch:
        if storage == "local":
            world = World(LocalStore(folder), inside=True)
            with disk.under(folder, world):
                yield world
        else:
            bucket = Bucket()
            patch.setattr(s3, "_client", lambda *_: bucket)
            world = World(open_store("s3://bucket/tiny"), inside=True)
            bucket.nemesis = world
            yield world


def zombie(storage, folder, asleep, orders, whole, fits=99):
    """What is wrong after a writer fell asleep, another did the sweep, and it woke; and at what
    moment. None where it never does. ``asleep(calls, call, path)``: whether it falls asleep;
    ``fits``: the widest pack that the other's memory takes."""
    with world_on(storage, folder) as world:
        late, calls = world.start(sweep(orders)), 0
        while not late.over and not asleep(calls, *late.waiting):
            world.go(late)
            calls += 1
        if late.over:
            return None
        at = late.waiting
        other = world.finish(world.start(sweep(orders, fits)))
        found = [f"the other: {other.error!r}"] if other.error else []
        before = files_of(world.store)
        found += violations(before, whole, ended=True)
        world.finish(late)
        found += [f"the late one: {late.error!r}"] if late.error else []
        after = files_of(world.store)
        found += [f"{p} is another one since it woke" for p in before
                  if after.get(p) != before[p] and p.startswith(("tables/", "probes/"))]
        return [f"asleep at {at}: {f}" for f in found + judged(
            world.store, orders, whole, ended=True)], moment(*at)


def table(storage, folder, numbers, told):
    orders = packs.orders("", packs=1)
    whole = unbroken(orders)
    for n in numbers:
        played = zombie(storage, folder / str(n), lambda calls, *_, n=n: calls == n, orders, whole)
        if played is None:
            return
        found, at = played
        assert not found, f"call {n}: " + "\n".join(found)
        told("zombie", at, storage)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_writer_that_wakes_late_at_some_calls(storage, tmp_path, told):
    table(storage, tmp_path, range(1, 400, SOME), told)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("storage", STORAGES)
def test_a_writer_that_wakes_late_at_every_call(storage, tmp_path, told):
    table(storage, tmp_path, range(400), told)


@pytest.mark.parametrize(("storage", "call"), [("local", "link"), ("S3-like", "put")])
@pytest.mark.parametrize("state", ["state-0", "state-1"])
def test_a_writer_that_wakes_where_another_had_less_memory(storage, call, state, tmp_path, told):
    """The other gives the pack up for its halves, if it has no state yet."""
    orders = packs.orders("", packs=1)
    found, at = zombie(storage, tmp_path, lambda _, *now: now[0] == call and state in now[1],
                       orders, unbroken(orders), fits=1)
    if state == "state-1":  # it may not be halved, and does not fit
        found = [f for f in found if "the other" not in f and "no row" not in f
                 and "is missing" not in f and "other rows" not in f]
    assert not found
    told("zombie, halves", at, storage)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("writers", [2, 4, 8])
@pytest.mark.parametrize("overlap", ["same pack", "overlapping", "disjoint"])
def test_several_writers_in_turns(storage, writers, overlap, tmp_path, told):
    """All of them do all; or each its own half of the packs and one more; or each its own."""
    orders = packs.orders("", packs=1 if overlap == "same pack" else 2 if writers < 8 else 4,
                          runs=1)
    whole, drawn = unbroken(orders), random.Random(writers)
    with world_on(storage, tmp_path) as world:
        packs.open_tables(world.store, orders)
        for w in range(writers):
            mine = orders if overlap == "same pack" else [
                o for i, o in enumerate(orders) if i % writers == w % len(orders)
                or (overlap == "overlapping" and i == (w + 1) % len(orders))]
            world.start(sweep(orders, only=mine))
        while alive := world.alive():
            world.go(drawn.choice(alive))
        assert [d.error for d in world.drivers if d.error] == []
        assert judged(world.store, orders, whole, ended=False) == []
        sweep(orders)(world.store)
        assert judged(world.store, orders, whole, ended=True) == []
    told(f"{writers} writers", overlap, storage)
