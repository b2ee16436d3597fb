"""The path's length against plain training, resumed and looked ahead of, without touching it."""

import pytest
import torch

from tests.trainables.runs import blobs, config, pack_of, plain_training
from trainables import snapshot
from trainables.ahead import Ahead
from trainables.linalg.products import flatten
from trainables.quantities import path
from trainables.step import update

MLP = {"name": "mlp", "width": 6, "depth": 1}
GEOMETRY = [("geometry", {"layers": True})]
STEPS = 7

# (why, options of the run)
CASES = [
    ("plain descent", {}),
    ("momentum and decay move too", {"momentum": 0.9, "weight_decay": 0.1}),
    ("a rate that falls", {"lr_schedule": {"name": "cosine"}}),
    ("gradient noise lengthens the path", {"noisy": {"gradient": 0.3}}),
]


def walk(pack, state, steps):
    for _ in range(steps):
        update(pack, state)
    return state


@pytest.mark.parametrize("engine", ["vmap", "loop"])
@pytest.mark.parametrize(("why", "options"), CASES, ids=[c[0] for c in CASES])
def test_it_is_the_sum_over_all_steps(why, options, engine):
    pack = pack_of([config(MLP, seed=s, monitors=GEOMETRY, **options) for s in range(2)],
                   blobs(), engine=engine)
    state, expected = pack.init(), torch.zeros(2, dtype=torch.float64)
    for _ in range(STEPS):
        before = flatten(state.params).clone()
        update(pack, state)
        expected += (flatten(state.params) - before).norm(dim=1)
    torch.testing.assert_close(state.memory[path.MEMORY], expected, rtol=1e-13, atol=0)
    assert (expected > 0).all()


def test_it_is_that_of_plain_training():
    cfg, data = config(MLP, monitors=GEOMETRY), blobs()
    length, places = 0.0, []
    for steps in range(4):
        module = plain_training(cfg, data, steps)
        places.append(torch.nn.utils.parameters_to_vector(module.parameters()).detach())
        length += (places[-1] - places[steps - 1]).norm().item() if steps else 0.0
    pack = pack_of([cfg], data)
    assert walk(pack, pack.init(), 3).memory[path.MEMORY].item() == pytest.approx(length, rel=1e-9)


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_a_resumed_length_is_the_unbroken_one_and_no_step_differs(precision):
    """To the bit: through a saved state, with a look ahead between, and with the monitor off."""
    def packed(monitors):
        return pack_of([config(MLP, seed=s, monitors=monitors, precision=precision, momentum=0.5)
                        for s in range(2)], blobs())

    pack, off = packed(GEOMETRY), packed(())
    unbroken = walk(pack, pack.init(), STEPS)
    half = walk(pack, pack.init(), 3)
    kept = half.memory[path.MEMORY].clone()
    _ = Ahead(pack, half).updates
    assert torch.equal(half.memory[path.MEMORY], kept)
    resumed = walk(pack, snapshot.load(snapshot.dump(half), pack), STEPS - 3)
    assert snapshot.dump(resumed) == snapshot.dump(unbroken)
    without = walk(off, off.init(), STEPS)
    assert torch.equal(flatten(without.params), flatten(unbroken.params))
    assert not without.memory


def test_a_diverged_run_leaves_its_neighbours_length_alone():
    alone = pack_of([config(MLP, monitors=GEOMETRY)], blobs(), width=2)
    pair = pack_of([config(MLP, monitors=GEOMETRY), config(MLP, lr=1e30, monitors=GEOMETRY)],
                   blobs())
    lengths = [walk(p, p.init(), STEPS).memory[path.MEMORY] for p in (alone, pair)]
    assert lengths[0][0] == lengths[1][0]
    assert lengths[1][1] > 1e20
