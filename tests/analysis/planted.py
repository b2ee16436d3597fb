"""Synthetic sweeps with planted laws: as frames of points, and as folders of real Parquet."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.frames import same_ratio
from analysis.points import END, At, Points
from analysis.schema import sweep_schema
from analysis.times import Times

MONITORS = {"hessian_lambda_max": "1 / loss", "hessian_trace": "1 / loss"}


@dataclass(frozen=True)
class Planted:
    """log λ_max at the end = log 2 + a·log η + b·log S + noise, and trajectories that lead there.

    Above ``break_batch`` a run is off by ``break_by`` in every log curve. Runs with a ratio above
    ``diverge_above`` diverge. ``parts`` cuts the runs into that many parts.
    """

    name: str = "planted"
    lr: tuple[float, ...] = (0.02, 0.04, 0.08, 0.16)
    batch_size: tuple[int, ...] = (8, 16, 32, 64)
    label_noise: tuple[float, ...] = (0.0,)
    momentum: tuple[float, ...] = (0.0,)
    seeds: int = 3
    a: float = -0.7
    b: float = 0.7
    seed_sd: float = 0.05
    cell_sd: float = 0.02
    run_sd: float = 0.03
    train_size: int = 1500
    epochs: float = 20.0
    break_batch: float = np.inf
    break_by: float = 1.5
    diverge_above: float = np.inf
    config: dict[str, str] = field(default_factory=lambda: {"config_model_name": "str"})
    monitors: dict[str, str] = field(default_factory=lambda: dict(MONITORS))
    parts: int = 4
    rng: int = 0

    def but(self, **changes: object) -> "Planted":
        """The same sweep with some things changed."""
        return replace(self, **changes)


def tables(planted: Planted) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``runs`` and ``snapshots`` with all columns of the schema."""
    rng = np.random.default_rng(planted.rng)
    starts = rng.normal(0, planted.seed_sd, planted.seeds)
    runs, snapshots = [], []
    for mu in planted.momentum:
        for noise in planted.label_noise:
            for lr in planted.lr:
                for batch in planted.batch_size:
                    off = rng.normal(0, planted.cell_sd)
                    for seed in range(planted.seeds):
                        jitter = starts[seed] + off + rng.normal(0, planted.run_sd)
                        run, path = _run(planted, lr, batch, noise, mu, seed, jitter)
                        runs.append(run)
                        snapshots.append(path)
    columns = {n: np.concatenate([np.broadcast_to(path[n], path["step"].shape)
                                  for path in snapshots]) for n in snapshots[0]}
    return pd.DataFrame(runs), pd.DataFrame(columns)


