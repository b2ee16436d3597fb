"""What is sent to a cluster: all that the sweep needs there, and nothing else."""

import json
import shlex

import pytest

from orchestrator import parcel
from orchestrator.errors import UserError
from orchestrator.spec import load_spec

MODEL = """
import torch
def build(classes, **_):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes))
"""


def _spec(folder, overrides=(), **changes):
    tree = {"name": "law", "storage": "/mnt/shared", "data": {"name": "digits"},
            "model": {"name": "mlp", "width": 8, "depth": 1},
            "train": {"epochs": 1, "lr": 0.1, "batch_size": 16}, **changes}
    (folder / "law.yaml").write_text(json.dumps(tree))
    return load_spec(str(folder / "law.yaml"), overrides)


@pytest.fixture
def folder(tmp_path):
    """A spec's folder with code, results, an environment and secrets beside it."""
    for name in ("mine.py", "nets/__init__.py", "nets/deep.py", "sweeps/old/code.py",
                 "env/pyvenv.cfg", "env/lib.py", ".ssh/id", ".hidden.py", "notes.txt",
                 "results/law/resolved.yaml", "results/law/a.py", "set.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(MODEL if name == "mine.py" else "")
    return tmp_path


def test_a_spec_of_ours_alone_travels_alone(folder):
    sent = parcel.pack(_spec(folder))
    assert list(sent.files) == ["law.yaml"]
    assert sent.arguments == ("run", "law.yaml", "--address", "auto")
    assert sent.sweep == "/mnt/shared/law"


def test_with_functions_the_code_beside_it_travels(folder):
    """Not what lies in an environment, in results, or hidden."""
    sent = parcel.pack(_spec(folder, model={"name": "mine:build"}))
    assert set(sent.files) == {"law.yaml", "mine.py", "nets/__init__.py", "nets/deep.py"}
    (folder / "there").mkdir()
    sent.unpack(folder / "there")
    assert (folder / "there" / "nets" / "deep.py").is_file()
    assert (folder / "there" / "mine.py").read_text() == MODEL


def test_small_data_of_a_relative_path_travels(folder):
    sent = parcel.pack(_spec(folder, data={"name": "npz", "path": "set.npz"}))
    assert set(sent.files) == {"law.yaml", "set.npz"}


def test_a_preset_travels_as_its_name():
    sent = parcel.pack(load_spec("digits-ratio", ['storage="/mnt/s"']), yes=True)
    assert sent.files == {}
    assert sent.arguments == ("run", "digits-ratio", "--address", "auto", "--yes",
                              "-s", 'storage="/mnt/s"')


def test_overrides_arrive_as_they_were_given(folder):
    """Whatever a shell would make of them."""
    odd = 'model.name="mlp"  # $(id); `id`'
    sent = parcel.pack(_spec(folder, [odd, "name=other"]))
    assert shlex.split(sent.command)[-4:] == ["-s", odd, "-s", "name=other"]
    assert sent.metadata == {"sgdscope_name": "other", "sgdscope_sweep": "/mnt/shared/other"}


def test_the_plain_line_says_the_same(folder):
    line = parcel.pack(_spec(folder)).plain_line("http://127.0.0.1:8265", "law-1", wait=False)
    words = shlex.split(line)
    assert words[:3] == ["ray", "job", "submit"]
    assert json.loads(words[words.index("--metadata-json") + 1])["sgdscope_name"] == "law"
    assert words[words.index("--"):] == ["--", "sgdscope", "run", "law.yaml", "--address", "auto"]
    assert "--no-wait" in words


@pytest.mark.parametrize("storage", ["./sweeps", "sweeps", "../up"])
def test_relative_storage_is_refused_with_the_ways_out(folder, storage):
    with pytest.raises(UserError, match="is relative") as caught:
        parcel.pack(_spec(folder, storage=storage))
    assert "--storage /mnt/shared" in str(caught.value)
    assert "s3://" in str(caught.value)


def test_all_that_would_be_missing_there_is_told_at_once(folder):
    with pytest.raises(UserError) as caught:
        parcel.pack(_spec(folder, storage="s", data={"name": "parquet", "path": "none",
                                                     "test_path": "../set.npz"}))
    assert len(caught.value.problems) == 3


def test_much_is_refused(folder, monkeypatch):
    monkeypatch.setattr(parcel, "MOST_BYTES", 50)
    with pytest.raises(UserError, match="would be sent"):
        parcel.pack(_spec(folder))
