"""Several sweeps on one page: verdicts beside one another, one metric on common axes, the laws.

Values of sweeps on different data, or of another metric, are never drawn on one pair of axes; what
does not belong together is said.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis import report
from analysis.claims import told
from analysis.claims.claim import Claim, Judged, Verdict
from analysis.errors import TableError
from analysis.figures.beside import beside_figure
from analysis.figures.theme import Figure
from analysis.folder import Folder, Where
from analysis.labels import label, listed
from analysis.laws import Fit
from analysis.study import Study

_MARK = '<meta name="generator" content="sgdscope comparison">'
_LOSS = "config_train_loss"
_KINDS = ("end", "peak", "loss")


@dataclass(frozen=True)
class Side:
    """A sweep under a name that no other has."""

    name: str
    study: Study

    def values(self, column: str) -> tuple[object, ...]:
        """The values of a column of its runs; empty before a run has ended."""
        runs = self.study.sweep.runs
        return tuple(sorted(runs[column].dropna().unique())) if column in runs else ()

    @property
    def data(self) -> tuple[object, ...]:
        """The hashes of its data."""
        return self.values("data_sha256")

    @property
    def metric(self) -> str:
        """What its laws are of."""
        return self.study.fits[0].metric if self.study.fits else ""

    def fit(self, metric: str, kind: str) -> Fit | None:
        """The fit of a metric at a kind of point."""
        place = self.study.find(metric, kind)
        return None if place is None else self.study.fits[place]


@dataclass(frozen=True)
class Compared:
    """The page's path, and lines for a terminal."""

    path: str
    lines: tuple[str, ...]


def write(
    sweeps: Sequence[tuple[Where, Mapping[str, object]]], folder: Where, name: str
) -> Compared:
    """Compares sweeps (each a folder and its ``meta``, as in ``report.write``) on the page ``name``
    in ``folder``, the figures in a folder beside it.

    TableError for a file of that name that is no such page, and for sweeps that cannot be read.
    """
    target = Folder.of(folder)
    _refuse_foreign(target, name)
    sides = named([report.study_of(where, meta) for where, meta in sweeps])
    drawn = figures(sides)
    beside = f"{name.rpartition('.')[0] or name}-figures"
    report.put_figures(target, beside, drawn)
    path = target.put(name, render(sides, drawn, beside).encode())
    found = [f"{side.name}: {side.study.progress}; {side.study.verdict}" for side in sides]
    return Compared(path, (*found, *unlike(sides), f"comparison: {path}"))


def _refuse_foreign(folder: Folder, name: str) -> None:
    if not folder.exists(name):
        return
    try:
        with folder.open(name) as stream:
            ours = _MARK.encode() in stream.read(2000)
    except OSError as error:
        raise TableError(f"cannot be overwritten: {error.strerror or error}",
                         where=folder.at(name)) from error
    if not ours:
        raise TableError("there is a file of that name already, and it is no comparison",
                         where=folder.at(name), fix="give another name by --out")


def named(studies: Sequence[Study]) -> tuple[Side, ...]:
    """The sweeps by name; of one name the second is called "name (2)"."""
    seen: Counter[str] = Counter()
    found = []
    for one in studies:
        name = one.sweep.name or "sweep"
        seen[name] += 1
        found.append(Side(name if seen[name] == 1 else f"{name} ({seen[name]})", one))
    return tuple(found)


def unlike(sides: Sequence[Side]) -> tuple[str, ...]:
    """What does not belong together, a sentence each; empty where all does."""
    said = []
    data = _grouped(sides, lambda side: side.data)
    if len(data) > 1:
        parts = [listed([side.name for side in part]) for part in data.values()]
        said.append(f"different data: {'; '.join(parts)}. Their values have no common scale, so "
                    "they are drawn apart; exponents may be compared")
    else:
        said += _differ(sides, "train_size", "sizes of the training set", "")
    said += _differ(sides, _LOSS, "losses", "; they are drawn apart")
    said += _differ(sides, "config_model_name", "models", "")
    metrics = _grouped(sides, lambda side: side.metric)
    if len(metrics) > 1:
        parts = [f"{label(m).plain if m else 'nothing'} in {listed([s.name for s in part])}"
                 for m, part in metrics.items()]
        said.append(f"different metrics: {listed(parts)}; each is shown for the sweeps that "
                    "measured it")
    nothing = [side.name for side in sides if side.study.sweep.finished.empty]
    if nothing:
        said.append(f"no finished run in {listed(nothing)}")
    ids = Counter(i for side in sides for i in side.study.sweep.runs["run_id"])
    twice = sum(n > 1 for n in ids.values())
    if twice:
        said.append(f"{twice:,} runs are in more than one of the sweeps: they are the same runs, "
                    "not independent ones")
    return tuple(said)


