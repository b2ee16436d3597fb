"""Users' arrays: what is taken, turned and refused, with the way out."""

import numpy as np
import pytest

from trainables.errors import InputError
from trainables.sources import arrays

CONFIG = {"train_size": None, "test_size": None, "seed": 0}
X, Y = np.zeros((6, 4, 4), np.uint8), np.array([0, 1, 2, 0, 1, 2])


def given(**changes):
    return {"x_train": X, "y_train": Y, "x_test": X[:3], "y_test": Y[:3]} | changes


def float_with(value):
    x = np.zeros((6, 4, 4))
    x[2, 1, 1] = x[4, 0, 0] = value
    return x


TAKEN = [
    ({"y_train": Y[:, None]}, "y_train", (6,)),                 # Keras's cifar10 keeps (N, 1)
    ({"y_train": Y.astype(np.uint8)}, "y_train", (6,)),
    ({"x_train": X.tolist(), "x_test": X[:3].tolist()}, "x_train", (6, 1, 4, 4)),
    ({"x_train": X[..., None], "x_test": X[:3, ..., None]}, "x_train", (6, 1, 4, 4)),
    ({"x_train": np.zeros((6, 9, 8, 3)), "x_test": np.zeros((1, 9, 8, 3)), "y_test": Y[:1]},
     "x_train", (6, 3, 9, 8)),
    ({"x_train": np.zeros((6, 3, 9, 8)), "x_test": np.zeros((3, 3, 9, 8))}, "x_train",
     (6, 3, 9, 8)),
    ({"x_train": np.zeros((6, 3, 9, 3)), "x_test": np.zeros((3, 3, 9, 3))}, "x_train",
     (6, 3, 9, 3)),                                             # ambiguous: taken as it is
    ({"x_train": np.zeros((6, 7, 8, 4)), "x_test": np.zeros((3, 7, 8, 4))}, "x_train",
     (6, 7, 8, 4)),                                             # floats: any number of channels
    ({"x_train": np.zeros((6, 5), bool), "x_test": np.zeros((3, 5), bool)}, "x_train", (6, 5)),
]

REFUSED = [
    ({"y_train": Y.astype(float)}, "y_train is of type float64", "astype('int64')"),
    ({"y_train": Y + 0.5}, "y_train is of type float64", "astype"),
    ({"y_train": Y.astype(str)}, "y_train is of type <U21", "astype"),
    ({"y_train": Y == 1}, "y_train is of type bool", "astype"),
    ({"y_train": np.eye(3, dtype=int)[Y]}, "shape (6, 3)", "argmax(1)"),
    ({"y_train": Y - 1}, "the label -1", "0, 1, 2"),
    ({"y_train": Y + 1, "y_test": Y[:3] + 1}, "from 1 to 3, without [0]", "without gaps"),
    ({"y_train": Y * 2}, "from 0 to 4, without [1, 3]", "without gaps"),
    ({"y_train": Y * 10**15}, "without [1, 2, 3, 4, 5]", "gaps"),   # must not allocate 10^15
    ({"y_train": Y * 0, "y_test": Y[:3] * 0}, "a single class", "two classes"),
    ({"y_test": Y[:3] + 1}, "test label 3 does not occur", "same classes"),
    ({"y_train": Y[:5]}, "x_train has 6 examples, y_train has 5", "same examples"),
    ({"x_test": X[:2]}, "x_test has 2 examples, y_test has 3", "same examples"),
    ({"x_train": float_with(np.nan), "x_test": X[:3] * 1.0}, "NaN or infinite values in 2 of 6",
     "clean"),
    ({"x_train": float_with(-np.inf), "x_test": X[:3] * 1.0}, "in 2 of 6", "clean"),
    ({"x_train": float_with(1e300), "x_test": X[:3] * 1.0}, "in 2 of 6", "clean"),  # in float32
    ({"x_train": Y}, "x_train has shape (6,)", "one row"),
    ({"x_train": np.zeros((6, 0))}, "x_train has shape (6, 0)", "one row"),
    ({"x_train": np.zeros((6, 2), complex)}, "complex128", "floats"),
    ({"x_train": np.array(["a"] * 6)}, "<U1", "floats"),
    ({"x_train": np.zeros((6, 7, 8, 4), np.uint8)}, "which axis of x_train", "1 or 3 channels"),
    ({"x_test": X[:3, :2]}, "training inputs are (1, 4, 4) uint8, test inputs (1, 2, 4)", "alike"),
    ({"x_test": X[:3] / 255}, "test inputs (1, 4, 4) float32", "alike"),  # one is scaled
    ({"x_test": X[:0], "y_test": Y[:0]}, "x_test has shape (0, 4, 4)", "one row"),
]


@pytest.mark.parametrize(("changes", "name", "shape"), TAKEN)
def test_taken(changes, name, shape):
    split = arrays.build(given(**changes), CONFIG, "hash")
    assert getattr(split, name).shape == shape
    assert split.y_train.dtype == np.int64
    assert split.classes == 3
    with pytest.raises(ValueError, match="read-only"):
        split.x_train[0] = 1


@pytest.mark.parametrize(("changes", "what", "fix"), REFUSED)
def test_refused(changes, what, fix):
    with pytest.raises(InputError) as caught:
        arrays.build(given(**changes), CONFIG, "hash", key="data.path")
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert caught.value.key == "data.path"


def test_one_set_is_split():
    x = np.arange(40.0).reshape(20, 2)
    split = arrays.build({"x": x, "y": np.arange(20) % 2}, CONFIG, "hash")
    assert len(split.x_test) == 4
    assert sorted(np.concatenate([split.x_train, split.x_test])[:, 0]) == sorted(x[:, 0])
    assert np.array_equal(split.y_test, split.x_test[:, 0] // 2 % 2)     # rows stay together


def test_hash_of_arrays_is_of_values_shape_and_type_not_of_layout():
    a = np.arange(6, dtype="<i4").reshape(2, 3)
    same = [a.copy(order="F"), a.astype(">i4")]
    assert {arrays.hash_arrays([b]) for b in [a, *same]} == {arrays.hash_arrays([a])}
    other = [a.reshape(3, 2), a.astype(np.int64), a + 1]
    assert len({arrays.hash_arrays([b]) for b in [a, *other]}) == 4
    assert arrays.hash_arrays([a, a[:1]]) != arrays.hash_arrays([a[:1], a])


def test_size_bound():
    arrays.check_size(1000, "x")
    with pytest.raises(InputError, match=r"x declares 32\.5 GiB; at most"):
        arrays.check_size(int(32.5 * 2**30), "x")
