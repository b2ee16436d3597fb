"""The figures of a report in the order in which they tell the story, by section."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from analysis import question
from analysis.figures.breakeven import break_even_figure
from analysis.figures.catapult import catapult_figure
from analysis.figures.edges import adam_edge_figure, edge_figure, stochastic_figure
from analysis.figures.landscape import connector_figure, interpolation_figure, tunnel_figure
from analysis.figures.memorization import memorization_figure, noise_figure
from analysis.figures.noisescale import batch_figure, fisher_figure, noise_scale_figure
from analysis.figures.pareto import pareto_figure
from analysis.figures.scatter import accuracy_figure, collapse_figure, matched_figure
from analysis.figures.spectra import density_figure, eigenvalue_figure
from analysis.figures.steering import steering_figure
from analysis.figures.steps import one_direction_figure, sharpest_figure
from analysis.figures.stiffness import stiffness_figure
from analysis.figures.theme import Figure
from analysis.figures.toys import first_epoch_figure, subspace_figure, wedge_figure
from analysis.figures.trajectories import equal_ratio_figure
from analysis.frames import same_ratio
from analysis.laws import Fit, Verdict
from analysis.points import Points
from analysis.study import Study

Draw: TypeAlias = Callable[[Sequence[Fit], Sequence[Points]], Figure]
Chapter: TypeAlias = tuple[str, str, list[Figure]]
_OPEN = 9


@dataclass(frozen=True)
class Section:
    """Figures under one heading. ``first``: the number of its first figure. ``folded``: a page
    shows its heading alone until it is asked for."""

    name: str
    title: str
    figures: tuple[Figure, ...]
    first: int
    folded: bool


def sections(found: Study) -> tuple[Section, ...]:
    """The sections for which the sweep's rows have a figure. The first, and as many more as make
    nine figures, are shown; the rest is folded.

    A sweep made for the law of η/S begins with that. One made for claims begins with what these are
    about and ends with the law; without it where η and S do not vary apart.
    """
    made, count = [], 0
    for name, title, drawn in _ordered(found, _drawn(found)):
        if drawn:
            figures = tuple(drawn)
            folded = bool(made) and count + len(figures) > _OPEN
            made.append(Section(name, title, figures, count + 1, folded))
            count += len(figures)
    return tuple(made)


def _ordered(found: Study, chapters: list[Chapter]) -> list[Chapter]:
    if found.lead:
        return _claims_first(found, chapters)
    if found.edges and found.fits and found.fits[0].verdict is Verdict.NOT_FITTED:
        chapters[:2] = reversed(chapters[:2])  # full batch: the path is the story
    return chapters


def _claims_first(found: Study, chapters: list[Chapter]) -> list[Chapter]:
    known = {figure.name: figure for _, _, drawn in chapters for figure in drawn}
    names = [name for name in question.figures(found.lead) if name in known]
    law, *others = [(name, title, [f for f in drawn if f.name not in names])
                    for name, title, drawn in chapters]
    first = ("question", "What the claims are about", [known[name] for name in names])
    return [first, *others, law]


def _drawn(found: Study) -> list[Chapter]:
    """The chapters with the figures that there are; if there is none, with the one of the law."""
    chapters = [(name, title, [f for f in drawn if f is not None])
                for name, title, drawn in _chapters(found)]
    if not any(drawn for _, _, drawn in chapters):
        chapters[0][2].extend(filter(None, [_collapse(found)]))
    return chapters


def _chapters(found: Study) -> Iterator[tuple[str, str, list[Figure | None]]]:
    sweep = found.sweep
    yield "law", "What follows η/S", _law(found)
    yield "path", "Along the path", [
        draw(sweep) for draw in (break_even_figure, edge_figure, adam_edge_figure, catapult_figure,
                                 stochastic_figure, noise_scale_figure, fisher_figure)]
    yield "directions", "Sharpest directions and spectra", [
        draw(sweep) for draw in (sharpest_figure, one_direction_figure, eigenvalue_figure,
                                 density_figure)]
    yield "examples", "Examples, noise and memorization", [
        draw(sweep) for draw in (noise_figure, memorization_figure, first_epoch_figure,
                                 stiffness_figure)]
    yield "landscape", "The landscape around the minima", [
        draw(sweep) for draw in (interpolation_figure, connector_figure, tunnel_figure,
                                 subspace_figure, wedge_figure)]
    yield "choices", "Choices: batch size, schedule, accuracy against sharpness", [
        batch_figure(sweep, found.level), steering_figure(sweep), pareto_figure(sweep)]


def _law(found: Study) -> list[Figure | None]:
    metric = found.fits[0].metric if found.fits else ""
    measured = [q for q in ("train_loss", metric) if q and found.sweep.measures(q)]
    trajectories = equal_ratio_figure(found.sweep, list(dict.fromkeys(measured)))
    if not _has_range(found) or (found.lead and not found.has_law):
        return [trajectories]
    return [
        _collapse(found),
        trajectories,
        _several(found, metric, ("peak", "end", "loss"), matched_figure),
        _several(found, "test_accuracy", ("end", "loss"), accuracy_figure, least=1),
    ]


def _has_range(found: Study) -> bool:
    """Whether the runs differ in the ratio that the law is of."""
    effective = bool(found.fits) and found.fits[0].effective
    ratios = found.sweep.finished["effective_ratio" if effective else "ratio"]
    return len(np.unique(same_ratio(ratios.to_numpy(float)))) > 1


def _collapse(found: Study) -> Figure | None:
    main = found.find(found.fits[0].metric, "end") if found.fits else None
    return None if main is None else collapse_figure(found.fits[main], found.chosen[main])


def _several(
    found: Study, metric: str, kinds: Sequence[str], draw: Draw, least: int = 2
) -> Figure | None:
    places = [i for i in (found.find(metric, kind) for kind in kinds) if i is not None]
    if len(places) < least:
        return None
    return draw([found.fits[i] for i in places], [found.chosen[i] for i in places])
