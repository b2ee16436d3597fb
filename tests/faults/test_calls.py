"""A fault at every call of a sweep's life, once or for ever, on a disk and on S3: then the same
command goes on to the same rows.

The calls are the system calls by which a local store works, and S3's requests, from the opened
tables to the compacted ones. Calls that differ in their pack alone count as one.
"""

import re

import pytest

from orchestrator.stores import open_store
from tests.faults import packs
from tests.faults.nemesis import FOR_EVER, KINDS, Killed, Nemesis, moment
from tests.faults.sweeps import TREE, InBucket, OnDisk
from tests.faults.work import judged, sweep, unbroken

pytestmark = pytest.mark.usefixtures("no_computing")
ORDERS = packs.orders("")
CASES = [(storage, kind, times) for storage, kinds in KINDS.items() for kind in kinds
         for times in (1, FOR_EVER) if times == 1 or not kinds[kind].kills]
SOME = 12  # of so many calls the short tier strikes one


@pytest.fixture(scope="module")
def whole():
    return unbroken(ORDERS)


def new(storage, folder):
    return OnDisk(str(folder)) if storage == "local" else InBucket("s3://bucket")


def attempt(place, nemesis):
    """The work of one command: its error, if it has one."""
    with place.under(nemesis):
        try:
            sweep(ORDERS)(open_store(f"{place.place}/{TREE['name']}"))
        except (Killed, Exception) as error:  # noqa: BLE001
            return error
    return None


def calls(storage, folder, kind):
    """The numbers of the calls that a kind is about, one of each sort."""
    nemesis = Nemesis()
    assert attempt(new(storage, folder), nemesis) is None
    found = {}
    for n, (call, path) in enumerate(c for c in nemesis.log if c[0] in kind.calls):
        sort = re.sub(r"\.[0-9a-f]{32}|[0-9a-f]{15}[01]\b", "", path.removeprefix(str(folder)))
        found.setdefault((call, sort), n)
    return sorted(found.values())


def wrongs(storage, folder, kind, n, times, whole, told):
    """What is wrong after one fault, at the call n."""
    place, nemesis = new(storage, folder), Nemesis(kind, n, times)
    error = attempt(place, nemesis)
    assert nemesis.struck, f"call {n} never came"
    told(kind.name + ("" if times == 1 else ", for ever"), moment(*nemesis.struck[0]), storage)
    found = []
    if kind.kills:
        found += [] if isinstance(error, Killed) else [f"not killed, but {error!r}"]
    elif kind.patient and times == 1:
        found += [] if error is None else [f"not asked again: {error!r}"]
    elif error is not None:
        found += unclear(error, kind)
    with place.under(Nemesis()):
        store = open_store(f"{place.place}/{TREE['name']}")
        found += judged(store, ORDERS, whole, ended=error is None)
        again = attempt(place, Nemesis())
        found += [f"the same command again: {again!r}"] if again else []
        found += judged(store, ORDERS, whole, ended=True)
    where = f"{kind.name} x{times} at call {n}, {nemesis.struck[0]}"
    return [f"{where}: {one}" for one in found]


def unclear(error, kind):
    """Whether each error says in one sentence what, where, and how to go on."""
    errors = error.exceptions if isinstance(error, ExceptionGroup) else [error]
    return [f"unclear: {e!r}" for e in errors if "\n" in str(e)
            or not any(w in str(e) for w in kind.words) or TREE["name"] not in str(e)
            or not getattr(e, "fix", "")]


def struck(storage, kind, times, folder, whole, told, numbers):
    kind, found = KINDS[storage][kind], []
    for n in numbers(calls(storage, folder / "unbroken", kind)):
        found += wrongs(storage, folder / str(n), kind, n, times, whole, told)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("storage", "kind", "times"), CASES)
def test_a_fault_at_some_calls(storage, kind, times, tmp_path, whole, told):
    """Others for each kind, so that together they are at most moments."""
    first = CASES.index((storage, kind, times)) % SOME
    struck(storage, kind, times, tmp_path, whole, told, lambda found: found[first::SOME][:2])


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("storage", "kind", "times"), CASES)
def test_a_fault_at_every_call(storage, kind, times, tmp_path, whole, told):
    struck(storage, kind, times, tmp_path, whole, told, lambda found: found)
