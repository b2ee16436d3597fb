# ruff: noqa: T201
"""Do the error bounds hold? Small nets along their paths and planted matrices, warm-started.

A case is one of the K eigenvalues of one run at one snapshot. Eight runs a pack; the state is
carried from snapshot to snapshot; values in fp32, the truth dense in float64.
"""

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import curvature_nets as nets
from bench.curvature_solvers import carry
from trainables.datasets import Dataset
from trainables.pack import Pack, PackState
from trainables.probe import Probe
from trainables.step import update

RUNS, DIM = 8, 192
NETS = {
    "mlp tanh": {"name": "mlp", "widths": [12, 10], "activation": "tanh"},
    "mlp relu": {"name": "mlp", "widths": [16], "activation": "relu"},
    "cnn": {"name": "simple_cnn", "width": 2, "dense": 8},
}
STEPS = (5, 10, 20, 30, 40, 60, 80, 100, 300, 320, 340, 360)
TIMES = 6  # snapshots of a planted path


def cases(tolerance: float, *, quick: bool) -> list[dict[str, Any]]:
    """All cases: family, snapshot, run, index, value, bound, truth, λ_1; prints a line a family."""
    found = []
    print(HEAD)
    for name, model in NETS.items():
        rows = _of_net(name, model, tolerance, STEPS[::2] if quick else STEPS)
        print(_line(_summary(name, rows)), flush=True)
        found += rows
    for name, path in PATHS.items():
        rows = _of_path(name, path, tolerance)
        print(_line(_summary(name, rows)), flush=True)
        found += rows
    print(_line(_summary("all", found)))
    return found


def _of_net(name: str, model: dict, tolerance: float, steps: Sequence[int]) -> list[dict]:
    data = _blobs((1, 8, 8) if name == "cnn" else (8,))
    pack, twin = (nets.pack_of([nets.config(
        model, {"lr": 0.2, "batch_size": 16}, seed=s, precision=p, tolerance=tolerance)
        for s in range(RUNS)], data, engine="vmap") for p in ("fp32", "fp64"))
    state, rows = pack.init(), []
    for step in steps:
        while state.step < step:
            update(pack, state)
        exact = twin.init()
        exact.params = {n: p.double() for n, p in state.params.items()}
        dense = _dense(Probe(twin, exact, slice(0, RUNS)).curvature.product, pack.parameters)
        rows += _rows(name, pack, state, Probe(pack, state, slice(0, RUNS)), dense)
    return rows


def _blobs(shape: tuple[int, ...]) -> Dataset:
    source = np.random.default_rng(0)
    y = np.arange(160) % 6
    x = source.normal(size=(6, *shape))[y] + source.normal(size=(160, *shape))
    x = x.astype(np.float32)
    return Dataset(x[:150], y[:150], x[150:], y[150:], 6, "0" * 64)


def _dense(product: Callable[[Tensor], Tensor], dim: int) -> Tensor:
    """(R, P, P) float64, from products with the unit vectors."""
    columns = [product(torch.eye(dim, dtype=torch.float64)[i].expand(RUNS, -1)) for i in range(dim)]
    found = torch.stack(columns, dim=2)
    return (found + found.mT) / 2


def _rows(name: str, pack: Pack, state: PackState, probe: Probe, dense: Tensor) -> list[dict]:
    truth = torch.linalg.eigvalsh(dense).flip(1)[:, :nets.K]
    pairs = probe.eigenpairs
    carry(pack, state, probe)
    return [{
        "family": name, "step": state.step, "run": r, "index": i + 1,
        "value": float(pairs.values[r, i]), "bound": float(pairs.bounds[r, i]),
        "truth": float(truth[r, i]), "first": float(truth[r, 0]),
        "products": int(pairs.products[r])} for r in range(RUNS) for i in range(nets.K)]


