"""npz files: names of arrays, and files that are broken, hostile or not npz at all."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from trainables.datasets import describe, load, resolve
from trainables.errors import InputError

X, Y = np.zeros((12, 4, 4), np.uint8), np.arange(12) % 2
KERAS = {"x_train": X[:8], "y_train": Y[:8], "x_test": X[8:], "y_test": Y[8:]}


def check(folder, **options):
    return describe(resolve({"name": "npz:d.npz", **options}), folder)


NAMES = [
    (KERAS, {}, (8, 4)),
    ({"x": X, "y": Y}, {}, (10, 2)),                                 # split by the seed
    ({"a": X[:8], "b": Y[:8], "c": X[8:], "d": Y[8:]},
     {"x_train": "a", "y_train": "b", "x_test": "c", "y_test": "d"}, (8, 4)),
    ({"images": X, "labels": Y}, {"x_train": "images", "y_train": "labels"}, (10, 2)),
    ({**KERAS, "extra": Y}, {}, (8, 4)),
    ({**KERAS, "fine": Y[:8]}, {"y_train": "fine"}, (8, 4)),         # the others by Keras's names
]


@pytest.mark.parametrize(("arrays", "options", "sizes"), NAMES)
def test_names(tmp_path, arrays, options, sizes):
    np.savez_compressed(tmp_path / "d.npz", **arrays)
    info = check(tmp_path, **options)
    assert (info.train_size, info.test_size) == sizes


WRONG_NAMES = [
    ({"X_train": X, "y_train": Y}, {}, "data.path", "no array `x_train`", "did you mean `X_train`"),
    ({"x_train": X, "y_train": Y}, {}, "data.path", "no array `x_test`",
     "it has: x_train, y_train"),
    (KERAS, {"x_train": "x_trian"}, "data.x_train", "no array `x_trian`", "`x_train`"),
    ({}, {}, "data.path", "no array `x_train`", "it has none"),
]


@pytest.mark.parametrize(("arrays", "options", "key", "what", "fix"), WRONG_NAMES)
def test_wrong_names(tmp_path, arrays, options, key, what, fix):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(InputError) as caught:
        check(tmp_path, **options)
    assert caught.value.key == key
    assert what in caught.value.what
    assert fix in caught.value.fix


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


def flip(path):
    data = bytearray(path.read_bytes())
    data[200] ^= 1                      # inside the first array's numbers
    path.write_bytes(data)


def members(path, **contents):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(f"{name}.npy", data)


def bomb(path):
    with zipfile.ZipFile(path, "a") as archive:
        archive.filelist[0].file_size = 40 << 30    # what the archive's directory declares
        archive.writestr("note.txt", "")            # so that the directory is written anew


def header(shape):
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


BROKEN = [
    (lambda p: p.unlink(), "there is no file", "relative to the spec"),
    (lambda p: (p.unlink(), p.mkdir()), "is a folder", "name the file"),
    (lambda p: p.write_bytes(b""), "is empty", "again"),
    (lambda p: p.write_text("x_train,y_train\n1,2\n"), "not an .npz archive", "numpy.savez"),
    (lambda p: np.save(p.open("wb"), X), "not an .npz archive", "numpy.savez"),
    (lambda p: cut(p, 300), "cut short or damaged", "again"),
    (lambda p: cut(p, p.stat().st_size - 1), "cut short or damaged", "again"),
    (flip, "cut short or damaged: Bad CRC-32", "again"),
    (bomb, "declares 40.0 GiB", "smaller file"),
    (lambda p: members(p, **dict.fromkeys(KERAS, b"rubbish")), "is not a NumPy array", "savez"),
    (lambda p: members(p, **dict.fromkeys(KERAS, header((1 << 40, 1 << 40)))),
     "declares 1208925819614629174706176 bytes and holds 128", "again"),
    (lambda p: members(p, **dict.fromkeys(KERAS, header((-3,)))), "", ""),
    (lambda p: p.chmod(0), "cannot be read (permission denied)", "chmod u+r"),
]


@pytest.mark.parametrize(("damage", "what", "fix"), BROKEN)
def test_broken(tmp_path, damage, what, fix):
    path = tmp_path / "d.npz"
    np.savez(path, **KERAS)
    damage(path)
    if path.exists() and not path.stat().st_mode & 0o777 and os.geteuid() == 0:
        pytest.skip("root may read every file")
    with pytest.raises(InputError) as caught:
        check(tmp_path)
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert caught.value.key == "data.path"


class Bomb:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["x_train", "y_test"])
def test_pickled_objects_are_refused_and_not_run(tmp_path, name):
    trace = tmp_path / "ran"
    hostile = np.array([Bomb(trace)] * 4, dtype=object)
    np.savez(tmp_path / "d.npz", **KERAS | {name: hostile})
    with pytest.raises(InputError, match="pickled object array") as caught:
        check(tmp_path)
    assert name in caught.value.what
    assert not trace.exists()
    (tmp_path / "d.npz").write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(InputError, match=r"not an \.npz"):
        check(tmp_path)
    assert not trace.exists()


def test_real_mnist():
    folder = os.environ.get("SGDSCOPE_DATA")
    if not folder or not (Path(folder) / "mnist10k.npz").is_file():
        pytest.skip("SGDSCOPE_DATA names no folder with mnist10k.npz")
    config = resolve({"name": "npz:mnist10k.npz", "train_size": 1000, "test_size": 500})
    data = load(config, Path(folder))
    assert data.x_train.shape == (1000, 1, 28, 28)
    assert np.bincount(data.y_train).tolist() == [100] * 10
    means = np.stack([data.x_train[data.y_train == c].mean(0).ravel() for c in range(10)])
    distance = ((data.x_test.reshape(500, 1, -1) - means) ** 2).sum(2)
    assert (distance.argmin(1) == data.y_test).mean() > 0.7     # images and labels belong together
