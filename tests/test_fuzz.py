"""Whatever a spec or a file of a sweep holds, it is read or refused in words: no other exception.

A slice in every test run; all of it by `make test-fuzz`, which prints how many were refused.
"""

import random
import warnings
from collections import Counter

import pytest

from analysis.errors import LeftAside, TableError
from analysis.tables import read
from orchestrator.commits import Commit, CorruptCommit, decode, encode
from orchestrator.errors import UserError
from orchestrator.grid import count_cells, expand, run_configs
from orchestrator.ledger import Ledger
from orchestrator.spec import load_spec
from orchestrator.status import status_of
from orchestrator.stores import open_store
from tests.analysis.planted import Planted, write
from tests.fuzzing import broken, documents
from tests.orchestrator.specs import write as write_spec

SLICE, ALL = 400, 100_000
FILES, ALL_FILES = 120, 20_000


def amounts(quick, whole):
    """The slice of every run, and the whole."""
    return [quick, pytest.param(whole, marks=pytest.mark.fuzz)]


@pytest.mark.parametrize("count", amounts(SLICE, ALL))
def test_any_document_is_a_spec_or_a_user_error(tmp_path, count):
    told = Counter()
    path = tmp_path / "spec.yaml"
    for i, content in enumerate(documents(count, seed=7)):
        path.write_bytes(content)
        try:
            spec = load_spec(str(path))
            if count_cells(spec) < 300:
                run_configs(spec, expand(spec, 1500))
            told["read"] += 1
        except UserError as error:
            assert error.problems  # noqa: PT017
            assert all(str(p).count("\n") <= 3 for p in error.problems)  # noqa: PT017
            told["refused"] += 1
        except Exception as error:
            raise AssertionError(f"document {i}: {content!r}") from error
    print(dict(told))  # noqa: T201
    assert told["refused"] > told["read"] > 0


@pytest.fixture
def folder(tmp_path):
    """A sweep's folder with two parts a table, a compacted table, a pack and a probe's record."""
    where = write(tmp_path / "sweep", Planted(lr=(0.02, 0.04), batch_size=(8,), seeds=1))
    write_spec(where, {})
    (where / "resolved.yaml").write_text("name: a\nsweep: {search: {runs: 3, sampler: tpe}}\n")
    (where / "planned.txt").write_text("a\nb\n")
    for name, content in {
            "packs/x/pack.json": b'{"pack_id": "x", "width": 1, "members": []}',
            "packs/x/error.txt": b"no", "search/found.json": b'{"told": 3, "over": false}',
            "packs/x/state-0.bin": encode(Commit({"segment": 0, "last": False}, b"x" * 99, {})),
            "probes/p.json": b'{"rows": 3, "probe_id": "p"}'}.items():
        open_store(where).replace(name, content)
    from orchestrator.compaction import compact

    compact(open_store(where))
    return where


@pytest.mark.parametrize("count", amounts(FILES, ALL_FILES))
def test_any_file_of_a_sweep_is_read_or_refused(folder, count):
    luck, told = random.Random(11), Counter()
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "spec.yaml")
    good = {p: p.read_bytes() for p in files}
    for i in range(count):
        path = files[i % len(files)]
        content = luck.randbytes(200) if luck.random() < 0.05 else broken(
            good[path], luck, list(good.values()))
        path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LeftAside)
                read(folder, "snapshots")
                read(folder, "spectra")
                status_of(folder).lines()
                Ledger(open_store(folder)).newest("x")
                Ledger(open_store(folder)).schema("runs")
            told["read"] += 1
        except (UserError, TableError):
            told["refused"] += 1
        except Exception as error:
            raise AssertionError(f"file {i}: {path.relative_to(folder)}: {content!r}") from error
        path.write_bytes(good[path])
    print(dict(told))  # noqa: T201
    assert told["refused"] > count / 5


@pytest.mark.parametrize("count", amounts(2_000, 200_000))
def test_a_broken_commit_is_never_taken(count):
    luck = random.Random(13)
    whole = encode(Commit({"segment": 3, "step": 7, "last": False}, b"\0\1" * 200, {"runs": b"ab"}))
    for _ in range(count):
        content = broken(whole, luck, [whole[::-1]])
        try:
            assert decode(content) == decode(whole)
        except CorruptCommit:
            continue
        assert content == whole
