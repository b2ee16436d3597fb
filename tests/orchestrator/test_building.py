"""Packs of engines that work here: another where none was begun, words where one was."""

import pytest

from orchestrator import plan
from orchestrator.packrun import order, run_pack
from orchestrator.session import open_folder
from tests.orchestrator.specs import tiny, untraceable
from tests.orchestrator.test_packrun import tables
from trainables import stepgraph
from trainables.compiling import CannotCompile


def an_order(planned):
    open_folder(planned)
    (pack,) = planned.packs
    assert pack.engine == "vmap-compiled"
    return order(pack, planned.spec, planned.folder)


@pytest.mark.parametrize(("why", "train"), [
    ("every update goes through a graph", {}),
    ("the first update does not", {"fisher_penalty": 0.1, "fisher_every": 3}),
])
def test_a_new_pack_whose_step_cannot_be_compiled_is_of_the_plain_engine(tmp_path, why, train):
    one = an_order(plan(untraceable(
        tmp_path, train={"epochs": 2, "batch_size": 10, **train})))
    assert list(run_pack(one))[-1]["finished"] == 2
    assert set(tables(one)["runs"].engine) == {"vmap"}


def test_a_begun_pack_of_compiled_steps_does_not_go_on_without_them(tmp_path, monkeypatch):
    def refused(*_):
        raise CannotCompile("no compiler")

    one = an_order(plan(tiny(tmp_path, compute={"compile": True})))
    events = run_pack(one)
    next(events)
    events.close()
    with monkeypatch.context() as patch:
        patch.setattr(stepgraph, "compiled", refused)
        patch.setattr(stepgraph, "_GRAPHS", {})
        with pytest.raises(RuntimeError, match=r"made here \(no compiler\): install a C"):
            next(run_pack(one))
    assert list(run_pack(one))[-1]["finished"] == 2
