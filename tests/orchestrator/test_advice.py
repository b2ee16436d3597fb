"""``sgdscope recommend`` as a program: what it prints, and its exit codes."""

import json

import pytest
from click.testing import CliRunner

from orchestrator.cli import main
from tests.analysis.curves import sweep
from tests.analysis.planted import Planted

GRID = Planted(lr=tuple(0.002 * 2.0**k for k in range(9)), batch_size=(8, 16, 32), seeds=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = sweep(tmp_path_factory.mktemp("advice") / "mine", GRID, lambda s: 0.005 * s)
    (where / "resolved.yaml").write_text("name: mine\n")
    return where


def called(*arguments):
    return CliRunner().invoke(main, ["recommend", *map(str, arguments)])


def test_two_rates_with_intervals_and_what_would_tell_more(folder):
    said = called(folder, "--batch-size", 24)
    assert said.exit_code == 0
    first, best, *rest = said.output.splitlines()
    assert first == "planted: η for S = 24, by test accuracy at the end"
    assert best.startswith("  best         η = 0.1")
    assert any(line.startswith("  equal ratio  η = ") for line in rest)
    assert rest[-1].startswith("  to be surer  axes: {lr: {log: [")


def test_json_is_one_list(folder):
    said = called(folder, "--batch-size", 24, "--metric", "test_accuracy", "--json")
    (found,) = json.loads(said.output)
    assert found["best"]["low"] < 0.12 < found["best"]["high"]
    assert len(found["optima"]) == 3


@pytest.mark.parametrize(("arguments", "words"), [
    (("--batch-size", 24, "--noise", 0.5), "this sweep has no label noise: leave --noise out"),
    (("--batch-size", 9999), "write --batch-size from 1 to 1500"),
    (("--batch-size", 24, "--metric", "taste"), "taste is no accuracy or loss"),
    (("--batch-size", "many"), "'many' is not a valid integer"),
    ((), "Missing option '--batch-size'")])
def test_bad_input_is_told_in_a_sentence(folder, arguments, words):
    said = called(folder, *arguments)
    assert said.exit_code == 2
    assert words in said.output
    assert "Traceback" not in said.output


def test_a_folder_without_a_sweep_is_told(tmp_path):
    said = called(tmp_path, "--batch-size", 24)
    assert said.exit_code == 2
    assert "holds no sweep" in said.output
