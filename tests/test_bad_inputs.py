"""The 119 bad inputs of bad_inputs.md: all accounted for; and those that no other test holds."""

import os
import pickle
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from orchestrator.cli import main
from orchestrator.commits import Commit, CorruptCommit, decode, encode
from orchestrator.grid import count_cells, expand, run_configs
from tests.analysis.planted import Planted, write
from tests.orchestrator.specs import spec, tiny, tree

ROOT = Path(__file__).parents[1]
ROWS = [[cell.strip() for cell in line.strip("| \n").split(" | ")]
        for line in (ROOT / "tests" / "bad_inputs.md").read_text().splitlines()
        if re.match(r"\| [A-Z]\d", line)]


def test_every_bad_input_is_accounted_for():
    groups = Counter(row[0][0] for row in ROWS)
    assert groups == {"Y": 16, "M": 14, "S": 29, "D": 14, "R": 16, "Z": 8, "C": 12, "E": 10}
    assert len({row[0] for row in ROWS}) == 119


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_its_test_is_there(row):
    _, _, what, test = row
    assert what
    if test.startswith("dropped: "):
        assert len(test) > 20
        return
    file, _, name = test.partition("::")
    assert (ROOT / file).exists(), file
    assert f"def {name}(" in (ROOT / file).read_text() or not name, test


def refused(*arguments):
    """What a command says that exits with 2: one problem in at most four lines."""
    done = CliRunner().invoke(main, [str(a) for a in arguments])
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit)
    assert "Traceback" not in done.output
    assert done.stderr.count("\n") <= 4
    return done.stderr


# what is accepted


def test_a_batch_that_does_not_divide_is_planned(tmp_path):
    assert count_cells(spec(tmp_path, train={"batch_size": 7})) == 1


def test_a_cadence_longer_than_the_run_is_planned(tmp_path):
    assert count_cells(spec(tmp_path, measure={"when": {"every_steps": 10_000}})) == 1


@pytest.mark.parametrize("axes", [{"lr": [0.1, 0.1]}, {"seed": [3, 3]}])
def test_repeated_values_are_one_run(tmp_path, axes):
    found = spec(tmp_path, sweep={"axes": axes})
    assert len(run_configs(found, expand(found, 1500))) == 1


# files


def test_data_that_changed_since_the_sweep_began(tmp_path):
    rows = np.arange(240.0).reshape(60, 4)
    arrays = {"x_train": rows[:40], "y_train": np.arange(40) % 2, "x_test": rows[40:],
              "y_test": np.arange(20) % 2}
    np.savez(tmp_path / "d.npz", **arrays)
    path = tiny(tmp_path, data={"name": "npz:d.npz"})
    import orchestrator
    from orchestrator.session import open_folder

    open_folder(orchestrator.plan(path))
    np.savez(tmp_path / "d.npz", **arrays | {"x_train": rows[:40] + 1})
    before = tree(tmp_path)
    assert "`data.sha256` was" in refused("plan", path)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(("change", "what"), [
    (lambda t: t.drop_columns(["seed"]), "seed: int64"),
    (lambda t: t.set_column(t.schema.get_field_index("seed"), pa.field("seed", pa.float64()),
                            t["seed"].cast(pa.float64())), "seed: double"),
    (lambda t: t.append_column("mine", t["seed"]), "mine: int64"),
])
def test_parts_of_other_columns(tmp_path, change, what):
    folder = write(tmp_path, Planted(lr=(0.02, 0.04), batch_size=(8,), seeds=1))
    (folder / "resolved.yaml").write_text("{}")
    part = sorted((folder / "tables" / "runs").glob("pack*"))[0]
    table = pq.read_table(part)
    changed = change(table).replace_schema_metadata(table.schema.metadata)
    pq.write_table(changed, part)
    before = tree(folder)
    said = refused("status", folder)
    assert what in said
    assert str(part) in said or "columns differ" in said
    assert tree(folder) == before


# nothing is unpickled


