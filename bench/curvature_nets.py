"""Nets, their trajectories with snapshots, and the true leading eigenvalues at each of them."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables import datasets, models, monitors
from trainables.datasets import Dataset
from trainables.linalg.lanczos import Eigenpairs, extreme_eigenpairs
from trainables.pack import Member, Pack, PackState
from trainables.probe import Probe
from trainables.step import update
from trainables.suitability import examine

ROOT = Path(__file__).parents[1]
K = 5
TRUTH_PRODUCTS = 400


@dataclass(frozen=True)
class Net:
    """A net, its training, and the steps of its snapshots by phase, in the order of the path.

    The first settled snapshot is not counted: it stands in for those that a real path has before.
    """

    name: str
    model: Mapping[str, Any]
    train: Mapping[str, Any]
    size: int  # examples of the training set, all of them the measurement set
    moving: tuple[int, ...]
    settled: tuple[int, ...]
    truth: float = 1e-6  # tolerance of the truth's bounds, relative to λ_1; its errors are smaller

    def phase(self, step: int) -> str | None:
        """The phase that a step counts for."""
        if step in self.moving:
            return "moving"
        return "settled" if step in self.settled[1:] else None


DIGITS = Net("digits", {"name": "simple_cnn", "width": 16, "dense": 128},
             {"lr": 0.05, "batch_size": 64}, 1500,
             (150, 160, 175, 185, 200, 225, 250, 275, 300),
             (2000, 2050, 2100, 2150, 2200, 2250, 2300, 2350, 2400))
CIFAR = Net("cifar", {"name": "simple_cnn", "width": 8, "dense": 32},
            {"lr": 0.01, "batch_size": 32, "momentum": 0.9}, 1000,
            (75, 85, 100, 125, 150, 175, 200, 225, 250),
            (2500, 2550, 2600, 2650, 2700, 2750, 2800, 2850, 2900))
QUICK = {
    "digits": replace(DIGITS, size=500, moving=(150, 175, 200, 225, 250),
                      settled=(1000, 1050, 1100, 1150, 1200), truth=1e-4),
    "cifar": replace(CIFAR, size=300, moving=(75, 100, 125, 150, 200),
                     settled=(600, 650, 700, 750, 800), truth=1e-4),
}


@dataclass(frozen=True)
class Snapshot:
    """A place on the path, and what is true there."""

    step: int
    state: PackState  # its memory is not part of it
    loss: float
    values: Tensor  # (K,) float64, descending
    error: float  # of the truth, relative: its own bound
    overlap: float  # mean squared cosine between the leading K-spaces here and one snapshot before


def config(model: Mapping[str, Any], train: Mapping[str, Any], *, seed: int, precision: str,
           tolerance: float, doubt: float = 0.01) -> dict[str, Any]:
    """A run's whole config, as a spec with the monitor ``spectrum`` resolves to it."""
    full = {"lr": 0.1, "batch_size": 32, "epochs": 10_000, "steps": None, "until": None,
            "loss": "cross_entropy", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0,
            "lr_schedule": {"name": "constant"}, "sampling": "without_replacement",
            "max_loss": 1e4, **train}
    spectrum = monitors.find("spectrum", ROOT).resolve(
        {"k": K, "lambda_min": False, "trace": False, "tolerance": tolerance, "doubt": doubt})
    return {
        "data": {"name": "digits", "seed": 0}, "model": models.resolve(model), "train": full,
        "noise": {"label": 0.0, "input": 0.0, "gradient": 0.0},
        "measure": {"when": {"early": None, "final": False, "initial": False},
                    "set_size": 1_000_000, "monitors": [["spectrum", spectrum]]},
        "seed": seed, "precision": precision,
    }


def pack_of(configs: Sequence[Mapping[str, Any]], data: Dataset, engine: str | None = None
            ) -> Pack:
    """A pack on the CPU, by default under the engine that a sweep would choose."""
    members = [Member(f"r{i}", c) for i, c in enumerate(configs)]
    device = torch.device("cpu")
    engine = engine or examine(
        configs[0], tuple(data.x_train.shape[1:]), data.classes, ROOT, device="cpu").engine
    return Pack(members, data, width=len(members), engine=engine, device=device, base_dir=ROOT)


