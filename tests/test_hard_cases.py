"""All monitors at once where mathematics, data or model leave something undefined.

Through ``snapshot_rows``, as in training. A value is right, or null with a reason in the notes:
of a run that is alive and finite no column is NaN without one.
"""

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from tests.trainables.runs import HERE, blobs, config, pack_of
from trainables import snapshot
from trainables.datasets import Dataset
from trainables.measure import snapshot_rows
from trainables.monitors import FAMILIES, find
from trainables.probe import Probe
from trainables.step import update
from trainables.train import Segment, train

# All that can be switched on is, and all that can be small is small.
FULL = {
    "batch_sharpness": {"batches": 4, "gni": True, "lambda_max_batches": 2},
    "fisher": {"samples": 2},
    "geometry": {},
    "gradient_noise": {"batches": 5, "k": 3, "products": 2},
    "memorization": {"iterations": 4, "examples": 20, "sensitivity": True,
                     "sensitivity_class": True, "sensitivity_examples": 12, "steps": 4, "every": 2},
    "spectrum": {"k": 3, "frobenius": True, "density": 6, "density_starts": 2,
                 "gauss_newton": True, "normalized": True, "preconditioned": True},
    "step_geometry": {"k": 3, "batches": 3, "directions": 2, "examples": 16, "nodes": 5},
    "stiffness": {"examples": 20, "exclude_last_layer": True, "resamples": 20},
}
OURS = {"train_loss", "train_accuracy", "test_loss", "test_accuracy", "param_norm",
        "init_distance", "grad_norm"}
OF_THE_ROW = {"run_id", "step", "epoch", "lr", "measure_size", "measure_ge", "measure_notes",
              "time_measure_s"}
MLP = {"name": "mlp", "width": 5, "depth": 1}
LINEAR = {"name": "linear"}


def every_monitor(**changed):
    """All families, resolved; ``changed`` has options of some."""
    return [(n, find(n, HERE).resolve({**FULL[n], **changed.get(n, {})})) for n in FAMILIES]


def user(name):
    """A model of this file."""
    return {"name": f"{__name__}:{name}"}


# Models of whose landscape something is known.

def dead(input_shape, classes):
    """No unit is ever active: the loss depends on no parameter, every gradient is zero."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), 3), nn.ReLU(),
                        nn.Linear(3, classes, bias=False))
    nn.init.zeros_(net[1].weight)
    nn.init.constant_(net[1].bias, -1.0)
    return net


def zeros(input_shape, classes):
    """All weights zero: a saddle, the gradients of all layers but the last bias are zero."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), 3), nn.Tanh(),
                        nn.Linear(3, classes))
    for p in net.parameters():
        nn.init.zeros_(p)
    return net


