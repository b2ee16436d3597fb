"""How runs end. The values are the sentences that the user reads."""

from enum import Enum


class Outcome(Enum):
    """(code in the state, status in the tables, sentence)."""

    RUNNING = (0, "running", "still training")
    FINISHED = (1, "finished", "trained for {epochs:g} epochs ({steps} steps)")
    REACHED = (2, "finished", "reached training accuracy {target:g} after {epochs:g} epochs")
    NOT_REACHED = (
        3, "stopped", "did not reach training accuracy {target:g} within {epochs:g} epochs")
    NON_FINITE = (
        4, "diverged", "the loss became non-finite at step {steps}; a smaller lr trains on")
    TOO_LARGE = (
        5, "diverged",
        "the loss rose to {loss:.3g}, above max_loss {max_loss:g}, at step {steps};"
        " a smaller lr trains on")

    @property
    def code(self) -> int:
        return self.value[0]

    @property
    def status(self) -> str:
        return self.value[1]

    def sentence(self, **facts: float) -> str:
        return self.value[2].format(**facts)


BY_CODE = {o.code: o for o in Outcome}
