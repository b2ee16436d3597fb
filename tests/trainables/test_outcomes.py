"""How runs end: codes that states hold for ever, and sentences that can always be written."""

import pytest

from trainables.outcomes import BY_CODE, Outcome

FACTS = {"epochs": 2.5, "steps": 10, "target": 0.9, "loss": 12345.678, "max_loss": 100.0}

# (outcome, its code in saved states, its status, its sentence)
OUTCOMES = [
    ("RUNNING", 0, "running", "still training"),
    ("FINISHED", 1, "finished", "trained for 2.5 epochs (10 steps)"),
    ("REACHED", 2, "finished", "reached training accuracy 0.9 after 2.5 epochs"),
    ("NOT_REACHED", 3, "stopped", "did not reach training accuracy 0.9 within 2.5 epochs"),
    ("NON_FINITE", 4, "diverged",
     "the loss became non-finite at step 10; a smaller lr trains on"),
    ("TOO_LARGE", 5, "diverged",
     "the loss rose to 1.23e+04, above max_loss 100, at step 10; a smaller lr trains on"),
]


@pytest.mark.parametrize(("name", "code", "status", "sentence"), OUTCOMES)
def test_outcome(name, code, status, sentence):
    outcome = Outcome[name]
    assert outcome.code == code
    assert BY_CODE[code] is outcome
    assert outcome.status == status
    assert outcome.sentence(**FACTS) == sentence


def test_no_outcome_is_left_out():
    assert [o[0] for o in OUTCOMES] == [o.name for o in Outcome]
    assert len(BY_CODE) == len(Outcome)
