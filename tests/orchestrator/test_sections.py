"""Sections: defaults, forms, and one form for every value."""

from pathlib import Path

import pytest

from orchestrator import sections
from orchestrator.sections import Compute, Save, Sweep, rounded
from orchestrator.training import schedule
from trainables.errors import InputError


@pytest.mark.parametrize(("value", "form"), [
    (0.1 + 0.2, 0.3), (-0.0, 0.0), (1e-320, 1e-320), (7, 7), (True, True), ("x", "x"), (None, None),
    ([0.1 + 0.2, {"a": -0.0}], [0.3, {"a": 0.0}]), (float("inf"), float("inf")),
])
def test_rounded(value, form):
    assert repr(rounded(value)) == repr(form)


def test_rounding_twice_changes_nothing():
    values = [i / 7 * 10.0**k for i in range(1, 50) for k in range(-12, 6)]
    once = rounded(values)
    assert rounded(once) == once
    assert all(abs(a - b) <= 1e-11 * a for a, b in zip(values, once, strict=True))


@pytest.mark.parametrize(("given", "full"), [
    ("cosine", {"name": "cosine"}), ({"name": "constant"}, {"name": "constant"}),
    ({"name": "step", "every": 2, "factor": 0.5}, {"name": "step", "every": 2.0, "factor": 0.5}),
    ({"name": "warmup", "epochs": 3}, {"name": "warmup", "epochs": 3.0}),
    ({"name": "cyclic", "period": 4, "factor": 5},
     {"name": "cyclic", "period": 4.0, "factor": 5.0, "by": "step"}),
])
def test_schedules(given, full):
    assert schedule(given) == full
    assert schedule(schedule(given)) == full


@pytest.mark.parametrize(("given", "key"), [
    ("cosin", "k"), (None, "k"), ({"every": 1}, "k"), ("warmup", "k.epochs"),
    ({"name": "cosine", "epochs": 3}, "k.epochs"), ({"name": "step", "every": 1}, "k.factor"),
    ({"name": "step", "every": 0, "factor": 1}, "k.every"),
    ({"name": "step", "evry": 1, "factor": 1}, "k.evry"),
])
def test_schedules_that_are_none(given, key):
    with pytest.raises(InputError) as caught:
        schedule(given, "k")
    assert caught.value.key == key
    assert caught.value.fix


@pytest.mark.parametrize(("name", "given", "full"), [
    ("optimizer", "sgd", {"name": "sgd"}),
    ("optimizer", {"name": "adam", "beta1": 0},
     {"name": "adam", "beta1": 0.0, "beta2": 0.999, "epsilon": 1e-8}),
    ("optimizer", "nudged_sgd",
     {"name": "nudged_sgd", "k": 5, "gamma": 0.1, "every_epochs": 1, "tolerance": 1e-3}),
    ("batch_schedule", {"name": "cyclic", "period": 4, "factor": 5},
     {"name": "cyclic", "period": 4.0, "factor": 5.0}),
])
def test_named_choices_are_filled_in(name, given, full):
    train, _ = sections.train({name: given})
    assert train[name] == full
    assert sections.train(train)[0] == train


@pytest.mark.parametrize(("name", "given", "key"), [
    ("optimizer", "adamw", ""), ("optimizer", {"beta1": 0.9}, ""),
    ("optimizer", {"name": "sgd", "beta1": 0.9}, ".beta1"),
    ("optimizer", {"name": "adam", "epsilon": 0}, ".epsilon"),
    ("optimizer", {"name": "nudged_sgd", "k": 0}, ".k"),
    ("optimizer", {"name": "nudged_sgd", "gamma": -1}, ".gamma"),
    ("optimizer", {"name": "nudged_sgd", "every_epochs": 0.5}, ".every_epochs"),
    ("batch_schedule", {"name": "cyclic", "period": 4}, ".factor"),
    ("batch_schedule", "cosine", ""), ("fisher_every", 0, ""), ("fisher_penalty", -1, ""),
    ("lr_schedule", {"name": "cyclic", "period": 4, "factor": 5, "by": "day"}, ".by"),
])
def test_named_choices_that_are_none(name, given, key):
    with pytest.raises(InputError) as caught:
        sections.train({name: given})
    assert caught.value.key == f"train.{name}{key}"
    assert caught.value.fix


def test_train_parts_with_its_noises():
    train, noise = sections.train({"lr": 1, "label_noise": 0.25})
    assert noise == {"label": 0.25, "input": 0.0, "gradient": 0.0}
    assert not any(key.endswith("_noise") for key in train)
    assert (train["lr"], train["lr_schedule"]) == (1.0, {"name": "constant"})


def test_sweep_takes_null_as_absent():
    assert sections.sweep({}) == Sweep()
    assert sections.sweep({"axes": {"lr": [1], "momentum": None}, "keep": None, "zip": None}) == (
        Sweep(axes={"lr": [1]}))


@pytest.mark.parametrize("given", [
    {"axes": []}, {"keep": 3}, {"zip": {}}, {"include": {}}, {"derived": "x"}, {"axis": {}},
    {"search": {}},
])
def test_sweeps_of_another_form(given):
    with pytest.raises(InputError) as caught:
        sections.sweep(given)
    assert caught.value.key == f"sweep.{next(iter(given))}"
    assert caught.value.fix


def test_measure():
    given = {"when": {"steps": [3, 1, 3]}, "monitors": [{"spectrum": {"k": 2}}]}
    found = sections.measure(given, Path())
    assert found.when["steps"] == [1, 3]
    ((name, options),) = found.monitors
    assert (name, options["k"]) == ("spectrum", 2)
    assert options.keys() == dict(sections.measure({}, Path()).monitors)["spectrum"].keys()


@pytest.mark.parametrize(("given", "key"), [
    ({"monitors": ["spectrun"]}, "measure.monitors.0"),
    ({"monitors": ["spectrum", {"spectrum": {}}]}, "measure.monitors.1"),
    ({"monitors": [{"spectrum": 3}]}, "measure.monitors.0.spectrum"),
    ({"monitors": [{"spectrum": {"kk": 3}}]}, "measure.monitors.0.spectrum.kk"),
    ({"when": {"steps": [-1]}}, "measure.when.steps"), ({"set_size": 0}, "measure.set_size"),
])
def test_measures_that_are_none(given, key):
    with pytest.raises((InputError, ExceptionGroup)) as caught:
        sections.measure(given, Path())
    errors = getattr(caught.value, "exceptions", [caught.value])
    assert [e.key for e in errors] == [key]


def test_small_sections():
    assert sections.save({}) == Save("none")
    assert sections.compute({}) == Compute("auto", "auto", "auto", 1.0, "auto", "fp32")
    assert sections.compute({"gpus": 0, "pack": 4}).pack == 4


@pytest.mark.parametrize(("resolve", "given"), [
    (sections.save, {"weights": "all"}), (sections.compute, {"pack": 0}),
    (sections.compute, {"pack": True}), (sections.compute, {"gpus": -1}),
    (sections.compute, {"device": "tpu"}), (sections.compute, {"cpus": 0}),
    (sections.name, "Ab"), (sections.name, 3), (sections.name, None), (sections.name, "a/b"),
    (sections.name, ".."), (sections.name, "a" * 65), (sections.storage, ""),
    (sections.storage, 3), (sections.storage, "a\nb"), (sections.storage, "~nobody-has-this/x"),
])
def test_values_that_are_refused(resolve, given):
    with pytest.raises(InputError) as caught:
        resolve(given)
    assert caught.value.fix

