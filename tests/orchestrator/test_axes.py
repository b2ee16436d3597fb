"""Values of axes, and which scalar a name stands for."""

from itertools import pairwise

import pytest

from orchestrator.axes import aliases, canonical, scalar, values
from trainables import models
from trainables.errors import InputError

MODEL = models.resolve({"name": "mlp"})


@pytest.mark.parametrize(("name", "given", "found"), [
    ("lr", [0.1, 1, 1e-3], [0.1, 1, 1e-3]),
    ("lr", [0.1 + 0.2, -0.0], [0.3, 0.0]),  # twelve digits; one zero
    ("seed", {"count": 3}, [0, 1, 2]),
    ("lr", {"log": [0.01, 1.0], "n": 3}, [0.01, 0.1, 1.0]),
    ("lr", {"n": 3, "log": [1.0, 0.01]}, [1.0, 0.1, 0.01]),  # downwards
    ("lr", {"log": [1e-3, 0.7], "n": 2}, [1e-3, 0.7]),
    ("lr", {"linear": [0.0, 0.3], "n": 4}, [0.0, 0.1, 0.2, 0.3]),
    ("k", {"linear": [-1e308, 1e308], "n": 3}, [-1e308, 0.0, 1e308]),  # no overflow between
    ("batch_size", {"log": [8, 128], "n": 5}, [8, 16, 32, 64, 128]),  # whole ends, whole values
    ("batch_size", {"linear": [8, 32], "n": 4}, [8, 16, 24, 32]),
    ("k", {"log": [1, 10], "n": 3}, [1.0, 3.16227766017, 10.0]),
    ("loss", ["mse", "cross_entropy"], ["mse", "cross_entropy"]),
    ("optimizer", ["sgd", {"name": "adam", "beta1": 0.1 + 0.2}],
     ["sgd", {"name": "adam", "beta1": 0.3}]),
])
def test_values(name, given, found):
    made = values(name, given)
    assert made == found
    assert list(map(type, made)) == list(map(type, found))
    assert "-0.0" not in map(repr, made)


def test_log_axes_hit_their_ends_and_keep_their_ratio():
    made = values("lr", {"log": [3e-5, 0.7], "n": 1001})
    assert (made[0], made[-1], len(made)) == (3e-5, 0.7, 1001)
    assert all(b / a == pytest.approx((0.7 / 3e-5) ** 1e-3, rel=1e-10)
               for a, b in pairwise(made))
    assert all(float(f"{v:.12g}") == v for v in made)


@pytest.mark.parametrize(("name", "path"), [
    ("lr", "train.lr"), ("train.lr", "train.lr"), ("label_noise", "noise.label"),
    ("train.gradient_noise", "noise.gradient"), ("seed", "seed"), ("width", "model.width"),
    ("model.width", "model.width"), ("momentum", "train.momentum"), ("ratio", None),
    ("train_size", "data.train_size"), ("data.train_size", "data.train_size"),
    ("lr_schedule.at", "train.lr_schedule.at"), ("train.batch_schedule.factor",
                                                 "train.batch_schedule.factor"),
    ("lr_schedule", "train.lr_schedule"), ("until", None), ("name", None), ("η", None),
])
def test_names_of_scalars(name, path):
    assert scalar(name, MODEL) == path


@pytest.mark.parametrize("name", [
    "lr_schedule.name", "lr_schedule.gamma", "data.test_size",
    "model.name", "model.widht", "train.until", "train.x", "data.seed", "noise.label", "a.b", "."])
def test_dotted_names_that_name_nothing(name):
    with pytest.raises(InputError, match="names no scalar"):
        scalar(name, MODEL)


def test_an_optimisers_options_are_scalars_too():
    assert scalar("optimizer.gamma", MODEL) == "train.optimizer.gamma"
    assert scalar("train.optimizer.beta1", MODEL) == "train.optimizer.beta1"
    assert aliases("optimizer.gamma", MODEL) == ["train.optimizer.gamma", "optimizer.gamma"]


def test_a_name_of_train_goes_before_the_same_name_of_a_model():
    model = models.resolve({"name": "mine:net", "lr": 3, "seed": 4, "hidden": 5})
    assert scalar("lr", model) == "train.lr"
    assert aliases("lr", model) == ["train.lr", "lr"]
    assert aliases("model.lr", model) == ["model.lr"]
    assert aliases("hidden", model) == ["model.hidden", "hidden"]
    assert aliases("input_noise", model) == ["input_noise", "train.input_noise"]


@pytest.mark.parametrize(("path", "value", "form"), [
    ("train.lr", 1, 1.0), ("train.lr", 0.1 + 0.2, 0.3), ("noise.label", 0, 0.0),
    ("noise.gradient", -0.0, 0.0), ("train.batch_size", 8, 8), ("train.batch_size", "full", "full"),
    ("seed", 3, 3), ("model.width", 8, 8), ("model.dropout", 0, 0.0),
    ("model.batch_norm", True, True), ("train.loss", "mse", "mse"),
    ("train.lr_schedule", "cosine", {"name": "cosine"}),
    ("train.lr_schedule", {"name": "switch", "at": 3, "factor": 0.1},
     {"name": "switch", "at": 3.0, "factor": 0.1}),
    ("train.optimizer", "adam",
     {"name": "adam", "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}),
    ("train.optimizer.gamma", 1, 1.0), ("train.batch_schedule", "constant", {"name": "constant"}),
    ("train.fisher_penalty", 0, 0.0), ("data.train_size", 100, 100),
    ("train.lr_schedule.at", 0, 0.0), ("train.lr_schedule.by", "epoch", "epoch"),
])
def test_a_value_has_one_form(path, value, form):
    found = canonical(path, value, MODEL, "k")
    assert found == form
    assert repr(found) == repr(form)


@pytest.mark.parametrize(("path", "value"), [
    ("train.lr", True), ("train.lr", "0.1"), ("train.lr", None), ("train.lr", 0), ("train.lr", 1e7),
    ("train.batch_size", 8.0), ("train.batch_size", True), ("train.batch_size", 0), ("seed", 1.0),
    ("seed", False), ("model.width", 8.0), ("model.width", "8"), ("noise.label", 1.5),
    ("train.momentum", 1), ("train.nesterov", 1), ("train.lr_schedule", "step"),
    ("train.epochs", 0), ("train.optimizer", "adan"), ("train.optimizer.beta2", 1),
    ("train.batch_schedule", "cyclic"), ("train.fisher_penalty", -1),
    ("data.train_size", 0), ("data.train_size", 10.5), ("train.lr_schedule.at", -1),
    ("train.lr_schedule.factor", 0), ("train.lr_schedule", {"name": "switch", "at": 1}),
])
def test_a_value_out_of_bounds_is_located(path, value):
    with pytest.raises(InputError) as caught:
        canonical(path, value, MODEL, "sweep.axes.x.0")
    assert caught.value.key == "sweep.axes.x.0"


@pytest.mark.parametrize(("path", "value", "form"), [
    ("train.batch_size", 8.0, 8), ("seed", 2.0, 2), ("model.width", 16.0, 16),
    ("train.lr", 8.0, 8.0), ("model.dropout", 0.0, 0.0),
])
def test_a_computed_whole_number_may_come_as_a_float(path, value, form):
    assert repr(canonical(path, value, MODEL, "k", computed=True)) == repr(form)


def test_a_computed_number_that_is_not_whole_is_refused():
    with pytest.raises(InputError, match=r"batch_size is 8\.5"):
        canonical("train.batch_size", 8.5, MODEL, "k", computed=True)
