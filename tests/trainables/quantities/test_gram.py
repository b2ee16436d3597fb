"""Gram matrices of single-example gradients against gradients taken one by one."""

import pytest
import torch
import torch.nn.functional as F

from tests.trainables.runs import blobs, config, fresh_model, noisy_set, pack_of
from trainables.probe import Probe, blocks
from trainables.quantities import gram

MLP = {"name": "mlp", "width": 5, "depth": 2}
# (why, model, options, engine)
CASES = [
    ("cross-entropy", MLP, {}, "vmap"),
    ("mse", MLP, {"loss": "mse"}, "vmap"),
    ("each run has its own noisy inputs and labels", MLP,
     {"noisy": {"input": 0.5, "label": 0.5}}, "vmap"),
    ("one example after another", MLP, {"noisy": {"input": 0.5}}, "loop"),
    ("convolutions", {"name": "simple_cnn", "width": 2, "dense": 3}, {}, "vmap"),
]


@pytest.mark.parametrize("few", [False, True], ids=["at once", "parameter by parameter"])
@pytest.mark.parametrize(("why", "model", "options", "engine"), CASES, ids=[c[0] for c in CASES])
def test_products_are_those_of_gradients_one_by_one(why, model, options, engine, few, monkeypatch):
    data = blobs(shape=(1, 8, 8), train=24) if model["name"] == "simple_cnn" else blobs()
    configs = [config(model, seed=s, **options) for s in range(2)]
    pack = pack_of(configs, data, engine=engine)
    monkeypatch.setattr(gram, "EXAMPLES_AT_ONCE", 4)
    monkeypatch.setattr(gram, "COLUMNS_AT_ONCE", 7)
    if few:
        monkeypatch.setattr(gram, "GRADIENT_BYTES", 1)
    index = torch.tensor([3, 1, 8, 20, 5, 11, 2])
    for block in blocks(pack):
        probe = Probe(pack, pack.init(), block)
        x, y, _ = pack.examples(index, block)
        head = gram.last_layer(probe)
        inner = [n for n in probe.params if n not in head]
        found, passes = gram.example_grams(probe, x, y, [inner, head])
        assert passes == (len(probe.params) if few else 1)
        for i, r in enumerate(range(block.start, block.stop)):
            module, (x, y) = fresh_model(configs[r], data).eval(), noisy_set(configs[r], data)
            rows = []
            for j in index:
                out = module(x[j : j + 1])
                loss = F.cross_entropy(out, y[j : j + 1])
                if options.get("loss") == "mse":
                    loss = 0.5 * (out[0] - F.one_hot(y[j], 3)).square().sum()
                rows.append([g.flatten() for g in torch.autograd.grad(
                    loss, list(module.parameters()))])
            for part, names in zip(found[i], (slice(None, -2), slice(-2, None)), strict=True):
                expected = torch.stack([torch.cat(g[names]) for g in rows])
                torch.testing.assert_close(part, expected @ expected.T, rtol=1e-10, atol=1e-13)


def test_a_model_of_one_layer_has_no_inner_part():
    pack = pack_of([config({"name": "linear"})], blobs())
    probe = Probe(pack, pack.init(), slice(0, 1))
    assert gram.last_layer(probe) == list(probe.params)
    x, y, _ = pack.examples(torch.arange(3), slice(0, 1))
    found, _ = gram.example_grams(probe, x, y, [[], gram.last_layer(probe)])
    assert not found[0, 0].any()
    assert found[0, 1].diagonal().min() > 0