def _run(
    p: Planted, lr: float, batch: int, noise: float, mu: float, seed: int, jitter: float
) -> tuple[dict[str, object], dict[str, object]]:
    """A row of ``runs``, and the run's snapshots as columns."""
    identity = f"{p.name} {lr} {batch} {noise} {mu} {seed}"
    run_id = hashlib.sha256(identity.encode()).hexdigest()[:16]
    ratio = lr / batch
    if batch > p.break_batch:
        jitter += p.break_by
    diverged = ratio > p.diverge_above
    per_epoch = p.train_size // batch
    epoch = np.unique(np.r_[0, np.geomspace(0.1, 1, 6), np.arange(2, p.epochs + 1, 2)])
    if diverged:
        epoch = epoch[epoch < 1]
    step = np.unique(np.maximum(np.round(epoch * per_epoch), 0).astype(int))
    epoch = step / per_epoch
    end = np.log(2) + p.a * np.log(lr / (1 - mu)) + p.b * np.log(batch) + 0.8 * noise + jitter
    share = epoch / p.epochs
    bump = 1.5 * np.exp(-((np.log(epoch + 0.05) - np.log(1.0)) ** 2))
    begun = jitter * (step > 0)
    sharp = np.exp(np.log(30) * (1 - share) + end * share + bump * (share < 1) + begun)
    speed = 120 * (ratio / (1 - mu)) ** 0.6
    loss = (2.3 - 1.6 * noise) / (1 + speed * epoch) * np.exp(2 * begun) + 1.6 * noise
    accuracy = 0.97 - 0.25 * noise - 0.87 / (1 + 3 * speed * epoch) + 0.02 * jitter
    path = {
        "run_id": np.array(run_id, dtype=object),
        "step": step,
        "epoch": epoch,
        "lr": lr,
        "train_loss": np.maximum(loss, 1e-6),
        "train_accuracy": np.clip(accuracy + 0.02, 0, 1),
        "test_loss": loss + 0.1,
        "test_accuracy": np.round(np.clip(accuracy, 0, 1) * 297) / 297,
        "grad_norm": np.sqrt(loss),
        "param_norm": 10.0 + epoch,
        "init_distance": epoch,
        "measure_size": p.train_size,
        "measure_ge": 60.0,
        "measure_notes": None,
        "hessian_lambda_max": sharp,
        "hessian_trace": 4 * sharp,
        "time_measure_s": 0.01,
    }
    last = {name: np.ravel(column)[-1] for name, column in path.items()}
    run = {
        "run_id": run_id,
        "name": p.name,
        "lr": lr,
        "batch_size": batch,
        "ratio": ratio,
        "effective_ratio": ratio / (1 - mu),
        "label_noise": noise,
        "input_noise": 0.0,
        "gradient_noise": 0.0,
        "seed": seed,
        "momentum": mu,
        "weight_decay": 0.0,
        "status": "diverged" if diverged else "finished",
        "status_detail": "the loss left the numbers" if diverged else "all steps made",
        "steps": int(step[-1]),
        "epochs": float(epoch[-1]),
        **{f"final_{name}": last[name] for name in list(path)[4:11]},
        "train_size": p.train_size,
        "test_size": 297,
        "parameters": 5000,
        "measure_ge": 60.0 * len(step),
        "train_ge": float(epoch[-1]),
        "pack_id": f"{batch:04d}",
        "engine": "vmap",
        "width": 16,
        "threads": 1,
        "device_kind": "cpu",
        "precision": "fp32",
        "numerics": 1,
        "torch_version": "2.15.0",
        "sgdscope_version": "0.1.0",
        "data_sha256": "d" * 64,
        "time_train_s": 1.0,
        "time_measure_s": 1.0,
        "host_name": "a-host",
        "final_hessian_lambda_max": last["hessian_lambda_max"],
        "final_hessian_trace": last["hessian_trace"],
        **{name: "mlp" for name in p.config},
    }
    return run, path


def write(folder: Path, planted: Planted, drop: int = 0) -> Path:
    """Writes the sweep's tables as the store does; the first ``drop`` runs have not ended."""
    runs, snapshots = tables(planted)
    return write_frames(folder, planted, runs.iloc[drop:], snapshots)


def write_frames(
    folder: Path, planted: Planted, runs: pd.DataFrame, snapshots: pd.DataFrame,
    **more: pd.DataFrame,
) -> Path:
    """Writes frames as the parts of a sweep; ``more``: rows of ``curves`` and ``spectra``."""
    schemas = sweep_schema(planted.config, planted.monitors)
    for table, schema in schemas.items():
        (folder / "tables" / table).mkdir(parents=True)
        pq.write_table(schema.empty_table(), part_path(folder, table, "0000-schema"))
    for k, ids in enumerate(np.array_split(runs["run_id"].unique(), planted.parts)):
        _part(folder, "runs", f"pack{k}-0", runs[runs["run_id"].isin(ids)], schemas)
    for k, ids in enumerate(np.array_split(snapshots["run_id"].unique(), planted.parts)):
        _part(folder, "snapshots", f"pack{k}-0", snapshots[snapshots["run_id"].isin(ids)], schemas)
    for table, frame in more.items():
        _part(folder, table, "pack0-0", frame, schemas)
    return folder


def part_path(folder: Path, table: str, name: str) -> Path:
    """Where a part lies."""
    return folder / "tables" / table / f"{name}.parquet"


def _part(
    folder: Path, table: str, name: str, frame: pd.DataFrame, schemas: dict[str, pa.Schema]
) -> None:
    frame = frame.reindex(columns=schemas[table].names)
    data = pa.Table.from_pandas(frame, schema=schemas[table], preserve_index=False)
    data = data.replace_schema_metadata(schemas[table].metadata)
    pq.write_table(data, part_path(folder, table, name), write_page_checksum=True)


