"""The power laws that are compared, and their design matrices."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd

from analysis.frames import NOISES

Slopes: TypeAlias = tuple[tuple[float, ...], ...]
MIN_DOF = 2


@dataclass(frozen=True)
class Form:
    """One law. ``slopes``: a weight of log η, log S and, where there is a third, log N for each of
    the exponents ``names``. ``stratum``: the column whose values have intercepts of their own."""

    formula: str
    names: tuple[str, ...]
    slopes: Slopes
    stratum: str = "stratum"


FORMS: dict[str, Form] = {
    "free": Form("η^a S^b", ("a", "b"), ((1.0, 0.0), (0.0, 1.0))),
    "ratio": Form("(η/S)^a", ("a",), ((1.0, -1.0),)),
    "sqrt": Form("(η/√S)^a", ("a",), ((1.0, -0.5),)),
    "lr": Form("η^a", ("a",), ((1.0, 0.0),)),
    "batch": Form("S^b", ("b",), ((0.0, 1.0),)),
}


def varying(cells: pd.DataFrame) -> list[str]:
    """The noises that vary."""
    return [noise for noise in NOISES if cells[noise].nunique() > 1]


def logs(cells: pd.DataFrame, effective: bool, size: bool = False) -> np.ndarray:
    """(cells, 2 or 3): log η (of η/(1 − μ) if ``effective``), log S and, with ``size``, log N."""
    lr = cells["lr"].to_numpy(float)
    if effective:
        lr = lr / (1 - cells["momentum"].to_numpy(float))
    columns = [lr, cells["batch_size"].to_numpy(float)]
    if size:
        columns.append(cells["train_size"].to_numpy(float))
    return np.log(np.column_stack(columns))


def design(fitted: pd.DataFrame, cells: pd.DataFrame, effective: bool, form: Form) -> np.ndarray:
    """(cells, p): intercepts by stratum, each varying noise times the slopes, noises, the slopes.

    Slopes are about the centre of the ``fitted`` cells. The products let noise change the
    exponents, which are therefore those without noise; they are left out where the grid cannot
    tell them.
    """
    strata = np.unique(fitted[form.stratum])
    size, names = len(form.slopes[0]) > 2, varying(fitted)
    centre = logs(fitted, effective, size).mean(0)

    def columns(rows: pd.DataFrame) -> tuple[np.ndarray, ...]:
        intercepts = (rows[form.stratum].to_numpy()[:, None] == strata[None]).astype(float)
        noises = rows[names].to_numpy(float)
        along = (logs(rows, effective, size) - centre) @ np.array(form.slopes).T
        products = (noises[:, :, None] * along[:, None]).reshape(len(rows), -1)
        return intercepts, products, noises, along

    own = columns(fitted)
    width = sum(part.shape[1] for part in own)
    told = np.linalg.matrix_rank(np.hstack(own)) == width <= len(fitted) - MIN_DOF
    intercepts, products, noises, along = own if cells is fitted else columns(cells)
    return np.hstack([intercepts, products if told else products[:, :0], noises, along])