def _differ(sides: Sequence[Side], column: str, words: str, more: str) -> list[str]:
    found = _grouped([s for s in sides if len(s.study.sweep.runs)], lambda s: s.values(column))
    if len(found) < 2:
        return []
    parts = [f"{listed([str(v) for v in values]) or 'not told'} in "
             f"{listed([s.name for s in part])}" for values, part in found.items()]
    return [f"different {words}: {listed(parts)}{more}"]


def _grouped(sides: Sequence[Side], key: object) -> dict[object, list[Side]]:
    found: dict[object, list[Side]] = {}
    for side in sides:
        found.setdefault(key(side), []).append(side)
    return found


def figures(sides: Sequence[Side]) -> list[Figure]:
    """Of each group of sweeps on the same data and loss: every metric that two of them measured, at
    the end, at its peak and at the matched loss where that is the same."""
    found = []
    groups = _grouped(sides, lambda side: (side.data, side.values(_LOSS)))
    for place, part in enumerate(groups.values()):
        metrics = dict.fromkeys(fit.metric for side in part for fit in side.study.fits)
        for metric in metrics:
            for kind in _KINDS:
                fits = {side.name: fit for side in part if (fit := side.fit(metric, kind))}
                if len(fits) < 2 or len({f.at for f in fits.values()}) > 1:
                    continue
                chosen = {side.name: side.study.chosen[side.study.find(metric, kind)]
                          for side in part if side.name in fits}
                name = f"{place}-{metric.replace('_', '-')}-{kind}"
                found.append(beside_figure(name, fits, chosen))
    return [figure for figure in found if figure is not None]


def render(sides: Sequence[Side], drawn: Sequence[Figure], files: str) -> str:
    """The page."""
    return report.template("comparison").render(
        title=listed([side.name for side in sides], 4),
        sides=sides,
        figures=drawn,
        files=f"{files}/",
        tones=report.tones(drawn),
        unlike=unlike(sides),
        claims=claims(sides),
        laws=laws(sides),
        provenance=provenance(sides),
        summaries=[told.summary(side.study.claims) for side in sides],
    )


def claims(sides: Sequence[Side]) -> list[tuple[Claim, list[Judged | None]]]:
    """Every claim that some sweep tests, with what each sweep says of it (None: not tested)."""
    known = [{j.claim.id: j for j in side.study.claims} for side in sides]
    order = dict.fromkeys(i for found in known for i in found)
    rows = []
    for name in order:
        found = [by_id.get(name) for by_id in known]
        tested = [j if j is not None and j.verdict is not Verdict.UNTESTED else None for j in found]
        if any(tested):
            rows.append((next(j.claim for j in found if j), tested))
    return rows


def laws(sides: Sequence[Side]) -> list[tuple[str, list[Fit | None]]]:
    """Every metric at every kind of point that some sweep has a law of, sweep by sweep."""
    wanted = dict.fromkeys((f.metric, f.at.kind) for s in sides for f in s.study.fits if f.cells)
    words = {"end": "at the end", "peak": "at its peak", "loss": "at the matched train loss",
             "epoch": "at an epoch"}
    return [(f"{label(metric).plain} {words[kind]}", [side.fit(metric, kind) for side in sides])
            for metric, kind in wanted]


def provenance(sides: Sequence[Side]) -> list[tuple[str, list[str]]]:
    """What made the sweeps, where they differ or not: words, and a value a sweep."""
    columns = [report.provenance(side.study) for side in sides]
    return [(words, [column[i][1] for column in columns])
            for i, (words, _) in enumerate(columns[0])]
