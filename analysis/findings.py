"""What is found beside the verdict, a sentence each: where the law reaches, which law predicts
best, times, divergence, and the size of the training set.
"""

import math
from collections.abc import Sequence

from analysis.boundary import Boundary
from analysis.comparison import Rival
from analysis.crossed import MIN_SEEDS, Interval
from analysis.equalratio import Family
from analysis.labels import count, fixed, label, listed, number
from analysis.laws import LEVEL, Fit, Verdict, equivalence
from analysis.sizes import Growth, SizeFit
from analysis.times import TimeFit
from analysis.verdicts import written

_SAME = 1e-6
_ALONE = {"ratio": "η/S", "sqrt": "η/√S", "lr": "η alone", "batch": "S alone",
          "free": "η and S with an exponent each"}


def findings(
    fits: Sequence[Fit],
    times: Sequence[TimeFit],
    boundary: Boundary | None,
    growths: Sequence[Growth],
    sizes: Sequence[SizeFit],
) -> tuple[str, ...]:
    """All sentences that there is something to say for; of the fits, for the first."""
    said = [words(fits[0]) for words in (reach, best) if fits]
    said += [timed(fit) for fit in times] + [stable(boundary)]
    said += [grown(found) for found in growths] + [sized(fit) for fit in sizes[:1]]
    return tuple(filter(None, said))


def reach(fit: Fit) -> str:
    """At which ratios a + b lies within the margin, and at which not; empty where the ratios agree
    with the verdict over all."""
    shared = fit.equal_ratio
    known = [f for f in shared.families if math.isfinite(f.slope.low)] if shared else []
    places = {verdict: _ratios(known, verdict, fit.margin) for verdict in Verdict}
    decided = {v for v in (Verdict.HOLDS, Verdict.FAILS) if places[v]}
    if shared is None or not (decided - {fit.verdict} or (known and shared.alike < LEVEL)):
        return ""
    clauses = [
        f"{words} at η/S = {listed(places[verdict])}"
        for verdict, words in (
            (Verdict.HOLDS, f"within ±{number(fit.margin)}"),
            (Verdict.FAILS, "outside"),
            (Verdict.UNDECIDED, "undecided"),
        )
        if places[verdict]
    ]
    alike = f" (one for all: p = {number(shared.alike, 2)})" if shared.alike < LEVEL else ""
    return f"ratio by ratio a + b of {label(fit.metric).plain} {fit.at} is {listed(clauses)}{alike}"


def _ratios(known: Sequence[Family], verdict: Verdict, margin: float) -> list[str]:
    found = [f for f in known if equivalence(f.slope, (), margin) is verdict]
    return [f"{number(f.ratio)} ({fixed(f.slope.value)})" for f in found]


def best(fit: Fit) -> str:
    """Which law predicts a cell that it has not seen best, and by how much."""
    against = fit.comparison
    if against is None:
        return ""
    rivals = {rival.name: rival for rival in against.rivals}
    alone = [rival for rival in against.rivals if rival.name != "free"]
    if abs(alone[0].smaller.value) < _SAME:  # one law by design, such as where η goes with S
        return ""
    name = _ALONE[against.best]
    said = (
        f"{name} predicts {label(fit.metric).plain} {fit.at} of a cell left out best of the laws "
        f"with one exponent: its error is {_percent(alone[0])}"
    )
    return f"{said}; {_free(rivals['free'])}" if "free" in rivals else said


def _percent(rival: Rival) -> str:
    low, middle, high = (
        number(100 * x, 2) for x in (rival.smaller.low, rival.smaller.value, rival.smaller.high)
    )
    apart = "" if rival.told_apart else ", which cells cannot tell apart"
    return f"{middle} % [{low}, {high}] smaller than that of {_ALONE[rival.name]}{apart}"


def _free(rival: Rival) -> str:
    if rival.smaller.high < 0:
        share = number(100 * rival.smaller.value / (rival.smaller.value - 1), 2)
        return f"with an exponent each for η and S it is {share} % smaller still"
    return "an exponent each for η and S does no better"


def timed(fit: TimeFit) -> str:
    """The law of a time, and how many runs it has to do without."""
    missing = f"{fit.censored} of {count(fit.runs, 'run')} did not get there and count as such"
    seen = missing if fit.censored else f"all {count(fit.runs, 'run')} got there"
    a, b = (fit.laws["free"].exponents[name] for name in ("a", "b"))
    if not math.isfinite(a.value):
        return f"{fit.words}: no law ({seen})"
    verdicts = {
        Verdict.HOLDS: "follow η/S", Verdict.FAILS: "do not follow η/S",
        Verdict.UNDECIDED: "may or may not follow η/S",
        Verdict.NO_LAW: "follow no power of η and S that could be told from none",
    }
    return (
        f"{fit.words} {verdicts[fit.verdict]}: they go as η to the {written(a)} times S to the "
        f"{written(b)}, a + b = {written(fit.total)} ({seen})"
    )


def stable(boundary: Boundary | None) -> str:
    """How the largest stable η changes with S."""
    if boundary is None or not math.isfinite(boundary.exponent.value):
        return ""
    lost = f"{boundary.diverged} of {count(boundary.runs, 'run')} diverged"
    back = f"; {boundary.returns} finished above an η that diverged" if boundary.returns else ""
    power = _bounded(boundary.exponent)
    return f"the largest η that does not diverge goes as S to the {power} ({lost}{back})"


def _bounded(found: Interval) -> str:
    if not math.isfinite(found.low) and not math.isfinite(found.high):
        return fixed(found.value)
    return f"{fixed(found.value)} [{fixed(found.low)}, {fixed(found.high)}]"


def grown(found: Growth) -> str:
    """Whether runs of equal ratio part later with more examples."""
    what = label(found.quantity).plain
    sizes = sorted({b.train_size for b in found.breaks})
    over = f"(N from {sizes[0]:,} to {sizes[-1]:,}, {count(found.ratios, 'ratio')})"
    if found.verdict == "no break":
        return (f"by {what} runs of equal η/S do not part at any N up to a factor of "
                f"{number(found.largest)}, the largest that all N have {over}: whether N matters "
                "takes larger ones")
    verdicts = {"later": "part later", "earlier": "part earlier",
                "undecided": "may or may not part later"}
    return (
        f"by {what} runs of equal η/S {verdicts[found.verdict]} the more training examples there "
        f"are: the break moves by {_bounded(found.slope)} doublings of S a doubling of N {over}"
        + (f"; a break beyond {number(found.largest)} times, the largest factor that all N have, "
           "counts as there" if found.censored else "")
        + (f"; with fewer than {MIN_SEEDS} seeds that is an indication" if found.few_seeds else "")
    )


def sized(fit: SizeFit) -> str:
    """Whether a metric follows η/S or ηN/S; empty where that cannot be told."""
    if not math.isfinite(fit.size.value):
        return ""
    name = f"{label(fit.metric).plain} {fit.at}"
    c, off = written(fit.size), written(fit.scale)
    numbers = f"N enters with exponent {c}, which is {off} off that of η"
    said = {
        "η/S": f"{name} follows η/S whatever N is",
        "ηN/S": f"{name} follows ηN/S",
        "neither": f"{name} follows neither η/S nor ηN/S",
        "undecided": f"{name} may follow η/S or ηN/S",
    }
    return f"{said[fit.verdict]}: {numbers}"

