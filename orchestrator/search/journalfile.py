"""What keeps a file to which lines are appended whole, though its writers may be killed."""

import fcntl
from pathlib import Path


class Lock:
    """Released by the kernel when its holder dies, unlike Optuna's own, which are left behind."""

    def __init__(self, path: Path):
        self._path = path.with_suffix(".lock")

    def acquire(self) -> bool:
        """Waits for it."""
        self._file = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Lets others have it."""
        self._file.close()


def cut_torn_end(path: Path) -> None:
    """Drops a last line that a killed writer left unfinished: else the next one would join it."""
    content = path.read_bytes() if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        with path.open("r+b") as file:
            file.truncate(len(whole))
