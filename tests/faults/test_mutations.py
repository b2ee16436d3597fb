"""The fault table has teeth: each rule of the commit protocol, broken on purpose, is caught."""

import contextlib
import itertools
import json

import pytest

from orchestrator import commits
from orchestrator.commits import Commit
from orchestrator.ledger import Ledger
from orchestrator.stores.local import LocalStore
from tests.faults import packs
from tests.faults.memory import MemoryStore
from tests.faults.test_schedules import Immutable, played
from tests.faults.test_zombies import zombie
from tests.faults.work import judged, sweep, unbroken
from tests.faults.world import World

pytestmark = pytest.mark.usefixtures("no_computing")
SEEDS = range(40)  # within which a schedule must show it


def publishing_first(patch):
    """The rows are published before the state is created."""
    create, publish = Ledger.publish, Ledger.commit

    def commit(ledger, pack_id, facts, state, rows):
        from orchestrator.ledger import _parquet, pa

        parts = {t: _parquet(pa.Table.from_pylist(list(r), ledger.schema(t)))
                 for t, r in rows.items() if r}
        create(ledger, pack_id, Commit(facts, state, parts))
        publish(ledger, pack_id, facts, state, rows)

    patch.setattr(Ledger, "commit", commit)


def borders_by_a_clock(patch):
    """Each attempt sets its own borders, whatever is fixed."""
    fixed, attempt = Ledger.fixed, itertools.count()

    def moved(ledger, pack_id):
        found = fixed(ledger, pack_id)
        other = [[2, 4, 6], [3, 5, 6], [1, 6]][next(attempt) % 3]
        return found and {**found, "borders": other}

    patch.setattr(Ledger, "fixed", moved)


def creating_over(patch):
    """Creating overwrites what is there."""
    def create(store, path, content):
        store.replace(path, content)
        return True

    patch.setattr(MemoryStore, "create", create)


def own_rows(patch):
    """A writer that comes late publishes its own rows, not those of the state that is there."""
    def commit(ledger, pack_id, facts, state, rows):
        from orchestrator.ledger import _parquet, pa

        parts = {t: _parquet(pa.Table.from_pylist(list(r), ledger.schema(t)))
                 for t, r in rows.items() if r}
        mine = Commit(facts, state, parts)
        ledger.store.create(f"packs/{pack_id}/state-{facts['segment']}.bin", commits.encode(mine))
        ledger.publish(pack_id, mine)

    patch.setattr(Ledger, "commit", commit)


def runs_first(patch):
    """The final rows are published before the others."""
    patch.setattr("orchestrator.ledger._PUBLISHING_ORDER", ("runs", "snapshots", "spectra"))


@pytest.mark.parametrize("mutation", [
    borders_by_a_clock, creating_over,
    pytest.param(own_rows, marks=pytest.mark.faults)])
def test_a_broken_rule_is_caught_by_the_schedules(mutation, monkeypatch):
    with monkeypatch.context() as patch:
        mutation(patch)
        for seed in SEEDS:
            with contextlib.suppress(KeyError):
                if played(seed, Immutable())[0]:
                    return
    pytest.fail(f"{mutation.__doc__} No schedule of {len(SEEDS)} shows it")


@pytest.mark.parametrize("broken", [False, True])
def test_rows_that_are_published_before_their_state_are_caught(broken, monkeypatch):
    """A writer that dies at its state leaves no row of that segment behind. Schedules hardly show
    it: whoever comes next makes the same rows, but for their times."""
    if broken:
        publishing_first(monkeypatch)
    world = World(MemoryStore())
    driver = world.start(sweep(packs.orders("", packs=1)))
    while driver.waiting[0] != "create" or "/state-0" not in driver.waiting[1]:
        world.go(driver)
    shown = [p for p in world.store.inner.files if p.endswith("-0.parquet")]
    assert bool(shown) == broken


def killed_before_each_part(orders, whole):
    """What is wrong after a kill before a part is published, and the same command again."""
    found = []
    for n in range(4):  # the parts of a pack of three segments
        store = MemoryStore()
        world, left = World(store), n
        driver = world.start(sweep(orders))
        while left or not _publishes(driver):
            left -= _publishes(driver)
            world.go(driver)
        world.go(driver, "before")
        sweep(orders)(store)
        found += judged(store, orders, whole, ended=True)
    return found


def _publishes(driver):
    call, path = driver.waiting
    return call == "create" and path.startswith("tables/") and "0000-schema" not in path


def test_publishing_the_final_rows_first_is_caught_by_a_kill(monkeypatch):
    orders = packs.orders("", packs=1)
    whole = unbroken(orders)
    assert killed_before_each_part(orders, whole) == []
    runs_first(monkeypatch)
    assert any("snapshots: no row of" in one for one in killed_before_each_part(orders, whole))


def test_renaming_instead_of_linking_is_caught_by_the_zombies(tmp_path, monkeypatch):
    """A writer that sleeps before its rename overwrites, when it wakes, what another committed:
    here the halves for which it gave the pack up. With links: test_zombies.py."""
    def create(store, path, content):
        if (store.root / path).exists():
            return False
        with store._written(store.root / path, content) as draft:
            draft.rename(store.root / path)
        return True

    orders = packs.orders("", packs=1)
    monkeypatch.setattr(LocalStore, "create", create)
    found, _ = zombie("local", tmp_path, lambda _, call, path: call == "rename"
                      and "state-0" in path, orders, unbroken(orders), fits=1)
    assert any("2 rows of" in one for one in found)


def test_a_state_without_a_checksum_is_caught(monkeypatch):
    """One flipped bit in a state: by its checksum it is computed again, without it is believed."""
    assert after_a_flip() == []
    monkeypatch.setattr("orchestrator.ledger.decode", _unchecked)
    assert after_a_flip()


def _unchecked(content):
    """As commits.decode, which trusts what it reads."""
    _, _, body = content.split(b"\n", 2)
    line, _, data = body.partition(b"\n")
    header, sections, at = json.loads(line), {}, 0
    for name, length in header["sections"].items():
        sections[name.removeprefix("table/")], at = data[at:at + length], at + length
    return Commit(header["facts"], sections.pop("state"), sections)


def after_a_flip():
    """What is wrong when a digit of a state's digest was flipped while its writer was away."""
    orders = packs.orders("", packs=1)
    whole, store = unbroken(orders), MemoryStore()
    world = World(store)
    driver = world.start(sweep(orders))
    path = f"packs/{orders[0]['pack']['pack_id']}/state-1.bin"
    while path not in store.files:
        world.go(driver)
    world.go(driver, "before")
    content = bytearray(store.files[path])
    content[content.index(b'"digest": "') + 12] ^= 1
    store.files[path] = bytes(content)
    world.finish(world.start(sweep(orders)))
    return judged(store, orders, whole, ended=True)
