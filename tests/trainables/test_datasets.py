"""Data by name: options, scaling, normalising, hashing, and reading once."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trainables import datasets
from trainables.datasets import describe, load, resolve
from trainables.errors import InputError

RESOLVED = [
    ({"name": "digits"}, {"train_size": None, "seed": 0, "normalize": "standard"}),
    ({"name": "cifar10", "train_size": 400}, {"train_size": 400, "download": False,
                                              "root": "~/.cache/sgdscope/data"}),
    ({"name": "npz:a/b.npz"}, {"name": "npz", "path": "a/b.npz", "normalize": "auto"}),
    ({"name": "npz", "path": "b.npz", "x_train": "images"}, {"path": "b.npz", "x_train": "images"}),
    ({"name": "parquet:x.parquet", "label": "fine"}, {"name": "parquet", "label": "fine",
                                                      "normalize": "standard"}),
    ({"name": "imagefolder:/d:1"}, {"path": "/d:1"}),          # a colon in the path stays
    ({"name": "mine:make", "n": 3, "seed": 2}, {"name": "function", "function": "mine:make",
                                                "options": {"n": 3}, "seed": 2}),
    ({"name": "mine:make", "options": {"n": 3}}, {"options": {"n": 3}}),
]

REFUSED = [
    ({}, "data.name", "no name", "digits"),
    ({"name": 3}, "data.name", "no name", "digits"),
    ({"name": "digit"}, "data.name", "unknown data `digit`", "did you mean `digits`?"),
    ({"name": "npz"}, "data.path", "no path", "npz:PATH"),
    ({"name": "npz:"}, "data.path", "''", "text"),
    ({"name": "npz:a", "path": "b"}, "data.path", "both", "once"),
    ({"name": "digits", "path": "b"}, "data.path", "no option `path`", "train_size"),
    ({"name": "digits", "train_sise": 3}, "data.train_sise", "no option", "`train_size`"),
    ({"name": "digits", "train_size": 0}, "data.train_size", "is 0", "from 1"),
    ({"name": "digits", "seed": -1}, "data.seed", "-1", "from 0"),
    ({"name": "digits", "normalize": "auto"}, "data.normalize", "auto", "one of standard, none"),
    ({"name": "mnist", "download": "yes"}, "data.download", "'yes'", "true or false"),
    ({"name": "my-set:make"}, "data.name", "not of the form", "my_module"),
    ({"name": "mine:make", "options": 3}, "data.options", "is 3", "mapping"),
    ({"name": "function"}, "data.name", "names no function", "module:function"),
]


@pytest.mark.parametrize(("config", "expected"), RESOLVED)
def test_resolve(config, expected):
    resolved = resolve(config)
    assert {k: resolved[k] for k in expected} == expected
    assert resolve(resolved) == resolved


@pytest.mark.parametrize(("config", "key", "what", "fix"), REFUSED)
def test_resolve_refuses(config, key, what, fix):
    with pytest.raises(InputError) as caught:
        resolve(config)
    assert caught.value.key == key
    assert what in caught.value.what
    assert fix in caught.value.fix


def save(folder, x, name="d.npz", test=4):
    y = np.arange(len(x)) % 2
    np.savez(folder / name, x_train=x[:-test], y_train=y[:-test], x_test=x[-test:],
             y_test=y[-test:])
    return resolve({"name": f"npz:{name}"})


def pixels(*shape, seed=0):
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


# inputs as saved, the same as (N, C, …) numbers before normalising, images or not
KINDS = [
    (pixels(20, 5, 4), lambda x: x[:, None] / 255, True),             # grey
    (pixels(20, 5, 4, 3), lambda x: x.transpose(0, 3, 1, 2) / 255, True),
    (pixels(20, 3, 5, 4), lambda x: x / 255, True),
    (pixels(20, 7), lambda x: x / 255, False),                        # flattened pixels
    (pixels(20, 5, 4) / 7.0, lambda x: x[:, None], True),             # floats: as they are
    (pixels(20, 7).astype(np.float64), lambda x: x, False),
    (pixels(20, 5, 4).astype(np.int32), lambda x: x[:, None], True),  # only uint8 is scaled
    (pixels(20, 7, 5, 6) * 1.0, lambda x: x, True),                   # channels come first
]


@pytest.mark.parametrize(("x", "plain", "images"), KINDS)
@pytest.mark.parametrize("normalize", ["auto", "none", "standard"])
def test_scaling_and_normalising(tmp_path, x, plain, images, normalize):
    config = save(tmp_path, x) | {"normalize": normalize}
    data = load(config, tmp_path)
    expected = plain(x.astype(np.float64) if x.dtype == np.uint8 else x).astype(np.float64)
    if normalize == "standard" or (normalize == "auto" and images):
        axes = (0, *range(2, expected.ndim))
        train = expected[:-4]
        expected = (expected - train.mean(axes, keepdims=True)) / train.std(axes, keepdims=True)
    assert data.x_train.dtype == data.x_test.dtype == np.float32
    np.testing.assert_allclose(data.x_train, expected[:-4], rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(data.x_test, expected[-4:], rtol=2e-6, atol=2e-6)


def test_describe_agrees_with_load_and_reads_once(tmp_path, monkeypatch):
    config = save(tmp_path, pixels(30, 6, 5)) | {"train_size": 10, "test_size": 2}
    info = describe(config, tmp_path)
    assert (info.train_size, info.test_size, info.classes) == (10, 2, 2)
    assert info.input_shape == (1, 6, 5)
    from trainables.sources import npz

    monkeypatch.setattr(npz, "read", None)      # from here on, reading would fail
    data = load(config | {"normalize": "none"}, tmp_path)
    assert data.sha256 == info.sha256
    assert len(data.x_train) == 10
    data.x_train[:] = 0                         # what is kept cannot be spoilt
    data.y_train[:] = 0
    assert load(config, tmp_path).y_train.any()


def test_moments_are_kept_as_long_as_the_file(tmp_path, monkeypatch):
    config = save(tmp_path, pixels(30, 6, 5)) | {"normalize": "standard", "test_size": 2}
    before = load(config, tmp_path)
    from trainables import moments

    with monkeypatch.context() as patch:
        patch.setattr(moments, "channel_moments", None)  # from here on, computing them would fail
        np.testing.assert_array_equal(load(config, tmp_path).x_train, before.x_train)
    save(tmp_path, pixels(30, 6, 5, seed=1))
    assert abs(load(config, tmp_path).x_train.mean()) < 1e-6


def test_a_changed_file_is_read_again_and_has_another_hash(tmp_path):
    config = save(tmp_path, pixels(30, 6, 5))
    before = describe(config, tmp_path)
    save(tmp_path, pixels(30, 6, 5, seed=1))
    assert describe(config, tmp_path).sha256 != before.sha256
    (tmp_path / "d.npz").rename(tmp_path / "e.npz")
    save(tmp_path, pixels(30, 6, 5))
    assert describe(config, tmp_path) == before


def test_the_hash_does_not_know_the_path(tmp_path):
    (tmp_path / "a").mkdir()
    config = save(tmp_path / "a", pixels(30, 6, 5))
    (tmp_path / "a" / "d.npz").rename(tmp_path / "other.npz")
    moved = resolve({"name": f"npz:{tmp_path / 'other.npz'}"})
    data = (tmp_path / "other.npz").read_bytes()
    assert describe(moved, Path("/nowhere")).sha256 == hashlib.sha256(data).hexdigest()
    with pytest.raises(InputError, match="no file"):
        describe(config, tmp_path / "a")


def test_digits_are_the_papers_real_images():
    data = load({"name": "digits"}, Path())
    assert data.x_train.shape == (1500, 1, 8, 8)
    assert data.x_test.shape == (297, 1, 8, 8)
    assert abs(data.x_train.mean()) < 1e-6
    assert data.x_train.std() == pytest.approx(1, abs=1e-6)
    plain = load({"name": "digits", "normalize": "none"}, Path())
    assert sorted(set((plain.x_train * 16).ravel())) == list(range(17))


def test_unreadable_and_missing_packages_are_told(tmp_path, monkeypatch):
    config = save(tmp_path, pixels(30, 6, 5))

    def fail(error):
        def read(*_):
            raise error
        monkeypatch.setattr(datasets, "_read", read)

    for error, what in [
        (PermissionError(13, "Permission denied", "d.npz"), "d.npz: Permission denied"),
        (ModuleNotFoundError("no", name="pyarrow"), "needs the package pyarrow"),
        (MemoryError(), "does not fit"),
    ]:
        fail(error)
        with pytest.raises(InputError, match=what):
            describe(config, tmp_path)


def test_dataset_is_frozen():
    data = load({"name": "digits", "train_size": 20, "test_size": 5}, Path())
    assert replace(data, classes=3).classes == 3
    with pytest.raises(AttributeError):
        data.classes = 3
