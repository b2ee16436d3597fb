"""Image tables: columns and files are found as hubs name them; bad tables are told."""

import io
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trainables.datasets import describe, load, resolve
from trainables.errors import InputError


def png(label, i):
    """A grey 4x5 image whose level tells its row."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 5), 20 * label + i, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def rows(count=18, first=0):
    labels = [i % 3 for i in range(count)]
    return [png(y, i + first) for i, y in enumerate(labels)], labels


def write(path, image="image", label="label", count=18, first=0, struct=False, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    data, labels = rows(count, first)
    cells = [{"bytes": d, "path": f"{i}.png"} for i, d in enumerate(data)] if struct else data
    table = pa.table({image: cells, label: pa.array(labels, pa.int8()), **columns})
    pq.write_table(table, path, row_group_size=5)   # several groups: rows must be found in each
    return path


def config(name="d.parquet", **options):
    return resolve({"name": f"parquet:{name}", "normalize": "none", **options})


def levels(x):
    return np.rint(x[:, 0, 0, 0] * 255).astype(int)


COLUMNS = [
    ({}, {}),
    ({"struct": True}, {}),
    ({"image": "img", "label": "fine_label", "coarse_label": [1] * 18}, {}),
    ({"image": "scan", "label": "species"}, {}),                          # the only ones that fit
    ({"thumbnail": [b""] * 18, "year": [3] * 18}, {}),                    # the usual names win
    ({"image": "a", "label": "b", "c": [b""] * 18, "d": [0] * 18}, {"image": "a", "label": "b"}),
]


@pytest.mark.parametrize(("made", "options"), COLUMNS)
def test_columns_are_found(tmp_path, made, options):
    write(tmp_path / "d.parquet", **made)
    data = load(config(**options, train_size=9, test_size=3), tmp_path)
    assert data.x_train.shape == (9, 1, 4, 5)
    assert np.array_equal((levels(data.x_train) - 20 * data.y_train) % 3, data.y_train)
    assert np.bincount(data.y_train).tolist() == [3, 3, 3]
    assert not set(levels(data.x_train)) & set(levels(data.x_test))


FILES = [
    (["d/train.parquet", "d/test.parquet"], "d", {}),
    (["d/data/train-00000-of-00002.parquet", "d/data/train-00001-of-00002.parquet",
      "d/data/test-00000-of-00001.parquet"], "d", {}),                    # data hubs' shards
    (["d/train/0.parquet", "d/validation/0.parquet"], "d", {}),
    (["d/cifar-train.parquet", "d/cifar-test.parquet"], "d/cifar-train.parquet", {}),
    (["a.parquet", "b.parquet"], "a.parquet", {"test_path": "b.parquet"}),
    (["train-a/0.parquet", "train-a/1.parquet", "b/0.parquet"], "train-a", {"test_path": "b"}),
]


@pytest.mark.parametrize(("files", "name", "options"), FILES)
def test_files_are_told_apart(tmp_path, files, name, options):
    for i, file in enumerate(files):
        last = i == len(files) - 1
        write(tmp_path / file, count=6 if last else 9, first=90 if last else 9 * i)
    data = load(config(name, **options), tmp_path)
    trains = len(files) - 1
    assert np.array_equal(levels(data.x_train) - 20 * data.y_train, np.arange(9 * trains))
    assert np.array_equal(levels(data.x_test) - 20 * data.y_test, 90 + np.arange(6))


def test_a_subset_of_shards_is_in_order(tmp_path):
    for i in range(3):
        write(tmp_path / "d" / f"train-{i}.parquet", count=9, first=9 * i)
    write(tmp_path / "d" / "test.parquet", count=3)
    data = load(config("d", train_size=11, seed=4), tmp_path)
    assert np.array_equal((levels(data.x_train) - 20 * data.y_train) % 3, data.y_train)


def test_one_table_is_split_by_the_seed(tmp_path):
    write(tmp_path / "d.parquet")
    info = describe(config(), tmp_path)
    assert (info.train_size, info.test_size) == (15, 3)


def test_only_what_is_used_is_decoded_but_all_is_hashed(tmp_path):
    data, labels = rows()
    used = load(config(train_size=3, test_size=3), write(tmp_path / "d.parquet").parent)
    keep = set(levels(used.x_train)) | set(levels(used.x_test))
    kept = [d if 20 * y + i in keep else b"spoilt"
            for i, (d, y) in enumerate(zip(data, labels, strict=True))]
    pq.write_table(pa.table({"image": kept, "label": labels}), tmp_path / "d.parquet")
    again = load(config(train_size=3, test_size=3), tmp_path)
    assert np.array_equal(again.x_train, used.x_train)
    assert again.sha256 != used.sha256
    with pytest.raises(InputError, match=r"row \d+ of d\.parquet cannot be decoded"):
        describe(config(), tmp_path)


def table(path, **columns):
    pq.write_table(pa.table(columns), path)


IMAGES, LABELS = rows(6)
BROKEN = [
    (lambda p: p.unlink(), "data.path", "there is no file", "relative"),
    (lambda p: p.write_bytes(b""), "data.path", "is empty", "again"),
    (lambda p: p.write_text("a,b"), "data.path", "not a readable Parquet file", "again"),
    (lambda p: p.write_bytes(p.read_bytes()[:-9]), "data.path", "not a readable", "again"),
    (lambda p: (p.unlink(), p.mkdir()), "data.path", "holds no .parquet file", "name the table"),
    (lambda p: (p.rename(p.with_name("x")), write(p / "a.parquet"), write(p / "b.parquet")),
     "data.path", "holds 2 tables", "test_path"),
    (lambda p: table(p, x=[1] * 6, label=LABELS), "data.image", "no column fits", "columns: x"),
    (lambda p: table(p, a=IMAGES, b=IMAGES, label=LABELS), "data.image", "several fit: a, b",
     "data.image"),
    (lambda p: table(p, image=IMAGES, label=["cat"] * 6), "data.label", "no column fits",
     "whole numbers"),
    (lambda p: table(p, image=IMAGES, label=[0.5] * 6), "data.label", "no column fits", "whole"),
    (lambda p: table(p, image=IMAGES, label=[0, 1, None, 1, 0, 1]), "data.label",
     "1 empty cells", "drop"),
    (lambda p: table(p, image=IMAGES, label=[-1, 0, 1, 0, 1, 1]), "data.label", "label -1",
     "renumber"),
    (lambda p: table(p, image=IMAGES, label=[1, 2, 3, 1, 2, 3]), "data.path", "from 1 to 3",
     "renumber"),
    (lambda p: table(p, image=[None, *IMAGES[1:]], label=LABELS), "data.image", "row 0 of",
     "not as paths"),
    (lambda p: table(p, image=[{"bytes": None, "path": "a.png"}] * 5 + [{"bytes": b"", "path": ""}],
                     label=LABELS), "data.image", "no image bytes", "not as paths"),
    (lambda p: table(p, image=[b"x"] * 6, label=LABELS), "data.path", "it is not an image",
     "remove"),
    (lambda p: table(p, image=pa.array([], pa.binary()), label=pa.array([], pa.int8())), "data",
     "no test examples", "more data"),
]


@pytest.mark.parametrize(("damage", "key", "what", "fix"), BROKEN)
def test_broken(tmp_path, damage, key, what, fix):
    damage(write(tmp_path / "d.parquet"))
    with pytest.raises(InputError) as caught:
        describe(config(), tmp_path)
    assert caught.value.key == key
    assert what in caught.value.what
    assert fix in caught.value.fix


@pytest.mark.parametrize(("options", "key", "what", "fix"), [
    ({"image": "imgae"}, "data.image", "no column `imgae`", "did you mean `image`?"),
    ({"label": "image"}, "data.label", "is of type binary", "whole numbers"),
    ({"test_path": "gone.parquet"}, "data.test_path", "there is no file", "relative"),
    ({"train_size": 16}, "data.train_size", "has 15 such examples", "at most 15"),
])
def test_wrong_options(tmp_path, options, key, what, fix):
    write(tmp_path / "d.parquet")
    with pytest.raises(InputError) as caught:
        describe(config(**options), tmp_path)
    assert caught.value.key == key
    assert what in caught.value.what
    assert fix in caught.value.fix


def test_real_cifar():
    folder = os.environ.get("SGDSCOPE_DATA")
    name = "cifar10-jpeg-train.parquet"
    if not folder or not (Path(folder) / name).is_file():
        pytest.skip(f"SGDSCOPE_DATA names no folder with {name}")
    data = load(resolve({"name": f"parquet:{name}", "train_size": 1000, "test_size": 500}),
                Path(folder))
    assert data.x_train.shape == (1000, 3, 32, 32)
    assert data.x_test.shape == (500, 3, 32, 32)
    assert np.bincount(data.y_train).tolist() == [100] * 10
    np.testing.assert_allclose(data.x_train.std((0, 2, 3)), 1, rtol=1e-4)
