"""The four tables: their columns, types and units. The product's outside; its readers own it.

Never inferred from data: a sweep's schema is the base schema plus the columns that its config and
its monitors declare, fixed when the sweep is first written. Measured values are float64; null
means "not measured", NaN is a measured NaN. What may differ between two executions of the same
run sits only in columns whose names begin with ``time_`` or ``host_``.
"""

from collections.abc import Mapping

import pyarrow as pa

FORMAT = 1
TABLES = ("runs", "snapshots", "spectra", "curves")
VOLATILE = ("time_", "host_")

_TYPES = {"int": pa.int64(), "float": pa.float64(), "str": pa.string(), "bool": pa.bool_()}

# (name, type, unit or meaning)
_RUNS_HEAD = (
    ("run_id", "str", "first 16 hex digits of the SHA-256 of the run's canonical config"),
    ("name", "str", "the sweep's name"),
    ("lr", "float", "learning rate, before its schedule"),
    ("batch_size", "int", "examples a step"),
    ("ratio", "float", "lr / batch_size"),
    ("effective_ratio", "float", "lr / (batch_size (1 - momentum))"),
    ("label_noise", "float", "fraction of training labels redrawn uniformly over all classes"),
    ("input_noise", "float", "fraction of training inputs replaced by Gaussian noise"),
    ("gradient_noise", "float", "standard deviation added to each gradient coordinate"),
    ("seed", "int", "the run's seed"),
    ("momentum", "float", "heavy-ball coefficient"),
    ("weight_decay", "float", "L2 coefficient, added to the gradient"),
)
_RUNS_TAIL = (
    ("status", "str", "finished | diverged | stopped | failed"),
    ("status_detail", "str", "the outcome in words"),
    ("steps", "int", "optimiser steps made"),
    ("epochs", "float", "steps / floor(N / S)"),
    ("final_train_loss", "float", "mean over the whole training set"),
    ("final_train_accuracy", "float", "fraction"),
    ("final_test_loss", "float", "mean over the whole test set"),
    ("final_test_accuracy", "float", "fraction"),
    ("final_grad_norm", "float", "L2 norm of the measurement set's gradient"),
    ("final_param_norm", "float", "L2 norm"),
    ("final_init_distance", "float", "L2 distance from the initial parameters"),
    ("train_size", "int", "N, training examples"),
    ("test_size", "int", "test examples"),
    ("parameters", "int", "P, trainable parameters"),
    ("measure_ge", "float", "gradient equivalents spent on measuring"),
    ("train_ge", "float", "gradient equivalents spent on training"),
    ("pack_id", "str", "the pack it was trained in"),
    ("engine", "str", "vmap | loop | vmap-compiled | loop-compiled"),
    ("width", "int", "runs in the pack, padding included"),
    ("threads", "int", "CPU threads of the worker"),
    ("device_kind", "str", "cpu, or the accelerator's name"),
    ("precision", "str", "fp32 | fp64"),
    ("numerics", "int", "raised when results change on purpose"),
    ("torch_version", "str", ""),
    ("sgdscope_version", "str", ""),
    ("data_sha256", "str", "content hash of the data"),
    ("time_train_s", "float", "seconds of the pack's training, shared evenly by its runs"),
    ("time_measure_s", "float", "seconds of the pack's measuring, shared evenly by its runs"),
    ("host_name", "str", ""),
)
_SNAPSHOTS = (
    ("run_id", "str", ""),
    ("step", "int", "optimiser steps made before measuring"),
    ("epoch", "float", "step / floor(N / S)"),
    ("lr", "float", "learning rate of the step that follows"),
    ("train_loss", "float", "mean over the whole training set, the run's noise included"),
    ("train_accuracy", "float", "fraction"),
    ("test_loss", "float", "mean over the whole test set"),
    ("test_accuracy", "float", "fraction"),
    ("grad_norm", "float", "L2 norm of the measurement set's mean gradient"),
    ("param_norm", "float", "L2 norm"),
    ("init_distance", "float", "L2 distance from the initial parameters"),
    ("measure_size", "int", "examples of the measurement set"),
    ("measure_ge", "float", "gradient equivalents of this snapshot"),
)
_SNAPSHOTS_TAIL = (
    ("measure_notes", "str", "why a monitor's value is null, in words"),
    ("time_measure_s", "float", "seconds of this snapshot, shared evenly"),
)
_SPECTRA = (
    ("run_id", "str", ""),
    ("step", "int", ""),
    ("operator", "str", "hessian: the Hessian of the mean training loss on the measurement set"),
    ("index", "int", "1 is the largest algebraic eigenvalue"),
    ("value", "float", ""),
    ("bound", "float", "error bound of the value, where its monitor knows one"),
)
_CURVES = (
    ("subject_id", "str", "run_id or probe_id"),
    ("step", "int", ""),
    ("quantity", "str", ""),
    ("series", "str", ""),
    ("index", "int", ""),
    ("x", "float", ""),
    ("value", "float", ""),
)


def _schema(table, columns) -> pa.Schema:
    fields = [
        pa.field(name, _TYPES[kind], metadata={b"unit": unit.encode()})
        for name, kind, unit in columns
    ]
    names = [f.name for f in fields]
    if len(set(names)) != len(names):
        raise ValueError(f"table {table}: a column is declared twice: {names}")
    meta = {b"sgdscope.table": table.encode(), b"sgdscope.format": str(FORMAT).encode()}
    return pa.schema(fields, metadata=meta)


def base_columns(table: str) -> frozenset[str]:
    """The columns that a table has in every sweep."""
    return frozenset(sweep_schema()[table].names)


def sweep_schema(
    config: Mapping[str, str] | None = None, monitors: Mapping[str, str] | None = None
) -> dict[str, pa.Schema]:
    """The schemas of one sweep's tables.

    ``config``: column name -> "int" | "float" | "str" | "bool" for the config columns of ``runs``
    (names begin with ``config_``). ``monitors``: column name -> unit for the monitors' float
    columns of ``snapshots``; each also gets a ``final_`` twin in ``runs``.
    """
    config, monitors = dict(config or {}), dict(monitors or {})
    middle = tuple((name, kind, "as in resolved.yaml") for name, kind in config.items())
    finals = tuple((f"final_{name}", "float", unit) for name, unit in monitors.items())
    measured = tuple((name, "float", unit) for name, unit in monitors.items())
    return {
        "runs": _schema("runs", _RUNS_HEAD + middle + _RUNS_TAIL + finals),
        "snapshots": _schema("snapshots", _SNAPSHOTS + measured + _SNAPSHOTS_TAIL),
        "spectra": _schema("spectra", _SPECTRA),
        "curves": _schema("curves", _CURVES),
    }