def planted_points(
    rng: np.random.Generator,
    lr: np.ndarray,
    batch: np.ndarray,
    seeds: int,
    *,
    a: float = -0.7,
    b: float = 0.7,
    c: float = 0.0,
    bend: float = 0.0,
    seed_sd: float = 0.2,
    slope_sd: float = 0.0,
    cell_sd: float = 0.05,
    run_sd: float = 0.1,
    growth: float = 0.0,
    missing: float = 0.0,
    noise: tuple[float, ...] = (0.0,),
    noise_slope: float = 1.3,
    momentum: tuple[float, ...] = (0.0,),
    train_size: tuple[int, ...] = (1500,),
    at: At = END,
) -> Points:
    """One metric of a full lr × batch × noise × momentum × N × seed grid.

    log m = a·log η/(1 − μ) + b·log S + c·log N + bend·(log η/S)² + noise. Seeds are crossed: one
    shift (and, with ``slope_sd``, one slope in log η and in log S) for all cells of a seed. The
    scatter grows as S^growth; a share ``missing`` of the runs is not there.
    """
    axes = (lr, batch, noise, momentum, train_size)
    grid = np.array(np.meshgrid(*axes, indexing="ij")).reshape(len(axes), -1).T
    cells = len(grid)
    x = np.log(np.column_stack([grid[:, 0] / (1 - grid[:, 3]), grid[:, 1], grid[:, 4]]))
    off = (x - x.mean(0))[:, :2]
    tilt = off @ rng.normal(0, slope_sd, (2, seeds))
    ratio = x[:, 0] - x[:, 1]
    wide = np.exp(growth * off[:, 1])
    y = x @ [a, b, c] + bend * (ratio - ratio.mean()) ** 2 + noise_slope * grid[:, 2]
    y = (y + wide * rng.normal(0, cell_sd, cells))[:, None] + rng.normal(0, seed_sd, seeds)
    y = y + tilt + wide[:, None] * rng.normal(0, run_sd, (cells, seeds))
    cell, seed = np.indices(y.shape).reshape(2, -1)
    lr_, batch_, noise_, mu, size = grid[cell].T
    frame = pd.DataFrame(
        {
            "run_id": [f"{c:04d}-{s}" for c, s in zip(cell, seed, strict=True)],
            "cell": cell,
            "setting": np.unique(grid[:, 2:], axis=0, return_inverse=True)[1].ravel()[cell],
            "setting_label": [f"label noise {x:g}" if len(noise) > 1 else "" for x in noise_],
            "stratum": np.unique(size, return_inverse=True)[1],
            "stratum_label": "",
            "sizeless_stratum": 0,
            "ratio_group": same_ratio(lr_ / batch_),
            "seed": seed,
            "lr": lr_,
            "batch_size": batch_,
            "ratio": lr_ / batch_,
            "effective_ratio": lr_ / batch_ / (1 - mu),
            "momentum": mu,
            "label_noise": noise_,
            "input_noise": 0.0,
            "gradient_noise": 0.0,
            "train_size": size,
            "value": np.exp(y.ravel()),
            "y": y.ravel(),
            "epoch": 1.0,
        }
    )
    if missing:
        kept = rng.random(len(frame)) >= missing
        frame = frame[kept].reset_index(drop=True)
    return Points("hessian_lambda_max", at, frame, ())


def planted_times(
    rng: np.random.Generator, lr: np.ndarray, batch: np.ndarray, seeds: int, end: float, **how
) -> Times:
    """Times log T = a·log η + b·log S as in ``planted_points``, seen up to the epoch ``end``."""
    how = {"a": -1.0, "b": 1.0, "seed_sd": 0.1, "cell_sd": 0.1, "run_sd": 0.2, **how}
    frame = planted_points(rng, lr, batch, seeds, **how).frame
    low = np.minimum(frame["value"], end)
    high = np.where(frame["value"] > end, np.inf, frame["value"])
    return Times("epochs", frame.assign(low=low, high=high, censored=np.isinf(high)), ())


def planted_thresholds(
    rng: np.random.Generator,
    lr: Callable[[int], np.ndarray],
    batch: Sequence[int],
    seeds: int,
    *,
    c: float,
    seed_sd: float = 0.0,
    batch_sd: float = 0.1,
    run_sd: float = 0.1,
) -> pd.DataFrame:
    """``runs`` that diverge above η* = 0.3·(S/8)^c, which scatters between seeds, batch sizes and
    runs; ``lr``: the rates that were run at a batch size."""
    rows, shifts = [], rng.normal(0, seed_sd, seeds)
    for size in batch:
        off = rng.normal(0, batch_sd)
        for seed in range(seeds):
            edge = np.log(0.3) + c * np.log(size / 8) + off + shifts[seed] + rng.normal(0, run_sd)
            rows += [(0, "", size, seed, eta, "diverged" if np.log(eta) > edge else "finished")
                     for eta in lr(size)]
    return pd.DataFrame(
        rows, columns=["setting", "setting_label", "batch_size", "seed", "lr", "status"])
