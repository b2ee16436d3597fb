"""``sgdscope report``: one sweep's report, or several sweeps side by side on one page."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator import session
from orchestrator.errors import Problem, UserError
from orchestrator.status import status_of
from orchestrator.stores import Place, open_store
from orchestrator.stores.place import inside, parted


def write(folders: Sequence[Place], out: Path) -> tuple[str, ...]:
    """Writes the page and returns what to say; UserError for a folder that holds no sweep, one that
    is named twice, or an ``out`` that is a folder."""
    for folder in folders:
        status_of(folder)
    if len(folders) == 1:
        return session.analyze(folders[0]).lines
    real = [inside(*parted(folder)) for folder in folders]
    twice = [folder for folder, place in zip(folders, real, strict=True) if real.count(place) > 1]
    if twice:
        raise UserError(Problem(f"{twice[0]} is given twice", "DIR", "name each sweep once"))
    if out.is_dir():
        raise UserError(Problem(f"{out} is a folder", "--out", "name a file, like comparison.html"))
    from analysis import sidebyside

    sweeps = [(open_store(folder).folder, session.meta(folder)) for folder in folders]
    return sidebyside.write(sweeps, out.resolve().parent, out.name).lines
