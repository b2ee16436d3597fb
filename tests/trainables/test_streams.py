"""Draws are functions of (seed, stream, counter), on every machine and in every order."""

import ast
from collections import Counter
from pathlib import Path

import torch

from trainables import streams

ROOT = Path(streams.__file__).parent
MEASURING = ("monitors", "quantities", "linalg", "landscape", "eigen.py", "probe.py",
             "gradients.py", "measure.py")
# What takes the name of a stream, or hands one on.
DRAWING = {"derive", "generator", "normal", "rademacher", "normals", "signs", "draw", "draws",
           "_moments", "_sought"}


def test_derive_is_fixed_for_ever():
    # run ids promise equal rows: a change here must raise the numerics version
    assert streams.derive(0, "order", 0) == 5617314440832320419


def test_streams_are_distinct_and_repeatable():
    keys = [(s, n, c) for s in range(5) for n in ("order", "init") for c in range(5)]
    assert len({streams.derive(*k) for k in keys}) == len(keys)
    like = torch.zeros(1, dtype=torch.float64)
    once = streams.normal([3, 1, 3], "x", 7, (4,), like)
    again = streams.normal([1], "x", 7, (4,), like)
    assert torch.equal(once[0], once[2])
    assert torch.equal(once[1], again[0])


def test_float32_draws_are_the_rounded_float64_draws():
    wide = streams.normal([5], "x", 0, (100,), torch.zeros(1, dtype=torch.float64))
    narrow = streams.normal([5], "x", 0, (100,), torch.zeros(1))
    assert torch.equal(wide.float(), narrow)


def test_signs_are_fair():
    signs = streams.rademacher(list(range(50)), "trace", 0, (400,), torch.zeros(1))
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(signs.mean())) < 4 / (50 * 400) ** 0.5


def streams_in(path):
    """The names that are written out in calls; of one with a number in it, what comes before."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            for given in node.args if called in DRAWING else ():
                text = given.values[0] if isinstance(given, ast.JoinedStr) else given
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    yield text.value + (" " if called == "_moments" else "")  # it numbers them


def test_what_is_measured_draws_nothing_that_training_draws():
    """Nor does any other: a name stands for one use, all of one seed being the same numbers."""
    measured, trained = Counter(), Counter()
    for path in ROOT.rglob("*.py"):
        part = path.relative_to(ROOT).parts[0]
        (measured if part in MEASURING else trained).update(streams_in(path))
    assert {"order", "init", "dropout", "gradient_noise", "fisher", "nudge", "measure",
            "label_noise"} <= trained.keys()
    assert {"spectrum", "trace ", "density ", "lass_", "step_geometry", "fisher_trace",
            "subspace"} <= measured.keys()
    numbered = tuple(n for n in measured if n[-1] in " _")
    assert not [n for n in trained if n in measured or n.startswith(numbered)]
    twice = [n for n, count in (measured + trained).items() if count > 1]
    assert not twice, twice
