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
