"""One voice on the terminal: a live line on a terminal, plain lines elsewhere, with an ETA."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TextIO

from analysis.labels import count

PLAIN_EVERY_S = 5.0
WHY_SHOWN = 300  # characters of Ray's own words


@dataclass
class PackFacts:
    """A pack as last told: its expected share of the work and its counts."""

    weight: float
    runs: int
    fraction: float = 0.0
    finished: int = 0
    diverged: int = 0
    over: bool = False


@dataclass
class Progress:
    """Collects what the packs tell and says it; the ``listener`` of whoever runs them."""

    orders: Sequence[Mapping[str, Any]]
    weights: Sequence[float]
    out: TextIO = field(default_factory=lambda: sys.stderr)
    failures: dict[str, str] = field(default_factory=dict)
    noun: ClassVar[str] = "pack"

    def __post_init__(self) -> None:
        self._packs = {i: PackFacts(w, runs) for (i, runs), w in zip(
            map(self._sized, self.orders), self.weights, strict=True)}
        self._start = self._said = time.monotonic()
        self._first: tuple[float, float] | None = None
        self._live = _live() if self.out.isatty() else None

    def _sized(self, order: Mapping[str, Any]) -> tuple[str, int]:
        """The order's id, and how many runs it holds."""
        return order["pack"]["pack_id"], len(order["pack"]["members"])

    # what is told

    def told(self, pack_id: str, facts: Mapping[str, Any], *, ended: bool) -> None:
        """A beat of a pack."""
        pack = self._packs[pack_id]
        pack.fraction = 1.0 if ended else facts["step"] / facts["steps"]
        pack.finished, pack.diverged, pack.over = facts["finished"], facts["diverged"], ended
        self._say(final=False)

    def failed(self, pack_id: str, reason: str) -> None:
        """A pack that will not end: its traceback, or why its worker was lost."""
        self.failures[pack_id] = reason
        self._packs[pack_id].fraction = 1.0

    def lost(self, pack_id: str, why: str) -> None:
        """A worker or its node was lost: what it ran goes on from its newest commit."""
        if self._live is None:
            self.out.write(f"{self.noun} {pack_id} lost its worker and is tried again: "
                           f"{why[:WHY_SHOWN]}\n")

    def close(self) -> None:
        """The last line."""
        if self._live is not None:
            self._live.stop()
        self._say(final=True)

    # what is said

    def line(self) -> str:
        """Packs and runs that are over, how far the rest is, and how long it will take."""
        eta = self._eta()
        return (f"{self.fraction:4.0%}  {self._counts()}  {clock(time.monotonic() - self._start)}"
                + (f"  ETA {clock(eta)}" if eta is not None and self.fraction < 1 else "")
                + (f"  {count(len(self.failures), self.noun)} failed" if self.failures else ""))

    def _counts(self) -> str:
        packs = self._packs.values()
        finished, diverged = (sum(getattr(p, n) for p in packs) for n in ("finished", "diverged"))
        return (f"runs {finished + diverged}/{sum(p.runs for p in packs)}"
                f" ({finished} finished, {diverged} diverged)"
                f"  packs {sum(p.over for p in packs)}/{len(packs)}")

    @property
    def fraction(self) -> float:
        """The share of the expected work that is done."""
        whole = sum(p.weight for p in self._packs.values())
        return sum(p.weight * p.fraction for p in self._packs.values()) / whole if whole else 1.0

    def _eta(self) -> float | None:
        now, done = time.monotonic(), self.fraction
        if self._first is None and done > 0:
            self._first = (now, done)
        if self._first is None or done - self._first[1] < 0.01:
            return None
        return (now - self._first[0]) / (done - self._first[1]) * (1.0 - done)

    def _say(self, *, final: bool) -> None:
        if self._live is not None and not final:
            self._live.update(self.line())
        elif final or time.monotonic() - self._said >= PLAIN_EVERY_S:
            self._said = time.monotonic()
            self.out.write(self.line() + "\n")
            self.out.flush()


class ProbeProgress(Progress):
    """The same of probes, each of which counts by its cost."""

    noun = "probe"

    def _sized(self, order: Mapping[str, Any]) -> tuple[str, int]:
        return order["probe"]["probe_id"], 0

    def _counts(self) -> str:
        return f"probes {sum(p.over for p in self._packs.values())}/{len(self._packs)}"


@dataclass
class SearchProgress(Progress):
    """Of packs that are known as they are asked for, against the budget of runs.

    ``before``: runs told of in earlier sessions. ``found``: the best so far, in few words.
    """

    budget: int = 0
    before: int = 0
    found: str = ""

    def add(self, order: Mapping[str, Any]) -> None:
        """A pack that will be run."""
        pack_id, runs = self._sized(order)
        self._packs[pack_id] = PackFacts(runs, runs)

    @property
    def fraction(self) -> float:
        """Runs, of the budget."""
        done = sum(p.runs * p.fraction for p in self._packs.values())
        return min(1.0, (self.before + done) / self.budget)

    def _counts(self) -> str:
        packs = self._packs.values()
        ended = self.before + sum(p.runs for p in packs if p.over)
        diverged = sum(p.diverged for p in packs)
        return (f"runs {ended}/{self.budget} ({diverged} diverged)"
                f"  packs {sum(p.over for p in packs)}" + (
                    f"  {self.found}" if self.found else ""))


def _live() -> Any:
    from rich.console import Console
    from rich.live import Live

    live = Live(console=Console(stderr=True), refresh_per_second=4, transient=True)
    live.start()
    return live


def clock(seconds: float) -> str:
    """12 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
