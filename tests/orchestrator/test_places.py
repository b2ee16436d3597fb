"""Where a problem is: line and column, or the override; and what overrides may set."""

import pytest

from orchestrator import strictyaml
from orchestrator.places import Places, override
from trainables.errors import InputError

TEXT = b"""name: a
train:
  epochs: 2
  lr_schedule: cosine
sweep:
  axes:
    lr: [0.1, 0.2]
    model.width: [8, 16]
    ratio: {log: [1, 2], n: 3}
measure: {monitors: [spectrum, {spectrum: {k: 5}}]}
"""


def places(*overrides):
    document = strictyaml.load(TEXT, "f")
    done, problems = override(document.data, overrides)
    assert not problems
    return Places("f", document.data, document.marks, done)


@pytest.mark.parametrize(("key", "where"), [
    ("", "f:1:1"), ("name", "f:1:1 (name)"), ("train.epochs", "f:3:3 (train.epochs)"),
    ("train.lr", "f:2:1 (train.lr)"),               # not there: the nearest that is
    ("model", "f:1:1 (model)"), ("sweep.axes.lr.1", "f:7:15 (sweep.axes.lr.1)"),
    ("sweep.axes.lr.7", "f:7:5 (sweep.axes.lr.7)"), ("sweep.axes.lr.x", "f:7:5 (sweep.axes.lr.x)"),
    ("sweep.axes.model.width.1", "f:8:22 (sweep.axes.model.width.1)"),  # a name with a dot
    ("measure.monitors.1.spectrum.k", "f:10:44 (measure.monitors.1.spectrum.k)"),
    ("train.epochs.deeper", "f:3:3 (train.epochs.deeper)"),
])
def test_a_key_is_located_in_the_file(key, where):
    assert places().problem(InputError("bad", key=key)).where == where


@pytest.mark.parametrize(("overrides", "key", "where"), [
    (["train.epochs=5"], "train.epochs", "-s train.epochs"),
    (["train.epochs=5"], "train", "f:2:1 (train)"),
    (["sweep.axes.lr=[1, 2]"], "sweep.axes.lr.1", "-s sweep.axes.lr (sweep.axes.lr.1)"),
    (["sweep.axes.model.width=[1]"], "sweep.axes.model.width.0",
     "-s sweep.axes.model.width (sweep.axes.model.width.0)"),
    (["sweep.axes.ratio.n=9"], "sweep.axes.ratio.n", "-s sweep.axes.ratio.n"),
    (["sweep.axes.ratio.n=9"], "sweep.axes.ratio", "f:9:5 (sweep.axes.ratio)"),
    (["trian.epochs=5"], "trian", "-s trian.epochs (trian)"),  # no such section in the file
    (["train.lr=1", "train={lr: 2}"], "train.lr", "-s train (train.lr)"),
    (["train={lr: 2}", "train.lr=1"], "train.lr", "-s train.lr"),
    (["train={lr: 2}", "train.lr=1"], "train", "-s train"),
])
def test_a_key_is_located_at_its_override(overrides, key, where):
    assert places(*overrides).problem(InputError("bad", key=key)).where == where


@pytest.mark.parametrize(("text", "path", "value"), [
    ("train.epochs=5", ("train", "epochs"), 5), ("train.lr=1e-3", ("train", "lr"), 1e-3),
    ("train.lr=", ("train", "lr"), None), ("storage=a=b", ("storage",), "a=b"),
    ("compute.device=cpu", ("compute", "device"), "cpu"),  # a section that the file lacks
    ("sweep.axes.lr=[0.3]", ("sweep", "axes", "lr"), [0.3]),
    ("sweep.axes.lr.0=0.3", ("sweep", "axes", "lr", 0), 0.3),
    ("sweep.axes.ratio.n=5", ("sweep", "axes", "ratio", "n"), 5),
    ("sweep.axes.model.width=[4]", ("sweep", "axes", "model.width"), [4]),
    ("sweep.axes.model.width.0=4", ("sweep", "axes", "model.width", 0), 4),
    ("sweep.axes.model.depth=[1, 2]", ("sweep", "axes", "model.depth"), [1, 2]),
    ("sweep.axes.lr_schedule.at=[1]", ("sweep", "axes", "lr_schedule.at"), [1]),
    ("sweep.axes.optimizer.gamma.n=3", ("sweep", "axes", "optimizer.gamma", "n"), 3),
    ("sweep.axes.optimizer=[sgd]", ("sweep", "axes", "optimizer"), ["sgd"]),
    ("sweep.axes.data.train_size=[9]", ("sweep", "axes", "data.train_size"), [9]),
    ("sweep.axes.seed.count=3", ("sweep", "axes", "seed", "count"), 3),
    ("sweep.derived.train.lr=ratio", ("sweep", "derived", "train.lr"), "ratio"),
    ("measure.monitors.1.spectrum.k=3", ("measure", "monitors", 1, "spectrum", "k"), 3),
])
def test_what_overrides_set(text, path, value):
    tree = strictyaml.load(TEXT, "f").data
    done, problems = override(tree, [text])
    assert (problems, list(done)) == ([], [path])
    for name in path:
        tree = tree[name]
    assert tree == value


def test_overrides_change_nothing_else():
    tree, before = (strictyaml.load(TEXT, "f").data for _ in range(2))
    override(tree, ["sweep.axes.lr.1=3", "train.epochs=7"])
    before["sweep"]["axes"]["lr"][1], before["train"]["epochs"] = 3, 7
    assert tree == before


@pytest.mark.parametrize("text", [
    "", "-", "train.epochs", "=5", ".=5", "train.=5", ".epochs=5", "train..epochs=5",
    "a." * 30 + "a=1", "name.x=1", "train.lr_schedule.name=step", "measure.monitors.x=1",
    "measure.monitors.2=spectrum",
    "train.lr=[1", "train.lr=010", "train.nesterov=yes", "train.lr=*x",
])
def test_wrong_overrides_are_located_at_themselves(text):
    _, problems = override(strictyaml.load(TEXT, "f").data, [text, "train.epochs=3", text])
    assert [p.where for p in problems] == [f"-s {text.partition('=')[0]}"] * 2
    assert all(p.fix or "not YAML" in p.what for p in problems)
