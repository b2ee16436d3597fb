"""What would fail late is said at once, and looking leaves nothing behind."""

import os

import pytest

from analysis.errors import Note
from orchestrator import preflight
from orchestrator.stores import SCHEMES, open_store
from orchestrator.stores.local import LocalStore
from tests.orchestrator.specs import spec
from tests.s3server import BUCKET, s3_server


@pytest.mark.parametrize(("compute", "what"), [
    ({}, []), ({"device": "cpu", "gpus": 0}, []),
    ({"cpus": 4096}, ["a trial asks for 4096 CPUs, this machine has"]),
    ({"gpus": 4}, ["a trial asks for 4 GPUs, this machine has 2"]),
    ({"gpus": 2, "device": "cuda"}, []), ({"gpus": 0.5}, []),
    ({"cpus": 4096, "gpus": 3}, ["a trial asks for 4096 CPUs", "a trial asks for 3 GPUs"]),
])
def test_what_a_machine_with_two_gpus_lacks(tmp_path, monkeypatch, compute, what):
    monkeypatch.setattr(preflight, "gpu_count", lambda: 2)
    problems = preflight.machine_problems(spec(tmp_path, compute=compute))
    assert len(problems) == len(what)
    assert all(p.what.startswith(w) and p.fix for p, w in zip(problems, what, strict=True))


def test_cuda_without_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "gpu_count", lambda: 0)
    (problem,) = preflight.machine_problems(spec(tmp_path, compute={"device": "cuda"}))
    assert problem.what == "device is cuda, but torch sees no GPU on this machine"


@pytest.mark.parametrize("below", ["tiny", "a/b/tiny", "file-to-be"])
def test_a_good_storage_is_left_as_it_was(tmp_path, below):
    assert preflight.storage_problems(tmp_path / below) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["file", "file/tiny", "file/a/tiny"])
def test_a_file_is_no_storage(tmp_path, below):
    (tmp_path / "file").write_text("x")
    (problem,) = preflight.storage_problems(tmp_path / below)
    assert problem.what == f"the storage {tmp_path / 'file'} is a file"


def test_a_folder_with_other_things_in_it_is_not_taken_over(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    (problem,) = preflight.storage_problems(tmp_path)
    assert problem.what == f"{tmp_path} is not empty and no sweep of ours"
    (tmp_path / "resolved.yaml").write_text("{}")  # what a sweep's folder has
    assert preflight.storage_problems(tmp_path) == []


def test_a_disk_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (problem,) = preflight.storage_problems(tmp_path / "tiny")
    assert problem.what == f"cannot write to {tmp_path}: Operation not permitted"
    assert "hard links" in problem.fix
    assert list(tmp_path.iterdir()) == []


class _Careless(LocalStore):
    """As a server that overlooks the condition of a conditional write."""

    def create(self, path, content):
        self.replace(path, content)
        return True


class _Alone(LocalStore):
    exclusive = False


@pytest.mark.parametrize("kind", [_Careless, _Alone])
def test_where_two_drivers_are_not_protected_a_note_says_so(tmp_path, monkeypatch, kind):
    monkeypatch.setitem(SCHEMES, "", kind)
    with pytest.warns(Note, match="two drivers at once are not protected"):
        assert preflight.storage_problems(tmp_path / "tiny") == []
    assert list(tmp_path.iterdir()) == []


def test_on_a_bucket(tmp_path, monkeypatch):
    with s3_server():
        place = f"s3://{BUCKET}/some/tiny"
        store = open_store(place)
        assert preflight.storage_problems(place) == []
        assert preflight.space_problems(place, 10**18) == []
        assert store.names("") == []
        store.create("thesis.tex", b"x")
        (problem,) = preflight.storage_problems(place)
        assert problem.what == f"{place} is not empty and no sweep of ours"
        (problem,) = preflight.storage_problems("s3://no-such-bucket/tiny")
        assert problem.what == "there is no such bucket"


def test_space(tmp_path):
    assert preflight.space_problems(tmp_path / "not" / "there", 1) == []
    (problem,) = preflight.space_problems(tmp_path / "not" / "there", 10**18)
    assert problem.what.startswith("the sweep needs about 1000000000.0 GB")
