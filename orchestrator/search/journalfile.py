"""Optuna's journal in a store: its lines are written whole whenever a point was asked or told.

One process at a time writes it. A line that is lost all the same loses nothing else: what was asked
for and what came of it is in the search's own journal and in the tables, and is told again.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.errors import Problem, UserError
from orchestrator.stores import Store

PATH = "search/journal.log"


class JournalFile:
    """A backend of ``optuna.storages.JournalStorage``: a line of JSON a log."""

    def __init__(self, store: Store):
        self._store = store
        content = store.read(PATH) or b""
        whole = content[: content.rfind(b"\n") + 1]  # a last line may be torn, in older sweeps
        self._lines = whole.decode(errors="replace").splitlines()
        self._logs = [self._read(line) for line in self._lines]
        self._written = len(self._logs)

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """The logs from a number on."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: Sequence[Mapping[str, Any]]) -> None:
        """More logs, for ``flush`` to write."""
        lines = [json.dumps(log, separators=(",", ":")) for log in logs]
        self._lines += lines
        self._logs += map(json.loads, lines)

    def flush(self) -> None:
        """Writes what was appended."""
        if self._written < len(self._lines):
            self._store.replace(PATH, "".join(f"{line}\n" for line in self._lines).encode())
            self._written = len(self._lines)

    def _read(self, line: str) -> dict[str, Any]:
        try:
            return json.loads(line)
        except ValueError:
            raise UserError(Problem(
                "damaged, or no journal of Optuna", f"{self._store.where}/{PATH}",
                "move it away: the runs stay, and are known")) from None
