"""Tables of a sweep to laws, verdicts and a report: ``from analysis import load, laws, report``.

This room reads a sweep's folder and nothing else. Importing it is light: pandas, scipy and
matplotlib come in with what needs them.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.frames import Sweep, load

__all__ = ["Sweep", "load"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from analysis import frames

        return getattr(frames, name)
    raise AttributeError(f"module 'analysis' has no attribute {name!r}")