def data_of(net: Net, cifar: Path | None) -> Dataset:
    """Digits; CIFAR-10 from image Parquet, or images with a class structure in its shape."""
    if net.name == "digits":
        return datasets.load({"name": "digits", "train_size": net.size}, ROOT)
    if cifar is None:
        return _made_up(net.size)
    test = cifar.with_name(cifar.name.replace("train", "test"))
    return datasets.load({"name": f"parquet:{cifar}", "test_path": str(test),
                          "train_size": net.size, "test_size": 10}, ROOT)


def _made_up(size: int) -> Dataset:
    """Four smooth patterns a class under pixel noise: (N, 3, 32, 32)."""
    source = np.random.default_rng(0)
    coarse = torch.tensor(source.normal(size=(40, 3, 6, 6)))
    centres = torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic").numpy()
    pattern = source.integers(40, size=size + 10)
    y, x = pattern % 10, centres[pattern] + 2 * source.normal(size=(size + 10, 3, 32, 32))
    x = (x / x.std()).astype(np.float32)
    return Dataset(x[:size], y[:size], x[size:], y[size:], 10, "0" * 64)


def trail(pack: Pack, twin: Pack, net: Net, cache: Path | None) -> Iterator[Snapshot]:
    """Trains run 0 to each of the net's steps and finds the truth there; kept in ``cache``."""
    place = cache / f"{_key(pack, net)}.pt" if cache else None
    rows = torch.load(place, weights_only=True) if place and place.is_file() else []
    yield from (_revived(pack, row) for row in rows)
    state = _revived(pack, rows[-1]).state.copy() if rows else pack.init()
    for step in (*net.moving, *net.settled)[len(rows):]:
        while state.step < step:
            update(pack, state)
        rows.append(_measured(pack, twin, net, state, rows[-1]["vectors"] if rows else None))
        if place:
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = place.with_suffix(f".{os.getpid()}")
            torch.save(rows, partial)
            partial.replace(place)
        yield _revived(pack, rows[-1])


def _key(pack: Pack, net: Net) -> str:
    told = [asdict(net), pack.data_sha256, pack.seeds, pack.engine.name, pack.parameters,
            K, torch.__version__]
    return net.name + "-" + hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _measured(pack: Pack, twin: Pack, net: Net, state: PackState, before: Tensor | None
              ) -> dict[str, Any]:
    found = truth(twin, state, net.truth)
    error = float((found.bounds[0] / found.values[0].abs()).max())
    if not error <= 1e-3:
        raise RuntimeError(f"the truth is good to {error:.1g} only at step {state.step}")
    vectors = found.vectors[0].float()
    overlap = float("nan") if before is None else float((before @ vectors.T).square().sum() / K)
    loss = Probe(pack, state, slice(0, 1)).evaluate_train()[0]
    copy = state.copy()
    return {"step": state.step, "params": copy.params, "velocity": copy.velocity,
            "loss": float(loss[0]), "values": found.values[0], "vectors": vectors,
            "overlap": overlap, "error": error}


def truth(twin: Pack, state: PackState, tolerance: float) -> Eigenpairs:
    """The eigenpairs of the state's runs, by float64 products at the same float32 weights.

    Cold and from two random starts: nothing that is measured here has a part in it.
    """
    exact = twin.init()
    exact.params = {n: p.double() for n, p in state.params.items()}
    probe = Probe(twin, exact, slice(0, twin.width))
    return extreme_eigenpairs(
        probe.curvature.product, probe.normals("truth", 2), k=K, smallest=False,
        tolerance=tolerance, max_products=TRUTH_PRODUCTS)


def _revived(pack: Pack, row: Mapping[str, Any]) -> Snapshot:
    state = pack.init()
    state.step, state.params, state.velocity = row["step"], row["params"], row["velocity"]
    return Snapshot(row["step"], state, row["loss"], row["values"], row["error"], row["overlap"])
