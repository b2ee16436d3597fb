"""The specs that come with sgdscope: data files, found by name, most of them <topic>-<scale>.

``digits``: minutes on a laptop, on embedded data. ``small``: an hour on one GPU or a night on CPUs,
real images. ``paper``: the paper's own grid, models and data, for a cluster.
"""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import Problem, UserError
from trainables.options import did_you_mean

SCALES = ("digits", "small", "paper")


@dataclass(frozen=True)
class Preset:
    """A preset's name, the first line of its header, and its file."""

    name: str
    title: str
    path: Path

    @property
    def scale(self) -> str:
        """One of SCALES, or none."""
        tail = self.name.rpartition("-")[2]
        return tail if tail in SCALES else ""


def list_presets(scale: str = "") -> list[Preset]:
    """All presets by name, or those of a scale."""
    paths = sorted(Path(__file__).parent.glob("*.yaml"))
    found = [Preset(p.stem, p.read_text(encoding="utf-8").splitlines()[0].lstrip("# "), p)
             for p in paths]
    return [p for p in found if scale in ("", p.scale)]


def find_preset(name: str) -> Preset:
    """The preset of that name; UserError naming the ones there are."""
    known = {p.name: p for p in list_presets()}
    if name not in known:
        raise UserError(Problem(f"there is no preset `{name}` and no such file",
                                fix=did_you_mean(name, known, "presets")))
    return known[name]