def _of_path(name: str, path: Callable, tolerance: float) -> list[dict]:
    """A probe whose Hessians are planted: everything else is that of a real linear model's."""
    data = _blobs((DIM // 6 - 1,))
    pack = nets.pack_of([nets.config(
        {"name": "linear"}, {"lr": 0.01, "batch_size": 16, "loss": "mse"}, seed=s,
        precision="fp32",
        tolerance=tolerance) for s in range(RUNS)], data)
    state, rows = pack.init(), []
    paths = [path(np.random.default_rng([s, len(name)])) for s in range(RUNS)]
    for at in range(TIMES):
        while state.step < 10 * (at + 1):
            update(pack, state)
        planted = torch.tensor(np.stack([next(p) for p in paths])).float()
        probe = Probe(pack, state, slice(0, RUNS))
        gradient = probe.gradient_of(probe.params, pack.measure_set)
        probe.spend(1.0)
        probe.__dict__["curvature"] = SimpleNamespace(
            gradient=gradient, product=lambda v, h=planted: torch.bmm(h, v[..., None])[..., 0])
        rows += _rows(name, pack, state, probe, planted.double())
    return rows


def _path(spectrum: Callable[[int], np.ndarray], turn: float = 0.1
          ) -> Callable[[np.random.Generator], Iterator[np.ndarray]]:
    """Matrices with the ``spectrum`` of each time, in a frame that turns by about ``turn``."""
    def walk(source: np.random.Generator) -> Iterator[np.ndarray]:
        frame = np.linalg.qr(source.normal(size=(DIM, DIM)))[0]
        for at in range(TIMES):
            values = spectrum(at)
            matrix = frame * values @ frame.T
            yield (matrix + matrix.T) / 2
            step = source.normal(size=(DIM, DIM)) / DIM**0.5
            frame = np.linalg.qr(frame + turn * frame @ (step - step.T) / 2)[0]
    return walk


def _with_bulk(leading: Sequence[float], *, low: float = -0.2) -> np.ndarray:
    """Eigenvalues in front of a bulk that falls from 0.3 to 0 and on to a few below."""
    rest = DIM - len(leading)
    return np.concatenate([leading, 0.3 * np.exp(-np.arange(rest - 8) / 8), np.linspace(low, 0, 8)])


PATHS = {
    # an eigenvector that no earlier snapshot saw rises through the others
    "skipped": _path(lambda t: _with_bulk([10, 8, 6, 5, 4, 0.3 + 1.9 * t]), turn=0.02),
    "crossing": _path(lambda t: _with_bulk([10, 8, 6, 5, 4 - 0.3 * t, 2.5 + 0.3 * t]), turn=0.02),
    "near-degenerate": _path(lambda t: _with_bulk([10, 9.999, 6, 5.9995, 5.999, 5.998])),  # noqa: ARG005
    "repeated": _path(lambda t: _with_bulk([10, 10, 6, 6, 6, 3])),  # noqa: ARG005
    "low rank": _path(lambda t: np.array([5.0, 3.0, 1.0 + t] + [0.0] * (DIM - 3))),
    "negative": _path(lambda t: _with_bulk([10, 8, 6, 5, 4], low=-12.0 - t)),
    "turning": _path(lambda t: _with_bulk([10 + 3 * t, 8, 6, 5, 4, 3]), turn=0.6),
    "settled": _path(lambda t: _with_bulk([10 - 0.1 * t, 8, 6, 5, 4, 3]), turn=0.01),
    "no gap": _path(lambda t: np.linspace(1.0 + t, -0.5, DIM)),
}


def summarise(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per family and over all: cases, the share covered, how loose, and the worst error."""
    families = [*dict.fromkeys(f["family"] for f in found), "all"]
    return [_summary(name, [f for f in found if name in ("all", f["family"])]) for name in families]


def _summary(name: str, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def column(key: str) -> np.ndarray:
        return np.array([f[key] for f in found])

    error, bound = abs(column("value") - column("truth")), column("bound")
    safe = np.maximum(error, 1e-300)
    return {
        "family": name, "cases": len(found), "covered": float((error <= bound).mean()),
        "bound_to_error": float(np.median(bound / safe)),
        "bound_to_first": float(np.median(bound / abs(column("first")))),
        "worst_error_to_bound": float((error / bound).max()),
        "error_to_first": float((error / abs(column("first"))).max()),
        "products": float(np.median(column("products")))}


HEAD = (f"\n{'bounds':<18}{'cases':>6}{'covered':>10}{'bound/error':>13}{'bound/λ_1':>11}"
        f"{'worst error/bound':>19}{'worst error/λ_1':>17}{'products':>10}")


def _line(s: dict[str, Any]) -> str:
    return (f"{s['family']:<18}{s['cases']:>6}{s['covered']:>10.2%}{s['bound_to_error']:>13.3g}"
            f"{s['bound_to_first']:>11.2g}{s['worst_error_to_bound']:>19.3g}"
            f"{s['error_to_first']:>17.2g}{s['products']:>10.0f}")
