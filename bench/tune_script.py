"""The same runs as a researcher writes them: Ray Tune, one run a trial, PyTorch and PyHessian.

``python -m bench.tune_script WORK`` reads WORK/jobs.json and leaves WORK/rows.parquet (a row a run
and measuring step) and WORK/times.json. ``bench.usual_way`` writes the former and times the whole.

What makes a run that run is taken from ``trainables`` (data, model, initial weights, noisy labels,
order of examples), so both ways follow the same trajectories. All else is plain: eager SGD over
index permutations without a DataLoader, whose workers and collating would only cost time here.
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

from trainables import datasets, models, noise
from trainables.sampling import epoch_indices
from trainables.streams import derive


def train(config, data, settings):
    """A trial: one run from its first step to its last, reporting at the measuring steps."""
    start = time.perf_counter()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*create_graph=True.*")  # PyHessian's own habit
    run, options = config["run"], config["run"]["config"]["train"]
    seed, batch_size = run["config"]["seed"], options["batch_size"]
    x, x_test, y_test = (torch.as_tensor(a) for a in (data.x_train, data.x_test, data.y_test))
    y = labels(data, run["config"])
    chosen = torch.tensor(settings["measure_set"])
    x_measure, y_measure = x[chosen], y[chosen]
    torch.manual_seed(derive(seed, "init"))
    model = models.build(run["config"]["model"], tuple(x.shape[1:]), data.classes,
                         Path(settings["base_dir"]))
    optimiser = torch.optim.SGD(
        model.parameters(), lr=options["lr"], momentum=options["momentum"],
        weight_decay=options["weight_decay"], nesterov=options["nesterov"])
    measuring, step, epoch = set(run["measuring"]), 0, 0
    while True:
        order = epoch_indices([seed], epoch, train_size=len(x), batch_size=batch_size,
                              replacement=options["sampling"] == "with_replacement")[0]
        for batch in order:
            if step in measuring:
                row = evaluate(model, x, y, "train") | evaluate(model, x_test, y_test, "test")
                if not row["train_loss"] <= options["max_loss"]:
                    return
                row |= curvature(model, x_measure, y_measure, settings)
                optimiser.zero_grad(set_to_none=True)
                model.train()
                tune.report({"run_id": run["run_id"], "step": step, **row,
                             "seconds": time.perf_counter() - start})
            if step == run["steps"]:
                return
            optimiser.zero_grad(set_to_none=True)
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimiser.step()
            step += 1
        epoch += 1


def labels(data, config):
    """The training labels, the run's noisy ones included."""
    rank, redrawn = noise.label_noise(data.y_train, data.classes, config["data"]["seed"])
    noisy = rank < round(config["noise"]["label"] * len(rank))
    y = torch.as_tensor(data.y_train).clone()
    y[torch.as_tensor(noisy)] = torch.as_tensor(redrawn)[torch.as_tensor(noisy)]
    return y


@torch.no_grad()
def evaluate(model, x, y, name):
    """Mean loss and accuracy over a whole set."""
    model.eval()
    outputs = model(x)
    return {f"{name}_loss": F.cross_entropy(outputs, y).item(),
            f"{name}_accuracy": (outputs.argmax(1) == y).float().mean().item()}


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
