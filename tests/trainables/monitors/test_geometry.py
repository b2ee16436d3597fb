"""Path, coming updates and layers, against what training then does."""

import pytest
import torch

from tests.trainables.runs import blobs, config, pack_of
from trainables.linalg.products import flatten
from trainables.measure import snapshot_rows
from trainables.monitors import geometry
from trainables.probe import Probe
from trainables.step import update

MLP = {"name": "mlp", "width": 6, "depth": 1}
OPTIONS = {"layers": True}
MONITORS = [("geometry", OPTIONS)]


def trained(configs, steps):
    pack = pack_of(configs, blobs())
    state = pack.init()
    for _ in range(steps):
        update(pack, state)
    return pack, state


@pytest.mark.parametrize("steps", [0, 6])
def test_columns_are_those_of_the_updates_that_follow(steps):
    pack, state = trained(
        [config(MLP, seed=s, momentum=0.8, monitors=MONITORS) for s in range(2)], steps)
    found = geometry.measure(Probe(pack, state, slice(0, 2)), OPTIONS)
    length = state.memory["path_length"].clone() if steps else torch.zeros(2).double()
    places = [flatten(state.params).clone()]
    for _ in range(2):
        update(pack, state)
        places.append(flatten(state.params).clone())
    a, b = places[1] - places[0], places[2] - places[1]
    torch.testing.assert_close(found["path_length"], length)
    torch.testing.assert_close(found["update_norm"], a.norm(dim=1))
    torch.testing.assert_close(found["update_cos"], torch.cosine_similarity(a, b))
    assert (found["path_length"] > 0).tolist() == [steps > 0] * 2


def test_layers_are_a_series_each_and_add_up_to_the_whole():
    pack, state = trained([config(MLP, seed=s, monitors=MONITORS) for s in range(2)], 5)
    rows = snapshot_rows(pack, state, torch.ones(2, dtype=torch.bool))
    for r, row in enumerate(rows["snapshots"]):
        mine = [c for c in rows["curves"] if c["subject_id"] == row["run_id"]]
        for quantity, whole in (("layer_norm", "param_norm"), ("layer_distance", "init_distance")):
            found = [c for c in mine if c["quantity"] == quantity]
            assert [(c["series"], c["x"]) for c in found] == [
                (n, i) for i, n in enumerate(state.params)]
            total = sum(c["value"] ** 2 for c in found) ** 0.5
            assert total == pytest.approx(row[whole], rel=1e-12)
        first = next(iter(state.params.values()))[r]
        assert mine[0]["value"] == pytest.approx(first.norm().item(), rel=1e-12)
        assert row["path_length"] >= row["init_distance"]
    assert "layer_norm" not in geometry.measure(Probe(pack, state, slice(0, 2)), {"layers": False})


# (why, rate of the first run, its column update_cos)
EDGES = [
    ("no update, no direction", 0.0, None),
    ("no number, but no harm to the neighbour", float("nan"), "NaN"),
]


@pytest.mark.parametrize(("why", "lr", "cosine"), EDGES, ids=[e[0] for e in EDGES])
def test_runs_without_a_direction(why, lr, cosine):
    pack, state = trained([config(MLP, lr=0.1, monitors=MONITORS) for _ in range(2)], 3)
    _, alone = trained([config(MLP, lr=0.1, monitors=MONITORS) for _ in range(2)], 3)
    expected = snapshot_rows(pack, alone, torch.ones(2, dtype=torch.bool))["snapshots"][1]
    pack.lr[0] = lr
    if lr != lr:
        next(iter(state.params.values()))[0] = lr
    row, other = snapshot_rows(pack, state, torch.ones(2, dtype=torch.bool))["snapshots"]
    assert {**other, "time_measure_s": 0} == {**expected, "time_measure_s": 0}
    if cosine is None:
        assert row["update_cos"] is None
        assert "one of the coming two updates is zero" in row["measure_notes"]
        assert row["update_norm"] == 0
    else:
        assert row["update_norm"] != row["update_norm"]


def test_cost_is_two_minibatches():
    pack, state = trained([config(MLP, batch_size=8, set_size=20, monitors=MONITORS)], 1)
    probe = Probe(pack, state, slice(0, 1))
    geometry.measure(probe, OPTIONS)
    assert probe.ge.item() == pytest.approx(2 * 8 / 20)
