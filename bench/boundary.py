"""The boundary of stability where it is known: full-batch gradient descent on a quadratic.

    python -m bench.boundary --storage DIR           # a minute of one core

A linear model with mean squared error has one Hessian; L2 decay adds to all its eigenvalues, and
momentum moves the edge: η* = 2(1 + μ) / (λ₁ + decay), where λ₁ is the data's. `sweep.search` with
the sampler `boundary` looks for it along lr for each combination. Told: how far it is off, whether
the told interval holds it (``held``), and how many runs it took of those that a grid of equal
resolution over the same range has.
"""
# ruff: noqa: T201

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from bench import report

LOW, HIGH, RESOLUTION = 0.01, 10.0, 0.01
DECAYS, MOMENTA, STEPS = (0.0, 2.0, 8.0), (0.0, 0.5), 1500
SPEC: dict[str, Any] = {
    "name": "boundary-quadratic", "data": {"name": "quadratic_data:gaussian"},
    "model": {"name": "linear"},
    "train": {"steps": STEPS, "batch_size": "full", "loss": "mse"},
    "measure": {"when": {"early": None, "steps": [1]}, "monitors": []},
    "sweep": {"search": {
        "sampler": "boundary", "runs": 400, "options": {"resolution": RESOLUTION},
        "space": {"lr": {"log": [LOW, HIGH]}, "weight_decay": list(DECAYS),
                  "momentum": list(MOMENTA)}}},
}
DATA = '''import numpy as np


def gaussian(examples=64, scales=(1.6, 1.0, 0.7, 0.4, 0.2)):
    """Inputs with the given deviations, four classes by sign."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((2 * examples, len(scales))) * scales).astype("float32")
    y = 2 * (x[:, 1] > 0) + (x[:, 2] > 0)
    return x[:examples], y[:examples], x[examples:], y[examples:]
'''


def eigenvalue() -> float:
    """λ₁ of ½‖Wx + b − onehot‖²: that of the second moment of (x, 1)."""
    space: dict[str, Any] = {}
    exec(DATA, space)  # noqa: S102 - the text above
    x = space["gaussian"]()[0].astype(float)
    x = np.column_stack([x, np.ones(len(x))])
    return float(np.linalg.eigvalsh(x.T @ x / len(x))[-1])


def found(storage: Path) -> tuple[list[dict[str, Any]], int]:
    """A row an edge, as the search tells it; and the number of runs."""
    import orchestrator

    storage.mkdir(parents=True, exist_ok=True)
    (storage / "quadratic_data.py").write_text(DATA)
    path = storage / "boundary.yaml"
    path.write_text(json.dumps(SPEC))
    folder = Path(orchestrator.run(path, storage=storage, inline=True))
    edges = json.loads((folder / "search" / "found.json").read_text())["edges"]
    top, rows = eigenvalue(), []
    for edge in edges:
        decay, momentum = (edge["scalars"][n] for n in ("weight_decay", "momentum"))
        star = 2 * (1 + momentum) / (top + decay)
        low, high = edge["low"], edge["high"]
        rows.append({"momentum": momentum, "decay": decay, "eta*": star, "low": low, "high": high,
                     "width": high / low - 1, "off": edge["value"] / star - 1,
                     "held": "yes" if low <= star <= high else "no", "runs": edge["runs"]})
    return rows, sum(row["runs"] for row in rows)


def main() -> None:
    """Told on the terminal and as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage", type=Path, default=Path("sweeps/bench-boundary"))
    report.option(parser)
    asked = parser.parse_args()
    rows, runs = found(asked.storage)
    grid = len(rows) * (math.ceil(math.log(HIGH / LOW) / math.log1p(RESOLUTION)) + 1)
    print(report.table(rows, {"momentum": ">8.1f", "decay": ">6.1f", "eta*": ">8.5f",
                              "low": ">8.5f", "high": ">8.5f", "width": ">8.3%", "off": ">8.3%",
                              "held": ">5s", "runs": ">5d"}))
    print(f"{runs} runs; a grid of {RESOLUTION:.0%} over {LOW:g} to {HIGH:g} has {grid}: "
          f"{runs / grid:.1%}")
    report.finish("boundary", {"rows": rows, "runs": runs, "grid": grid}, asked.json)


if __name__ == "__main__":
    main()
