"""Specs: every bad input is a file of tests/bad with its message; every good one resolves whole."""

import copy
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import UserError
from orchestrator.grid import count_cells, expand, run_configs
from orchestrator.presets import find_preset, list_presets
from orchestrator.spec import load_spec
from tests.orchestrator.specs import BASE, spec, write

BAD = sorted((Path(__file__).parents[1] / "bad").glob("*.yaml"))
TRAIN_SIZE = 1500


def refused(source, *overrides):
    """The problems of a spec that has some."""
    with pytest.raises(UserError) as caught:
        expand(load_spec(str(source), overrides), TRAIN_SIZE)
    return caught.value.problems


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_bad_inputs(path):
    """The first two lines of each file say what is told of it, and where."""
    expected, at = (line.split(": ", 1)[1] for line in path.read_text().splitlines()[:2])
    start = time.process_time()
    problems = refused(path)
    assert time.process_time() - start < 1
    assert str(problems[0]).splitlines()[0] == f"error: {expected}"
    assert problems[0].where == f"{path}:{at}"
    assert all(p.fix and str(p).count("\n") <= 3 for p in problems)


def test_there_are_many_bad_inputs():
    assert len(BAD) > 140


@pytest.mark.parametrize(("content", "what"), [
    (b"", "there is nothing in it"), (b"name: \xff\n", "not UTF-8 (byte 6)"),
    ("name: a".encode("utf-16"), "not UTF-8 (byte 0)"),
    (b"name: a\0\n", "there is a NUL character"),
    (b"# \n" * 100_000, "more than 256 kB of YAML"),
])
def test_bad_bytes(tmp_path, content, what):
    path = tmp_path / "s.yaml"
    path.write_bytes(content)
    assert [p.what for p in refused(path)] == [what]


