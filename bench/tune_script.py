"""The same runs as a researcher writes them: Ray Tune, one run a trial, PyTorch and PyHessian.

``python -m bench.tune_script WORK`` reads WORK/jobs.json and leaves WORK/rows.parquet (a row a run
and measuring step) and WORK/times.json. ``bench.usual_way`` writes the former and times the whole.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import pandas as pd
import ray
import torch
import torch.nn.functional as F
from pyhessian import hessian
from ray import tune

from bench.plain import measured
from trainables import datasets


def train(config, data, settings):
    """A trial: one run from its first step to its last, reporting at the measuring steps."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*create_graph=True.*")  # PyHessian's own habit
    for row in measured(config["run"], data, settings, curvature):
        tune.report(row)


def curvature(model, x, y, settings):
    """PyHessian's largest eigenvalues (by size, from power iteration) and, if asked, its trace."""
    model.zero_grad(set_to_none=True)
    found = hessian(model, F.cross_entropy, data=(x, y), cuda=False)
    values, _ = found.eigenvalues(tol=settings["tolerance"], top_n=settings["top_n"])
    row = {f"eigenvalue_{i + 1}": v for i, v in enumerate(values)}
    if settings["trace"]:
        estimates = found.trace(tol=settings["tolerance"])
        row["trace"] = sum(estimates) / len(estimates)
    return row


def main(work):
    """All trials, and their rows as one DataFrame."""
    jobs = json.loads((work / "jobs.json").read_text())
    data = datasets.load(jobs["data"], Path(jobs["settings"]["base_dir"]))
    # An instance of its own, without the dashboard and the workers' output: as lean as ours.
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(train, data=data, settings=jobs["settings"]), {"cpu": 1}),
        param_space={"run": tune.grid_search(jobs["runs"])},
        run_config=tune.RunConfig(name="trials", storage_path=str(work / "tune"), verbose=0))
    times = {"ready": time.time()}
    results = tuner.fit()
    times["trained"] = time.time()
    if results.errors:
        raise results.errors[0]
    # A run that diverged before its first measuring step has reported nothing.
    frames = [f for f in (r.metrics_dataframe for r in results) if f is not None and "step" in f]
    rows = pd.concat(frames, ignore_index=True)
    rows = rows[[c for c in rows if not c.startswith("config/")]]  # Tune's copies of the config
    rows.to_parquet(work / "rows.parquet")
    (work / "times.json").write_text(json.dumps(times))
    ray.shutdown()


if __name__ == "__main__":
    # By its module's name, so that Ray's workers import ``train`` instead of unpickling it whole.
    from bench import tune_script

    tune_script.main(Path(sys.argv[1]))
