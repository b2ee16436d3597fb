"""Which way a pack's Hessian is had, and that both ways see the same runs."""

import pytest
import torch

from tests.trainables.runs import blobs, config, pack_of
from trainables import hessian
from trainables.linalg.products import Curvature
from trainables.linalg.tangent import Tangents
from trainables.probe import Probe

MLP = {"name": "mlp", "width": 6, "depth": 2, "activation": "tanh"}
NORMED = {"name": "mlp", "width": 6, "depth": 1, "batch_norm": True}
DROPPING = {"name": "mlp", "width": 6, "depth": 1, "dropout": 0.3}


def both(configs, monkeypatch):
    pack, found = pack_of(configs, blobs()), []
    for run_by_run in (False, True):
        monkeypatch.setattr(hessian, "_one_by_one", lambda _, w=run_by_run: w)
        found.append(Probe(pack, pack.init(), slice(0, len(configs))))
        _ = found[-1].curvature
    return found


@pytest.mark.parametrize(("why", "model", "more"), [
    ("plain", MLP, {}), ("statistics of BatchNorm of each run", NORMED, {}),
    ("dropout is off", DROPPING, {}), ("labels of each run", MLP, {"noisy": {"label": 0.4}}),
    ("inputs of each run", MLP, {"noisy": {"input": 0.4}}),
])
def test_both_ways_agree(why, model, more, monkeypatch):
    plain = config(model, seed=1)
    one, other = both([config(model, **more), plain, config(model, seed=2, **more)], monkeypatch)
    assert isinstance(one.curvature, Curvature)
    assert isinstance(other.curvature, Tangents)
    v = torch.randn(one.flat.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        other.curvature.product(v), one.curvature.product(v), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(other.gradient, one.gradient, rtol=1e-11, atol=1e-12)
    for mine, theirs in zip(other.evaluate_train(), one.evaluate_train(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-13)
    assert other.ge.tolist() == pytest.approx(one.ge.tolist())


def test_small_runs_are_taken_all_at_once_and_filling_ones_run_by_run(monkeypatch):
    pack = pack_of([config(MLP), config(MLP, seed=1)], blobs())
    assert isinstance(Probe(pack, pack.init(), slice(0, 2)).curvature, Curvature)
    monkeypatch.setattr(hessian, "FILLING", pack.parameters * len(pack.measure_set))
    assert isinstance(Probe(pack, pack.init(), slice(0, 2)).curvature, Tangents)


def test_a_model_that_cannot_be_traced_is_still_measured(monkeypatch):
    def refuse(*_):
        raise hessian.Untraceable("no")

    monkeypatch.setattr(hessian, "split", refuse)
    monkeypatch.setattr(hessian, "_SPLITS", {})
    monkeypatch.setattr(hessian, "_one_by_one", lambda _: True)
    pack = pack_of([config(MLP)], blobs())
    assert isinstance(Probe(pack, pack.init(), slice(0, 1)).curvature, Curvature)
