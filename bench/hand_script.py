"""The same runs by hand: one process, a loop over the runs, curvlinops and SciPy for λ_max.

``python -m bench.hand_script WORK`` reads and writes what ``bench.tune_script`` does. No Ray, no
scheduling: what a careful researcher writes who has one machine. As many threads as are faster.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import pandas as pd
import torch
from curvlinops import HessianLinearOperator
from scipy.sparse.linalg import eigsh
from torch import nn

from bench.plain import measured
from trainables import datasets


def curvature(model, x, y, settings):
    """The largest eigenvalue of the Hessian of the mean loss, by Lanczos (ARPACK)."""
    params = [p for p in model.parameters() if p.requires_grad]
    hessian = HessianLinearOperator(
        model, nn.CrossEntropyLoss(), params, [(x, y)], check_deterministic=False)
    values = eigsh(hessian.to_scipy(), k=settings["top_n"], which="LA",
                   tol=settings["tolerance"], return_eigenvectors=False)
    return {f"eigenvalue_{i + 1}": float(v) for i, v in enumerate(sorted(values)[::-1])}


def main(work: Path) -> None:
    """All runs, one after the other, and their rows as one DataFrame."""
    warnings.filterwarnings("ignore")
    jobs = json.loads((work / "jobs.json").read_text())
    data = datasets.load(jobs["data"], Path(jobs["settings"]["base_dir"]))
    times, rows = {"ready": time.time()}, []
    torch.set_num_threads(_faster(jobs, data))
    for run in jobs["runs"]:
        rows += measured(run, data, jobs["settings"], curvature)
    times["trained"] = time.time()
    pd.DataFrame(rows).to_parquet(work / "rows.parquet")
    (work / "times.json").write_text(json.dumps(times))


def _faster(jobs, data) -> int:
    """One thread, or torch's own number: whichever does the first measuring steps sooner."""
    seconds = {}
    for threads in {1, torch.get_num_threads()}:
        torch.set_num_threads(threads)
        start, rows = time.perf_counter(), measured(
            jobs["runs"][0], data, jobs["settings"], curvature)
        next(rows, None)
        seconds[threads] = time.perf_counter() - start
    return min(seconds, key=seconds.get)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
