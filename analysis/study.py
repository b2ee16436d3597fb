"""Everything that a report says of a sweep, computed: fits, spreads, break points, edges."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from analysis import question
from analysis.boundary import Boundary, boundary
from analysis.cautions import cautions
from analysis.claims import told
from analysis.claims.claim import Claim, Judged
from analysis.claims.judging import judge_all
from analysis.collapse import Break, breaks
from analysis.edges import SHARPNESS, Edge, edges
from analysis.falls import falls
from analysis.findings import findings
from analysis.folder import Where
from analysis.frames import Exclusion, Sweep, load
from analysis.labels import count, fixed, label, listed
from analysis.laws import MARGIN, Fit, Verdict, fit
from analysis.points import END, PEAK, At, Points, known_metric, matched_loss, points
from analysis.sizes import Growth, SizeFit, fit_sizes, growth
from analysis.spread import Spread, spread
from analysis.times import TimeFit, fit_times, times
from analysis.verdicts import headline, sentence


@dataclass(frozen=True)
class Study:
    """``chosen`` are the points of ``fits``, in the same order. ``planned``: runs in the plan.
    ``asked``: the fits of metrics that were asked for beside the usual. ``breaks`` are by curves,
    ``falls`` by the final test accuracy, ``growths`` both against N; ``sizes``: laws with N in
    them; ``times``: of times that some runs did not see; ``boundary``: of divergence;
    ``findings``: what they say, in sentences."""

    sweep: Sweep
    planned: int
    level: float | None
    chosen: tuple[Points, ...]
    fits: tuple[Fit, ...]
    spreads: tuple[Spread, ...]
    breaks: tuple[Break, ...]
    edges: tuple[Edge, ...]
    cautions: tuple[str, ...]
    verdict: str
    claims: tuple[Judged, ...] = ()
    asked: tuple[Fit, ...] = ()
    falls: tuple[Break, ...] = ()
    growths: tuple[Growth, ...] = ()
    sizes: tuple[SizeFit, ...] = ()
    times: tuple[TimeFit, ...] = ()
    boundary: Boundary | None = None
    findings: tuple[str, ...] = ()

    @property
    def lead(self) -> tuple[Judged, ...]:
        """The claims that lead, where the sweep was made for them and not for the law."""
        return question.leading(self.claims)

    @property
    def has_law(self) -> bool:
        """Whether η and S vary apart in the first fit, so that it says something of η/S."""
        return _separable(self.fits)

    def find(self, metric: str, kind: str) -> int | None:
        """The place among ``fits`` of a metric at a kind of point, if it has any cell."""
        places = range(len(self.fits))
        return next((i for i in places if self._is(self.fits[i], metric, kind)), None)

    @staticmethod
    def _is(fitted: Fit, metric: str, kind: str) -> bool:
        return fitted.metric == metric and fitted.at.kind == kind and fitted.cells > 0

    @property
    def progress(self) -> str:
        """``54 of 80 runs``, or ``80 runs`` once all have ended."""
        ended = len(self.sweep.runs)
        if ended < self.planned:
            return f"{ended:,} of {count(self.planned, 'run')}"
        return count(ended, "run")

    @property
    def exclusions(self) -> tuple[Exclusion, ...]:
        """Runs that no law uses, by reason; then those that single laws leave out."""
        found = list(self.sweep.exclusions)
        for fitted in self.fits:
            found += [e for e in fitted.exclusions if e not in found]
        return tuple(found)


def study(
    where: Where,
    *,
    run_ids: Collection[str] | None = None,
    planned: int | None = None,
    margin: float = MARGIN,
    level: float | None = None,
    claims: Mapping[str, Mapping[str, float]] | None = None,
    own_claims: Sequence[Claim] = (),
    metrics: Sequence[tuple[str, At]] = (),
) -> Study:
    """Reads and analyses a sweep at any moment.

    ``run_ids``: those of the current grid, others are left out and counted. ``planned``: how many
    runs the plan has (by default as many as ``run_ids``). ``level``: the matched training loss.
    ``claims``: id -> options of those that the spec lists; ``own_claims``: the user's own.
    ``metrics``: further metrics to fit, each at a point; a TableError if there is no such column.
    """
    sweep = load(where, run_ids)
    if planned is None:
        planned = len(run_ids) if run_ids is not None else len(sweep.runs)
    level = matched_loss(sweep) if level is None else level
    asked = [(known_metric(sweep, metric), at) for metric, at in metrics]
    usual = [(m, at) for m, at in _wanted(level) if sweep.measures(m)]
    wanted = list(dict.fromkeys((*usual, *asked)))
    chosen = tuple(points(sweep, metric, at) for metric, at in wanted)
    fits = tuple(fit(c, margin) for c in chosen)
    found, fallen = (*breaks(sweep, "train_loss"), *breaks(sweep, SHARPNESS)), falls(sweep)
    slow = tuple(fit_times(t, margin) for t in times(sweep, level))
    grown = growth((*found, *fallen))
    sizes = tuple(filter(None, (fit_sizes(c, margin) for c in chosen)))
    edge, late = boundary(sweep), edges(sweep)
    judged = judge_all(sweep, claims, own_claims)
    law = fits if _separable(fits) or not question.leading(judged) else ()
    return Study(
        sweep=sweep,
        planned=planned,
        level=level,
        chosen=chosen,
        fits=fits,
        spreads=tuple(spread(c) for c in chosen),
        breaks=found,
        edges=late,
        cautions=cautions(sweep, fits),
        verdict=_verdict(sweep, planned, fits, found, late, judged),
        claims=judged,
        asked=tuple(f for f in fits if (f.metric, f.at) in asked),
        falls=fallen,
        growths=grown,
        sizes=sizes,
        times=slow,
        boundary=edge,
        findings=findings(law, slow, edge, grown, sizes),
    )


def _wanted(level: float | None) -> list[tuple[str, At]]:
    """λ_max at the end, at its peak and at the matched loss; train loss; test accuracy twice."""
    matched = [At("loss", level)] if level is not None else []
    return [
        *((SHARPNESS, at) for at in (END, PEAK, *matched)),
        ("train_loss", END),
        *(("test_accuracy", at) for at in (END, *matched)),
    ]


def _verdict(
    sweep: Sweep,
    planned: int,
    fits: tuple[Fit, ...],
    found: tuple[Break, ...],
    late: tuple[Edge, ...],
    judged: tuple[Judged, ...],
) -> str:
    if sweep.runs.empty:
        return "No run has ended yet."
    ended = len(sweep.runs)
    if sweep.finished.empty:
        return f"No law: of {count(ended, 'run')} that ended, none finished ({_fates(sweep)})."
    so_far = f"So far ({ended:,} of {count(planned, 'run')}): " if ended < planned else ""
    if question.leading(judged):
        return f"{so_far}{told.outcome(judged)}."
    law = bool(fits) and fits[0].verdict is not Verdict.NOT_FITTED
    other = _at_the_edge(late) if late else told.outcome(judged)
    said = headline(fits, found) if law or not other else other
    return f"{so_far}{said}."


def _separable(fits: Sequence[Fit]) -> bool:
    return bool(fits) and math.isfinite(fits[0].total.value)


def _at_the_edge(late: tuple[Edge, ...]) -> str:
    low, high = (f"{fixed(of(e.mean for e in late))}" for of in (min, max))
    among = low if low == high else f"{low} to {high}"
    return (
        f"full batch: η·λ_max late in training is {among} in the mean, within "
        f"{fixed(min(e.low for e in late))} to {fixed(max(e.high for e in late))} "
        f"(unstable above {fixed(late[0].bound)})"
    )


def _fates(sweep: Sweep) -> str:
    counts = sweep.runs["status"].value_counts().sort_index()
    return listed([f"{n:,} {status}" for status, n in counts.items()])


def lines(study: Study) -> tuple[str, ...]:
    """A few plain lines for a terminal, the verdict last."""
    text = [f"{study.sweep.name or 'sweep'}: {study.progress}"]
    lead = study.lead
    if lead and study.has_law:
        text.append(headline(study.fits, study.breaks))
    for s in study.spreads[:1]:
        if s.families and s.across == s.across and (study.has_law or not lead):
            text.append(
                f"spread of log {label(s.metric).plain} {s.at}: {fixed(s.within)} at equal η/S, "
                f"{fixed(s.across)} across"
            )
    if study.edges and _at_the_edge(study.edges) not in study.verdict:
        text.append(_at_the_edge(study.edges))
    text += [sentence(fitted) for fitted in study.asked]
    text += study.findings
    outcome = told.outcome(study.claims)
    if outcome and outcome not in study.verdict:
        text.append(outcome)
    left = [f"{e.count:,} {e.reason}" for e in study.sweep.exclusions]
    if left:
        text.append(f"left out: {listed(left)}")
    text += [told.brief(one) for one in lead]
    return (*text, study.verdict)