class Trap:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("place", [
    "tables/runs/pack0-0.parquet", "compact/runs.parquet", "packs/x/pack.json",
    "packs/x/state-0.bin", "search/journal.log", "search/found.json", "probes/a.json",
    "engines.json", "resolved.yaml", "planned.txt", "spec.yaml"])
def test_a_planted_pickle_is_never_run(tmp_path, place):
    trace = tmp_path / "ran"
    folder = write(tmp_path / "sweep", Planted(lr=(0.02, 0.04), batch_size=(8,), seeds=1))
    (folder / "resolved.yaml").write_text("{}")
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / place).write_bytes(pickle.dumps(Trap(trace)))
    for command in (["status"], ["compact"], ["probe", "--inline"]):
        done = CliRunner().invoke(main, [*command, str(folder)])
        assert done.exception is None or isinstance(done.exception, SystemExit), command
        assert "Traceback" not in done.output
    assert not trace.exists()
    pickle.loads(pickle.dumps(Trap(trace)))  # noqa: S301  (the trap works)
    assert trace.exists()


def test_planted_states_and_weights_are_not_run(tmp_path):
    from safetensors import SafetensorError
    from safetensors.torch import load

    from trainables.snapshot import _parse

    trace = tmp_path / "ran"
    hostile = pickle.dumps(Trap(trace))
    whole = encode(Commit({"segment": 0, "step": 1, "last": False}, hostile, {}))
    with pytest.raises(ValueError, match="not a pack's state"):
        _parse(decode(whole).state)
    with pytest.raises(SafetensorError):
        load(hostile)
    with pytest.raises(CorruptCommit):
        decode(hostile)
    assert not trace.exists()


def test_a_state_that_declares_a_huge_header():
    from trainables.snapshot import _parse

    with pytest.raises(ValueError, match="not a pack's state"):
        _parse((200 << 20).to_bytes(8, "little") + b"{}")


# the command line


@pytest.mark.parametrize(("arguments", "what"), [([], "Usage:"), (["plann"], "No such command")])
def test_words_that_are_no_command(arguments, what):
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert what in done.output


@pytest.mark.parametrize("cpus", ["-1", "999999", "x"])
def test_cpus_that_are_none(tmp_path, cpus):
    path = tiny(tmp_path)
    assert "compute.cpus" in refused("plan", path, "-s", f"compute.cpus={cpus}")
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="root writes everywhere but there")
def test_a_storage_that_is_not_writable(tmp_path):
    assert "cannot write to /proc" in refused("plan", tiny(tmp_path), "--storage", "/proc/sweeps")


def test_a_dashboard_that_does_not_answer(tmp_path):
    """Of submit and its kin; `run` without --address has a Ray of its own whatever RAY_ADDRESS."""
    said = refused("submit", tiny(tmp_path), "--address", "http://127.0.0.1:9")
    assert "no dashboard answers at http://127.0.0.1:9" in said


# the process and its surroundings


def shell(line, **environment):
    """A line of the shell, where $S is the command."""
    return subprocess.run(
        ["/bin/sh", "-c", line], check=False, capture_output=True, text=True, cwd=ROOT, timeout=250,
        env={**os.environ, "S": f"{sys.executable} -m orchestrator.cli", **environment})


@pytest.mark.parametrize(("line", "code", "said"), [
    ("$S presets >&-", 0, ""),
    ("$S plan nowhere.yaml 2>&-", 2, ""),
    ("$S presets >/dev/full", 2, "error: No space left on device\n"),
])
def test_outputs_that_are_closed_or_full(line, code, said):
    done = shell(line)
    assert (done.returncode, done.stderr) == (code, said)


def test_plans_in_odd_surroundings(tmp_path):
    """All at once: whichever is in the way would show."""
    done = shell(f"unset HOME; $S plan {tiny(tmp_path)}", LC_ALL="C", LANG="C", PYTHONUTF8="0",
                 PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii", OMP_NUM_THREADS="abc",
                 TMPDIR="/nowhere", RAY_ADDRESS="127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "2 runs" in done.stdout
    assert "Traceback" not in done.stderr
