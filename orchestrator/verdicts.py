"""``sgdscope claims``: the papers' claims on the tables of one sweep or several."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import claims
from orchestrator.errors import Problem, UserError
from orchestrator.session import meta
from orchestrator.status import status_of
from orchestrator.stores import Place, open_store

if TYPE_CHECKING:
    from analysis.claims.claim import Judged


def judge(folders: Sequence[Place], wanted: Sequence[str] = ()) -> "Mapping[str, list[Judged]]":
    """Sweep's folder -> its judged claims, those of its spec first; ``wanted``: these alone.

    UserError for a folder that holds no sweep, and for a claim that does not exist.
    """
    from analysis import load
    from analysis.claims.judging import judge_all

    chosen = _wanted(wanted)
    found = {}
    for folder in folders:
        status_of(folder)
        told = meta(folder)
        own = {c.id: c for c in (*told["own_claims"], *claims.own(chosen, Path.cwd()))}
        sweep = load(open_store(folder).folder, told["run_ids"])
        every = judge_all(sweep, {**told["claims"], **dict(chosen)}, tuple(own.values()))
        names = {name for name, _ in chosen}
        found[str(folder)] = [j for j in every if not names or j.claim.id in names]
    return found


def _wanted(wanted: Sequence[str]) -> claims.Chosen:
    try:
        return claims.section(list(dict.fromkeys(wanted)), Path.cwd())
    except ExceptionGroup as group:
        raise UserError(*(Problem(e.what, "--claim", e.fix) for e in group.exceptions)) from None


def as_text(found: "Mapping[str, Sequence[Judged]]", *, untested: bool = False) -> str:
    """Sweep by sweep; of several, one line at the end for each claim and where it was tested."""
    from analysis.claims import told

    text = []
    for folder, judged in found.items():
        text += [f"{folder}: {told.summary(judged)}",
                 *(f"  {line}" for line in told.lines(judged, untested=untested)), ""]
    return "\n".join([*text, *(told.across(list(found.values())) if len(found) > 1 else [])]
                     ).rstrip()


def as_json(found: "Mapping[str, Sequence[Judged]]") -> str:
    """One object an effect of a claim: the rows of analysis/claims.parquet."""
    from analysis.claims.judging import rows

    return json.dumps([
        {"folder": folder, **row} for folder, judged in found.items()
        for row in json.loads(rows(judged).to_json(orient="records"))])
