"""The rows of a snapshot against plain evaluations, and the weights that are handed out."""

import pytest
import torch
import torch.nn.functional as F

from tests.trainables import runs
from tests.trainables.runs import blobs, config, fresh_model, pack_of
from trainables import snapshot
from trainables.measure import final_weights, snapshot_rows
from trainables.probe import Probe
from trainables.step import update

MLP = {"name": "mlp", "width": 6, "depth": 1}
SPECTRUM = {"k": 2, "lambda_min": True, "trace": True, "tolerance": 1e-6, "max_products": 90}


def trained(configs, data, steps=7, **options):
    pack = pack_of(configs, data, **options)
    state = pack.init()
    for _ in range(steps):
        update(pack, state)
    return pack, state


@pytest.mark.parametrize("engine", ["vmap", "loop"])
def test_columns_are_the_plain_values(engine):
    data = blobs()
    schedule = {"name": "step", "factor": 0.5, "every": 1}
    configs = [config(MLP, seed=s, lr=0.1 + s, lr_schedule=schedule, set_size=17,
                      monitors=[("spectrum", SPECTRUM)]) for s in range(2)]
    pack, state = trained(configs, data, width=4, engine=engine)
    rows = snapshot_rows(pack, state, torch.ones(4, dtype=torch.bool))
    assert [r["run_id"] for r in rows["snapshots"]] == ["r0", "r1"]     # never padding
    for r, row in enumerate(rows["snapshots"]):
        module = fresh_model(configs[r], data)
        start = torch.nn.utils.parameters_to_vector(module.parameters()).detach()
        module.load_state_dict(final_weights(pack, state)[f"r{r}"])
        flat = torch.nn.utils.parameters_to_vector(module.parameters()).detach()
        for part in ("train", "test"):
            x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
            out, y = module(torch.tensor(x).double()), torch.tensor(y)
            assert row[f"{part}_loss"] == pytest.approx(F.cross_entropy(out, y).item(), rel=1e-12)
            assert row[f"{part}_accuracy"] == (out.argmax(1) == y).double().mean().item()
        chosen = pack.measure_set
        x, y = torch.tensor(data.x_train).double()[chosen], torch.tensor(data.y_train)[chosen]
        grads = torch.autograd.grad(F.cross_entropy(module(x), y), list(module.parameters()))
        norm = torch.cat([g.flatten() for g in grads]).norm().item()
        assert row["grad_norm"] == pytest.approx(norm, rel=1e-11)
        assert row["param_norm"] == pytest.approx(flat.norm().item(), rel=1e-12)
        assert row["init_distance"] == pytest.approx((flat - start).norm().item(), rel=1e-12)
        assert (row["step"], row["epoch"], row["measure_size"]) == (7, 7 / 5, 17)
        assert row["lr"] == pytest.approx((0.1 + r) * 0.5)
        assert row["time_measure_s"] > 0
        spectra = [s for s in rows["spectra"] if s["run_id"] == row["run_id"]]
        assert [(s["operator"], s["index"], s["step"]) for s in spectra] == [
            ("hessian", 1, 7), ("hessian", 2, 7)]
        assert spectra[0]["value"] == row["hessian_lambda_max"] > spectra[1]["value"]
        assert spectra[0]["bound"] == row["hessian_lambda_max_bound"] > 0
        # 40 training and 12 test examples forward, one gradient, two a product
        expected = 52 / 17 / 3 + 1 + 2 * row["hessian_products"]
        assert row["measure_ge"] == pytest.approx(expected)
        assert state.measure_ge[r].item() == row["measure_ge"]
        assert state.final[row["run_id"]] == {
            k: v for k, v in row.items()
            if k not in ("run_id", "epoch", "lr", "measure_size", "measure_notes",
                             "time_measure_s")}


def test_only_wanted_runs_are_measured_and_counted():
    pack, state = trained([config(MLP, seed=s) for s in range(3)], blobs())
    both = snapshot_rows(pack, state, torch.tensor([True, True, True]))["snapshots"]
    spent = state.measure_ge.clone()
    one = snapshot_rows(pack, state, torch.tensor([False, True, False]))["snapshots"]
    assert [r["run_id"] for r in one] == ["r1"]
    assert {**one[0], "time_measure_s": 0} == {**both[1], "time_measure_s": 0}
    assert (state.measure_ge - spent).tolist() == pytest.approx([0, one[0]["measure_ge"], 0])
    assert snapshot_rows(pack, state, torch.zeros(3) > 0) == {
        "snapshots": [], "spectra": [], "curves": []}


WEIGHTS = [("dense", MLP, {}), ("batch norm and dropout", MLP | {
    "batch_norm": True, "dropout": 0.5}, {}), ("the loop", MLP | {"batch_norm": True},
                                              {"engine": "loop"})]


@pytest.mark.parametrize(("why", "model", "options"), WEIGHTS, ids=[w[0] for w in WEIGHTS])
def test_final_weights_load_into_the_plain_model(why, model, options):
    data = blobs()
    configs = [config(model, seed=s) for s in range(2)]
    pack, state = trained(configs, data, width=4, **options)
    weights = final_weights(pack, state)
    assert list(weights) == ["r0", "r1"]
    for r, cfg in enumerate(configs):
        plain = fresh_model(cfg, data)
        plain.load_state_dict(weights[f"r{r}"])
        x = torch.tensor(data.x_train).double()
        loss = F.cross_entropy(plain.eval()(x), torch.tensor(data.y_train)).item()
        measured = Probe(pack, state, slice(r, r + 1)).evaluate_train()[0].item()
        assert loss == pytest.approx(measured, rel=1e-12)
    kept = {n: t.clone() for n, t in weights["r0"].items()}
    update(pack, state)
    assert all(torch.equal(t, kept[n]) for n, t in weights["r0"].items())


TIED = '''
from torch import nn

def tied(shape, classes):
    first, second = nn.Linear(shape[0], shape[0]), nn.Linear(shape[0], shape[0])
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Linear(shape[0], classes))
'''


def test_shared_parameters_are_trained_ones_under_each_of_their_names(tmp_path, monkeypatch):
    (tmp_path / "tied_model.py").write_text(TIED)
    monkeypatch.setattr(runs, "HERE", tmp_path)
    cfg, data = config({"name": "tied_model:tied"}), blobs()
    pack, state = trained([cfg], data)
    weights = final_weights(pack, state)["r0"]
    assert torch.equal(weights["0.weight"], weights["2.weight"])
    plain = fresh_model(cfg, data)
    plain.load_state_dict(weights)
    loss = F.cross_entropy(plain(torch.tensor(data.x_train).double()), torch.tensor(data.y_train))
    measured = Probe(pack, state, slice(0, 1)).evaluate_train()[0].item()
    assert loss.item() == pytest.approx(measured, rel=1e-12)
    snapshot.dump_weights(weights)      # no memory is shared between names
