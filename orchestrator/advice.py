"""``sgdscope recommend``: η for a wanted batch size, from a sweep's folder."""

import json
from typing import TYPE_CHECKING

from orchestrator.session import planned_runs
from orchestrator.status import status_of
from orchestrator.stores import Place, open_store

if TYPE_CHECKING:
    from analysis.recommend import Recommendation


def advise(folder: Place, batch_size: int, noise: float | None, metric: str
           ) -> "tuple[Recommendation, ...]":
    """A recommendation for each setting; UserError and TableError as the commands tell them."""
    from analysis import load
    from analysis.recommend import recommend

    status_of(folder)
    sweep = load(open_store(folder).folder, planned_runs(folder) or None)
    return recommend(sweep, batch_size, noise=noise, metric=metric)


def as_text(found: "tuple[Recommendation, ...]") -> str:
    """As a person reads it."""
    from analysis.advice import lines

    return "\n".join(lines(found))


def as_json(found: "tuple[Recommendation, ...]") -> str:
    """A list of one object a setting."""
    from analysis.advice import plain

    return json.dumps(plain(found))
