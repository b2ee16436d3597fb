"""Timings are positive, scale to the whole pack, and leave the pack as it was."""

import math

import pytest
import torch

from tests.trainables.runs import HERE, blobs, config, pack_of
from trainables.monitors import find
from trainables.timing import Timing, quick

MLP = {"name": "mlp", "width": 5, "depth": 1}
SPECTRUM = find("spectrum", HERE).resolve({"k": 2, "tolerance": 1e-2, "max_products": 20})


@pytest.mark.parametrize("engine", ["vmap", "loop"])
@pytest.mark.parametrize("steps", [1, 30], ids=["one step only", "thirty steps"])
def test_positive_and_without_traces(engine, steps):
    pack = pack_of([config(MLP, steps=steps, monitors=[("spectrum", SPECTRUM)])], blobs(),
                   engine=engine)
    before = {n: p.clone() for n, p in pack.initial.items()}
    timing = quick(pack)
    assert 0 < timing.step_s < 60
    assert 0 < timing.snapshot_s < 600
    assert all(torch.equal(pack.initial[n], before[n]) for n in before)
    assert pack.init().step == 0


def test_a_pack_takes_its_steps_and_its_snapshots():
    pack = pack_of([config(MLP, steps=30, when={"every_steps": 10, "early": None})], blobs())
    assert len(pack.measuring) == 4
    assert math.isclose(Timing(0.5, 2.0).pack_s(pack), 30 * 0.5 + 4 * 2.0)
