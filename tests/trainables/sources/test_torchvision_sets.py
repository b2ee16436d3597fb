"""torchvision's sets, read from files of their own formats that the test writes; no network."""

import gzip
import hashlib
import pickle
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import scipy.io
from torchvision import datasets as tv

from trainables.datasets import describe, load, resolve
from trainables.errors import InputError
from trainables.sources import torchvision_sets

X = np.random.RandomState(0).randint(0, 256, (30, 28, 28)).astype(np.uint8)
COLOUR = np.random.RandomState(1).randint(0, 256, (30, 3, 32, 32)).astype(np.uint8)
Y = np.arange(30) % 10
PARTS = {"train": slice(0, 20), "t10k": slice(20, 30)}


def config(name, folder, **options):
    return resolve({"name": name, "root": str(folder), "normalize": "none", **options})


def idx(array):
    return struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def files():
    for part, rows in PARTS.items():
        yield f"{part}-images-idx3-ubyte", idx(X[rows])
        yield f"{part}-labels-idx1-ubyte", idx(Y[rows].astype(np.uint8))


def test_mnist_from_its_files(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, data in files():
        (raw / name).write_bytes(data)
    data = load(config("fashion_mnist", tmp_path), tmp_path)
    assert np.array_equal(np.rint(data.x_train * 255), X[:20, None])
    assert np.array_equal(data.y_test, Y[20:])
    few = load(config("fashion_mnist", tmp_path, train_size=10), tmp_path)
    assert sorted(few.y_train) == list(range(10))
    assert few.sha256 == data.sha256


@pytest.fixture
def serve():
    """An HTTP server of this machine for a folder's files."""
    servers = []

    def start(folder):
        handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_downloaded_once_and_only_when_asked(tmp_path, monkeypatch, serve):
    mirror, root = tmp_path / "mirror", tmp_path / "root"
    mirror.mkdir()
    for name, data in files():
        (mirror / f"{name}.gz").write_bytes(gzip.compress(data))
    md5s = [(p.name, hashlib.md5(p.read_bytes()).hexdigest()) for p in mirror.iterdir()]  # noqa: S324
    monkeypatch.setattr(tv.MNIST, "mirrors", [serve(mirror)])
    monkeypatch.setattr(tv.MNIST, "resources", md5s)
    with pytest.raises(InputError, match="mnist is not in") as caught:
        describe(config("mnist", root), tmp_path)
    assert "download: true" in caught.value.fix
    assert not root.exists()
    info = describe(config("mnist", root, download=True), tmp_path)
    assert (info.train_size, info.test_size, info.input_shape) == (20, 10, (1, 28, 28))
    for path in mirror.iterdir():
        path.unlink()               # what is there is not asked for again
    torchvision_sets.read(config("mnist", root, download=True), tmp_path)   # from the files now


def test_a_failed_download_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tv.MNIST, "mirrors", [f"{(tmp_path / 'gone').as_uri()}/"])
    with pytest.raises(InputError, match="could not be downloaded") as caught:
        describe(config("mnist", tmp_path / "root", download=True), tmp_path)
    assert caught.value.key == "data.download"


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100", "svhn"])
def test_absent(tmp_path, name):
    with pytest.raises(InputError) as caught:
        describe(config(name, tmp_path), tmp_path)
    assert f"{name} is not in" in caught.value.what
    assert "data.root" in caught.value.fix
    assert caught.value.key == "data.name"


def test_cifar_is_turned_to_channels_first(tmp_path, monkeypatch):
    folder = tmp_path / tv.CIFAR10.base_folder
    folder.mkdir()

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return name, hashlib.md5((folder / name).read_bytes()).hexdigest()  # noqa: S324

    def part(rows):
        return {"data": COLOUR[rows].reshape(-1, 3072), "labels": Y[rows].tolist()}

    meta = write("batches.meta", {"label_names": [str(i) for i in range(10)]})
    monkeypatch.setattr(tv.CIFAR10, "meta", {"filename": meta[0], "key": "label_names",
                                             "md5": meta[1]})
    monkeypatch.setattr(tv.CIFAR10, "train_list", [write("one", part(slice(0, 20)))])
    monkeypatch.setattr(tv.CIFAR10, "test_list", [write("two", part(slice(20, 30)))])
    data = load(config("cifar10", tmp_path), tmp_path)
    assert np.array_equal(np.rint(data.x_train * 255), COLOUR[:20])
    assert np.array_equal(data.y_test, Y[20:])
    (folder / "one").write_bytes(b"another file")          # not unpickled: its checksum differs
    with pytest.raises(InputError, match="not found or corrupted"):
        torchvision_sets.read(config("cifar10", tmp_path), tmp_path)


def test_svhn_calls_ten_zero(tmp_path, monkeypatch):
    split = dict(tv.SVHN.split_list)
    for part, rows in (("train", slice(0, 20)), ("test", slice(20, 30))):
        path = tmp_path / split[part][1]
        labels = np.where(Y[rows] == 0, 10, Y[rows])[:, None]
        scipy.io.savemat(path, {"X": COLOUR[rows].transpose(2, 3, 1, 0), "y": labels})
        md5 = hashlib.md5(path.read_bytes()).hexdigest()  # noqa: S324
        split[part] = [split[part][0], path.name, md5]
    monkeypatch.setattr(tv.SVHN, "split_list", split)
    data = load(config("svhn", tmp_path), tmp_path)
    assert np.array_equal(np.rint(data.x_train * 255), COLOUR[:20])
    assert np.array_equal(data.y_train, Y[:20])
