"""What a pack holds: initial weights, batches with each run's noise, keys, padding, devices."""

import pytest
import torch

from tests.trainables.runs import HERE, blobs, config, fresh_model, noisy_set, pack_of
from trainables.outcomes import Outcome
from trainables.pack import Member, Pack

MLP = {"name": "mlp", "width": 6, "depth": 1}


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_each_run_starts_from_its_own_seeds_weights(precision):
    data, configs = blobs(), [config(MLP, seed=s, precision=precision) for s in (3, 1, 3)]
    state = pack_of(configs, data).init()
    for r, cfg in enumerate(configs):
        for n, p in fresh_model(cfg, data).named_parameters():
            assert state.params[n].dtype == p.dtype
            assert torch.equal(state.params[n][r], p.detach())
    assert not torch.equal(state.params[n][0], state.params[n][1])


def test_states_are_apart():
    pack = pack_of([config(MLP, momentum=0.5)], blobs())
    one, two = pack.init(), pack.init()
    for tensors in (one.params, one.velocity, {"ge": one.measure_ge}):
        for t in tensors.values():
            t += 1
    for n, p in two.params.items():
        assert torch.equal(p, pack.initial[n])
        assert not two.velocity[n].any()
    assert not two.measure_ge.any()


def test_padding_is_a_masked_copy_of_the_last_member():
    pack = pack_of([config(MLP, seed=s, lr=0.1 + s) for s in range(3)], blobs(), width=8)
    state = pack.init()
    assert state.alive.tolist() == [True] * 3 + [False] * 5
    assert state.outcome[3:].tolist() == [Outcome.FINISHED.code] * 5
    assert pack.seeds == [0, 1, 2, 2, 2, 2, 2, 2]
    assert pack.lr.tolist() == pytest.approx([0.1, 1.1] + [2.1] * 6)
    assert all(torch.equal(p[2], p[7]) for p in state.params.values())


def test_batches_are_the_runs_own_noisy_examples():
    data = blobs()
    configs = [config(MLP, seed=s, noisy={"label": 0.1 * s, "input": 0.2 * s}) for s in range(4)]
    pack = pack_of(configs, data)
    seen = pack.epoch(0)
    assert seen.shape == (4, 5, 8)
    whole = torch.arange(40)
    everything = pack.examples(whole, slice(0, 4))
    assert everything[2] is False
    for r, cfg in enumerate(configs):
        x, y = noisy_set(cfg, data)
        for b in range(5):
            ours = pack.batch(seen[:, b])
            assert torch.equal(ours[0][r], x[seen[r, b]])
            assert torch.equal(ours[1][r], y[seen[r, b]])
        assert torch.equal(everything[0][r], x)
        assert torch.equal(everything[1][r], y)
    x, y = noisy_set(configs[3], data)
    part = pack.examples(whole[5:9], slice(3, 4))
    assert torch.equal(part[0][0], x[5:9])
    assert torch.equal(part[1][0], y[5:9])
    assert not torch.equal(x, torch.tensor(data.x_train).double())
    assert not torch.equal(y, torch.tensor(data.y_train))


def test_inputs_are_shared_where_none_is_noisy():
    pack = pack_of([config(MLP, seed=s, noisy={"label": 0.5}) for s in range(2)], blobs())
    x, y, shared = pack.examples(torch.arange(7), slice(0, 2))
    assert shared is True
    assert x.shape == (7, 6)
    assert y.shape == (2, 7)


@pytest.mark.parametrize(("size", "expected"), [(None, 40), (17, 17), (40, 40), (99, 40)])
def test_the_measurement_set(size, expected):
    """Distinct examples that do not depend on the run's seed; all of them in their own order."""
    one, two = (pack_of([config(MLP, seed=s, set_size=size)], blobs()).measure_set for s in (0, 9))
    assert torch.equal(one, two)
    assert len(one.unique()) == len(one) == expected
    assert torch.equal(one, torch.arange(40)) == (expected == 40)


def test_dropout_keys_are_of_the_seed_and_the_step():
    pack = pack_of([config(MLP | {"dropout": 0.5}, seed=s) for s in (4, 5, 4)], blobs())
    one, two = (next(iter(pack.dropout_keys(s).values())).tolist() for s in (0, 1))
    assert one[0] == one[2] != one[1]
    assert not set(one) & set(two)
    assert next(iter(pack.dropout_keys(0).values())).tolist() == one
    assert pack_of([config(MLP)], blobs()).dropout_keys(0) == {}


def test_steps_and_measuring():
    pack = pack_of([config(MLP, batch_size=7, epochs=3, when={"every_epochs": 1})], blobs())
    assert (pack.steps_per_epoch, pack.steps) == (5, 15)
    assert {0, 5, 10, 15} <= pack.measuring


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_several_seeds_start_on_an_accelerator_as_on_the_cpu():
    members = [Member(f"r{s}", config(MLP | {"batch_norm": True}, seed=s)) for s in range(2)]
    here, there = (Pack(members, blobs(), width=2, engine="vmap", device=torch.device(d),
                        base_dir=HERE).init() for d in ("cpu", "cuda"))
    for n, p in there.params.items():
        assert p.device.type == "cuda"
        assert torch.equal(p.cpu(), here.params[n])
