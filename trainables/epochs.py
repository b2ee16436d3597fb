"""Which steps make up which epoch, and how many examples each of them sees. Pure numbers."""

from bisect import bisect_right
from collections.abc import Mapping

CONSTANT: Mapping = {"name": "constant"}


def wave(period: float, factor: float, epoch: float) -> float:
    """A triangular wave from 1 (at epoch 0) to ``factor`` (at period/2) and back."""
    phase = (epoch / period) % 1.0
    return 1.0 + (factor - 1.0) * (1.0 - abs(2.0 * phase - 1.0))


def batch_size(size: int, schedule: Mapping, epoch: int) -> int:
    """The batch size S_e of that epoch, for a run whose batch size is ``size``.

    constant: S. cyclic: S_e = round(S / w(e)), w the triangular wave from 1 to 1/``factor`` and
    back every ``period`` epochs: 1/S_e is triangular, S_e goes from S to S·factor. So η/S_e is, but
    for the rounding (at most 1/(2 S_e) of it), what ``lr_schedule: {name: cyclic, by: epoch}`` with
    1/``factor`` makes of η at the constant S (Jastrzębski et al. 2017, cyclic batch size against
    cyclic learning rate). A linear wave of S itself would meet it at its ends only.
    """
    if schedule["name"] == "constant":
        return size
    if schedule["name"] == "cyclic":
        return round(size / wave(schedule["period"], 1.0 / schedule["factor"], epoch))
    raise ValueError(f"unknown batch_schedule {schedule['name']!r}")


class Calendar:
    """Steps and epochs of a run: epoch e has ⌊N/S_e⌋ steps of S_e examples each.

    For a constant batch size everything is arithmetic; else a table of the epochs' first steps
    grows as far as is asked for.
    """

    def __init__(self, train_size: int, size: int, schedule: Mapping | None = None):
        self.train_size, self._size, self._schedule = train_size, size, schedule or CONSTANT
        self.constant = train_size // size if self._schedule["name"] == "constant" else None
        self._starts, self._seen = [0], [0]  # of each epoch: its first step, the examples before

    def batch_size(self, epoch: int) -> int:
        """Examples of one step of that epoch."""
        return batch_size(self._size, self._schedule, epoch)

    def steps_in(self, epoch: int) -> int:
        """⌊N/S_e⌋."""
        return self.train_size // self.batch_size(epoch)

    def start(self, epoch: int) -> int:
        """The step at which an epoch begins."""
        if self.constant is not None:
            return epoch * self.constant
        while len(self._starts) <= epoch:
            self._grow()
        return self._starts[epoch]

    def locate(self, step: int) -> tuple[int, int]:
        """(epoch, number of the minibatch in it) of the update that follows ``step`` updates."""
        if self.constant is not None:
            return divmod(step, self.constant)
        while self._starts[-1] <= step:
            self._grow()
        epoch = bisect_right(self._starts, step) - 1
        return epoch, step - self._starts[epoch]

    def epoch(self, step: int) -> float:
        """Epochs passed after ``step`` updates, a fraction within an epoch."""
        if self.constant is not None:
            return step / self.constant
        epoch, batch = self.locate(step)
        return epoch + batch / self.steps_in(epoch)

    def step(self, epoch: float) -> float:
        """The inverse of ``epoch``: the step, not rounded."""
        if self.constant is not None:
            return epoch * self.constant
        whole = int(epoch)
        return self.start(whole) + (epoch - whole) * self.steps_in(whole)

    def examples(self, step: int) -> int:
        """Examples that the first ``step`` updates have seen, repeats counted."""
        if self.constant is not None:
            return step * self._size
        epoch, batch = self.locate(step)
        return self._seen[epoch] + batch * self.batch_size(epoch)

    def _grow(self) -> None:
        epoch = len(self._starts) - 1
        steps = self.steps_in(epoch)
        self._starts.append(self._starts[-1] + steps)
        self._seen.append(self._seen[-1] + steps * self.batch_size(epoch))


def calendar(train_size: int, train: Mapping) -> Calendar:
    """The calendar of a run's section ``train``."""
    return Calendar(train_size, train["batch_size"], train.get("batch_schedule"))
