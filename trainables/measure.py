"""One snapshot of a pack: the monitors' columns, turned into rows for the runs that are alive."""

import math
import time
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from trainables import monitors
from trainables.ahead import Ahead
from trainables.curves import Curve
from trainables.pack import Pack, PackState
from trainables.probe import Probe, blocks
from trainables.schedules import lr_factor

Row = dict[str, Any]
_OF_THE_STEP = ("epoch", "lr", "measure_size", "measure_notes", "time_measure_s")


def snapshot_rows(pack: Pack, state: PackState, wanted: Tensor) -> dict[str, list[Row]]:
    """The rows of the measured tables of the runs ``wanted`` (R,) at the present step.

    Keeps each run's newest values in ``state.final``, what monitors remember in ``state.memory``,
    and adds up the gradient equivalents. A block is measured whole, masked runs included (its width
    is part of the numerics), or not at all where none of its runs is wanted.
    """
    rows: dict[str, list[Row]] = {"snapshots": [], "spectra": [], "curves": []}
    chosen = [r for r in wanted.nonzero().flatten().tolist() if r < len(pack.members)]
    if not chosen:
        return rows
    ahead = Ahead(pack, state)
    for block in blocks(pack):
        inside = [r for r in chosen if block.start <= r < block.stop]
        if not inside:
            continue
        start = time.monotonic()
        probe = Probe(pack, state, block, ahead)
        found = _measure_block(probe)
        for name, value in probe.remembered.items():
            if name not in state.memory:
                state.memory[name] = value.new_zeros(pack.width, *value.shape[1:])
            at = torch.tensor(inside, device=value.device)  # of the others nothing was measured
            state.memory[name][at] = value[at - block.start]
        each = (time.monotonic() - start) / len(inside)
        for r in inside:
            i, run_id = r - block.start, pack.members[r].run_id
            columns = {n: probe.known(n, i, float(v[i])) for n, v in found.columns.items()}
            row = {"run_id": run_id, "step": state.step, "epoch": pack.calendar.epoch(state.step),
                   "lr": _rate(pack, state.step, r), "measure_size": len(pack.measure_set),
                   "measure_ge": float(probe.ge[i]), "measure_notes": probe.notes(i),
                   "time_measure_s": each, **columns}
            rows["snapshots"].append(row)
            rows["spectra"] += _spectra(run_id, state.step, found, i)
            rows["curves"] += [
                {"subject_id": run_id, "step": state.step, "quantity": quantity, **point}
                for quantity, curves in found.curves.items()
                for curve in curves for point in curve.rows(i)]
            state.measure_ge[r] += probe.ge[i]
            state.final[run_id] = {n: v for n, v in row.items()
                                   if v is not None and n not in ("run_id", *_OF_THE_STEP)}
    return rows


@dataclass
class _Found:
    columns: dict[str, Tensor]
    spectra: dict[str, Tensor] = field(default_factory=dict)
    bounds: dict[str, Tensor] = field(default_factory=dict)  # by operator
    curves: dict[str, list[Curve]] = field(default_factory=dict)


def _measure_block(probe: Probe) -> _Found:
    """What all monitors find for the block's runs."""
    found = _Found({
        "param_norm": probe.flat.double().norm(dim=1),
        "init_distance": (probe.flat.double() - probe.initial.double()).norm(dim=1),
    })
    for name, options in probe.pack.measure["monitors"]:
        monitor = monitors.find(name, probe.pack.base_dir)
        for key, value in monitor.measure(probe, options).items():
            operator = key.removesuffix("_bound")
            if isinstance(value, Curve | list):
                found.curves[key] = [value] if isinstance(value, Curve) else value
            elif value.dim() == 1:
                found.columns[key] = value
            elif key not in monitor.spectra and operator in monitor.spectra:
                found.bounds[operator] = value
            else:
                found.spectra[key] = value
    # Last: by now they may have come with something else.
    found.columns["grad_norm"] = probe.gradient.double().norm(dim=1)
    train_loss, train_accuracy = probe.evaluate_train()
    test_loss, test_accuracy = probe.evaluate_test()
    found.columns |= {"train_loss": train_loss, "train_accuracy": train_accuracy,
                      "test_loss": test_loss, "test_accuracy": test_accuracy}
    for part in (found.columns, found.spectra, found.bounds):
        part |= {n: v.detach().double().cpu() for n, v in part.items()}
    return found


def _rate(pack: Pack, step: int, r: int) -> float:
    factor = lr_factor(pack.train["lr_schedule"], step, pack.calendar, pack.steps)
    return float(pack.configs[r]["train"]["lr"]) * factor


def _spectra(run_id: str, step: int, found: _Found, i: int) -> list[Row]:
    rows = []
    for operator, values in found.spectra.items():
        bounds = found.bounds[operator][i].tolist() if operator in found.bounds else repeat(None)
        rows += [
            {"run_id": run_id, "step": step, "operator": operator, "index": j, "value": value,
             "bound": None if bound is None or math.isnan(bound) else bound}
            for j, (value, bound) in enumerate(zip(values[i].tolist(), bounds, strict=False), 1)
            if not math.isnan(value)]
    return rows


def final_weights(pack: Pack, state: PackState) -> dict[str, dict[str, Tensor]]:
    """run_id -> the plain model's state_dict; BatchNorm statistics are the calibration batch's."""
    weights, first = {}, {}
    owner = {n: first.setdefault(id(p), n)  # shared parameters have several names
             for n, p in pack.template.named_parameters(remove_duplicate=False)}
    for block in blocks(pack):
        probe = Probe(pack, state, block)
        for i, member in enumerate(pack.members[block]):
            trained = {n: p[i] for n, p in probe.params.items()}
            trained |= {n: b[i] for n, b in probe.buffers.items()}
            weights[member.run_id] = {
                n: trained.get(owner.get(n, n), t).clone()
                for n, t in pack.template.state_dict().items()}
    return weights
