"""A user's data function: what it may return, and what it is told otherwise."""

import numpy as np
import pytest

from trainables.datasets import describe, load, resolve
from trainables.errors import InputError

MINE = """
import numpy as np
import torch
CALLS = []
def make(n=20, seed=0, shift=0.0):
    CALLS.append(n)
    x = np.random.RandomState(seed).randn(n, 3) + shift
    y = np.arange(n) % 2
    return x[:-4], y[:-4], x[-4:], y[-4:]
def tensors():
    return [torch.tensor(a) for a in make()]
def image():
    return np.zeros((4, 5, 5), np.uint8), [0, 1, 0, 1], np.zeros((2, 5, 5), np.uint8), [0, 1]
def three():
    return make()[:3]
def nothing():
    pass
def ragged():
    return [[1], [1, 2]], [0, 1], [[1]], [0]
def words():
    return ["a", "b"], [0, 1], ["a"], [0]
def broken():
    return {}["x"]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def test_options_hash_and_normalising(folder):
    plain = load(resolve({"name": "mine:make", "n": 30, "shift": 5.0}), folder)
    assert plain.x_train.shape == (26, 3)
    assert plain.x_train.mean() > 4                            # tables: as they are
    scaled = load(resolve({"name": "mine:make", "n": 30, "normalize": "standard"}), folder)
    np.testing.assert_allclose(scaled.x_train.mean(0), 0, atol=1e-6)
    same = describe(resolve({"name": "mine:tensors"}), folder)
    assert same == describe(resolve({"name": "mine:make"}), folder)
    assert same.sha256 != plain.sha256


def test_called_once_a_process(folder):
    config = resolve({"name": "mine:make", "n": 24, "train_size": 6})
    describe(config, folder)
    assert len(load(config, folder).x_train) == 6
    from trainables import userfunction

    module = userfunction.find("mine:make", folder, key="k").__globals__
    assert module["CALLS"].count(24) == 1


def test_images(folder):
    assert describe(resolve({"name": "mine:image"}), folder).input_shape == (1, 5, 5)


@pytest.mark.parametrize(("name", "what"), [
    ("three", "returned a tuple of 3"), ("nothing", "returned a NoneType"),
    ("ragged", "x_train that is no array"), ("words", "x_train of type <U1"),
    ("broken", "KeyError: 'x' (mine.py:"), ("absent", "no function `absent`"),
])
def test_refused(folder, name, what):
    with pytest.raises(InputError) as caught:
        describe(resolve({"name": f"mine:{name}"}), folder)
    assert what in caught.value.what
    assert caught.value.fix
    assert caught.value.key == "data.name"
