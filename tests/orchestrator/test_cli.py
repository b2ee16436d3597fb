"""The commands: exit codes, what is printed where, and that bad input writes nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import orchestrator
from orchestrator.cli import main
from orchestrator.preflight import gpu_count
from tests.analysis.planted import Planted, write
from tests.orchestrator.specs import failing, tiny, tree

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _own_handler():
    """`run` takes over SIGTERM; the test session's handler comes back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def call(*arguments, code=0):
    """What the command printed, after checking how it exited."""
    done = CliRunner().invoke(main, [str(a) for a in arguments])
    assert done.exit_code == code, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert "Traceback" not in done.output
    return done


def process(*arguments, **options):
    """The command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)], cwd=ROOT,
        stderr=subprocess.PIPE, text=True, **options)


# a sweep's life


@pytest.mark.usefixtures("no_report")
def test_run_again_and_extended(tmp_path):
    path = tiny(tmp_path)
    folder = tmp_path / "sweeps" / "tiny"
    first = json.loads(call("run", "--inline", "--json", path).stdout)
    assert (first["folder"], first["failures"]) == (str(folder), {})
    before = tree(folder)
    assert call("run", "--inline", path).stdout.splitlines()[-1].startswith("report: ")
    assert tree(folder) == before
    call("run", "--inline", path, "-s", "sweep.axes.lr=[0.01, 0.1, 0.2]")
    after = tree(folder)
    old = [k for k in before if k.startswith("tables/")]
    assert {k: after[k] for k in old} == {k: before[k] for k in old}
    assert sorted(pd.read_parquet(folder / "tables" / "runs").lr) == [0.01, 0.1, 0.2]
    assert json.loads(call("status", "--json", folder).stdout)["ended"] == 3
    assert call("watch", folder).stdout.startswith("100%  runs 3/3")
    assert json.loads(call("analyze", "--json", folder).stdout)["verdict"] == "no verdict"


@pytest.mark.usefixtures("no_report")
def test_a_failed_run_is_1_and_names_its_log(tmp_path):
    path = failing(tmp_path)
    shown = call("run", "--inline", path, code=1).stdout.splitlines()
    assert shown[0].endswith("failed: RuntimeError: sixteen is too many")
    assert "sixteen is too many" in Path(shown[1].removeprefix("  log: ")).read_text()
    found = json.loads(call("run", "--inline", "--json", path, code=1).stdout)
    assert list(found["failures"].values()) == ["RuntimeError: sixteen is too many"]
    assert "sixteen is too many" in call("watch", found["folder"], code=1).stdout


def test_a_sweep_without_monitors_has_a_report_too(tmp_path):
    shown = call("run", "--inline", tiny(tmp_path), "-s", "measure.monitors=[]").stdout
    assert "test accuracy" in Path(shown.splitlines()[-1].removeprefix("report: ")).read_text()


@pytest.mark.usefixtures("no_report")
def test_a_diverged_run_is_a_result(tmp_path):
    call("run", "--inline", tiny(tmp_path), "-s", "sweep.axes.lr=[1e6]")
    assert pd.read_parquet(tmp_path / "sweeps/tiny/tables/runs").status.tolist() == ["diverged"]


@pytest.mark.usefixtures("no_report")
def test_a_changed_section_shows_the_difference_and_the_way_out(tmp_path):
    path = tiny(tmp_path)
    call("run", "--inline", path)
    before = tree(tmp_path)
    for command in (["run", "--inline"], ["plan"]):
        shown = call(*command, path, "-s", "train.epochs=3", code=2).stderr
        assert "`train.epochs` was 2 and is now 3" in shown
        assert "-s train.epochs" in shown
        assert "choose another name" in shown
    assert tree(tmp_path) == before


def test_an_interrupted_sweep_goes_on(tmp_path):
    """SIGINT in the second pack, which waits for a file to go away."""
    (tmp_path / "mine.py").write_text(
        "import time\nfrom pathlib import Path\nfrom torch import nn\n\n"
        f"GATE = Path({str(tmp_path / 'gate')!r})\n\n\n"
        "class Net(nn.Sequential):\n"
        "    def forward(self, x):\n"
        "        while self.training and len(x) == 20 and GATE.exists():\n"
        "            time.sleep(0.02)\n"
        "        return super().forward(x)\n\n\n"
        "def net(input_shape, classes):\n"
        "    return Net(nn.Flatten(), nn.Linear(64, classes))\n")
    path = tiny(tmp_path, model={"name": "mine:net"}, train={"epochs": 1, "lr": 0.1},
                sweep={"axes": {"batch_size": [10, 20]}})
    gate, tables = tmp_path / "gate", tmp_path / "sweeps" / "tiny" / "tables"
    gate.touch()
    running = process("run", "--inline", path, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len(list(tables.glob("runs/*.parquet"))) < 2 and running.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=180)  # on a loaded machine
    assert running.returncode == 130, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    before = tree(tables)
    assert pd.read_parquet(tables / "runs").batch_size.tolist() == [10]
    gate.unlink()
    call("run", "--inline", path)  # with its analysis
    after = tree(tables)
    assert {k: after[k] for k in before} == before
    assert sorted(pd.read_parquet(tables / "runs").batch_size) == [10, 20]
    assert (tmp_path / "sweeps" / "tiny" / "report.html").stat().st_size > 1000


@pytest.mark.usefixtures("no_report")
def test_saved_weights_are_the_plain_model(tmp_path):
    from safetensors.torch import load_file

    from trainables import datasets, models

    planned = orchestrator.plan(tiny(tmp_path), overrides=["save.weights=final"])
    folder = orchestrator.run(tiny(tmp_path), overrides=["save.weights=final"], inline=True)
    rows = pd.read_parquet(folder / "tables" / "runs").set_index("run_id")
    assert {p.stem for p in (folder / "weights").iterdir()} == set(rows.index)
    for run in planned.runs:
        data = datasets.load(run.config["data"], tmp_path)
        plain = models.build(run.config["model"], data.x_test.shape[1:], data.classes, tmp_path)
        plain.load_state_dict(load_file(folder / "weights" / f"{run.run_id}.safetensors"))
        import torch

        with torch.no_grad():
            guessed = plain.eval()(torch.from_numpy(data.x_test)).argmax(1).numpy()
        accuracy = float((guessed == data.y_test).mean())
        assert accuracy == pytest.approx(rows.final_test_accuracy[run.run_id], abs=1e-6)
        assert accuracy > 0.3


@pytest.mark.usefixtures("no_report")
def test_from_python(tmp_path):
    planned = orchestrator.plan(tiny(tmp_path), storage=tmp_path / "ä")
    folder = orchestrator.run(tiny(tmp_path), storage=tmp_path / "ä", inline=True)
    assert folder == planned.folder == tmp_path / "ä" / "tiny"
    assert orchestrator.plan(tiny(tmp_path), storage=tmp_path / "ä").packs == ()
    assert len(planned.packs) == 1


# plan


def test_plan_says_and_writes_nothing(tmp_path):
    path = tiny(tmp_path)
    before = tree(tmp_path)
    text = call("plan", "--runs", path).stdout
    planned = orchestrator.plan(path)
    assert all(r.run_id in text for r in planned.runs)
    found = json.loads(call("plan", "--json", path).stdout)
    assert [r["run_id"] for r in found["run_list"]] == [r.run_id for r in planned.runs]
    assert found["source"] == "a calibration"
    assert tree(tmp_path) == before


def test_plan_into_a_closed_pipe(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    planning = process("plan", "--runs", tiny(tmp_path), stdout=writer)
    os.close(writer)
    _, said = planning.communicate(timeout=120)
    assert (planning.returncode, said) == (0, "")


@pytest.mark.parametrize(("arguments", "code", "last"), [
    (["presets", "digits-ratio"], 0, "claims: [three_factors/ratio_law]"),
    (["plan", "nowhere"], 2, ""),
    (["plann"], 2, ""),  # click's own refusal
])
def test_a_process_says_all_and_leaves_with_its_code(arguments, code, last):
    """It leaves without the interpreter's own end, so nothing may be left in a buffer."""
    leaving = process(*arguments, stdout=subprocess.PIPE)
    out, said = leaving.communicate(timeout=120)
    assert leaving.returncode == code
    assert out.rstrip().endswith(last)
    assert bool(said) == bool(code)


