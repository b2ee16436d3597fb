"""A compiled step is the plain step to rounding, and the same bits wherever and whenever."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from tests.trainables import runs
from tests.trainables.runs import HERE, blobs, config, pack_of
from trainables.compiling import CannotCompile, compiled
from trainables.linalg.products import flatten
from trainables.outcomes import Outcome
from trainables.step import prepare, update

MLP = {"name": "mlp", "width": 6, "depth": 2}
# A bias before BatchNorm has no gradient: a smaller epsilon would divide rounding by rounding.
ADAM = {"name": "adam", "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-2}
NUDGED = {"name": "nudged_sgd", "gamma": 0.5, "k": 2, "every_epochs": 1, "tolerance": 1e-6}
LOOPED = {"momentum": 0.9, "noisy": {"input": 0.2, "label": 0.1, "gradient": 0.1}}
# (why, model, options of the config, plain engine, compiled engine, steps). To make a graph takes
# a core up to twenty seconds: the tests below take the graphs of these cases where they can.
CASES = [
    ("all that plain SGD can take up at once", MLP | {"dropout": 0.3}, dict(
        momentum=0.9, nesterov=True, weight_decay=1e-3, monitors=[("geometry", {})],
        noisy={"input": 0.2, "label": 0.1, "gradient": 0.1}), "vmap", "vmap-compiled", 7),
    ("Adam, and BatchNorm with the batch's own statistics", MLP | {"batch_norm": True},
     dict(optimizer=ADAM, lr=0.01, loss="mse"), "vmap", "vmap-compiled", 6),
    ("directions that are replaced, a batch size that changes", MLP, dict(
        optimizer=NUDGED, batch_schedule={"name": "cyclic", "period": 2, "factor": 2}),
     "vmap", "vmap-compiled", 9),
    ("the penalty's steps are not compiled, those between are", MLP,
     dict(fisher_penalty=0.1, fisher_every=3), "vmap", "vmap-compiled", 7),
    ("a graph of one run, called for each; dropout too", MLP | {"dropout": 0.3}, LOOPED,
     "loop", "loop-compiled", 6),
    ("convolutions and pools in packed layers, whose width is a constant of the graph; batch norm",
     {"name": "simple_cnn", "width": 2, "dense": 3, "batch_norm": True}, {},
     "vmap", "vmap-compiled", 3),
    ("convolutions", {"name": "simple_cnn", "width": 2, "dense": 3}, dict(loss="mse"),
     "loop", "loop-compiled", 3),
]


def trained(model, engine, steps, *, seeds=(0, 1, 2), lrs=None, **options):
    shape = (1, 8, 8) if model["name"] == "simple_cnn" else (6,)
    configs = [config(model, seed=s, **options | ({} if lrs is None else {"lr": lrs[i]}))
               for i, s in enumerate(seeds)]
    pack = pack_of(configs, blobs(shape=shape), width=4, engine=engine)
    state = pack.init()
    for _ in range(steps):
        update(pack, state)
    return state


@pytest.mark.parametrize(
    ("why", "model", "options", "plain", "fast", "steps"), CASES, ids=[c[0] for c in CASES])
def test_a_compiled_step_is_the_plain_one(why, model, options, plain, fast, steps):
    one, other = (trained(model, e, steps, **options) for e in (plain, fast))
    near = 1e-8 if "optimizer" in options and options["optimizer"] is NUDGED else 1e-12
    for kind in ("params", "velocity", "second"):  # of padding, the moments matter to nobody
        for n, t in (getattr(one, kind) or {}).items():
            torch.testing.assert_close(
                getattr(other, kind)[n][:3], t[:3], rtol=10 * near, atol=near)
    torch.testing.assert_close(other.memory, one.memory, rtol=1e-12, atol=0)
    assert other.step == one.step == steps


@pytest.mark.parametrize(("engine", "model", "options"), [
    ("vmap-compiled", MLP, {}), ("loop-compiled", MLP | {"dropout": 0.3}, LOOPED)])
def test_runs_end_as_in_the_plain_step_and_neighbours_keep_their_bits(engine, model, options):
    plain = trained(model, "vmap", 4, lrs=[0.1, 1e7, 0.1], **options)
    ended = trained(model, engine, 4, lrs=[0.1, 1e7, 0.1], **options)
    sound = trained(model, engine, 4, lrs=[0.1, 0.1, 0.1], **options)
    assert ended.outcome.tolist() == plain.outcome.tolist()
    assert ended.outcome[1] == Outcome.TOO_LARGE.code
    assert ended.end_step.tolist() == plain.end_step.tolist()
    torch.testing.assert_close(ended.end_loss, plain.end_loss, rtol=1e-12, atol=0)
    for n, p in ended.params.items():
        assert torch.equal(p[[0, 2]], sound.params[n][[0, 2]])


@pytest.mark.parametrize("options", [
    {"fisher_penalty": 0.1, "fisher_every": 2},
    {"optimizer": NUDGED, "monitors": [("geometry", {})]},
], ids=["the first update is not compiled", "more in the state than parameters"])
def test_preparing_makes_the_graph_that_the_updates_take_and_changes_nothing(options):
    pack = pack_of([config(MLP, seed=s, **options) for s in range(3)], blobs(), width=4,
                   engine="vmap-compiled")
    prepare(pack)
    graph, made = pack.graph, list(pack.graph._graphs)
    state = pack.init()
    for _ in range(3):
        update(pack, state)
    assert pack.graph is graph
    assert list(graph._graphs) == made
    for n, p in trained(MLP, "vmap-compiled", 3, **options).params.items():
        assert torch.equal(state.params[n], p)


PROGRAM = """
import sys
from tests.trainables.test_stepgraph import MLP, trained
from trainables.linalg.products import flatten
import torch
torch.set_num_threads(1)
flat = flatten(trained(MLP, "vmap-compiled", 5, precision="fp32").params)
sys.stdout.buffer.write(flat.numpy().tobytes())
"""


def test_the_same_bits_in_a_new_process_whatever_the_state_of_the_cache(tmp_path):
    def bits(cache):
        return subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=HERE.parent.parent, check=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / cache)}).stdout

    cold = bits("one")
    assert cold
    assert bits("one") == cold  # warm
    (library,) = (tmp_path / "one" / "sgdscope" / "graphs").glob("*.so")
    library.write_bytes(b"damaged")
    assert bits("one") == cold  # built anew
    assert library.stat().st_size > 1000


class Holding(nn.Module):
    """Holds a tensor that is no parameter and no buffer: a graph would take it for a constant."""

    def __init__(self):
        super().__init__()
        self.scale = torch.ones(3)

    def forward(self, x):
        return x * self.scale


def asking(x):
    """Asks for a value in the middle."""
    x.mul_(2 if x.sum().item() > 0 else 1)


@pytest.mark.parametrize("function", [Holding(), asking])
def test_what_cannot_be_traced_is_told(function):
    with pytest.raises(CannotCompile, match=r"\w"):
        compiled(function, [torch.ones(3)])


MODELS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.layer = nn.Linear(shape[0], classes)
        self.scale = float(torch.rand(()))  # of the run's seed, and no parameter

    def forward(self, x):
        return self.layer(x) * (self.scale if x.shape[0] > 8 else 2 * self.scale)

def net(shape, classes):
    return Net(shape, classes)
"""


def test_a_graph_holds_for_the_sizes_and_the_model_that_it_was_made_of(tmp_path, monkeypatch):
    """A user's model may ask for sizes, and hold what its seed gave it."""
    (tmp_path / "held_by_a_user.py").write_text(MODELS)
    monkeypatch.setattr(runs, "HERE", tmp_path)
    for seed, batch_size in ((0, 4), (5, 4), (0, 16)):  # one after the other in one process
        found = {}
        for engine in ("vmap", "vmap-compiled"):
            pack = pack_of([config({"name": "held_by_a_user:net"}, seed=seed,
                                   batch_size=batch_size)] * 2, blobs(), engine=engine)
            state = pack.init()
            for _ in range(2):
                update(pack, state)
            found[engine] = flatten(state.params)
        torch.testing.assert_close(found["vmap-compiled"], found["vmap"], rtol=1e-12, atol=1e-13)
