"""The cache folder: where the user wants it, and nobody else's where code is read back from it."""

import os
from pathlib import Path

import pytest

from trainables.cache import folder, private, processor


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "sgdscope"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder() == tmp_path / ".cache" / "sgdscope"


def test_a_user_without_a_home_has_one_too(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert str(os.getuid()) in folder().name


def test_what_others_can_write_is_not_taken(tmp_path):
    assert private(tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(PermissionError, match=r"can be written by, others|belongs to"):
        private(tmp_path / "open")


def test_the_processor_is_told():
    assert processor()