# bad input


@pytest.mark.parametrize(("source", "arguments", "what"), [
    ("nowhere.yaml", (), "there is no file"), ("digits-ratoi", (), "there is no preset"),
    (None, ("-s", f"compute.gpus={gpu_count() + 1}"), "GPUs, this machine has"),
    (None, ("-s", "compute.cpus=4000"), "a trial asks for 4000 CPUs"),
    (None, ("-s", "sweep.axes.seed.count=50001"), "--yes"),
    (None, ("--storage", "spec.yaml"), "is a file"),
    (None, ("--storage", "spec.yaml/below/it"), "is a file"),
    (None, ("--storage", "s3://"), "names no bucket"),
    (None, ("--storage", "s3://AKIA:secret@bucket"), "holds credentials"),
    (None, ("--storage", "nowhere://bucket"), "cannot open nowhere://bucket"),
    (None, ("-s", "name=foreign", "--storage", "."), "no sweep of ours"),
    (None, ("-s", "train.epohcs=3"), "epochs"), (None, ("-s", "x"), "is not KEY=VALUE"),
])
def test_bad_input_is_2_and_writes_nothing(tmp_path, monkeypatch, source, arguments, what):
    monkeypatch.chdir(tmp_path)
    tiny(tmp_path)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("x")
    before = tree(tmp_path)
    for command in (["plan"], ["run", "--inline"]):
        done = call(*command, source or "spec.yaml", *arguments, code=2)
        assert what in done.stderr
        assert "error: " in done.stderr
        assert done.stdout == ""
    assert tree(tmp_path) == before


