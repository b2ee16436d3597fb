"""sgdscope report: one sweep, several, and what it refuses."""

import pytest
from click.testing import CliRunner

from orchestrator.cli import main
from tests.analysis.planted import Planted, write

SMALL = Planted(lr=(0.02, 0.04), batch_size=(8, 16), seeds=2, epochs=4.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.study.judge_all", lambda *_: ())
        base = tmp_path_factory.mktemp("reports")
        yield base, [sown(base / name) for name in ("one", "two")]


def sown(folder):
    """A sweep's folder as `run` leaves it, as far as a report needs it."""
    write(folder, SMALL.but(name=folder.name))
    (folder / "resolved.yaml").write_text("{}")
    return str(folder)


def said(*arguments):
    result = CliRunner().invoke(main, ["report", *arguments])
    return result.exit_code, result.output


def test_two_sweeps_make_a_page_where_it_is_wanted(folders):
    base, sweeps = folders
    code, text = said(*sweeps, "--out", str(base / "c.html"))
    assert code == 0
    assert text.splitlines()[-1] == f"comparison: {base / 'c.html'}"
    assert (base / "c-figures").is_dir()


def test_what_cannot_be_compared_is_refused_in_a_sentence(folders):
    base, (one, two) = folders
    (base / "mine.html").write_text("mine")
    for arguments, what in (
        ((one, one), "is given twice"),
        ((one, two, "--out", str(base)), "is a folder"),
        ((one, two, "--out", str(base / "mine.html")), "it is no comparison"),
        ((one, str(base / "nowhere")), "nowhere"),
    ):
        code, text = said(*arguments)
        assert code == 2, arguments
        assert what in text
        assert "Traceback" not in text
