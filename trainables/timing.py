"""How long a pack will take here: a few steps and one gradient, timed on a scratch state."""

import statistics
import time
from dataclasses import dataclass

import torch

from trainables import monitors
from trainables.pack import Pack
from trainables.probe import Probe, blocks
from trainables.step import update


@dataclass(frozen=True)
class Timing:
    """Seconds of one step of the whole pack, and of one snapshot of it."""

    step_s: float
    snapshot_s: float

    def pack_s(self, pack: Pack) -> float:
        """Seconds of the pack from start to end."""
        return pack.steps * self.step_s + len(pack.measuring) * self.snapshot_s


def _now(pack: Pack) -> float:
    """The clock, once the device has done what it was given."""
    if pack.device.type == "cuda":
        torch.cuda.synchronize()
    return time.monotonic()


def quick(pack: Pack, *, steps: int = 4) -> Timing:
    """From the median of a few steps and one gradient, with the monitors' declared costs."""
    state, times = pack.init(), []
    for _ in range(min(steps, pack.steps)):
        start = _now(pack)
        update(pack, state)
        times.append(_now(pack) - start)
    block, gradients = blocks(pack)[0], []
    for _ in range(2):  # the first may make graphs
        start = _now(pack)
        _ = Probe(pack, pack.init(), block).gradient
        gradients.append(_now(pack) - start)
    gradient_s = min(gradients) / (block.stop - block.start) * pack.width
    sizes = monitors.Sizes(pack.train_size, pack.test_size, len(pack.measure_set),
                           pack.batch_size, pack.classes)
    cost = monitors.snapshot_cost(pack.measure["monitors"], sizes, pack.base_dir)
    step_s = statistics.median(times)
    if pack.optimizer.nudge is not None:  # the first step of its epochs looks for the directions
        period = pack.calendar.start(pack.optimizer.nudge.every_epochs)
        step_s += max(0.0, times[0] - step_s) / period
    return Timing(step_s, gradient_s * cost)