def test_data_that_are_not_here_are_planned_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny(tmp_path)
    before, absent = tree(tmp_path), ("-s", "data={name: mnist, root: nowhere}")
    assert "get it with -s data.download=true" in call("plan", "spec.yaml", *absent).stdout
    refused = call("run", "--inline", "spec.yaml", *absent, code=2)
    assert "download: true" in refused.stderr
    assert refused.stdout == ""
    assert tree(tmp_path) == before


GOOD = {"x_train": np.zeros((40, 5)), "y_train": np.arange(40) % 4,
        "x_test": np.zeros((20, 5)), "y_test": np.arange(20) % 4}


@pytest.mark.parametrize(("changes", "what"), [
    ({"x_train": np.array([{}] * 40, dtype=object)}, "pickled"),
    ({"y_train": None, "labels": np.arange(40)}, "has no array `y_train`"),
    ({"x_train": np.full((40, 5), np.nan)}, "NaN or infinite values in 40 of 40"),
    ({"x_test": np.full((20, 5), np.inf)}, "NaN or infinite values in 20 of 20"),
    ({"y_train": np.arange(39) % 4}, "x_train has 40 examples, y_train has 39"),
    ({"y_test": np.arange(20) % 4 + 1}, "test label 4 does not occur"),
    ({"y_train": np.arange(40) % 4 - 1}, "label -1"),
    ({"y_train": np.arange(40) % 4 * 1.0}, "labels are whole numbers"),
    ({"x_train": np.zeros((40, 6))}, "training inputs are (6,)"),
])
def test_bad_arrays_are_2_and_nothing_is_written(tmp_path, changes, what):
    arrays = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
    np.savez(tmp_path / "d.npz", **arrays)
    path = tiny(tmp_path, data={"name": "npz:d.npz"})
    shown = call("run", "--inline", path, code=2).stderr
    assert what in shown
    assert f"{path}:1:" in shown
    assert not (tmp_path / "sweeps").exists()


def test_good_arrays_are_planned(tmp_path):
    np.savez(tmp_path / "d.npz", **GOOD)
    call("plan", tiny(tmp_path, data={"name": "npz:d.npz"}))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_files_that_are_no_archive(tmp_path, content):
    (tmp_path / "d.npz").write_bytes(content)
    assert "d.npz" in call("plan", tiny(tmp_path, data={"name": "npz:d.npz"}), code=2).stderr


@pytest.mark.usefixtures("no_report")
def test_compact_and_what_is_left_aside_is_said_once(tmp_path):
    call("run", "--inline", tiny(tmp_path))
    folder = tmp_path / "sweeps" / "tiny"
    tables = tree(folder / "tables")
    done = call("compact", folder)
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "runs", "snapshots", "spectra", "curves"]
    assert tree(folder / "tables") == tables
    again = json.loads(call("compact", "--json", folder).stdout)
    assert {(one["new"], one["bytes"]) for one in again} == {(0, None)}
    path = folder / "compact" / "runs.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    done = call("status", folder)
    assert done.stdout.count("100%") == 1
    notes = [line for line in done.stderr.splitlines() if "left aside" in line]
    assert len(notes) == 1
    assert notes[0].startswith(f"note: {path} is left aside: damaged")