def fitted(input_shape, classes):
    """With ``one_hot`` data and mse an exact minimum of loss zero: each gradient is zero."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), classes, bias=False))
    nn.init.eye_(net[1].weight)
    return net


class OneLogit(nn.Module):
    """Outputs (w·x, 0, …): with one input only, H = p (1 − p) x xᵀ has rank one."""

    def __init__(self, inputs, classes):
        super().__init__()
        self.first = nn.Linear(inputs, 1, bias=False)
        self.others = classes - 1

    def forward(self, x):
        return nn.functional.pad(self.first(x.flatten(1)), (0, self.others))


def one_logit(input_shape, classes):
    """See ``OneLogit``."""
    return OneLogit(math.prod(input_shape), classes)


def bare_layers(input_shape, classes):
    """Layers without parameters at the beginning, between and at the end."""
    inputs = math.prod(input_shape)
    return nn.Sequential(nn.Flatten(), nn.LayerNorm(inputs, elementwise_affine=False),
                         nn.Linear(inputs, 4), nn.Tanh(), nn.Identity(), nn.Linear(4, classes),
                         nn.Softplus())


def same_input():
    """40 copies of one input, with the labels of ``blobs``."""
    data = blobs()
    x = np.repeat(data.x_train[:1], 40, axis=0)
    return Dataset(x, data.y_train, x[:12], data.y_test, 3, "0" * 64)


def one_hot():
    """x is the one-hot code of y."""
    y = np.arange(42) % 3
    x = np.eye(3, dtype=np.float32)[y]
    return Dataset(x[:30], y[:30], x[30:], y[30:], 3, "0" * 64)


def one_class():
    """Three classes, but all examples are of the first."""
    data = blobs()
    return Dataset(data.x_train, 0 * data.y_train, data.x_test, 0 * data.y_test, 3, "0" * 64)


ADAM = {"name": "adam", "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
LARGE_K = {n: {"k": 30} for n in ("spectrum", "gradient_noise", "step_geometry")}

# id: (why it is here, model, data, config, monitors' options)
CASES = {
    "plain": ("nothing hard", MLP, blobs(), {}, {}),
    "degenerate": ("every eigenvalue C times", LINEAR, blobs(), {"loss": "mse"}, {}),
    "rank one": ("all other eigenvalues are 0", user("one_logit"), same_input(), {}, {}),
    "dead": ("gradients and Hessian are exactly 0", user("dead"), blobs(), {}, {}),
    "dead, mse": ("the same, C-fold", user("dead"), blobs(), {"loss": "mse"}, {}),
    "zero weights": ("a saddle", user("zeros"), blobs(train=39), {}, {}),
    "fitted": ("gradients 0, Hessian not", user("fitted"), one_hot(), {"loss": "mse"}, {}),
    "layers without parameters": ("also the last", user("bare_layers"), blobs(), {}, {}),
    "one layer": ("nothing but the last layer", LINEAR, blobs(), {}, {}),
    "a remainder": ("S divides neither N nor n", MLP, blobs(), {"batch_size": 7, "set_size": 17},
                    {}),
    "full batch": ("S = N: one batch, no noise", MLP, blobs(), {"batch_size": 40}, {}),
    "batches of one": ("S = 1", MLP, blobs(), {"batch_size": 1}, {}),
    "one class": ("no pairs between classes", MLP, one_class(), {}, {}),
    "one output": ("the cross-entropy is 0", MLP, blobs(classes=1), {}, {}),
    "large k": ("k above the parameters", LINEAR, blobs(shape=(1,), classes=2), {}, LARGE_K),
    "one example": ("of the measurement set", MLP, blobs(), {"set_size": 1}, {}),
    "two examples": ("of the measurement set", MLP, blobs(), {"set_size": 2}, {}),
    "BatchNorm and dropout": ("statistics and masks", MLP | {"batch_norm": True, "dropout": 0.3},
                              blobs(), {}, {}),
    "input noise": ("x is not shared by the runs", MLP, blobs(),
                    {"noisy": {"input": 0.4, "label": 0.3}}, {}),
    "all noise": ("no clean example", MLP, blobs(), {"noisy": {"label": 1.0}}, {}),
    "momentum": ("another optimiser", MLP, blobs(), {"momentum": 0.9}, {}),
    "adam": ("another optimiser", MLP, blobs(), {"optimizer": ADAM}, {}),
    "images": ("channels", {"name": "simple_cnn", "width": 2, "dense": 3},
               blobs(shape=(1, 8, 8), train=24), {}, {}),
    "draws with replacement": ("minibatches may repeat", MLP, blobs(),
                               {"sampling": "with_replacement"},
                               {"gradient_noise": {"sampling": "with_replacement"},
                                "fisher": {"exact": True}}),
    "one parameter": ("every direction is the same", user("one_logit"),
                      blobs(shape=(1,), classes=2), {}, {}),
    "one training example": ("no pairs, no noise", MLP, blobs(train=1, test=2),
                             {"batch_size": 1}, {}),
    "one test example": ("no pairs there", MLP, blobs(test=1), {},
                         {"stiffness": {"pairs": "test"}}),
    "saturated": ("outputs of 1e6, gradients of 0 or so", MLP | {"init_scale": 1e3}, blobs(), {},
                  {}),
    "no step": ("a learning rate of 0: the coming updates are 0", MLP, blobs(), {"lr": 0.0}, {}),
    "test pairs": ("of the test set", MLP, blobs(), {},
                   {"stiffness": {"pairs": "cross"}, "memorization": {"set": "train"}}),
}


def packed(case, *, precision="fp64", engine="vmap", runs=2, steps=3, monitors=None):
    """The pack of a case, and its state after some steps."""
    _, model, data, options, changed = CASES[case]
    chosen = every_monitor(**changed) if monitors is None else monitors
    pack = pack_of([config(model, seed=s, precision=precision, monitors=chosen, **options)
                    for s in range(runs)], data, engine=engine)
    state = pack.init()
    for _ in range(steps):
        update(pack, state)
    return pack, state


def everyone(pack):
    return torch.ones(pack.width, dtype=torch.bool)


@cache
def measured(case, precision, engine):
    """The rows of a case after three steps.

    A loop takes as long for each run: of two runs in one case only.
    """
    runs = 2 if engine == "vmap" or case == "plain" else 1
    pack, state = packed(case, precision=precision, engine=engine, runs=runs)
    return snapshot_rows(pack, state, everyone(pack))


def told(row):
    """The columns that the notes explain."""
    return {part.split(":")[0] for part in (row["measure_notes"] or "").split("; ")}


def unknown(row):
    """Columns of a row that are null or NaN."""
    return {n for n, v in row.items() if n not in OF_THE_ROW and (v is None or math.isnan(v))}


@pytest.mark.parametrize(("precision", "engine"), [
    ("fp64", "vmap"), ("fp32", "vmap"), ("fp64", "loop")])
@pytest.mark.parametrize("case", CASES)
def test_every_null_has_a_reason(case, precision, engine):
    """All declared columns are there, nothing else is, and none is NaN or infinite."""
    rows = measured(case, precision, engine)
    assert rows["snapshots"]
    check(rows)


def check(rows):
    """The rule of this file, of the rows of a segment."""
    declared = [find(n, HERE) for n in FAMILIES]
    columns = OF_THE_ROW | OURS | {c for m in declared for c in m.columns}
    for row in rows["snapshots"]:
        assert set(row) == columns
        assert unknown(row) <= told(row), unknown(row) - told(row)
        numbers = {n: v for n, v in row.items() if isinstance(v, float)}
        assert {n for n, v in numbers.items() if not math.isfinite(v)} == set()
    assert {r["operator"] for r in rows["spectra"]} <= {o for m in declared for o in m.spectra}
    assert {r["quantity"] for r in rows["curves"]} <= {c for m in declared for c in m.curves}
    for row in rows["spectra"] + rows["curves"]:
        assert math.isfinite(row["value"]), row
        assert math.isfinite(row.get("x", 0.0)), row


# Values repeat more often than the search has start vectors: each is true, copies may be missed.
REPEATED = ("zero weights",)


@pytest.mark.parametrize("case", CASES)
def test_spectra_are_the_dense_ones(case):
    """Of the Hessian by its products with all unit vectors, repeated values included."""
    pack, state = packed(case)
    probe, rows = Probe(pack, state, slice(0, 2)), measured(case, "fp64", "vmap")
    unit = torch.eye(pack.parameters, dtype=torch.float64)
    hessian = torch.stack([probe.curvature.product(e.expand(2, -1)) for e in unit], dim=1)
    for r, row in enumerate(rows["snapshots"]):
        values = torch.linalg.eigvalsh(hessian[r]).flip(0)
        size = values.abs().max().item()
        found = [s["value"] for s in rows["spectra"]
                 if s["operator"] == "hessian" and s["run_id"] == row["run_id"]]
        assert len(found) == min(30 if case == "large k" else 3, pack.parameters)
        for value, true in zip(found, values.tolist(), strict=False):
            near = values[(values - value).abs().argmin()].item() if case in REPEATED else true
            assert abs(value - near) <= 3e-3 * size + 1e-12
        bound = row["hessian_lambda_max_bound"] + 1e-11 * size + 1e-12
        assert abs(row["hessian_lambda_max"] - values[0].item()) <= bound
        assert abs(row["hessian_lambda_min"] - values[-1].item()) <= 2e-2 * size + 1e-12
        error = abs(row["hessian_trace"] - hessian[r].trace().item())
        assert error <= 4 * row["hessian_trace_se"] + 1e-9 * size


# What is rounding's choice: eigenvectors of a repeated value, the density of a single point, how a
# weight is shared by two nodes of one value (a Hessian of half rank has 0 twice); and, where values
# repeat, after how many products a search is sure of them, which differs between processors.
VECTORS = ("step_", "k_hessian", "loss_along")
FREE = {"degenerate": (*VECTORS, "measure_ge", "hessian_products"), "zero weights": VECTORS,
        "one example": VECTORS, "fitted": ("hessian_density",), "large k": ("hessian_density",),
        "rank one": ("hessian_density",)}


@pytest.mark.parametrize("case", CASES)
def test_both_engines_measure_the_same(case):
    """Up to rounding, and with the same reasons."""
    one, other = (measured(case, "fp64", e) for e in ("vmap", "loop"))
    assert len(one["snapshots"]) == 2
    if len(other["snapshots"]) == 1:
        one = of_runs(one, "r0")
    free = FREE.get(case, ("-",))
    for a, b in zip(one["snapshots"], other["snapshots"], strict=True):
        assert a["measure_notes"] == b["measure_notes"]
        assert unknown(a) == unknown(b)
        for name in set(a) - {"time_measure_s", "measure_notes", "run_id"} - unknown(a):
            if not name.startswith(free):
                assert a[name] == pytest.approx(b[name], rel=1e-6, abs=1e-8), name
    for table, key in (("spectra", ("run_id", "operator", "index")),
                       ("curves", ("subject_id", "quantity", "series", "index"))):
        where, there = ({tuple(r[k] for k in key): r["value"] for r in rows[table]}
                        for rows in (one, other))
        assert where.keys() == there.keys()
        for place, value in where.items():
            if not place[1].startswith(free):
                assert value == pytest.approx(there[place], rel=1e-6, abs=1e-8), place


def steady(rows):
    """Rows with their times at 0."""
    return {t: [{k: 0.0 if k.startswith(("time_", "host_")) else v for k, v in r.items()}
                for r in rs] for t, rs in rows.items()}


def of_runs(rows, *runs):
    """The rows of some runs."""
    return {t: [r for r in rs if {r.get("run_id"), r.get("subject_id")} & set(runs)]
            for t, rs in steady(rows).items()}


BROKEN = (math.nan, math.inf, 1e30)


@pytest.mark.parametrize(("case", "engine", "broken"), [
    ("plain", "vmap", BROKEN), ("plain", "loop", BROKEN[:1]), ("degenerate", "vmap", BROKEN),
    ("BatchNorm and dropout", "vmap", BROKEN), ("input noise", "vmap", BROKEN)])
def test_broken_runs_leave_their_neighbours_rows_as_they_are(case, engine, broken):
    """Bit for bit, at two snapshots, since monitors remember; their own rows are there too."""
    found, last = [], len(broken) + 1
    sound = torch.tensor([r in (0, last) for r in range(last + 1)])
    for values in ((), broken):
        pack, state = packed(case, precision="fp32", engine=engine, runs=last + 1)
        for r, value in enumerate(values, start=1):
            for p in state.params.values():
                p[r] = value
        rows = [snapshot_rows(pack, state, everyone(pack))]
        update(pack, state)
        rows.append(snapshot_rows(pack, state, sound if values else everyone(pack)))
        found.append([of_runs(r, "r0", f"r{last}") for r in rows])
        assert [len(r["snapshots"]) for r in rows] == [last + 1, 2 if values else last + 1]
    # Written out, since NaN is not NaN: there is none, by the test above.
    assert found[0] == found[1]


NEVER = {"early": None, "initial": False, "final": False}
OFTEN = {"early": None, "initial": True, "final": True, "every_steps": 4}
TRAINED = [
    ("plain", {}),
    ("everything random", {"noisy": {"label": 0.2, "input": 0.1, "gradient": 0.01},
                           "sampling": "with_replacement"}),
    ("momentum", {"momentum": 0.9, "weight_decay": 1e-2}),
    ("adam", {"optimizer": ADAM}),
    ("nudged", {"optimizer": {"name": "nudged_sgd", "gamma": 0.5, "k": 2, "every_epochs": 1,
                              "tolerance": 1e-3}}),
    ("penalty", {"fisher_penalty": 0.1}),
    ("batch sizes", {"batch_schedule": {"name": "cyclic", "period": 2, "factor": 2}}),
]
# The engines share all but the forward and backward pass: the loop in the richest of the cases.
BOTH = [(n, o, "vmap") for n, o in TRAINED] + [(*TRAINED[1], "loop")]
DROPOUT = MLP | {"batch_norm": True, "dropout": 0.3}


def driven(options, engine, *, when, monitors, borders=(4, 6), state=None):
    """All segments of a pack: rows, and the state as bytes and as it is at the end."""
    model = MLP if options.get("fisher_penalty") else DROPOUT
    configs = [config(model, seed=s, precision="fp32", monitors=monitors, when=when, **options)
               for s in range(2)]
    pack = pack_of(configs, blobs(), engine=engine)
    state = pack.init() if state is None else snapshot.load(state, pack)
    return [(steady(e.rows), snapshot.dump(e.state), e.state)
            for e in train(pack, state, list(borders)) if isinstance(e, Segment)]


@cache
def watched(why, engine):
    """With all monitors on."""
    return driven(dict(TRAINED)[why], engine, when=OFTEN, monitors=every_monitor())


@pytest.mark.parametrize(("why", "options", "engine"), BOTH, ids=[f"{n}-{e}" for n, _, e in BOTH])
def test_measuring_does_not_change_the_trajectory(why, options, engine):
    """Parameters and optimiser bit for bit, with all monitors and with none."""
    silent = driven(options, engine, when=NEVER, monitors=[])[-1][2]
    seen = watched(why, engine)[-1][2]
    for name in ("params", "velocity", "second"):
        one, other = getattr(silent, name) or {}, getattr(seen, name) or {}
        assert one.keys() == other.keys()
        assert all(torch.equal(one[n], other[n]) for n in one)
    assert (silent.directions is None) == (seen.directions is None)
    if silent.directions is not None:
        assert torch.equal(silent.directions, seen.directions)
    assert torch.equal(silent.outcome, seen.outcome)
    assert torch.equal(silent.extra_ge, seen.extra_ge)


@pytest.mark.parametrize(("why", "options", "engine"), BOTH, ids=[f"{n}-{e}" for n, _, e in BOTH])
def test_a_resumed_run_writes_what_an_unbroken_one_writes(why, options, engine):
    """All tables bit for bit, broken off between two snapshots, and once on one."""
    unbroken = watched(why, engine)
    for rows, _, _ in unbroken:  # of the first step and the last too
        check(rows)
    assert all(unbroken[-1][0][t] for t in ("snapshots", "spectra", "curves"))
    for k in (0, 1) if (why, engine) == ("plain", "vmap") else (1,):
        resumed = driven(options, engine, when=OFTEN, monitors=every_monitor(),
                         state=unbroken[k][1])
        assert [r for r, _, _ in resumed] == [r for r, _, _ in unbroken[k + 1:]]
