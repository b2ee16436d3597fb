"""Folders of images: labels by folder names, both sets, and what may be wrong with a tree."""


import numpy as np
import pytest
from PIL import Image

from trainables.datasets import describe, load, resolve
from trainables.errors import InputError


def tree(root, test="test", classes=("ant", "bee", "cat"), train=6, held=2):
    """Images whose grey level tells class and number."""
    for part, count in (("train", train), (test, held)):
        for label, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                level = 80 * label + 10 * i + (part == test)
                Image.fromarray(np.full((4, 5), level, np.uint8)).save(folder / f"{i}.png")
    return root


def config(**options):
    return resolve({"name": "imagefolder:d", "normalize": "none", **options})


@pytest.mark.parametrize("test", ["test", "val", "validation"])
def test_labels_and_pixels(tmp_path, test):
    tree(tmp_path / "d", test)
    (tmp_path / "d" / "train" / "ant" / "notes.txt").write_text("not an image")
    (tmp_path / "d" / "train" / ".cache").mkdir()
    data = load(config(), tmp_path)
    assert data.x_train.shape == (18, 1, 4, 5)
    levels = np.rint(data.x_train[:, 0, 0, 0] * 255).astype(int)
    assert np.array_equal(levels // 80, data.y_train)
    assert np.array_equal(np.rint(data.x_test[:, 0, 0, 0] * 255) // 80, data.y_test)
    assert data.classes == 3


def test_subset_is_balanced_and_only_it_is_decoded(tmp_path):
    root = tree(tmp_path / "d")
    data = load(config(train_size=6, test_size=3), tmp_path)
    assert np.bincount(data.y_train).tolist() == [2, 2, 2]
    used = {(y, int(np.rint(x[0, 0, 0] * 255)) % 80 // 10)
            for x, y in zip(data.x_train, data.y_train, strict=True)}
    for label, name in enumerate(("ant", "bee", "cat")):
        for i in range(6):
            if (label, i) not in used:
                (root / "train" / name / f"{i}.png").write_bytes(b"spoilt")
    assert describe(config(train_size=6, test_size=3), tmp_path).sha256 == data.sha256
    with pytest.raises(InputError, match="cannot be decoded"):
        describe(config(), tmp_path)


def test_hash_is_of_contents_and_classes(tmp_path):
    info = describe(config(), tree(tmp_path / "a" / "d").parent)
    assert describe(config(), tree(tmp_path / "b" / "d").parent) == info
    path = tmp_path / "b" / "d" / "test" / "cat" / "1.png"
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(path)
    assert describe(config(), tmp_path / "b").sha256 != info.sha256
    renamed = tree(tmp_path / "c" / "d", classes=("ant", "bee", "cow")).parent
    assert describe(config(), renamed).sha256 != info.sha256


WRONG = [
    (lambda r: r.rename(r.with_name("x")), "there is no folder", "train/ and test/"),
    (lambda r: (r.rename(r.with_name("x")), r.write_text("")), "is a file", "name a folder"),
    (lambda r: (r / "test").rename(r / "tset"), "has not both train/ and test/", "put the class"),
    (lambda r: (r / "train").rename(r / "tarin"), "has not both", "put the class"),
    (lambda r: (r / "test" / "cat").rename(r / "test" / "Cat"), "the class `Cat`", "`cat`"),
    (lambda r: [p.unlink() for p in (r / "train" / "bee").iterdir()], "bee holds no images",
     ".png"),
    (lambda r: [p.unlink() for p in r.glob("test/*/*")], "holds no images", ".png"),
    (lambda r: (r / "train" / "bee" / "3.png").write_bytes(b""), "bee/3.png cannot be decoded: "
     "it is empty", "remove"),
    (lambda r: Image.new("L", (9, 9)).save(r / "train" / "bee" / "3.png"),
     "bee/3.png is 9x9, ant/0.png is 5x4", "image_size"),
    (lambda r: [(r / "train" / n).rename(r / f"{n}x") for n in ("ant", "bee")],
     "has 1 class folders", "two or more"),
]


@pytest.mark.parametrize(("damage", "what", "fix"), WRONG)
def test_wrong_trees(tmp_path, damage, what, fix):
    damage(tree(tmp_path / "d"))
    with pytest.raises(InputError) as caught:
        describe(config(), tmp_path)
    assert what in caught.value.what
    assert fix in caught.value.fix