@pytest.mark.parametrize("command", ["status", "watch", "analyze", "compact"])
def test_a_folder_that_is_no_sweep(tmp_path, command):
    assert "holds no sweep" in call(command, tmp_path, code=2).stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metric", "grad_norm", "--at", "peak", "--at", "loss:1"], "grad_norm at train loss 1 "),
        (["--metric", "gradnorm"], "did you mean `grad_norm`?"),
        (["--metric", "grad_norm", "--at", "noon"], "write end, peak, epoch:5 or loss:0.1"),
    ],
)
def test_laws_of_any_metric_at_any_point(tmp_path, arguments, said):
    folder = write(tmp_path, Planted(lr=(0.02, 0.04), batch_size=(8, 16), seeds=1, epochs=2.0))
    (folder / "resolved.yaml").write_text("{}")
    code = 0 if said.startswith("grad_norm") else 2
    done = call("analyze", folder, *arguments, code=code)
    assert said in done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["run"], ["frobnicate"], ["plan", "x", "--no-such"]])
def test_usage(arguments):
    assert "Usage:" in call(*arguments, code=2).stderr


def test_doctor(tmp_path):
    found = json.loads(call("doctor", "--json", "--storage", tmp_path).stdout)
    assert all(c["fine"] for c in found)
    (tmp_path / "file").write_text("x")
    assert "BAD storage" in call("doctor", "--storage", tmp_path / "file", code=1).stdout


def test_help_and_version():
    assert "sgdscope" in call("--version").stdout
    shown = call("--help").stdout
    assert all(f"  {name} " in shown for name in main.commands)


# probes


PROBES = [{"interpolation": {"points": 5}}, {"tunnels": {"directions": 2, "points": 5}}]
SEEDS = {"axes": {"lr": [0.05], "seed": {"count": 2}}}


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("by", ["spec", "folder"])
def test_probes_that_are_missing_are_made_later(tmp_path, by):
    """By a spec whose section changed, or by the folder, also after it was moved."""
    path = tiny(tmp_path, sweep=SEEDS, save={"weights": "final"})
    folder = tmp_path / "sweeps" / "tiny"
    call("run", "--inline", path)
    before = {k: v for k, v in tree(folder).items() if k.startswith(("tables/", "weights/"))}
    if by == "folder":
        folder = folder.rename(tmp_path / "moved")
        source = [folder]
    else:
        source = [path]
    given = ["-s", f"probes={json.dumps(PROBES)}"]
    found = json.loads(call("probe", "--inline", "--json", *source, *given).stdout)
    assert (found["folder"], found["probe_failures"], found["probes_skipped"]) == (
        str(folder), {}, {})
    after = tree(folder)
    assert {k: after[k] for k in before} == before
    assert sum(k.startswith("probes/") for k in after) == 3
    call("probe", "--inline", folder)  # what is asked for stands in the folder now
    assert tree(folder) == after


@pytest.mark.usefixtures("no_report")
def test_probes_of_runs_without_weights_are_refused_before_anything_is_written(tmp_path):
    path = tiny(tmp_path, sweep=SEEDS)
    call("run", "--inline", path)
    before = tree(tmp_path)
    for command in (["probe", "--inline"], ["run", "--inline"], ["plan"]):
        shown = call(*command, path, "-s", "probes=[interpolation]", code=2).stderr
        assert "probes read the weights of runs that ended without saving them: " in shown
        assert "run the sweep under another name with save: {weights: final}" in shown
        assert shown.count("error: ") == 1
    assert tree(tmp_path) == before


def test_probes_of_no_sweep(tmp_path):
    shown = call("probe", "--inline", tiny(tmp_path, probes=["wedge"]), code=2).stderr
    assert "holds no sweep" in shown
    assert "sgdscope run" in shown
    assert not (tmp_path / "sweeps").exists()
    assert "is a folder" in call("probe", "--inline", tmp_path, code=2).stderr


@pytest.mark.usefixtures("no_report")
def test_a_failed_probe_is_1_and_names_its_log(tmp_path):
    path = tiny(tmp_path, sweep=SEEDS, save={"weights": "final"})
    call("run", "--inline", path)
    for weights in (tmp_path / "sweeps/tiny/weights").iterdir():
        weights.write_bytes(b"x")
    shown = call("probe", "--inline", path, "-s", "probes=[interpolation]", code=1).stdout
    log = Path(shown.splitlines()[1].removeprefix("  log: "))
    assert "Traceback" in log.read_text()
    call("run", "--inline", path, "-s", "probes=[interpolation]", code=1)
