"""Engines and widths of a whole sweep: from all of its runs, so that going on changes nothing."""

import os
import random
from types import SimpleNamespace

import pytest
import torch

from orchestrator.choosing import (
    Choice,
    _slots,
    choices_of,
    graph_id,
    group_id,
    is_made,
    note_made,
    packs_of,
    read_choices,
    written,
)
from orchestrator.packing import group
from tests.orchestrator.test_packing import run
from trainables.choice import Work
from trainables.suitability import Suitability

DENSE = Work(20_000, 6, False, True)


def suits(config, *, work=DENSE, limit=64, compiled="vmap-compiled"):
    return Suitability("vmap", limit, 1000, work, compiled)


def compute(**given):
    return SimpleNamespace(**{
        "cpus": 1.0, "pack": "auto", "compile": "auto", "device": "cpu", **given})


def packs(runs, todo=None, suit=suits, fixed=None, **given):
    ids = {r.run_id for r in runs} if todo is None else todo
    return packs_of(group(runs), ids, choices_of(group(runs), suit, compute(**given), fixed or {}))


def grid(count, epochs=1):
    return [run(i, seed=i, train__epochs=epochs) for i in range(count)]


@pytest.fixture(autouse=True)
def two_cores_and_an_empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_packing_is_a_partition_and_its_ids_are_distinct():
    source = random.Random(0)
    runs = [run(i, train__batch_size=source.choice([8, 16, 32]), seed=i) for i in range(101)]
    found = packs(runs)
    members = [m.run_id for p in found for m in p.members]
    assert sorted(members) == sorted(r.run_id for r in runs)
    assert len({p.pack_id for p in found}) == len(found)
    assert found == packs(runs)


@pytest.mark.parametrize(("why", "count", "given", "width"), [
    ("few runs: no narrower than the floor", 16, {}, 8),
    ("some packs for every slot", 140, {}, 16),
    ("many: the rule table's limit", 4000, {}, 64),
    ("one trial takes both cores", 140, {"cpus": 2}, 32),
    ("as the user says", 16, {"pack": 2}, 2),
])
def test_widths_are_balanced_over_the_slots(why, count, given, width):
    assert max(p.width for p in packs(grid(count), **given)) == width


@pytest.mark.parametrize(("why", "epochs", "given", "suit", "engine"), [
    ("a short sweep would wait for the compiler", 1, {}, suits, "vmap"),
    ("a long one gains", 1000, {}, suits, "vmap-compiled"),
    ("no compiler, or no graph", 1000, {}, lambda c: suits(c, compiled=None), "vmap"),
    ("a graph that takes minutes to make", 1000, {},
     lambda c: suits(c, work=Work(20_000, 500, False, True)), "vmap"),
    ("never", 1000, {"compile": False}, suits, "vmap"),
    ("always", 1, {"compile": True}, suits, "vmap-compiled"),
])
def test_steps_are_compiled_where_that_pays(why, epochs, given, suit, engine):
    assert {p.engine for p in packs(grid(16, epochs), suit=suit, **given)} == {engine}


@pytest.mark.parametrize(("why", "penalties", "every", "engine"), [
    ("every step of one member's packs is penalised, and never compiled", (0.0, 0.1), 1, "vmap"),
    ("the steps between are compiled", (0.1,), 2, "vmap-compiled"),
    ("nobody is penalised", (0.0,), 1, "vmap-compiled"),
])
@pytest.mark.parametrize("compile", ["auto", True])
def test_steps_that_are_penalised_are_not_compiled(why, penalties, every, engine, compile):
    runs = [run(i, seed=i, train__epochs=1000, train__fisher_penalty=penalties[i % len(penalties)],
                train__fisher_every=every) for i in range(16)]
    assert {p.engine for p in packs(runs, compile=compile)} == {engine}


def test_groups_share_the_cost_of_a_graph():
    """Batch sizes that would not pay each for itself."""
    runs = [run(i, seed=i, train__epochs=110, train__batch_size=8 + i % 5) for i in range(40)]
    alone = [r for r in runs if r.config["train"]["batch_size"] == 8]
    assert {p.engine for p in packs(alone)} == {"vmap"}
    assert {p.engine for p in packs(runs)} == {"vmap-compiled"}


def test_what_is_still_to_do_does_not_change_what_the_packs_are():
    runs = grid(140, 1000)
    every = packs(runs)
    rest = packs(runs, {m.run_id for p in every[3:] for m in p.members})
    assert rest == every[3:]


def test_a_graph_that_was_made_here_before_pays_sooner(tmp_path):
    runs = grid(16, 40)
    assert {p.engine for p in packs(runs)} == {"vmap"}
    note_made(graph_id(runs[0].config, 8, convolves=False))
    assert {p.engine for p in packs(runs)} == {"vmap"}  # noted, but its folder was emptied
    graphs = tmp_path / "sgdscope" / "graphs"
    graphs.mkdir()
    (graphs / "some.so").touch()
    assert {p.engine for p in packs(runs)} == {"vmap-compiled"}
    assert {p.engine for p in packs(grid(16, 1))} == {"vmap"}  # loading it takes time too


def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    note_made("0" * 16)
    assert not is_made("0" * 16)


@pytest.mark.parametrize(("why", "given", "engine", "width"), [
    ("what was chosen stays", {}, "vmap-compiled", 4),
    ("but for what is asked for", {"compile": False}, "vmap", 4),
    ("either", {"pack": 2}, "vmap-compiled", 2),
])
def test_a_sweep_keeps_its_choices(monkeypatch, why, given, engine, width):
    """On a machine with more cores and another rule, after all but a few runs have ended."""
    runs = grid(16)
    fixed = {group_id(runs[0].config): Choice("vmap-compiled", 4)}
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    found = packs(runs, fixed=read_choices(written(fixed)), **given)
    assert {(p.engine, p.width) for p in found} == {(engine, width)}


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b'{"a": {"engine": "vmap"}}'])
def test_choices_that_cannot_be_read_are_made_anew(content):
    assert read_choices(content) == {}


@pytest.mark.parametrize(("why", "given", "packs", "sharing"), [
    ("a processor each", {"device": "cpu", "gpus": "auto"}, 2, 2),
    ("no GPU is here", {"device": "auto", "gpus": "auto"}, 2, 2),
    ("a GPU each", {"device": "cuda", "gpus": "auto"}, 3, 1),
    ("four on a GPU", {"device": "cuda", "gpus": 0.25}, 12, 4),
    ("one on two", {"device": "cuda", "gpus": 2}, 1, 1),
])
def test_slots_are_processors_or_gpus(monkeypatch, why, given, packs, sharing):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    found = _slots(compute(**given))
    assert (found.packs, found.sharing) == (packs, sharing)


def test_a_gpu_gets_few_wide_packs():
    runs = grid(120)
    assert max(p.width for p in packs(runs, device="cuda", gpus="auto")) == 64
    assert max(p.width for p in packs(runs)) == 8