@pytest.mark.parametrize(("source", "what"), [
    ("nowhere.yaml", "there is no file nowhere.yaml"), ("a/b", "there is no file a/b"),
    ("digits-ration", "there is no preset `digits-ration` and no such file"),
    (".", ". is a folder"), ("", ". is a folder"), ("x" * 5000, "cannot read "),
    ("\0", "there is no"),
])
def test_sources_that_are_none(source, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (problem,) = refused(source)
    assert problem.what.startswith(what)


def test_a_preset_that_is_nearly_named_is_suggested():
    (problem,) = refused("digit-ratio")
    assert problem.fix.startswith("did you mean `digits-ratio`? presets: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("name: a")
    path.chmod(0)
    assert refused(path)[0].what.startswith("cannot read")


def test_all_problems_are_told_at_once(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("""\
name: A
dta: 1
data: {name: digits, seed: -1, sed: 2}
model: {name: mlp, width: 0, activation: rel}
train:
  lr: -1
  momentum: 1
  lr_schedule: {name: step, every: 0, factor: 0}
  until: {train_accuracy: 2}
sweep:
  kep: x
  axes: {batch_size: [8, 0], widht: [3]}
  derived: {ratio: lr / batch}
  include: [{foo: 1}]
measure: {when: {final: 1}, monitors: [spectrm, {spectrum: {k: 0, tolerance: 2}}]}
claims: [a, b]
""")
    keys = [p.where.partition(" ")[2].strip("()") for p in refused(path, "compute.pack=0", "x")]
    assert sorted(keys) == sorted([
        "x", "dta", "name", "data.seed", "data.sed", "model.width", "model.activation", "train.lr",
        "train.momentum", "train.lr_schedule.every", "train.lr_schedule.factor",
        "train.until.train_accuracy", "train.until.max_epochs", "sweep.kep",
        "sweep.axes.batch_size.1", "sweep.axes.widht", "sweep.derived.ratio", "sweep.include.0.foo",
        "measure.when.final", "measure.monitors.0", "measure.monitors.1.spectrum.k",
        "measure.monitors.1.spectrum.tolerance", "claims.0", "claims.1", "compute.pack"])


def test_a_wrong_model_does_not_hide_the_sweeps_problems(tmp_path):
    tree = {**BASE, "model": {"name": "mpl"}, "sweep": {
        "axes": {"lr": [-1], "width": [8], "model.depth": [1]}, "keep": "width > 3"}}
    whats = [p.what for p in refused(write(tmp_path, tree))]
    assert whats == ["unknown model `mpl`", "lr is -1"]


def test_what_is_told_of_a_constant_is_not_told_again(tmp_path):
    for lr in (-1, "x", True):
        tree = {**BASE, "train": {**BASE["train"], "lr": lr}, "sweep": {"keep": "lr < 1"}}
        assert len(refused(write(tmp_path, tree))) == 1


@pytest.mark.parametrize(("sweep", "keys"), [
    ({"axes": [1], "derived": {"lr": "ratio"}, "zip": [["lr", "ratio"]]}, ["sweep.axes"]),
    ({"axis": {"lr": [0.1], "batch_size": [8]}}, ["sweep.axis"]),
    ({"axes": {"ratio": [1]}, "derived": "lr: ratio"}, ["sweep.derived"]),
    ({"axes": {"ratio": [1], "lr": [0.1], "batch_size": [8]}, "keep": 3}, ["sweep.keep"]),
])
def test_what_is_left_out_as_wrong_is_not_missed(tmp_path, sweep, keys):
    tree = {**BASE, "train": {"epochs": 2}, "sweep": sweep}
    assert [p.where.partition("(")[2] for p in refused(write(tmp_path, tree))] == [
        f"{k})" for k in keys]


def test_null_takes_an_axis_away(tmp_path):
    path = write(tmp_path, {**BASE, "sweep": {"axes": {"lr": [0.1, 0.2], "momentum": [0, 0.9]}}})
    assert count_cells(load_spec(path, ["sweep.axes.momentum="])) == 2


def test_a_small_spec_is_filled_in_whole(tmp_path):
    found = spec(tmp_path)
    assert found.resolved() == {
        "name": "a", "storage": "./sweeps",
        "data": {"name": "digits", "train_size": None, "test_size": None, "seed": 0,
                 "normalize": "standard"},
        "model": {"name": "mlp", "width": 8, "depth": 1, "widths": None, "activation": "relu",
                  "batch_norm": False, "dropout": 0.0, "init": "default", "init_scale": 1.0},
        "train": {"lr": 0.1, "batch_size": 8, "epochs": 2, "steps": None, "until": None,
                  "loss": "cross_entropy", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0,
                  "lr_schedule": {"name": "constant"}, "batch_schedule": {"name": "constant"},
                  "optimizer": {"name": "sgd"}, "fisher_penalty": 0.0, "fisher_every": 1,
                  "sampling": "without_replacement", "max_loss": 1e4, "label_noise": 0.0,
                  "input_noise": 0.0, "gradient_noise": 0.0},
        "sweep": {"axes": {}, "derived": {}, "keep": None, "zip": [], "include": [],
                  "search": None},
        "measure": {"when": {"early": "log", "every_epochs": None, "every_steps": None,
                             "steps": None, "final": True, "initial": True},
                    "set_size": None, "monitors": [["spectrum", {
                        "k": 5, "lambda_min": True, "trace": True, "tolerance": 1e-3,
                        "max_products": 100, "doubt": 0.01, "trace_tolerance": 0.05,
                        "trace_probes": 16,
                        "frobenius": False, "density": 0, "density_starts": 4,
                        "density_width": 0.01, "gauss_newton": False, "normalized": False,
                        "preconditioned": False}]], "budget": None},
        "save": {"weights": "none"},
        "compute": {"device": "auto", "pack": "auto", "compile": "auto", "cpus": 1.0,
                    "gpus": "auto", "precision": "fp32"},
        "claims": [], "probes": []}
    assert found.base_dir == tmp_path
    assert found.source == str(tmp_path / "spec.yaml")
    assert json.loads(found.text) == BASE
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.name = "b"


def test_resolving_the_resolved_changes_nothing(tmp_path):
    first = spec(tmp_path, sweep={"axes": {"lr": {"log": [0.1, 1], "n": 3}}},
                 measure={"when": {"steps": [3, 1]}, "monitors": [{"spectrum": {"k": 2}}]},
                 train={"label_noise": 0.5, "lr_schedule": "cosine"}).resolved()
    monitors = [{name: options} for name, options in first["measure"]["monitors"]]
    again = {**first, "measure": {**first["measure"], "monitors": monitors}}
    assert load_spec(write(tmp_path, again)).resolved() == first


@pytest.mark.parametrize(("section", "given", "found"), [
    ("train", {"lr": 1, "momentum": 0}, {"lr": 1.0, "momentum": 0.0}),
    ("train", {"lr": 1e-12}, {"lr": 1e-12}),
    ("train", {"batch_size": "full"}, {"batch_size": "full"}),
    ("train", {"weight_decay": -0.0, "max_loss": 0.1 + 0.2},
     {"weight_decay": 0.0, "max_loss": 0.3}),
    ("train", {"lr_schedule": "cosine"}, {"lr_schedule": {"name": "cosine"}}),
    ("train", {"lr_schedule": {"name": "warmup", "epochs": 1}},
     {"lr_schedule": {"name": "warmup", "epochs": 1.0}}),
    ("train", {"lr_schedule": {"name": "cyclic", "period": 2, "factor": 4}},
     {"lr_schedule": {"name": "cyclic", "period": 2.0, "factor": 4.0, "by": "step"}}),
    ("train", {"epochs": None, "steps": 7}, {"epochs": None, "steps": 7}),
    ("train", {"epochs": None, "until": {"train_accuracy": 1, "max_epochs": 3}},
     {"until": {"train_accuracy": 1.0, "max_epochs": 3}}),
    ("train", {"momentum": 0.9, "nesterov": True}, {"nesterov": True}),
    ("train", {"label_noise": 0.25, "gradient_noise": 2},
     {"label_noise": 0.25, "gradient_noise": 2.0}),
    ("measure", {"monitors": ["spectrum"]}, {"set_size": None}),
    ("measure", {"monitors": []}, {"monitors": []}),
    ("measure", {"budget": 1}, {"budget": 1.0}),
    ("measure", {"when": None}, {"when": {
        "early": "log", "every_epochs": None, "every_steps": None, "steps": None, "final": True,
        "initial": True}}),
    ("measure", {"budget": 0.5, "when": {"initial": False, "early": None}}, {"budget": 0.5}),
    ("measure", {"monitors": [{"spectrum": None}], "set_size": 10}, {"set_size": 10}),
    ("compute", {"pack": 8, "gpus": 0.5, "cpus": 2}, {"pack": 8, "gpus": 0.5, "cpus": 2.0}),
    ("save", {"weights": "final"}, {"weights": "final"}),
])
def test_values_that_are_accepted(tmp_path, section, given, found):
    resolved = spec(tmp_path, **{section: given}).resolved()[section]
    assert {k: resolved[k] for k in found} == found


@pytest.mark.parametrize("name", ["a", "0", "2024-01-01", "a_b-c", "a" * 64])
def test_names(tmp_path, name):
    assert spec(tmp_path, name=name).name == name


def test_empty_sections_mean_the_defaults(tmp_path):
    tree = {**BASE, "sweep": None, "measure": None, "save": None, "compute": None, "claims": None,
            "storage": None}
    assert load_spec(write(tmp_path, tree)).resolved() == spec(tmp_path).resolved()


def test_byte_order_mark_and_line_ends_of_windows(tmp_path):
    text = ("name: a\ndata: {name: digits}\nmodel: {name: mlp}\n"
            "train: {steps: 3, lr: 1e-3, batch_size: 8}\n")
    path = tmp_path / "s.yaml"
    path.write_bytes(text.encode())
    plain = load_spec(str(path)).resolved()
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load_spec(str(path)).resolved() == plain


def test_overrides(tmp_path):
    path = write(tmp_path, {**BASE, "sweep": {"axes": {"lr": [0.1]}}})
    given = ("train.epochs=5", "sweep.axes.lr=[0.1,0.2]", "model.width=16", "name=b",
             "sweep.axes.model.depth=[1, 2]")
    found = load_spec(path, given)
    assert (found.train["epochs"], found.model["width"], found.name) == (5, 16, "b")
    assert count_cells(found) == 4
    assert found.overrides == given
    assert json.loads(found.text)["train"]["epochs"] == 2  # the text stays as it was written


def test_problems_of_overrides_are_located_at_them(tmp_path):
    path = write(tmp_path, BASE)
    problems = refused(path, "train.epochs=0", "sweep.axes.lr=[0.1, -1]", "modle.width=3")
    assert [p.where for p in problems] == [
        "-s modle.width (modle)", "-s train.epochs", "-s sweep.axes.lr (sweep.axes.lr.1)"]


def test_a_spec_locates_problems_that_others_find(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("name: a\ndata:\n  name: npz:x.npz\nmodel: {name: mlp}\n"
                    "train: {epochs: 2, lr: 0.1, batch_size: 8}\n")
    found = load_spec(str(path), ["storage=/x"])
    assert found.problem("no file", "data.path", "fix").where == f"{path}:2:1 (data.path)"
    assert found.problem("no file", "data.name").where == f"{path}:3:3 (data.name)"
    assert found.problem("full", "storage").where == "-s storage"
    assert found.data["path"] == "x.npz"


def test_presets_are_found_wherever_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits-ratio").mkdir()  # a sweep's folder is no spec
    for preset in list_presets():
        found = load_spec(preset.name)
        assert found.name == preset.name
        assert found.base_dir == tmp_path
        assert preset.title[0].isalnum()
        assert find_preset(preset.name) == preset
        assert run_configs(found, expand(found, 50_000))


def test_a_file_goes_before_a_preset_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits-ratio").write_text(json.dumps(BASE))
    assert load_spec("digits-ratio").name == "a"


def test_reading_a_spec_imports_nothing_heavy():
    code = ("import sys\nfrom orchestrator.spec import load_spec\n"
            "from orchestrator.grid import expand, run_configs\n"
            "s = load_spec('digits-ratio'); run_configs(s, expand(s, 1500))\n"
            "sys.exit(bool({'torch', 'pandas', 'ray', 'numpy', 'pydantic'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], check=False,
                          cwd=Path(__file__).parents[2])
    assert done.returncode == 0


ODD = st.sampled_from([
    None, True, False, 0, -1, 1, 2.5, -0.0, 1e-320, 1e300, 10**39, "", "x", "full", "lr",
    "seed", "mlp", "npz:x", "a:b", "torchvision:resnet18", "1/0", "lr > 0", "x" * 600, "..",
    "~x/y", "\u2028", [], {}, [1], [0.1, True], [[]], [["lr"]], [None], {"a": 1}, {"name": 3},
    {"name": []}, {"name": "step"}, {"log": [1, 2], "n": 3}, {"log": [0, 1], "n": 2}, {"count":
    3}, {"count": 10**6}, {"linear": [1, 1e9], "n": 3}, {"train_accuracy": 0.5}, {"spectrum":
    {"k": []}}, [{"lr": 0.1}], [{"lr": []}], {"lr": "batch_size / 10"}, {"x": "lr"}, {"lr":
    "momentum +"}, {"": 1}, {"a.b": [1]},
])
KEYS = st.sampled_from([
    "name", "storage", "data", "model", "train", "sweep", "measure", "save", "compute",
    "claims", "axes", "derived", "keep", "zip", "include", "lr", "batch_size", "epochs",
    "steps", "until", "lr_schedule", "momentum", "nesterov", "label_noise", "seed", "width",
    "model.width", "train.lr", "when", "monitors", "every_epochs", "set_size", "path", "widths",
    "ratio", "pack", "search", "x", "", "a.b", "train_size",
])
FULL = {
    **BASE, "claims": ["three_factors/ratio_law"], "save": {"weights": "none"},
    "sweep": {"axes": {"ratio": [1e-3, 2e-3], "batch_size": [8, 16], "momentum": [0, 0.9],
                       "seed": {"count": 2}}, "derived": {"lr": "ratio * batch_size"},
              "keep": "momentum == 0 or seed == 0", "zip": [["ratio", "batch_size"]],
              "include": [{"lr": 0.5, "batch_size": 4}]},
    "measure": {"when": {"early": "log", "every_epochs": 1}, "monitors": [{"spectrum": {"k": 2}}]},
}


def paths(node, path=()):
    """The path of every value in a tree."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(
        node if isinstance(node, list) else ())
    for key, value in items:
        yield from paths(value, (*path, key))


CHANGES = st.lists(st.tuples(
    st.sampled_from(list(paths(FULL))[1:]), st.sampled_from(["set", "set", "remove", "add"]),
    KEYS, ODD), max_size=3)


def changed(tree, changes):
    """The tree with a few of its values, at any depth, replaced, removed or added."""
    tree = copy.deepcopy(tree)
    for (*parents, last), kind, key, value in changes:
        node = tree
        for name in parents:
            node = node.get(name) if isinstance(node, dict) else None
        if isinstance(node, dict) and kind == "add":
            node[key] = copy.deepcopy(value)
        elif isinstance(node, dict) and kind == "set":
            node[last] = copy.deepcopy(value)
        elif isinstance(node, dict):
            node.pop(last, None)
    return tree


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(CHANGES, st.lists(
    st.tuples(KEYS, KEYS, ODD).map(lambda t: f"{t[0]}.{t[1]}={json.dumps(t[2])}"), max_size=1))
def test_any_change_of_a_spec_is_a_spec_or_a_user_error(tmp_path_factory, changes, overrides):
    path = write(tmp_path_factory.getbasetemp(), changed(FULL, changes))
    try:
        found = load_spec(path, overrides)
        if count_cells(found) < 10**4:
            configs = run_configs(found, expand(found, TRAIN_SIZE))
            assert len({json.dumps(c, allow_nan=False) for c in configs}) == len(configs)
            json.dumps(found.resolved(), allow_nan=False)
    except UserError as error:
        assert error.problems  # noqa: PT017
        assert all(p.where and str(p).count("\n") <= 3 for p in error.problems)  # noqa: PT017
