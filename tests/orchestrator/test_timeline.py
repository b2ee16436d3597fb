"""Phases are logged where the variable names a file, and nowhere else."""

import json
import os

import pytest

from orchestrator.timeline import VARIABLE, phase


def test_a_phase_is_one_line_also_when_it_raises(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "log"))
    with phase("one"):
        sum(range(100_000))
    with pytest.raises(KeyError), phase("two"):
        raise KeyError
    one, two = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert (one["phase"], two["phase"]) == ("one", "two")
    assert one["pid"] == os.getpid()
    assert one["start"] <= one["end"] <= two["start"]
    assert one["cpu"] > 0


def test_without_the_variable_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    with phase("one"):
        pass
    assert list(tmp_path.iterdir()) == []
