"""The status of a sweep, from its folder alone."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import plan
from orchestrator.errors import UserError
from orchestrator.session import open_folder, run_sweep
from orchestrator.status import status_of
from tests.orchestrator.specs import failing, tiny
from tests.orchestrator.test_planner import train


def test_before_and_after(tmp_path):
    planned = plan(tiny(tmp_path))
    open_folder(planned)
    found = status_of(planned.folder)
    assert (found.planned, found.ended, found.complete) == (2, 0, False)
    assert found.lines()[1] == "  0%  runs 0/2 (none yet)"
    train(planned)
    found = status_of(planned.folder)
    assert (found.ended, found.by_status, found.complete) == (2, {"finished": 2}, True)
    assert found.lines() == [str(planned.folder), "100%  runs 2/2 (2 finished)"]
    assert json.loads(found.json())["complete"] is True


def test_runs_that_the_spec_no_longer_names_are_not_counted(tmp_path):
    train(plan(tiny(tmp_path)))
    fewer = plan(tiny(tmp_path), overrides=["sweep.axes.lr=[0.1, 0.7]"])
    open_folder(fewer)
    found = status_of(fewer.folder)
    assert (found.planned, found.ended) == (2, 1)


@pytest.mark.usefixtures("no_report")
def test_failures_are_told(tmp_path):
    ended = run_sweep(plan(failing(tmp_path)), inline=True, out=io.StringIO())
    found = status_of(ended.folder)
    (pack_id,) = ended.failures
    assert found.failures == {pack_id: "RuntimeError: sixteen is too many"}
    assert (found.ended, found.complete) == (1, False)
    assert found.lines()[-1] == f"pack {pack_id} failed: RuntimeError: sixteen is too many"


@pytest.mark.usefixtures("no_report")
def test_probes_count_too(tmp_path):
    """Whoever watches waits for them; one that failed is told until it has been made."""
    path = tiny(tmp_path, probes=["wedge", {"tunnels": {"directions": 2, "points": 5}}])
    planned = plan(path)
    train(planned)
    found = status_of(planned.folder)
    assert (found.ended, found.probes_planned, found.probes_ended) == (2, 3, 0)
    assert not found.complete
    assert found.lines() == [str(planned.folder), "100%  runs 2/2 (2 finished)  probes 0/3"]
    weights = [planned.folder / "weights" / f"{r.run_id}.safetensors" for r in planned.runs]
    good = weights[0].read_bytes()
    weights[0].write_bytes(b"x")
    run_sweep(plan(path), inline=True, out=io.StringIO())
    found = status_of(planned.folder)
    ((probe_id, why),) = found.probe_failures.items()
    assert found.failed
    assert not found.complete
    assert found.probes_ended == 2
    assert found.lines()[-1] == f"probe {probe_id} failed: {why}"
    weights[0].write_bytes(good)
    run_sweep(plan(path), inline=True, out=io.StringIO())
    found = status_of(planned.folder)
    assert (found.probes_ended, found.probe_failures, found.complete) == (3, {}, True)
    run_sweep(plan(path, overrides=["probes=[]"]), inline=True, out=io.StringIO())
    assert status_of(planned.folder).probes_planned == 0


@pytest.mark.parametrize("below", ["", "nowhere", "file", "file/x"])
def test_folders_that_hold_no_sweep(tmp_path, below):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="holds no sweep"):
        status_of(tmp_path / below)


def test_it_needs_neither_torch_nor_ray(tmp_path):
    planned = plan(tiny(tmp_path))
    open_folder(planned)
    code = ("import sys; from pathlib import Path; from orchestrator.status import status_of;"
            "status_of(Path(sys.argv[1])); sys.exit(any(m in sys.modules for m in"
            " ('torch', 'ray')))")
    assert subprocess.run([sys.executable, "-c", code, str(planned.folder)],
                          cwd=Path(__file__).parents[2], check=False).returncode == 0
