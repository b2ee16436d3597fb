"""Three Factors Influencing Minima in SGD (Jastrzębski et al. 2018, arXiv 1711.04623)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims import replicates, selection
from analysis.claims.claim import Effect, Judgement, NotTested, claim
from analysis.edges import SHARPNESS
from analysis.frames import Sweep
from analysis.labels import fixed
from analysis.laws import MARGIN, fit
from analysis.points import END
from analysis.verdicts import sentence

_PAPER = "Jastrzębski et al. 2018, Three Factors Influencing Minima in SGD"


@claim("three_factors/ratio_law", "B0", paper=_PAPER, grade="robust", margin=MARGIN,
       words="the ratio of learning rate to batch size is a key determinant of the width of the "
             "endpoint of SGD",
       test="log λ_max = c + a log η + b log S at fixed epochs: the interval of a + b lies within "
            "the margin (0.1 unless the spec says otherwise)")
def ratio_law(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Equivalence test of a + b = 0 in the free power law (analysis/laws.py)."""
    fitted = fit(selection.at(sweep, SHARPNESS, END, "spectrum"), options["margin"])
    if not np.isfinite(fitted.total.value):
        raise NotTested("cells in which η and S vary apart")
    effect = Effect("a + b", fitted.total, options["margin"], "within", fitted.seeds)
    rows = [{"cell": int(cell), "lr": lr, "batch_size": batch, "log_lambda_max": y}
            for cell, lr, batch, y in zip(
                fitted.crossing.cells["cell"], fitted.crossing.cells["lr"],
                fitted.crossing.cells["batch_size"], fitted.crossing.means, strict=True)]
    return Judgement((effect,), sentence(fitted), "at equal epochs", rows)


@claim("three_factors/sharpness_falls", "B1", paper=_PAPER, grade="robust", bound=-0.8,
       words="higher values of the ratio of learning rate to batch size lead to wider minima",
       test="Spearman correlation of η/S and λ_max at the end over the cells of a setting, seed by "
            "seed, at fixed epochs: below −0.8")
def sharpness_falls(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
    """Rank correlation over cells, averaged over settings, interval over seeds."""
    frame = selection.at(sweep, SHARPNESS, END, "spectrum").frame
    selection.levels(frame, "ratio_group", 3, "values of η/S")

    def correlation(runs: pd.DataFrame) -> float:
        found = [replicates.spearman(part["ratio"], part["y"])
                 for _, part in runs.groupby("setting")]
        return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")

    interval, seeds = replicates.over_seeds(frame, correlation)
    cells = frame.groupby(["cell", "lr", "batch_size", "ratio"])["value"].median().reset_index()
    return Judgement(
        (Effect("Spearman(η/S, λ_max)", interval, options["bound"], "below", seeds),),
        f"λ_max at the end falls with η/S: rank correlation {fixed(interval.value)} over "
        f"{len(cells)} cells" if interval.value < 0 else
        f"λ_max at the end does not fall with η/S: rank correlation {fixed(interval.value)}",
        "at equal epochs", cells.to_dict("records"))
