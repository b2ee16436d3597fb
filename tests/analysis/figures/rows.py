"""A small sweep whose tables hold what every monitor and probe would write, in closed form."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from tests.analysis.planted import MONITORS, Planted, tables, write_frames

RICH = Planted(
    lr=(0.05, 0.2), batch_size=(8, 16, 32), label_noise=(0.0,), seeds=2, epochs=8.0, seed_sd=0.0,
    cell_sd=0.0, run_sd=0.0)
EXTRA = ("k_lambda_max", "k_trace", "batch_sharpness", "fisher_trace", "noise_scale_simple",
         "noise_scale", "stiffness_cos_within", "stiffness_cos_between")
MEMORY = ("critical_sample_ratio", "clean_accuracy", "corrupted_accuracy")
_STEPS = np.array([-4.0, -2, -1, 0, 1, 2, 4])


def measured(snapshots: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Monitors' columns: λ_K peaks at epoch 2, at 0.01/(η/S); η × batch sharpness ends at 1.5."""
    ratio = snapshots["run_id"].map(runs.set_index("run_id")["ratio"])
    epoch = snapshots["epoch"] + 0.01
    bump = np.exp(-np.log(epoch / 2.01) ** 2)
    return snapshots.assign(
        k_lambda_max=0.01 / ratio * bump, k_trace=0.05 / ratio * bump,
        batch_sharpness=1.5 * snapshots["epoch"] / 8 / snapshots["lr"] + 1e-3,
        fisher_trace=bump / ratio, noise_scale_simple=10 * (1 + snapshots["epoch"]),
        noise_scale=np.where(snapshots["step"] % 2, np.nan, 20.0),
        stiffness_cos_within=0.8 - 0.05 * snapshots["epoch"], stiffness_cos_between=-0.02)


def run_curves(snapshots: pd.DataFrame) -> pd.DataFrame:
    """Curves of runs: the loss along e_1 is lowest one step down; cosines fall by 0.4 a unit."""
    found = []
    for run_id, step in zip(snapshots["run_id"], snapshots["step"], strict=True):
        for series, unit in (("step", 0.01), ("curvature", 0.2)):
            found.append(_curve(run_id, step, "loss_along_e1", series, unit * _STEPS,
                                1 + 0.001 * ((_STEPS + 1) ** 2 - 1)))
        gamma = np.array([0.25, 0.5, 1, 2, 4])
        for series, scale in (("e1", 1.0), ("random", 0.0), ("step", 3.0)):
            found.append(_curve(run_id, step, "step_loss_change", series, gamma,
                                scale * 1e-3 * (gamma**2 - gamma)))
        x = np.linspace(-2, 6, 60)
        found.append(_curve(run_id, step, "hessian_density", "", x, np.exp(-x**2)))
        d = np.linspace(0.1, 1.2, 6)
        found.append(_curve(run_id, step, "stiffness_distance", "within", d, 0.6 - 0.4 * d))
        found.append(_curve(run_id, step, "stiffness_distance", "between", d, 0 * d))
    return pd.concat(found, ignore_index=True)


def _curve(subject: str, step: int, quantity: str, series: str, x: np.ndarray, value: np.ndarray
           ) -> pd.DataFrame:
    return pd.DataFrame({
        "subject_id": subject, "step": step, "quantity": quantity, "series": series,
        "index": np.arange(len(x)), "x": np.asarray(x, float), "value": np.asarray(value, float)})


