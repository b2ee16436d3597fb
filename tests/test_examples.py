"""The examples of users' own data and models train and are measured, on tiny data made here."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.tables import read
from orchestrator import plan
from orchestrator.packrun import order, run_pack
from orchestrator.session import open_folder
from trainables import userfunction

EXAMPLES = Path(__file__).parents[1] / "examples"
WORDS, LENGTH = 30, 8
SPECTRUM = "[{spectrum: {k: 1, lambda_min: false, trace: false, tolerance: 0.2}}]"
TINY = ["measure.when={initial: false}", f"measure.monitors={SPECTRUM}", "sweep.axes.seed=[0]"]


def texts(count, seed):
    """Ids with a telling word among the first four, padded from a random place on; labels."""
    source = np.random.RandomState(seed)
    y = source.randint(2, size=count)
    x = source.randint(2, WORDS - 2, size=(count, LENGTH))
    x[np.arange(count), source.randint(4, size=count)] = WORDS - 1 - y
    x[np.arange(LENGTH) >= source.randint(4, LENGTH + 1, size=count)[:, None]] = 0
    return x, y


def model(name, length, **options):
    torch.manual_seed(0)
    made = userfunction.call(f"text:{name}", EXAMPLES / "text", ((length,), 2),
                             {"vocabulary": WORDS, "width": 8, **options}, key="model.name")
    return made.double()


def rows(planned):
    """The rows of the plan's runs, trained here; without the analysis, which takes seconds."""
    open_folder(planned)
    for pack in planned.packs:
        for _ in run_pack(order(pack, planned.spec, planned.folder)):
            pass
    return read(planned.folder, "runs").to_pandas()


@pytest.mark.parametrize(("name", "lr"), [("transformer", 0.3), ("lstm", 3.0)])
def test_text_is_learned_and_measured(tmp_path, name, lr):
    shutil.copytree(EXAMPLES / "text", tmp_path, dirs_exist_ok=True)
    (x, y), (x_test, y_test) = texts(200, 0), texts(80, 1)
    np.savez(tmp_path / "reviews.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    planned = plan(str(tmp_path / f"{name}.yaml"), overrides=[
        *TINY, f"storage={tmp_path}/sweeps", f"data.length={LENGTH}", f"data.vocabulary={WORDS}",
        f"model.vocabulary={WORDS}", "model.width=8", "train.epochs=8", "measure.set_size=50",
        "sweep.axes.batch_size=[10]", f"sweep.axes.lr=[{lr}]", "compute.compile=false",
        *(["sweep.axes.ratio=", "sweep.derived="] if name == "transformer" else [])])
    assert [p.engine for p in planned.packs] == ["vmap"]
    (row,) = rows(planned).itertuples()
    assert row.status == "finished"
    assert row.final_test_accuracy > 0.8, "chance is 0.5"
    assert row.final_hessian_lambda_max > 0


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_padding_says_nothing(name):
    net, x = model(name, LENGTH), torch.tensor(texts(6, 2)[0]).double()
    x[:, 5:] = 0
    same = model(name, 5)
    with torch.no_grad():
        if name == "transformer":  # places of its own length are drawn anew
            same.load_state_dict({**net.state_dict(), "places": net.places[:5]})
        torch.testing.assert_close(net(x), same(x[:, :5]))
        assert not torch.allclose(net(x), net(x.flip(1)))


def test_the_written_out_lstm_is_torchs():
    net = model("lstm", 5)
    theirs = torch.nn.LSTM(8, 8, batch_first=True).double()
    theirs.load_state_dict({
        "weight_ih_l0": net.inward.weight, "bias_ih_l0": net.inward.bias,
        "weight_hh_l0": net.within.weight, "bias_hh_l0": net.within.bias})
    x = torch.randint(2, WORDS, (4, 5), generator=torch.Generator().manual_seed(0))
    state = theirs(net.tokens(x))[0][:, -1]
    torch.testing.assert_close(net(x.double()), net.head(state))


def folder(root):
    """Two classes of dark and bright noise, in ImageNet's layout."""
    source = np.random.RandomState(0)
    for part, count in (("train", 6), ("val", 3)):
        for label in range(2):
            place = root / "imagenet" / part / f"n{label}"
            place.mkdir(parents=True)
            for i in range(count):
                pixels = source.randint(0, 80, (40, 48, 3)) + 120 * label
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{i}.jpg")
    shutil.copytree(EXAMPLES / "images", root, dirs_exist_ok=True)
    return plan(str(root / "imagenet.yaml"), overrides=[
        *TINY, f"storage={root}/sweeps", "data.image_size=32", "data.train_size=10",
        "data.test_size=", "train.epochs=2", "sweep.axes.batch_size=[5]",
        "sweep.axes.ratio=[1e-3]"])


def test_a_folder_of_images_is_planned(tmp_path):
    planned = folder(tmp_path)
    assert (planned.data.input_shape, planned.data.classes) == ((3, 32, 32), 2)
    assert planned.parameters == 11_177_538, "ResNet-18's 11.7 million, but for 2 classes"


@pytest.mark.slow
def test_a_folder_of_images_is_learned_and_measured(tmp_path):
    (row,) = rows(folder(tmp_path)).itertuples()
    assert row.status == "finished"
    assert row.final_test_accuracy == 1
    assert row.final_hessian_lambda_max > 0
