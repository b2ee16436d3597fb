"""The registry of probes: what planning needs, without torch."""

import subprocess
import sys

import pytest
import torch

from tests.trainables.landscapes import LINEAR, MLP, subject
from tests.trainables.runs import blobs, config, fresh_model
from trainables.errors import InputError
from trainables.landscape import ARITIES, PROBES, find, run
from trainables.monitors import Sizes

SIZES = Sizes(train=40, test=12, measure=40, batch=8)
QUICK = {
    "interpolation": {"points": 5}, "connector": {"steps": 3, "points": 3, "batch_size": 8},
    "tunnels": {"directions": 2, "points": 4}, "subspace": {"dims": [2, 9], "steps": 3},
    "first_epoch": {"seeds": 3, "draws": 10},
    "wedge": {"dimension": 8, "wedge": [3], "draws": 2, "steps": 200},
    "quadratic": {"chains": 3, "steps": 2}, "break_even": {"examples": 4, "batch_size": [1]},
    "noise_estimators": {"draws": 4},
}
RUNS = {"none": 0, "one": 1, "two": 2, "several": 3}


def test_the_registry_imports_no_torch():
    code = "import sys, trainables.landscape; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", PROBES)
def test_every_kind_yields_declared_quantities_of_one_run(name):
    kind = PROBES[name]
    configs = [config(MLP, seed=s) for s in range(RUNS[kind.arity])]
    found = run(name, subject(configs, blobs()), QUICK[name])
    assert {q for q, _ in found} == set(kind.quantities)
    assert all(len(c.value) == 1 for _, c in found)
    assert len({(q, c.series, float(c.x[0])) for q, c in found}) == len(found)
    assert all(c.rows(0) for q, c in found if not q.startswith("tunnel_width"))


@pytest.mark.parametrize("name", [n for n, k in PROBES.items() if k.weights])
def test_weights_of_nan_give_no_losses_and_no_error(name):
    kind, data = PROBES[name], blobs()
    configs = [config(MLP, seed=s) for s in range(RUNS[kind.arity])]
    weights = [{n: torch.full_like(t, torch.nan) for n, t in fresh_model(c, data).state_dict(
        ).items()} if c["seed"] == 0 else fresh_model(c, data).state_dict() for c in configs]
    found = run(name, subject(configs, data, weights=weights), QUICK[name])
    assert found
    for q, c in found:
        if q in ("interpolation_half_width", "connector_centre_loss", "tunnel_loss",
                 "tunnel_width", "tunnel_widths", "tunnel_open"):
            assert c.rows(0) == [], (q, c.series)


@pytest.mark.parametrize("name", PROBES)
def test_costs_are_positive_and_grow_with_the_work(name):
    kind, runs = PROBES[name], RUNS[PROBES[name].arity]
    few = kind.cost(kind.resolve(QUICK[name]), SIZES, runs)
    many = kind.cost(kind.resolve({}), SIZES, runs)
    assert (0 < few < many) or (kind.arity == "none" and few == many == 0)


@pytest.mark.parametrize("name", PROBES)
def test_resolving_twice_changes_nothing(name):
    kind = PROBES[name]
    once = kind.resolve(QUICK[name])
    assert kind.resolve(once) == once


# (why, kind, options)
REFUSED = [
    ("an unknown option", "tunnels", {"direction": 3}),
    ("zero dimensions", "subspace", {"dims": [0]}),
    ("no dimensions", "subspace", {"dims": []}),
    ("a line that leaves out an end", "interpolation", {"high": 0.5}),
    ("true is no number", "connector", {"lr": True}),
]


@pytest.mark.parametrize(("why", "kind", "options"), REFUSED, ids=[r[0] for r in REFUSED])
def test_bad_options_are_refused(why, kind, options):
    with pytest.raises(InputError, match=f"probes.{kind}|no option"):
        PROBES[kind].resolve(options)


def test_unknown_kinds_and_wrong_numbers_of_runs_are_refused():
    with pytest.raises(InputError, match="unknown probe"):
        find("tunnel")
    with pytest.raises(InputError, match="cannot read 1 runs"):
        run("interpolation", subject([config(LINEAR)], blobs()), {})
    assert [PROBES["connector"].accepts(n) for n in (1, 2, 16, 17)] == [False, True, True, False]
    assert {k.arity for k in PROBES.values()} <= set(ARITIES)


def test_a_list_of_dimensions_is_put_in_order():
    assert PROBES["subspace"].resolve({"dims": (30, 5, 30)})["dims"] == [5, 30]
