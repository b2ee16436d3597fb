"""Tables to tidy frames: which runs there are, which are compared, and why the others are not."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from analysis.folder import Folder, Where
from analysis.labels import number
from analysis.tables import read

NOISES = ("label_noise", "input_noise", "gradient_noise")
AXES = ("lr", "batch_size")
_BASE = (*AXES, *NOISES, "momentum", "weight_decay")
_FIXED = ("precision", "numerics", "data_sha256", "train_size")
_SAME_RATIO = 1e-6
STATUS_WORDS = {
    "finished": "finished",
    "diverged": "diverged",
    "stopped": "stopped short of their target",
    "failed": "failed",
}
_JOINED = (
    *_BASE,
    "ratio",
    "effective_ratio",
    "seed",
    "status",
    "cell",
    "setting",
    "setting_label",
    "stratum",
    "ratio_group",
    "train_size",
    "test_size",
)


@dataclass(frozen=True)
class Exclusion:
    """Runs that an analysis leaves out, for one reason."""

    reason: str
    run_ids: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many runs."""
        return len(self.run_ids)


@dataclass(frozen=True)
class Sweep:
    """A sweep as tidy frames, in an order that does not depend on how the parts were cut.

    ``runs``: one row a run that has ended, with ``cell`` (all but the seed equal), ``setting``
    (all but η, S and the seed equal), ``stratum`` (as setting, noise and momentum left out too)
    and ``ratio_group`` (ratios equal to 1e-6, as one number). ``setting_label`` and
    ``stratum_label`` say what differs between them. ``sizeless_setting``, ``sizeless_stratum`` and
    ``sizeless_label``: the same with the size N of the training set left out too.
    ``snapshots``: one row a run and step, with the run's axes, status and groups joined.
    """

    folder: Folder
    name: str
    runs: pd.DataFrame
    snapshots: pd.DataFrame
    exclusions: tuple[Exclusion, ...]

    @cached_property
    def spectra(self) -> pd.DataFrame:
        """Eigenvalues (run_id, step, operator, index, value, bound) of its runs; read on use."""
        frame = read(self.folder, "spectra").to_pandas()
        frame = frame[frame["run_id"].isin(self.runs["run_id"])]
        return _sorted(frame, ["run_id", "step", "operator", "index"])

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Curves (subject_id, step, quantity, series, index, x, value); read on use."""
        frame = read(self.folder, "curves").to_pandas()
        return _sorted(frame, ["subject_id", "step", "quantity", "series", "index", "x"])

    @property
    def finished(self) -> pd.DataFrame:
        """The rows of ``runs`` that the laws may use."""
        return self.runs[self.runs["status"] == "finished"]

    def measures(self, metric: str) -> bool:
        """Whether any snapshot holds a value of ``metric``."""
        return metric in self.snapshots and bool(self.snapshots[metric].notna().any())

    def varies(self, column: str) -> bool:
        """Whether the runs differ in ``column``."""
        return self.runs[column].nunique(dropna=False) > 1


def load(where: Where, only: Collection[str] | None = None) -> Sweep:
    """Reads the sweep's folder. ``only``: the run ids of the current grid; others are counted out.

    Works while the sweep runs: runs that have no final row yet are counted, not used.
    """
    folder = Folder.of(where)
    runs = _sorted(read(folder, "runs").to_pandas(), ["run_id"])
    snapshots = read(folder, "snapshots").to_pandas()
    begun = set(snapshots["run_id"].unique()) - set(runs["run_id"])
    foreign: set[str] = set()
    if only is not None:
        foreign = (set(runs["run_id"]) | begun) - set(only)
        runs = runs[~runs["run_id"].isin(foreign)].reset_index(drop=True)
    runs = _grouped(runs)
    joined = runs[["run_id", *_JOINED]].rename(columns={"lr": "run_lr"})
    snapshots = _sorted(snapshots.merge(joined, on="run_id"), ["run_id", "step"])
    exclusions = (
        _exclusion("not in the current grid", foreign),
        _exclusion("still running", begun - foreign),
        *(
            _exclusion(words, runs.loc[runs["status"] == status, "run_id"])
            for status, words in STATUS_WORDS.items()
            if status != "finished"
        ),
    )
    name = str(runs["name"].iloc[0]) if len(runs) else PurePosixPath(folder.path).name
    return Sweep(folder, name, runs, snapshots, tuple(e for e in exclusions if e.count))


def _exclusion(reason: str, run_ids: Collection[str]) -> Exclusion:
    return Exclusion(reason, tuple(sorted(run_ids)))


def _sorted(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    return frame.sort_values(keys, kind="stable", ignore_index=True)


def _grouped(runs: pd.DataFrame) -> pd.DataFrame:
    config = _config_columns(runs)
    stratum = ["weight_decay", *_FIXED, *config]
    setting = [*NOISES, "momentum", *stratum]
    sizes = {"train_size", "data_sha256", *(name for name in config if _follows_size(runs, name))}
    if (runs.groupby("train_size")["data_sha256"].nunique() > 1).any():
        sizes.remove("data_sha256")  # other data of the same size
    sizeless = [name for name in setting if name not in sizes]
    return runs.assign(
        cell=_codes(runs, [*AXES, *setting]),
        setting=_codes(runs, setting),
        stratum=_codes(runs, stratum),
        sizeless_setting=_codes(runs, sizeless),
        sizeless_stratum=_codes(runs, [name for name in stratum if name not in sizes]),
        setting_label=_varied_labels(runs, setting),
        sizeless_label=_varied_labels(runs, sizeless),
        stratum_label=_varied_labels(runs, stratum),
        ratio_group=same_ratio(runs["ratio"].to_numpy(float)),
    )


def _follows_size(runs: pd.DataFrame, name: str) -> bool:
    """Whether a config column is N itself, or a size that was chosen by it."""
    is_size = name.endswith(("train_size", "set_size"))
    return is_size and bool((runs.groupby("train_size")[name].nunique(dropna=False) < 2).all())


def _config_columns(runs: pd.DataFrame) -> list[str]:
    """The config columns that say something new: no copy of an axis, a noise, the seed or N."""
    known = [runs[name] for name in (*_BASE, "seed", "train_size") if name in runs]
    return [
        name
        for name in runs.columns
        if name.startswith("config_") and not any(_equal(runs[name], column) for column in known)
    ]


def _equal(a: pd.Series, b: pd.Series) -> bool:
    numeric = all(pd.api.types.is_numeric_dtype(column) for column in (a, b))
    # A column that never varies is no copy worth dropping: it cannot split a cell either way.
    return numeric and a.nunique() > 1 and bool((a == b).all())


def _codes(runs: pd.DataFrame, columns: list[str]) -> np.ndarray:
    return runs.groupby(columns, dropna=False, sort=True).ngroup().to_numpy()


def _varied_labels(runs: pd.DataFrame, columns: list[str]) -> list[str]:
    varied = [name for name in columns if runs[name].nunique(dropna=False) > 1]
    words = [name.removeprefix("config_").replace("_", " ") for name in varied]
    if not varied:
        return [""] * len(runs)
    return [
        ", ".join(f"{word} {_said(value)}" for word, value in zip(words, row, strict=True))
        for row in runs[varied].itertuples(index=False, name=None)
    ]


def _said(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)


def same_ratio(ratio: np.ndarray) -> np.ndarray:
    """Each ratio as the smallest of those equal to it up to 1e-6, relative."""
    order = np.argsort(ratio, kind="stable")
    group, first = np.empty_like(ratio), -math.inf
    for position in order:
        if not ratio[position] <= first * (1 + _SAME_RATIO):
            first = ratio[position]
        group[position] = first
    return group
