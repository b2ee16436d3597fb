"""What the fits say, in sentences: one a fit, one for the sweep, and what would decide it."""

import math
from collections.abc import Sequence

from analysis.collapse import Break
from analysis.crossed import Interval
from analysis.labels import count, fixed, interval, label, number
from analysis.laws import FREE, LEVEL, Fit, Verdict

_HOPELESS = 50.0


def sentence(fit: Fit) -> str:
    """One sentence: does the metric follow η/S, by which numbers, over how many cells."""
    subject = f"{label(fit.metric).plain} {fit.at}"
    return f"{subject} {_CLAUSES[fit.verdict](fit)}"


def bends(fit: Fit) -> bool:
    """Whether a quadratic in log η/S is far better than the power law (ΔAICc below −10)."""
    return fit.bent


def _over(fit: Fit) -> str:
    return f"over {count(fit.cells, 'cell')}, {count(fit.seeds, 'seed')}"


def written(estimate: Interval) -> str:
    """``−0.71 [−0.75, −0.67]``, or a dash for what is not known."""
    if math.isnan(estimate.value):
        return "—"
    return interval(estimate.value, estimate.low, estimate.high)


def ratio_name(fit: Fit) -> str:
    """η/S, or with momentum in it where that varies."""
    return "η/(S(1−μ))" if fit.effective else "η/S"


def _holds(fit: Fit) -> str:
    exponent = written(fit.laws["ratio"].exponents["a"])
    if bends(fit) and fit.basis != FREE:
        return (
            f"follows {ratio_name(fit)}, though not as a power: at equal ratio it changes as S to "
            f"the {written(fit.total)} {_over(fit)}"
        )
    return (
        f"follows {ratio_name(fit)}: a + b = {written(fit.total)}, exponent {exponent} {_over(fit)}"
    )


def _fails(fit: Fit) -> str:
    known = all(math.isfinite(fit.laws["free"].exponents[name].value) for name in "ab")
    free = f", with η^{{{_exponent(fit, 'a')}}} S^{{{_exponent(fit, 'b')}}}" if known else ""
    return (
        f"does not follow {ratio_name(fit)}: a + b = {written(fit.total)} lies outside "
        f"±{number(fit.margin)}{free} {_over(fit)}"
    )


def _exponent(fit: Fit, name: str) -> str:
    return fixed(fit.laws["free"].exponents[name].value)


def _undecided(fit: Fit) -> str:
    if not math.isfinite(fit.total.value):
        exponent = fit.laws["ratio"].exponents["a"]
        known = f" (exponent of η/S {written(exponent)})" if math.isfinite(exponent.value) else ""
        return f"cannot be told to follow {ratio_name(fit)} rather than η or S alone{known}"
    return (
        f"may or may not follow {ratio_name(fit)}: a + b = {written(fit.total)} against a margin "
        f"of ±{number(fit.margin)} {_over(fit)}"
    )


def _no_law(fit: Fit) -> str:
    tested = next(law for law in fit.laws.values() if law.beta is not None)
    if bends(fit):
        return (
            "follows no power law of η and S: it bends on logarithmic axes "
            f"(ΔAICc = {number(fit.delta_aicc_curved)}) {_over(fit)}"
        )
    if tested.p_zero < LEVEL:
        return f"hardly depends on η and S: both exponents lie within ±{number(fit.margin)}"
    return f"depends on neither η nor S as far as can be seen (p = {number(tested.p_zero, 2)}) " + (
        _over(fit)
    )


def _not_fitted(fit: Fit) -> str:
    if not fit.cells:
        return "is known of no run"
    one = fit.crossing.cells["ratio_group"].nunique() == 1
    why = "all at one ratio" if one else "too few for a law"
    return f"is known in {count(fit.cells, 'cell')}, {why}"


_CLAUSES = {
    Verdict.HOLDS: _holds,
    Verdict.FAILS: _fails,
    Verdict.UNDECIDED: _undecided,
    Verdict.NO_LAW: _no_law,
    Verdict.NOT_FITTED: _not_fitted,
}


def decides(fit: Fit) -> str:
    """What would decide an undecided fit; empty for the others.

    The interval's half must fit between the estimate and the margin. Its variance between seeds
    shrinks with their number, that between cells with theirs: where that alone is too wide, no
    number of seeds will do.
    """
    if fit.verdict is Verdict.NOT_FITTED:
        return "cells with different η and S that finish"
    if fit.verdict is not Verdict.UNDECIDED:
        return ""
    if not math.isfinite(fit.total.value):
        return "cells in which η and S vary apart"
    gap = abs(fit.margin - abs(fit.total.value))
    more = (fit.total.half / gap) ** 2 if gap > 0 else math.inf
    if more > _HOPELESS:
        return "hardly anything: the estimate lies at the margin; more runs might move it"
    cells = math.ceil(fit.cells * max(more, 1.1))
    if fit.seed_share == 0:
        return f"about {cells} cells (now {fit.cells}), or a wider grid"
    room = 1 / max(more, 1.1) - (1 - fit.seed_share)
    if room <= 0:
        return f"about {cells} cells (now {fit.cells}), or a wider grid; seeds alone will not do"
    seeds = math.ceil(fit.seeds * fit.seed_share / room - 1e-9)
    return f"about {seeds} seeds (now {fit.seeds})"


def headline(fits: Sequence[Fit], breaks: Sequence[Break]) -> str:
    """The sweep in one sentence: the first fit, its twin at matched loss, and the break point."""
    if not fits:
        return "nothing was measured yet"
    main = fits[0]
    clauses = [sentence(main)]
    twin = next((f for f in fits if f.metric == main.metric and f.at.kind == "loss"), None)
    if twin is not None:
        clauses.append(_at_matched_loss(twin))
    clauses.append(breaking(breaks))
    return "; ".join(filter(None, clauses))


def _at_matched_loss(twin: Fit) -> str:
    exponent = twin.laws["ratio"].exponents["a"]
    if not math.isfinite(exponent.value):
        return ""
    return f"{twin.at} the exponent is {written(exponent)}"


def breaking(breaks: Sequence[Break]) -> str:
    """Where runs of equal ratio part, as far as the resampled seeds agree that they do; empty if
    there is no yardstick."""
    judged = [b for b in breaks if any(step.coincides is not None for step in b.steps)]
    if not judged:
        return ""
    parted = [(b.first_broken.batch_size, b) for b in judged if b.first_broken and b.established]
    ratios = len({(b.setting_label, b.ratio) for b in judged})
    if not parted:
        top = max(step.factor for b in judged for step in b.steps)
        return f"runs of equal ratio are not seen to part, up to S × {number(top)}"
    first, where = min(parted, key=lambda item: (item[0], item[1].ratio))
    apart = len({(b.setting_label, b.ratio) for _, b in parted})
    return (
        f"runs of equal ratio part from S = {first} on at η/S = {number(where.ratio)} "
        f"({apart} of {count(ratios, 'ratio')} do so within the grid)"
    )
