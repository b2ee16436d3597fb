"""The benches' common form, and that the GPU bench runs where there is only torch and numpy."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench import report, rivals, shapes
from bench.pack import BARS, Way, _row

ROOT = Path(__file__).parents[1]
# Imported by Python itself at its start, before anything else.
BARE = """\
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""
ABSENT = {"ray", "pandas", "pyarrow", "sklearn", "scipy", "optuna", "pydantic", "yaml", "click",
          "rich", "safetensors", "matplotlib", "PIL", "jinja2", "torchvision", "orchestrator",
          "analysis"}


@pytest.fixture
def bare(tmp_path):
    """The environment of a Python that has only torch and numpy."""
    (tmp_path / "sitecustomize.py").write_text(BARE.format(names=sorted(ABSENT)))
    return {**os.environ, "PYTHONPATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}


def test_the_gpu_bench_needs_torch_and_numpy_alone(bare, tmp_path):
    refused = subprocess.run([sys.executable, "-c", "import ray"], env=bare, cwd=ROOT,
                             capture_output=True, text=True, check=False)
    assert "No module named 'ray'" in refused.stderr  # else nothing is tested here
    done = subprocess.run(
        [sys.executable, "-m", "bench.gpu", "--models", "mlp,cnn", "--engines", "vmap,loop",
         "--seconds", "0.01", "--widths", "1,2", "--json", str(tmp_path / "gpu.json")],
        env=bare, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert not [r for r in rows if "error" in r]
    kinds = {r["kind"] for r in rows}
    assert kinds == {"eager loop", "processes", "engine", "agreement", "grid", "grid total"}
    assert {(r["model"], r["engine"], r["width"]) for r in rows if r["kind"] == "engine"} == {
        (m, e, w) for m in ("mlp", "cnn") for e, w in (("vmap", 1), ("vmap", 2), ("loop", 1))}
    for row in (r for r in rows if r["kind"] == "agreement"):
        bound = 1e-12 if row["precision"] == "fp64" else 1e-5
        assert row["largest_difference"] <= bound * max(1, row["scale"])
        assert row["repeatable"]
    assert sum(r["runs"] for r in rows if r["kind"] == "grid") == 75
    kept = json.loads((tmp_path / "gpu.json").read_text())
    assert len(kept["rows"]) == len(rows)
    assert kept["machine"]["versions"]["torch"] == torch.__version__.partition("+")[0]


def test_a_model_that_fails_is_told_and_left_out(bare, tmp_path):
    """An engine that cannot be there: its error is a line, the others go on."""
    code = ("import sys\nfrom bench import gpu, shapes\n"
            "gpu.SMALL['mlp'].model['widths'] = [4]\n"
            "made = shapes.pack\n"
            "def pack(shape, engine, width, **k):\n"
            "    if engine == 'loop': raise torch.OutOfMemoryError('none left')\n"
            "    return made(shape, engine, width, **k)\n"
            "import torch\nshapes.pack = pack\n"
            f"sys.argv = ['gpu', '--models', 'mlp', '--engines', 'loop,vmap', '--widths', '1',"
            f" '--seconds', '0.01', '--json', {str(tmp_path / 'gpu.json')!r}]\n"
            "if __name__ == '__main__': gpu.main()")
    script = tmp_path / "failing.py"
    script.write_text(code)
    env = {**bare, "PYTHONPATH": f"{bare['PYTHONPATH']}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, str(script)], env=env, cwd=ROOT, capture_output=True,
                          text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "OutOfMemoryError: none left" in done.stdout
    assert "vmap × 1" in done.stdout


# What the loops have that our packs are compared with: each of the update's branches.
BRANCHES = [s for s in shapes.SHAPES if s.name in (
    "MLP 64-64-64-10", "MLP, momentum", "MLP, Adam") and s.batch_size in (8, 32)]


@pytest.mark.parametrize("shape", BRANCHES, ids=lambda s: s.title)
def test_the_eager_loop_trains(shape, monkeypatch):
    """An honest baseline does what it is timed for: its loss falls as our pack's does."""
    begun = {}
    kept = rivals._Begun.__init__

    def spied(self, *a, **k):
        kept(self, *a, **k)
        begun["run"] = self

    monkeypatch.setattr(rivals._Begun, "__init__", spied)
    step = rivals.eager(shape)
    run = begun["run"]

    def loss():
        return torch.nn.functional.cross_entropy(run.net(run.x), run.y).item()

    before = loss()
    for t in range(200):
        step(t)
    assert loss() < before - 0.05


def test_the_momentum_loop_is_torchs_own(monkeypatch):
    """To rounding, against torch.optim.SGD and torch.optim.Adam on the same gradients."""
    for name, make in (("MLP, momentum", lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
                       ("MLP, Adam", lambda p: torch.optim.Adam(p, lr=1e-3))):
        shape = next(s for s in shapes.SHAPES if s.name == name)
        run = rivals._Begun(shape, "cpu", channels_last=False)
        mine = [p.detach().clone() for p in run.net.parameters()]
        theirs = [p.clone().requires_grad_() for p in mine]
        advance, optimiser = rivals._advance(run, mine), make(theirs)
        for seed in range(5):
            torch.manual_seed(seed)
            grads = [torch.randn_like(p) for p in mine]
            for p, g in zip(theirs, grads, strict=True):
                p.grad = g.clone()
            advance(grads)
            optimiser.step()
        torch.testing.assert_close(mine, [p.detach() for p in theirs])


def test_ratios_are_of_pairs_and_not_of_medians():
    """A load that comes and goes slows both of a pair: the ratio stays."""
    ours, theirs = [1.0, 10.0, 2.0], [3.0, 30.0, 6.0]
    assert report.ratio(ours, theirs) == pytest.approx(3.0)
    assert report.ratio([1.0, 1.0, 1.0], [2.0, 1.0, 9.0]) == 2.0


def way(*times):
    return Way(step=lambda _: None, runs=1, first_s=0.0, steps=1, per_run=list(times))


@pytest.mark.parametrize(("auto", "best", "bars"), [
    (1.0, 1.04, "ok"),           # faster than all others
    (1.0, 0.96, "ok"),           # a little slower: within the bar
    (1.0, 0.90, "no: best"),     # too slow
])
def test_the_automatic_choice_is_held_against_the_best_other_way(auto, best, bars):
    shape = shapes.SHAPES[6]  # without bars of its own
    ways = {"eager": way(5, 5, 5), "compiled": way(3, 3, 3), "loop × 16": way(best, best, best),
            "vmap × 32": way(auto, auto, auto)}
    row = _row(shape, "vmap × 32", "× 16", ways, {"vmap × 16": "RuntimeError"})
    assert row["best"] == "loop × 16"
    assert row["auto_over_best"] == pytest.approx(best / auto)
    assert row["over_eager"] == pytest.approx(5 / best)
    assert row["bars"] == bars


def test_a_shape_with_bars_misses_them_by_name():
    row = _row(shapes.SHAPES[0], "vmap × 16", "× 16",
               {"eager": way(10), "compiled": way(4), "vmap × 16": way(1)}, {})
    assert row["over_eager"] == 10
    assert row["bars"] == "no: comp."


def test_twenty_shapes_with_names_of_their_own():
    assert len({s.title for s in shapes.SHAPES}) == len(shapes.SHAPES) == 20
    assert {s.title for s in shapes.QUICK} == BARS.keys()  # a quick run judges all bars


def test_results_are_written_with_the_machine_and_found_again(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    report.option(parser)
    place = parser.parse_args(["--json", str(tmp_path / "a.json")]).json
    report.finish("one", {"rows": [1]}, place)
    report.finish("other", {"rows": [2], "date": "2000"}, tmp_path / "b.json")
    report.finish("one", {"rows": [0], "date": "2000"}, tmp_path / "c.json")
    found = report.newest("one", tmp_path)
    assert found["rows"] == [1]
    assert found["machine"]["cores"] >= 1
    assert "torch" in report.told(found["machine"])
    assert report.newest("none", tmp_path) is None
    assert str(place) in capsys.readouterr().out


def test_tables_have_a_place_for_what_is_absent():
    text = report.table([{"a": "x", "b": 1.234}, {"a": "y", "b": None}], {"a": "<3", "b": ">6.2f"})
    assert text.splitlines() == ["a         b", "x      1.23", "y         -"]