def probes(folder: Path, runs: pd.DataFrame) -> pd.DataFrame:
    """Records of probes in ``folder``, and their curves: a straight path tops at 0.5, a bent one at
    0.02; nine tenths of the accuracy at d = 100."""
    one, two = runs["run_id"].iloc[:2]
    ids = {"interpolation": [one, two], "connector": [one, two], "subspace": [one],
           "first_epoch": [one], "wedge": []}
    made, found = {}, []
    (folder / "probes").mkdir()
    every = (*ids.items(), *(("tunnels", [r]) for r in runs["run_id"]))
    for number, (kind, of) in enumerate(every):
        probe_id = f"{number:016x}"
        made.setdefault(kind, []).append((probe_id, of))
        record = {"probe_id": probe_id, "kind": kind, "options": {}, "seed": 0, "run_ids": of,
                  "status": "finished", "status_detail": "", "rows": 1}
        (folder / "probes" / f"{probe_id}.json").write_text(json.dumps(record))

    def put(kind: str, quantity: str, series: str, x: object, value: object) -> None:
        found.append(_curve(made[kind][0][0], 10, quantity, series, np.asarray(x), value))

    alpha = np.linspace(-1, 2, 13)
    for side in ("train", "test"):
        put("interpolation", "interpolation_loss", side, alpha, 0.1 + (alpha * (1 - alpha)) ** 2)
        put("interpolation", "interpolation_accuracy", side, alpha, 1 - 0.1 * alpha**2)
    place = np.linspace(0, 1, 5)
    for path, top in (("linear", 0.5), ("bent", 0.02)):
        put("connector", "connector_loss", f"{path}_0-1_train", place,
            0.01 + (top - 0.01) * 4 * place * (1 - place))
    d = np.array([10, 100, 1000])
    put("subspace", "subspace_train_loss", "draw_0", d, np.array([1.0, 0.1, 0.01]))
    put("subspace", "subspace_test_accuracy", "draw_0", d, np.array([0.2, 0.9, 0.95]))
    put("subspace", "subspace_train_loss", "run", [5000], np.array([0.01]))
    put("subspace", "subspace_test_accuracy", "run", [5000], np.array([0.96]))
    rank = np.linspace(0.05, 0.95, 10)
    put("first_epoch", "first_epoch_error", "", rank, rank)
    for name, off in (("q05", -0.05), ("q50", 0.0), ("q95", 0.05)):
        put("first_epoch", "first_epoch_null", name, rank, 0.5 + off + 0.1 * rank)
    put("first_epoch", "first_epoch_dispersion", "", [30], np.array([12.5]))
    cut = np.arange(11)
    for how in ("least", "found"):
        put("wedge", "wedge_loss", f"{how}_4", cut, np.maximum(0, 1 - cut / 6))
        put("wedge", "wedge_threshold", how, [4], np.array([6]))
    put("wedge", "wedge_threshold", "theory", [4], np.array([6]))
    ratio = runs.set_index("run_id")["ratio"]
    for probe_id, (run_id,) in made["tunnels"]:
        angle = np.linspace(0, 1.5, 7)
        for quartile, factor in (("lower", 0.5), ("median", 1.0), ("upper", 2.0)):
            found.append(_curve(probe_id, 10, "tunnel_loss", f"angular_plain_{quartile}", angle,
                                0.01 + factor * angle**2))
        found.append(_curve(probe_id, 10, "tunnel_width", "angular_plain",
                            np.array([0.25, 0.5, 0.75]), np.full(3, ratio[run_id] ** 0.5)))
    return pd.concat(found, ignore_index=True)


def spectra(snapshots: pd.DataFrame) -> pd.DataFrame:
    """λ_i = λ_max / i for i = 1…3."""
    return pd.concat([
        pd.DataFrame({"run_id": snapshots["run_id"], "step": snapshots["step"],
                      "operator": "hessian", "index": i,
                      "value": snapshots["hessian_lambda_max"] / i, "bound": None})
        for i in (1, 2, 3)], ignore_index=True)


def rich(folder: Path, planted: Planted = RICH) -> Path:
    """Writes the sweep with the columns, curves, spectra and probes of everything but noise."""
    runs, snapshots = tables(planted)
    snapshots = measured(snapshots, runs)
    ends = snapshots.groupby("run_id").last()
    runs = runs.assign(**{f"final_{c}": runs["run_id"].map(ends[c]) for c in EXTRA})
    folder.mkdir(exist_ok=True)
    curves = pd.concat([run_curves(snapshots), probes(folder, runs)], ignore_index=True)
    planted = planted.but(monitors={**MONITORS, **dict.fromkeys(EXTRA, "1")})
    return write_frames(folder, planted, runs, snapshots, curves=curves,
                        spectra=spectra(snapshots))


