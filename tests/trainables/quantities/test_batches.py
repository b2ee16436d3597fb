"""Measured batches: how they are drawn, and the curvature of many at once against one by one."""

import pytest
import torch

from tests.trainables.runs import blobs, config, pack_of
from trainables.linalg.products import Curvature, flatten
from trainables.probe import Probe
from trainables.quantities.batches import draw, folded, gradients

MLP = {"name": "mlp", "width": 5, "depth": 1, "activation": "tanh"}


def drawn(pack, count=200, **options):
    return draw(pack, pack.seeds, "measured", 3, count, **options)


def test_batches_are_the_runs_own_independent_and_fair():
    pack = pack_of([config(MLP, seed=s, batch_size=8) for s in (0, 1, 0)], blobs())
    index = drawn(pack)
    assert index.shape == (3, 200, 8)
    assert torch.equal(index[0], index[2])
    assert not torch.equal(index[0], index[1])
    assert all(len(set(batch.tolist())) == 8 for batch in index[1])   # without replacement
    assert torch.equal(index, drawn(pack))                              # no hidden state
    assert not torch.equal(index, draw(pack, pack.seeds, "measured", 4, 200))
    counts = torch.bincount(index[0].flatten(), minlength=40).double()
    # Each example is in a batch with probability 1/5: z-scores of the counts, seed fixed.
    z = (counts - 40) / (200 * 0.2 * 0.8) ** 0.5
    assert z.abs().max() < 4
    assert not torch.equal(index[0, 0], index[0, 1])


def test_replacement_as_the_run_samples():
    pack = pack_of([config(MLP, batch_size=20, sampling="with_replacement")], blobs())
    repeated = sum(len(set(b.tolist())) < 20 for b in drawn(pack, 50)[0])
    assert repeated == 50  # a batch of 20 from 40 without any repeat: 1e-3


def test_the_whole_set_is_one_batch():
    pack = pack_of([config(MLP, seed=s, batch_size=8) for s in range(2)], blobs())
    for size in (40, 1000):
        assert torch.equal(drawn(pack, size=size), torch.arange(40).expand(2, 1, 40))


@pytest.mark.parametrize("engine", ["vmap", "loop"])
@pytest.mark.parametrize("model", [MLP, MLP | {"batch_norm": True}], ids=["plain", "batch norm"])
def test_folded_batches_are_each_batch_alone(model, engine):
    configs = [config(model, seed=s, noisy={"label": 0.3, "input": 0.2 * s}) for s in range(2)]
    pack = pack_of(configs, blobs(), engine=engine)
    index = drawn(pack, 3)
    probe = Probe(pack, pack.init(), slice(0, 2))
    together, apart = folded(probe, index), gradients(probe, index)
    vectors = torch.randn(6, pack.parameters, dtype=torch.float64)
    products = together.product(vectors)
    torch.testing.assert_close(together.gradient.view(2, 3, -1), apart, rtol=1e-10, atol=1e-13)
    for r in range(2):
        one = Probe(pack, pack.init(), slice(r, r + 1))
        for j in range(3):
            alone = Curvature(lambda p, i, one=one: one.losses_of(p, i).sum(1), one.params,
                              [index[r, j]], 8)
            torch.testing.assert_close(products[3 * r + j], alone.product(
                vectors[None, 3 * r + j])[0], rtol=1e-10, atol=1e-13)
    assert flatten(probe.params).requires_grad is False


def test_gradients_are_counted():
    pack = pack_of([config(MLP, batch_size=8, set_size=20)], blobs())
    probe = Probe(pack, pack.init(), slice(0, 1))
    gradients(probe, drawn(pack, 5))
    assert probe.ge.item() == pytest.approx(5 * 8 / 20)
    folded(probe, drawn(pack, 5))
    assert probe.ge.item() == pytest.approx(2 * 5 * 8 / 20)
