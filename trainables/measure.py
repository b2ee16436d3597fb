"""One snapshot of a pack: the monitors' columns, turned into rows for the runs that are alive."""

import math
import time
from typing import Any

from torch import Tensor

from trainables.monitors import MONITORS
from trainables.pack import Pack, PackState
from trainables.probe import Probe, blocks
from trainables.schedules import lr_factor

Row = dict[str, Any]
_OF_THE_STEP = ("epoch", "lr", "measure_size", "time_measure_s")


def snapshot_rows(pack: Pack, state: PackState, wanted: Tensor) -> dict[str, list[Row]]:
    """The rows of ``snapshots`` and ``spectra`` of the runs ``wanted`` (R,) at the present step.

    Keeps each run's newest values in ``state.final`` and adds up its gradient equivalents.
    A block is measured whole, masked runs included (its width is part of the numerics), or not at
    all where none of its runs is wanted.
    """
    rows: dict[str, list[Row]] = {"snapshots": [], "spectra": []}
    chosen = [r for r in wanted.nonzero().flatten().tolist() if r < len(pack.members)]
    if not chosen:
        return rows
    for block in blocks(pack):
        inside = [r for r in chosen if block.start <= r < block.stop]
        if not inside:
            continue
        start = time.monotonic()
        columns, spectra, ge = _measure_block(pack, state, block)
        each = (time.monotonic() - start) / len(inside)
        for r in inside:
            i = r - block.start
            row = {"run_id": pack.members[r].run_id, "step": state.step,
                   "epoch": state.step / pack.steps_per_epoch, "lr": _rate(pack, state.step, r),
                   "measure_size": len(pack.measure_set), "measure_ge": float(ge[i]),
                   "time_measure_s": each, **{n: float(v[i]) for n, v in columns.items()}}
            rows["snapshots"].append(row)
            rows["spectra"] += _spectra(row["run_id"], state.step, spectra, i)
            state.measure_ge[r] += ge[i]
            state.final[row["run_id"]] = {
                n: v for n, v in row.items() if n not in ("run_id", *_OF_THE_STEP)}
    return rows


def _measure_block(pack: Pack, state: PackState, block: slice):
    """(columns, spectra, gradient equivalents) of the block's runs."""
    probe = Probe(pack, state.params, state.step, block)
    train_loss, train_accuracy = probe.evaluate_train()
    test_loss, test_accuracy = probe.evaluate_test()
    columns = {
        "train_loss": train_loss, "train_accuracy": train_accuracy,
        "test_loss": test_loss, "test_accuracy": test_accuracy,
        "grad_norm": probe.gradient.double().norm(dim=1),
        "param_norm": probe.flat.double().norm(dim=1),
        "init_distance": (probe.flat.double() - probe.initial.double()).norm(dim=1),
    }
    spectra = {}
    for name, options in pack.measure["monitors"]:
        for column, value in MONITORS[name].measure(probe, options).items():
            (columns if value.dim() == 1 else spectra)[column] = value
    columns = {n: v.detach().double().cpu() for n, v in columns.items()}
    return columns, {n: v.detach().double().cpu() for n, v in spectra.items()}, probe.ge


def _rate(pack: Pack, step: int, r: int) -> float:
    factor = lr_factor(pack.train["lr_schedule"], step, pack.steps_per_epoch, pack.steps)
    return float(pack.configs[r]["train"]["lr"]) * factor


def _spectra(run_id: str, step: int, spectra: dict[str, Tensor], i: int) -> list[Row]:
    return [
        {"run_id": run_id, "step": step, "operator": operator, "index": j + 1, "value": value}
        for operator, values in spectra.items()
        for j, value in enumerate(values[i].tolist())
        if not math.isnan(value)
    ]


def final_weights(pack: Pack, state: PackState) -> dict[str, dict[str, Tensor]]:
    """run_id -> the plain model's state_dict; BatchNorm statistics are the calibration batch's."""
    weights, first = {}, {}
    owner = {n: first.setdefault(id(p), n)  # shared parameters have several names
             for n, p in pack.template.named_parameters(remove_duplicate=False)}
    for block in blocks(pack):
        probe = Probe(pack, state.params, state.step, block)
        for i, member in enumerate(pack.members[block]):
            trained = {n: p[i] for n, p in probe.params.items()}
            trained |= {n: b[i] for n, b in probe.buffers.items()}
            weights[member.run_id] = {
                n: trained.get(owner.get(n, n), t).clone()
                for n, t in pack.template.state_dict().items()}
    return weights
