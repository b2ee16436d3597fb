"""Where things are kept between processes that cost time, and nothing else, to make anew."""

import os
import tempfile
from functools import lru_cache
from pathlib import Path


def folder() -> Path:
    """The user's cache folder for this program; one of the temporary folder where there is none."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "sgdscope"
    except RuntimeError:  # neither HOME nor an entry for the user
        return Path(tempfile.gettempdir()) / f"sgdscope-{os.getuid()}"


def private(place: Path) -> Path:
    """The folder, made where it is missing; PermissionError where others could write to it.

    For what is executed when it is read back.
    """
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = place.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{place} belongs to, or can be written by, others")
    return place


@lru_cache
def processor() -> str:
    """The processor's name and abilities: what code made for this machine needs."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(wanted)))
