"""The report: one HTML file that needs nothing else, and the numbers behind it as Parquet.

Byte-identical for the same rows: no clock, no host, no path goes into it.
"""

import io
from collections.abc import Mapping, Sequence
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
from analysis.claims import judging, told
from analysis.claims.claim import Judged, Verdict
from analysis.collapse import Break
from analysis.figures.book import Section, sections
from analysis.figures.theme import FAINT, INK, KINDS, Figure, Tone
from analysis.folder import Folder, Where
from analysis.sizes import growth_frame, size_rows
from analysis.study import Study, lines, study

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
    given, folder = dict(meta or {}), Folder.of(where)
    found = study_of(folder, given)
    drawn = sections(found)
    put_figures(folder, "analysis/figures", [f for section in drawn for f in section.figures])
    rows = laws.rows(found.fits)
    _put_rows(folder, "laws", rows)
    _put_rows(folder, "points", _point_rows(found))
    _put_rows(folder, "breaks", break_rows((*found.breaks, *found.falls)))
    _put_rows(folder, "growth", growth_frame(found.growths))
    _put_rows(folder, "sizes", size_rows(found.sizes))
    _put_rows(folder, "claims", judging.rows(found.claims))
    _put_rows(folder, "claims_evidence", judging.evidence(found.claims))
    name = str(given.get("name") or found.sweep.name or "sweep")
    html = render(found, drawn, name=name, spec=str(given.get("spec") or ""))
    path = folder.put("report.html", html.encode())
    return Summary(found.verdict, (*lines(found), f"report: {path}"), path, tuple(rows))


def study_of(where: Where, meta: Mapping[str, object]) -> Study:
    """The study of a sweep under what ``meta`` says of it, as in ``write``."""
    if unknown := set(meta) - _META:
        raise ValueError(f"unknown in meta: {', '.join(sorted(unknown))}")
    return study(
        where,
        run_ids=meta.get("run_ids"),
        planned=meta.get("planned"),
        margin=meta.get("margin", laws.MARGIN),
        level=meta.get("matched_loss"),
        claims=meta.get("claims"),
        own_claims=meta.get("own_claims", ()),
        metrics=meta.get("metrics", ()),
    )


def put_figures(folder: Folder, under: str, figures: Sequence[Figure]) -> None:
    """Each panel as SVG and PDF, and what it shows as CSV."""
    for panel in (panel for figure in figures for panel in figure.panels):
        for ending in ("svg", "pdf", "csv"):
            folder.put(f"{under}/{panel.name}.{ending}", getattr(panel, ending))


def render(found: Study, drawn: Sequence[Section], *, name: str, spec: str) -> str:
    """The page. Everything that is not ours is escaped; what the template lacks is an error."""
    return template("report").render(
        name=name,
        spec=spec,
        study=found,
        lead=found.lead,
        sections=drawn,
        tones=tones([figure for section in drawn for figure in section.figures]),
        claims=_told(found.claims),
        fitted=[f for f in found.fits if any(law.beta is not None for law in f.laws.values())],
        provenance=provenance(found),
        summary=told.summary(found.claims),
    )


@cache
def template(name: str) -> jinja2.Template:
    """A page's template, with the filters that write numbers and symbols."""
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
        "effect": told.effect,
        "cell": _cell,
        "capital": labels.capital,
        "plain": lambda metric: labels.label(metric).plain,
        "count": labels.count,
        "svg": Markup,
    }
    return environment.get_template(f"{name}.html.j2")


def _cell(value: object) -> str:
    """A value of an evidence row, as it is written in a table."""
    if value is None:
        return "—"
    return labels.number(value) if isinstance(value, float) else str(value)


def _told(claims: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Tested claims by verdict, in the order in which they are told; those not tested last."""
    order = (*told.ORDER, Verdict.UNTESTED)
    return {str(v): found for v in order if (found := [c for c in claims if c.verdict is v])}


def tones(drawn: Sequence[Figure]) -> tuple[Tone, ...]:
    """Every tone that the figures' legends and the page itself use."""
    used = (key.tone for figure in drawn for key in figure.keys)
    return tuple(dict.fromkeys((INK, FAINT, *KINDS, *used)))


def provenance(found: Study) -> list[tuple[str, str]]:
    """Words and values of what made the sweep: versions, device, data."""
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


def break_rows(breaks: Sequence[Break]) -> list[dict[str, object]]:
    """A row a cell of each family against its reference."""
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
        for b in breaks
        for step in b.steps
    ]
