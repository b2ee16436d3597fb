"""A pack whose runs have mostly ended is narrower, and not a bit of any run is another."""

import pytest
import torch

from tests.trainables.runs import blobs, config, pack_of
from trainables.narrowing import narrowed
from trainables.outcomes import Outcome
from trainables.step import update

ADAM = {"name": "adam", "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}
ODD = (33, 17, 3, 4, 31)  # bits of a product depend on where its matrices lie in memory
SHAPES = [  # (inputs, width, depth, classes, batch size)
    (64, 64, 2, 10, 8), (64, 64, 2, 10, 128), (33, 16, 3, 4, 32), (784, 96, 1, 10, 32)]
OPTIONS = [
    ("plain", {}), ("Adam", {"optimizer": ADAM, "lr": 1e-3}),
    ("everything that is a run's own", {
        "momentum": 0.9, "weight_decay": 1e-3, "monitors": [("geometry", {})],
        "noisy": {"input": 0.2, "label": 0.1, "gradient": 0.01}}),
    ("a penalty", {"fisher_penalty": 0.1, "fisher_every": 2})]


def of(shape, *, engine="vmap", dropout=0.0, runs=16, **options):
    inputs, width, depth, classes, batch = shape
    model = {"name": "mlp", "width": width, "depth": depth, "dropout": dropout}
    configs = [config(model, seed=s, batch_size=batch, precision="fp32", **options)
               for s in range(runs)]
    return pack_of(configs, blobs(shape=(inputs,), classes=classes, train=160), engine=engine)


def ended(pack, alive):
    state = pack.init()
    state.outcome[[r for r in range(pack.width) if r not in alive]] = Outcome.TOO_LARGE.code
    return state


def agree(pack, alive, width, steps=5):
    wide, narrow = ended(pack, alive), ended(pack, alive)
    for _ in range(steps):
        update(pack, wide)  # makes the graph, where there is one
    seen = []
    for part in (steps - 3, 3):
        with narrowed(pack, narrow) as (some, state):
            seen.append(some.width)
            for _ in range(part):
                update(some, state)
    assert width is None or seen == [width] * 2
    rows = sorted(alive)  # of ended runs, the moments matter to nobody
    for kind in ("params", "velocity", "second"):
        for n, t in (getattr(wide, kind) or {}).items():
            assert torch.equal(t[rows], getattr(narrow, kind)[n][rows]), (kind, n)
    assert all(torch.equal(t, narrow.params[n]) for n, t in wide.params.items())
    for name in ("outcome", "end_step", "end_loss", "extra_ge", "step"):
        one, other = getattr(wide, name), getattr(narrow, name)
        assert one == other if name == "step" else torch.equal(one, other)
    for n, t in wide.memory.items():
        assert torch.equal(t, narrow.memory[n])


@pytest.mark.parametrize(("alive", "width"), [
    ({3}, 2), ({0, 15}, 2), ({1, 2, 9}, 4), (set(range(4, 12)), 8), (set(range(9)), 16)])
@pytest.mark.parametrize("shape", SHAPES)
def test_bits_do_not_depend_on_the_width(shape, alive, width):
    agree(of(shape), alive, width)


@pytest.mark.parametrize(("why", "options"), OPTIONS, ids=[o[0] for o in OPTIONS])
def test_whatever_a_step_takes_up(why, options):
    agree(of(SHAPES[0], dropout=0.3, **options), {2, 5, 6}, 4)


# The third's graph would take a core twenty seconds and show what that of the odd sizes shows.
@pytest.mark.parametrize("shape", [s for s in SHAPES if s[0] != 33])
def test_nor_on_a_compiled_step(shape):
    agree(of(shape, engine="vmap-compiled"), {1, 2, 9}, 4)


@pytest.mark.parametrize("engine", ["vmap", "vmap-compiled"])
def test_whatever_becomes_of_odd_sizes(engine):
    """Narrower or as wide as before, as the machine's libraries have it: the bits are the same."""
    for alive in ({3}, {0, 15}, {1, 2, 9}):
        agree(of(ODD, engine=engine), alive, None)


def test_a_narrowing_that_would_change_a_bit_is_not_made(monkeypatch):
    pack = of(SHAPES[0])
    plain = pack.engine.gradients

    def by_width(self, module, params, buffers, x, y, loss, alive):
        losses, grads = plain(module, params, buffers, x, y, loss, alive)
        return losses, {n: g * (1 + 1e-6 * len(alive)) for n, g in grads.items()}

    monkeypatch.setattr(type(pack.engine), "gradients", by_width)
    with narrowed(pack, ended(pack, {3})) as (some, _):
        assert some is pack


def test_nor_is_one_that_would_need_a_graph_of_its_own():
    """BatchNorm over vectors takes the width for a constant."""
    configs = [config({"name": "mlp", "width": 16, "depth": 1, "batch_norm": True}, seed=s,
                      batch_size=16) for s in range(4)]
    pack = pack_of(configs, blobs(shape=(16,), train=64), engine="vmap-compiled")
    state = ended(pack, {1})
    for _ in range(2):
        with narrowed(pack, state) as (some, small):
            assert some is pack
            update(some, small)


def test_what_its_neighbours_might_change_is_left_as_it_is():
    """Loops ask for each run anyway; nudged packs look for directions as a whole."""
    nudged = {"name": "nudged_sgd", "gamma": 0.5, "k": 1, "every_epochs": 1, "tolerance": 1e-2}
    for pack in (of(SHAPES[2], engine="loop"), of(SHAPES[2], optimizer=nudged)):
        state = ended(pack, {0})
        with narrowed(pack, state) as (some, small):
            assert some is pack
            assert small is state


def test_a_run_that_ends_while_narrow_is_noted():
    pack = of(SHAPES[2], loss="mse", max_loss=1e-9)
    state = ended(pack, {4})
    with narrowed(pack, state) as (some, small):
        update(some, small)
    assert state.outcome[4] == Outcome.TOO_LARGE.code
    assert state.end_step[4] == 0
    assert not state.alive.any()
