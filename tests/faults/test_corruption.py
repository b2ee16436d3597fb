"""Files that a disk, or somebody, has damaged: the same command ends with the right rows, or says
which file it is and what to do; done so, it goes on to them. Never a wrong row, in silence."""

import shutil
from pathlib import Path

import pytest

from orchestrator.stores import open_store
from tests.faults import disk, packs
from tests.faults.checker import violations
from tests.faults.work import judged, sweep, unbroken
from tests.faults.world import World

pytestmark = pytest.mark.usefixtures("no_computing")
ORDERS = packs.orders("")
PACK, OTHER = (o["pack"]["pack_id"] for o in ORDERS)
STATE = f"packs/{PACK}/state-1.bin"


def flipped(content):
    """One bit of the middle."""
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 4
    return bytes(changed)


DAMAGES = {  # of a file's content; "another's" is that of a file of its sort
    "truncated to nothing": lambda _: b"",
    "half": lambda content: content[: len(content) // 2],
    "a byte short": lambda content: content[:-1],
    "a bit flipped": flipped,
    "another's": lambda content: content,
    "foreign": lambda _: b"GIF89a" + bytes(500),
    "an empty folder": lambda _: None,
}
# file: (the last call before it is damaged, another's file of that sort, its moment)
FILES = {
    STATE: (("create", STATE), f"packs/{PACK}/state-0.bin", "state"),
    f"packs/{PACK}/pack.json": (("create", STATE), f"packs/{OTHER}/pack.json", "pack.json"),
    f"tables/snapshots/{PACK}-0.parquet": (
        ("create", STATE), f"tables/runs/{PACK}-2.parquet", "table part"),
    f"tables/runs/{PACK}-2.parquet": (
        ("create", f"packs/{OTHER}/state-0.bin"), f"tables/snapshots/{PACK}-2.parquet",
        "table part"),
    "tables/runs/0000-schema.parquet": (
        ("create", STATE), "tables/spectra/0000-schema.parquet", "schema"),
    "probes/ffffffffffffffff.commit": (
        ("create", "probes/ffffffffffffffff.commit"), STATE, "probe"),
    "probes/ffffffffffffffff.json": (
        ("create", "probes/ffffffffffffffff.json"), f"packs/{PACK}/pack.json", "probe"),
    "compact/runs.parquet": (("end", ""), "compact/snapshots.parquet", "compact"),
}


@pytest.fixture(scope="module")
def whole():
    return unbroken(ORDERS)


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """The folder as it was when each file was there; and of every file that was there once."""
    base, kept, once = tmp_path_factory.mktemp("stages"), {}, {}
    root = base / "sweep"
    world = World(open_store(root))
    driver = world.start(sweep(ORDERS))
    wanted = {stage for stage, _, _ in FILES.values()}
    while not driver.over:
        world.go(driver)
        done = ("end", "") if driver.over else world.history[-1][1:3]
        once |= {p: b for p, b in disk.files(root).items() if p not in once}
        if done in wanted and done not in kept:
            kept[done] = base / str(len(kept))
            shutil.copytree(root, kept[done])
    assert driver.error is None
    return kept, once


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_made_again_or_told(file, damage, stages, whole, tmp_path, told):
    stage, other, sort = FILES[file]
    root, (kept, once) = tmp_path / "tiny", stages
    shutil.copytree(kept[stage], root)
    spoil(root / file, DAMAGES[damage](once[other if damage == "another's" else file]))
    store = open_store(root)
    error = attempt(store) or attempt(store)  # a record is read when its probe has ended
    if error is not None:
        assert told_of(error, root / file), repr(error)
        mend(root, file, sort)
        assert attempt(store) is None
    wrong = judged(store, ORDERS, whole, ended=True)
    if sort == "compact":  # left aside by all readers, until it is written anew
        wrong = violations({p: b for p, b in disk.files(root).items() if p != file}, whole,
                           ended=True)
    assert wrong == []
    told(f"damage: {damage}", sort, "local")


def spoil(path, content):
    path.chmod(0o644)
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)


def mend(root, file, sort):
    """Moves away what the sentences name: the file; of a pack all that it has, or its final rows;
    of a schema nothing but it."""
    away = [root / file]
    if sort == "pack.json":
        away = [root / "packs" / PACK, *root.glob(f"tables/*/{PACK}-*")]
    if sort == "table part":
        away += root.glob(f"tables/runs/{PACK}-*")
    for path in away:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def attempt(store):
    try:
        sweep(ORDERS)(store)
    except Exception as error:  # noqa: BLE001
        return error
    return None


def told_of(error, path: Path):
    """Whether it names the file, in words of ours, and how to mend it."""
    errors = error.exceptions if isinstance(error, ExceptionGroup) else [error]
    ours = ("UserError", "TableError", "StorageError")
    return all(type(e).__name__ in ours and path.name in str(e) and cured(e) for e in errors)


def cured(error):
    return all(p.fix for p in getattr(error, "problems", [error]))