def noisy(folder: Path) -> Path:
    """A sweep over label noise p alone: the critical sample ratio ends at p, accuracy at 1 − p."""
    planted = RICH.but(name="noisy", lr=(0.1,), batch_size=(16,), label_noise=(0.0, 0.5, 1.0))
    runs, snapshots = tables(planted)
    noise = snapshots["run_id"].map(runs.set_index("run_id")["label_noise"])
    late = snapshots["epoch"] / 8
    snapshots = snapshots.assign(
        critical_sample_ratio=0.5 * (1 - late) + noise * late, clean_accuracy=0.9 * late**0.2,
        corrupted_accuracy=np.where(noise > 0, late**2, np.nan),
        test_accuracy=1 - noise * late)
    runs = runs.assign(**{f"final_{c}": 0.0 for c in MEMORY})
    planted = planted.but(monitors={**MONITORS, **dict.fromkeys(MEMORY, "1")})
    return write_frames(folder, planted, runs, snapshots)


def steered(folder: Path) -> Path:
    """η is switched from 0.2 to 0.02 at epochs 1, 2 and 4, and the other way round; λ_max ends at
    ten times the moment where η was large first, at 5 else."""
    config = {"config_train_lr_schedule_name": "str", "config_train_lr_schedule_at": "float",
              "config_train_lr_schedule_factor": "float"}
    planted = RICH.but(name="steered", lr=(0.2, 0.02), batch_size=(8, 16, 32), config=config)
    runs, snapshots = tables(planted)
    moment = runs["batch_size"].map({8: 1.0, 16: 2.0, 32: 4.0})  # a moment in place of each size
    down = runs["lr"] == 0.2
    end = np.where(down, 10 * moment, 5.0)
    runs = runs.assign(batch_size=8, ratio=runs["lr"] / 8, config_train_lr_schedule_name="switch",
                       config_train_lr_schedule_at=moment,
                       config_train_lr_schedule_factor=np.where(down, 0.1, 10.0))
    sharp = snapshots["run_id"].map(dict(zip(runs["run_id"], end, strict=True)))
    return write_frames(folder, planted, runs, snapshots.assign(hessian_lambda_max=sharp))


def full(folder: Path) -> Path:
    """Full batch, squared loss: plain descent at η = 0.1 and 0.3 from λ₀ = 10, where the larger η
    throws the loss up fourfold and ends at η·λ = 1.5; Adam at η = 0.001, whose η·λ(P⁻¹H) is 37."""
    config = {"config_train_loss": "str", "config_train_optimizer_name": "str",
              "config_train_optimizer_beta1": "float"}
    planted = RICH.but(name="full", lr=(0.001, 0.1, 0.3), batch_size=(1500,), config=config)
    planted = planted.but(monitors={**MONITORS, "preconditioned_lambda_max": "1"})
    runs, snapshots = tables(planted)
    adam = runs["lr"] == 0.001
    runs = runs.assign(
        config_train_loss="mse", config_train_optimizer_name=np.where(adam, "adam", "sgd"),
        config_train_optimizer_beta1=np.where(adam, 0.9, np.nan),
        final_preconditioned_lambda_max=0.0)
    lr, late = snapshots["lr"], snapshots["step"] > 0
    thrown = lr == 0.3
    second = snapshots.groupby("run_id").cumcount() == 1
    return write_frames(folder, planted, runs, snapshots.assign(
        hessian_lambda_max=np.where(thrown & late, 5.0, 10.0),
        preconditioned_lambda_max=np.where(lr == 0.001, 37 / lr, np.nan),
        train_loss=np.where(thrown & second, 4.0, np.where(late, 0.1, 1.0))))
