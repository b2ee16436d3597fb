"""The report: one HTML file that needs nothing else, and the numbers behind it as Parquet.

Byte-identical for the same rows: no clock, no host, no path goes into it.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TypeAlias

import jinja2
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from markupsafe import Markup

from analysis import labels, laws, verdicts
from analysis.claims import judging
from analysis.figures.edges import edge_figure
from analysis.figures.scatter import accuracy_figure, collapse_figure, matched_figure
from analysis.figures.theme import FAINT, INK, KINDS, Figure, Tone
from analysis.figures.trajectories import equal_ratio_figure
from analysis.folder import Folder, Where
from analysis.laws import Fit
from analysis.points import Points
from analysis.study import Study, lines, study

Draw: TypeAlias = Callable[[Sequence[Fit], Sequence[Points]], Figure]
Rows: TypeAlias = Sequence[Mapping[str, object]] | pd.DataFrame
_META = frozenset({
    "name", "run_ids", "planned", "margin", "matched_loss", "spec", "claims", "own_claims",
    "metrics"
})
_PROVENANCE = {
    "sgdscope_version": "sgdscope",
    "torch_version": "torch",
    "device_kind": "device",
    "engine": "engine",
    "width": "pack width",
    "threads": "threads a worker",
    "precision": "precision",
    "numerics": "numerics version",
    "data_sha256": "data (SHA-256)",
    "train_size": "training examples N",
    "test_size": "test examples",
    "parameters": "parameters P",
}


@dataclass(frozen=True)
class Summary:
    """What ``write`` found: one sentence, a few lines for a terminal, the report's path, and the
    rows of ``analysis/laws.parquet``."""

    verdict: str
    lines: tuple[str, ...]
    path: str
    laws: tuple[dict[str, object], ...]


def prepare() -> None:
    """Imports what ``write`` imports at its first call: a second of work, to be done in advance."""
    for module in ("figure", "backends.backend_pdf", "backends.backend_svg"):
        import_module(f"matplotlib.{module}")
    import_module("scipy.special")


def write(where: Where, meta: Mapping[str, object] | None = None) -> Summary:
    """Analyses the sweep and writes ``report.html`` and ``analysis/`` into its folder.

    ``meta``, all optional: ``name``; ``run_ids`` of the current grid; ``planned``, the number of
    runs in the plan; ``margin`` of the ratio law's test; ``matched_loss``; ``spec``, its text;
    ``claims``, id -> options of those that the spec lists; ``own_claims``, the user's own;
    ``metrics``, further (metric, At) to fit.
    """
    given = dict(meta or {})
    if unknown := set(given) - _META:
        raise ValueError(f"unknown in meta: {', '.join(sorted(unknown))}")
    folder = Folder.of(where)
    found = study(
        folder,
        run_ids=given.get("run_ids"),
        planned=given.get("planned"),
        margin=given.get("margin", laws.MARGIN),
        level=given.get("matched_loss"),
        claims=given.get("claims"),
        own_claims=given.get("own_claims", ()),
        metrics=given.get("metrics", ()),
    )
    drawn = figures(found)
    for figure in drawn:
        for panel in figure.panels:
            for ending in ("svg", "pdf", "csv"):
                folder.put(f"analysis/figures/{panel.name}.{ending}", getattr(panel, ending))
    rows = laws.rows(found.fits)
    _put_rows(folder, "laws", rows)
    _put_rows(folder, "points", _point_rows(found))
    _put_rows(folder, "breaks", _break_rows(found))
    _put_rows(folder, "claims", judging.rows(found.claims))
    _put_rows(folder, "claims_evidence", judging.evidence(found.claims))
    name = str(given.get("name") or found.sweep.name or "sweep")
    html = render(found, drawn, name=name, spec=str(given.get("spec") or ""))
    path = folder.put("report.html", html.encode())
    return Summary(found.verdict, (*lines(found), f"report: {path}"), path, tuple(rows))


def figures(found: Study) -> tuple[Figure, ...]:
    """The figures that the sweep's rows allow, in the report's order."""
    metric = found.fits[0].metric if found.fits else ""
    drawn: list[Figure | None] = []
    main = found.find(metric, "end")
    if main is not None:
        drawn.append(collapse_figure(found.fits[main], found.chosen[main]))
    measured = [q for q in ("train_loss", metric) if q and found.sweep.measures(q)]
    drawn.append(equal_ratio_figure(found.sweep, list(dict.fromkeys(measured))))
    drawn.append(_several(found, metric, ("peak", "end", "loss"), matched_figure))
    drawn.append(_several(found, "test_accuracy", ("end", "loss"), accuracy_figure, least=1))
    drawn.append(edge_figure(found.sweep))
    return tuple(figure for figure in drawn if figure is not None)


def _several(
    found: Study, metric: str, kinds: Sequence[str], draw: Draw, least: int = 2
) -> Figure | None:
    places = [i for i in (found.find(metric, kind) for kind in kinds) if i is not None]
    if len(places) < least:
        return None
    return draw([found.fits[i] for i in places], [found.chosen[i] for i in places])


def render(found: Study, drawn: Sequence[Figure], *, name: str, spec: str) -> str:
    """The page. Everything that is not ours is escaped; what the template lacks is an error."""
    return _template().render(
        name=name,
        spec=spec,
        study=found,
        figures=drawn,
        tones=_tones(drawn),
        fitted=[f for f in found.fits if any(law.beta is not None for law in f.laws.values())],
        provenance=_provenance(found),
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "symbols": labels.symbols,
        "number": labels.number,
        "fixed": labels.fixed,
        "significant": labels.significant,
        "written": verdicts.written,
        "sentence": verdicts.sentence,
        "decides": verdicts.decides,
        "plain": lambda metric: labels.label(metric).plain,
        "count": labels.count,
        "svg": Markup,
    }
    return environment.get_template("report.html.j2")


def _tones(drawn: Sequence[Figure]) -> tuple[Tone, ...]:
    used = (key.tone for figure in drawn for key in figure.keys)
    return tuple(dict.fromkeys((INK, FAINT, *KINDS, *used)))


def _provenance(found: Study) -> list[tuple[str, str]]:
    runs = found.sweep.runs
    rows = []
    for column, words in _PROVENANCE.items():
        values = runs[column].dropna().unique().tolist()
        # a column of whole numbers with a null in it comes as floats
        shown = [f"{v:,.0f}" if isinstance(v, int | float) else str(v) for v in sorted(values)]
        rows.append((words, labels.listed(shown, 8) or "—"))
    return rows


def _put_rows(folder: Folder, name: str, rows: Rows) -> None:
    table = pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False)
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(None), sink)
    folder.put(f"analysis/{name}.parquet", sink.getvalue())


def _point_rows(found: Study) -> pd.DataFrame:
    frames = [
        chosen.frame.assign(metric=chosen.metric, at=chosen.at.kind, level=chosen.at.level)
        for chosen in found.chosen
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _break_rows(found: Study) -> list[dict[str, object]]:
    return [
        {
            "quantity": b.quantity,
            "setting": b.setting_label,
            "ratio": b.ratio,
            "reference_batch_size": b.reference,
            "seeds": b.seeds,
            "factor": step.factor,
            "batch_size": step.batch_size,
            "lr": step.lr,
            "distance": step.distance,
            "seed_noise": step.seed_noise,
            "diverged": step.diverged,
            "coincides": step.coincides,
            "last_factor": b.last.value,
            "last_factor_low": b.last.low,
            "last_factor_high": b.last.high,
        }
        for b in found.breaks
        for step in b.steps
    ]
