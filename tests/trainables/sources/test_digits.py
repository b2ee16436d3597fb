"""Digits against scikit-learn's own reader."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from trainables.errors import InputError
from trainables.sources import digits

ALL = {"seed": 0, "train_size": None, "test_size": None}


def test_all_of_scikit_learns_digits_once():
    data = digits.read(ALL, Path())
    x, y = load_digits(return_X_y=True)
    mine = np.concatenate([data.x_train, data.x_test]).reshape(-1, 64) * 16
    labels = np.concatenate([data.y_train, data.y_test])
    assert (len(data.y_train), len(data.y_test)) == (1500, 297)
    rows = [tuple(map(int, (*r, c))) for r, c in zip(mine, labels, strict=True)]
    assert sorted(rows) == sorted(tuple(map(int, (*r, c))) for r, c in zip(x, y, strict=True))


def test_subsets_are_prefixes_and_the_hash_is_of_all():
    data, few = digits.read(ALL, Path()), digits.read(
        {"seed": 0, "train_size": 100, "test_size": 7}, Path())
    assert np.array_equal(few.x_train, data.x_train[:100])
    assert np.array_equal(few.y_test, data.y_test[:7])
    other = digits.read(ALL | {"seed": 1}, Path())
    assert not np.array_equal(other.y_train, data.y_train)
    assert few.sha256 == data.sha256 == other.sha256
    # Run ids of earlier sweeps hold this hash.
    assert data.sha256 == "dc03189b4746b9956cbef3f3f059983e30dbf36fc76c971951ba57233a7c7071"


@pytest.mark.parametrize(("sizes", "key"), [
    ({"train_size": 1501}, "data.train_size"), ({"test_size": 298}, "data.test_size")])
def test_more_than_there_are(sizes, key):
    with pytest.raises(InputError) as caught:
        digits.read(ALL | sizes, Path())
    assert caught.value.key == key


def test_without_the_file_scikit_learn_itself_is_asked(tmp_path, monkeypatch):
    empty = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(digits, "find_spec", lambda _: empty)
    assert digits.read(ALL, Path()).sha256.startswith("dc03189b")
    assert "sklearn" in sys.modules


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setattr(digits, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="scikit-learn"):
        digits.read(ALL, Path())
