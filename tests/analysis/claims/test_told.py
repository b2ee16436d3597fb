"""What is said of judged claims: on a terminal, in one clause, and over several sweeps."""

import pytest

from analysis.claims import told
from analysis.claims.claim import Claim, Effect, Judged, Judgement
from analysis.crossed import Interval


def judged(name, value, *, listed=True, sweep="one", number="A1"):
    """A claim that says "above 0", with an effect of ``value`` ± 1; untested where it is None."""
    claim = Claim(f"paper/{name}", number, "Paper", "words", "test", "robust", lambda *_: None)
    if value is None:
        return Judged(claim, sweep, None, "the monitor x", listed)
    effect = Effect("shift", Interval(value, value - 1, value + 1), 0.0, "above", 5)
    return Judged(claim, sweep, Judgement((effect,), "a shift", "at the end"), "", listed)


@pytest.mark.parametrize(("found", "said"), [
    ([], ""),
    ([judged("a", 2, listed=False)], ""),  # not what the sweep was made for
    ([judged("a", 2)], "of its claims a (A1) holds"),
    ([judged("a", 2), judged("b", 3, number="A2"), judged("c", -2, number="")],
     "of its claims a (A1) and b (A2) hold; c fails"),
    ([judged("a", 0.5), judged("b", None, number="A2")],
     "of its claims a (A1) is undecided; b (A2) cannot be tested"),
])
def test_the_outcome_in_one_clause(found, said):
    assert told.outcome(found) == said


def test_a_claim_on_a_terminal_with_what_would_decide_it():
    lines = told.lines([judged("a", 0.5), judged("b", None, listed=False)])
    assert lines[0] == "undecided  A1  paper/a  (at the end)"
    assert "shift = 0.50 [−0.50, 1.50] (claimed > 0; 5 seeds)" in lines[2]
    assert any(line.strip().startswith("would decide it:") for line in lines)
    assert "1 claim cannot be tested" in lines[-1]
    assert "needs the monitor x" in told.lines([judged("b", None)], untested=True)[-1]


def test_a_claim_that_the_spec_lists_is_answered_even_if_it_cannot_be_tested():
    lines = told.lines([judged("a", None), judged("b", None, listed=False)])
    assert "paper/a: needs the monitor x" in lines[0]
    assert "1 other claim cannot be tested" in lines[1]


def test_over_several_sweeps_the_one_made_for_a_claim_speaks_first():
    text = told.across([
        [judged("a", -2, listed=False, sweep="other"), judged("b", None)],
        [judged("a", 2, sweep="made"), judged("b", None)],
    ])
    head = next(line for line in text if "paper/a" in line)
    assert "holds (made)" in head
    assert any("elsewhere: fails (other)" in line for line in text)
    assert text[-1] == "tested nowhere: paper/b"


@pytest.mark.parametrize(("seeds", "unit", "verdict"), [
    (2, "seed", "undecided"),  # ranks of few cells tie by chance
    (4, "seed", "undecided"),
    (5, "seed", "holds"),
    (3, "toy", "holds"),  # an exact model has no spread
])
def test_ties_of_a_few_seeds_decide_nothing(seeds, unit, verdict):
    effect = Effect("Spearman", Interval(-1.0, -1.0, -1.0), -0.8, "below", seeds, unit)
    assert str(effect.verdict) == verdict
    assert bool(effect.decides) == (verdict == "undecided")


@pytest.mark.parametrize(("values", "said"), [
    ((), "no claim can be tested"),
    ((None,), "no claim can be tested"),
    ((2,), "1 claim tested: 1 holds"),
    ((2, -2, 3, 0.5, None), "4 claims tested: 2 hold, 1 fails and 1 undecided"),
    ((-2, -3), "2 claims tested: 2 fail"),
])
def test_a_summary_counts_in_grammar(values, said):
    assert told.summary([judged("a", value) for value in values]) == said
