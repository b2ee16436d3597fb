"""Which engine a model gets on its data, and a model that only the loop can train."""

import pytest
import torch

from tests.trainables import runs
from tests.trainables.runs import blobs, config, pack_of, plain_training
from trainables import suitability
from trainables.errors import InputError
from trainables.train import train

MODELS = '''
import torch
from torch import nn

class Branching(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.layer, self.scale = nn.Linear(shape[0], classes), nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return self.layer(x) * (self.scale if x.sum().item() > 0 else 2 * self.scale)

class Nothing(nn.Module):
    def forward(self, x):
        return x[:, :3]

def branching(shape, classes):
    return Branching(shape, classes)

def nothing(shape, classes):
    return Nothing()

def frozen(shape, classes):
    layer = nn.Linear(shape[0], classes)
    layer.bias.requires_grad_(False)
    return layer
'''

# (why, model, input shape, device, engine, limit, parameters)
CASES = [
    ("dense", {"name": "linear"}, (6,), "cpu", "vmap", 64, 21),
    ("batch norm with constant inputs", {"name": "mlp", "width": 4, "depth": 1, "batch_norm": True},
     (6,), "cpu", "vmap", 64, 28 + 8 + 15),
    ("convolutions", {"name": "simple_cnn", "width": 2, "dense": 3}, (1, 8, 8), "cpu", "vmap", 16,
     None),
    ("an accelerator", {"name": "linear"}, (6,), "cuda", "vmap", 64, 21),
    ("it cannot be vectorised", {"name": "models_of_a_user:branching"}, (6,), "cpu", "loop", 4, 22),
    ("nor on an accelerator", {"name": "models_of_a_user:branching"}, (6,), "cuda", "loop", 4, 22),
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models_of_a_user.py").write_text(MODELS)
    return tmp_path


@pytest.mark.parametrize(("why", "model", "shape", "device", "engine", "limit", "parameters"),
                         CASES, ids=[c[0] for c in CASES])
def test_examine(folder, why, model, shape, device, engine, limit, parameters):
    found = suitability.examine(config(model), shape, 3, folder, device=device)
    assert (found.engine, found.limit) == (engine, limit)
    data = blobs(shape=shape)
    assert parameters in (None, found.parameters)
    pack = runs.Pack([runs.Member("r0", config(model))], data, width=1, engine=found.engine,
                     device=torch.device("cpu"), base_dir=folder)
    assert found.parameters == pack.parameters


def test_no_parameters_are_refused(folder):
    cfg = config({"name": "models_of_a_user:nothing"})
    with pytest.raises(InputError, match="no trainable parameters") as caught:
        suitability.examine(cfg, (6,), 3, folder, device="cpu")
    assert caught.value.key == "model"


def test_frozen_parameters_are_refused(folder):
    """A pack would train them."""
    with pytest.raises(InputError, match="parameter bias is frozen"):
        suitability.examine(config({"name": "models_of_a_user:frozen"}), (6,), 3, folder,
                            device="cpu")


def test_the_loop_trains_what_cannot_be_vectorised(folder, monkeypatch):
    """With a scalar parameter; equal to a plain loop, and measured."""
    monkeypatch.setattr(runs, "HERE", folder)
    spectrum = {"k": 2, "lambda_min": True, "trace": True, "tolerance": 1e-6, "max_products": 90}
    configs = [config({"name": "models_of_a_user:branching"}, seed=s, lr=0.05,
                      monitors=[("spectrum", spectrum)]) for s in range(2)]
    data = blobs()
    pack = pack_of(configs, data, engine="loop")
    state = pack.init()
    rows = [e.rows for e in train(pack, state, [pack.steps]) if hasattr(e, "rows")][-1]
    assert [r["status"] for r in rows["runs"]] == ["finished"] * 2
    assert all(r["hessian_lambda_max"] > 0 for r in rows["snapshots"])
    for r, cfg in enumerate(configs):
        for name, p in plain_training(cfg, data, pack.steps).named_parameters():
            torch.testing.assert_close(state.params[name][r], p.detach(), rtol=1e-12, atol=1e-13)
