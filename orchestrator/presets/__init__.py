"""The specs that come with sgdscope: data files, found by name."""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import Problem, UserError
from trainables.options import did_you_mean


@dataclass(frozen=True)
class Preset:
    """A preset's name, the first line of its header, and its file."""

    name: str
    title: str
    path: Path


def list_presets() -> list[Preset]:
    """All presets by name."""
    paths = sorted(Path(__file__).parent.glob("*.yaml"))
    return [Preset(p.stem, p.read_text(encoding="utf-8").splitlines()[0].lstrip("# "), p)
            for p in paths]


def find_preset(name: str) -> Preset:
    """The preset of that name; UserError naming the ones there are."""
    known = {p.name: p for p in list_presets()}
    if name not in known:
        raise UserError(Problem(f"there is no preset `{name}` and no such file",
                                fix=did_you_mean(name, known, "presets")))
    return known[name]
