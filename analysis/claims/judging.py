"""All claims on a sweep, and what was found as rows."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from analysis.claims import known
from analysis.claims.claim import Claim, Judged, judge
from analysis.errors import Note
from analysis.frames import Sweep


def judge_all(sweep: Sweep, chosen: Mapping[str, Mapping[str, float]] | None = None,
              own: Sequence[Claim] = ()) -> tuple[Judged, ...]:
    """Every known claim and the user's ``own`` on the sweep, those ``chosen`` first.

    ``chosen``: id -> options, as the spec's section ``claims`` has them. What the sweep cannot
    test is there too, with what it lacks.
    """
    chosen, every = dict(chosen or {}), {**known(), **{c.id: c for c in own}}
    order = [*(c for c in chosen if c in every), *(c for c in every if c not in chosen)]
    return tuple(replace(_judged(every[name], sweep, chosen.get(name)), listed=name in chosen)
                 for name in order)


def _judged(claim: Claim, sweep: Sweep, options: Mapping[str, float] | None) -> Judged:
    """One claim's fault costs the report that claim alone: it is told as what was lacking."""
    try:
        return judge(claim, sweep, options)
    except Exception as error:  # noqa: BLE001 - whatever odd tables lead to
        warnings.warn(Note(f"the test of {claim.id} failed: {error!r}"), stacklevel=2)
        return Judged(claim, sweep.name, None, f"a test that does not fail with {error!r}")


def rows(judged: Sequence[Judged]) -> pd.DataFrame:
    """One row an effect of a claim (one a claim without effects): analysis/claims.parquet."""
    return pd.DataFrame([row for found in judged for row in _rows(found)])


def _rows(found: Judged) -> list[dict[str, object]]:
    claim, judgement = found.claim, found.judgement
    shared = {"claim": claim.id, "number": claim.number, "paper": claim.paper, "words": claim.words,
              "test": claim.test, "grade": claim.grade, "sweep": found.sweep,
              "listed": found.listed,
              "verdict": str(found.verdict), "decides": found.decides,
              "said": judgement.said if judgement else "",
              "stop_rule": judgement.stop_rule if judgement else "",
              "note": judgement.note if judgement else ""}
    empty = {"effect": "", "value": None, "low": None, "high": None, "bound": None, "side": "",
             "units": 0, "unit": "", "effect_verdict": ""}
    effects = judgement.effects if judgement else ()
    return [{**shared, "effect": e.name, "value": e.interval.value, "low": e.interval.low,
             "high": e.interval.high, "bound": e.bound, "side": e.side, "units": e.units,
             "unit": e.unit, "effect_verdict": str(e.verdict)} for e in effects] or [
                 {**shared, **empty}]


def evidence(judged: Sequence[Judged]) -> pd.DataFrame:
    """The evidence rows of all claims, the columns of each as it has them: one row a cell or pair.
    """
    frame = pd.DataFrame([
        {"claim": found.claim.id, "sweep": found.sweep, **row}
        for found in judged if found.judgement for row in found.judgement.evidence])
    mixed = [c for c in frame if pd.api.types.infer_dtype(frame[c], skipna=True).startswith("mixed")
             and frame[c].map(type).nunique() > 1]
    return frame.assign(**{c: frame[c].map(lambda v: None if v is None else str(v))
                           for c in mixed})
