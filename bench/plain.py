"""One run as a researcher writes it: plain PyTorch, eager, no packs.

What makes a run that run is taken from ``trainables`` (data, model, initial weights, noisy labels,
order of examples), so all ways follow the same trajectories. All else is plain: eager SGD over
index permutations without a DataLoader, whose workers and collating would only cost time here.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F

from trainables import models, noise
from trainables.sampling import epoch_indices
from trainables.streams import derive


def measured(run, data, settings, curvature: Callable[..., dict]) -> Iterator[dict]:
    """The rows of a run at its measuring steps, from its first step to its last."""
    start, options = time.perf_counter(), run["config"]["train"]
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
                yield {"run_id": run["run_id"], "step": step, **row,
                       "seconds": time.perf_counter() - start}
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
