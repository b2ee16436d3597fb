"""Which step lies in which epoch, and what the schedules of batch size and rate have in common."""

import pytest
import torch

from tests.trainables.runs import blobs, config, fresh_model, pack_of
from trainables.epochs import Calendar, calendar
from trainables.sampling import epoch_indices
from trainables.schedules import lr_factor, measuring_steps, total_steps
from trainables.step import update

CYCLIC = {"name": "cyclic", "period": 4.0, "factor": 5.0}
MLP = {"name": "mlp", "width": 5, "depth": 1}
# N = 100, S = 4: batches of 4, then 1/S triangular: 1/4, .15, 1/20, .15, 1/4, …
SIZES = [4, 7, 20, 7, 4, 7]
STEPS = [25, 14, 5, 14, 25, 14]


def test_sizes_and_steps_of_each_epoch():
    of = Calendar(100, 4, CYCLIC)
    assert [of.batch_size(e) for e in range(6)] == SIZES
    assert [of.steps_in(e) for e in range(6)] == STEPS


@pytest.mark.parametrize("schedule", [None, CYCLIC, {**CYCLIC, "factor": 0.5}])
def test_the_table_is_what_walking_through_the_epochs_gives(schedule):
    of, step, seen = Calendar(100, 4, schedule), 0, 0
    for epoch in range(9):
        assert Calendar(100, 4, schedule).start(epoch) == of.start(epoch) == step  # in any order
        for batch in range(of.steps_in(epoch)):
            assert of.locate(step) == (epoch, batch)
            assert of.epoch(step) == pytest.approx(epoch + batch / of.steps_in(epoch), 1e-15)
            assert of.step(of.epoch(step)) == pytest.approx(step, 1e-12)
            assert of.examples(step) == seen
            step, seen = step + 1, seen + of.batch_size(epoch)


def test_a_length_in_epochs_and_the_measuring_follow_it():
    of = Calendar(100, 4, CYCLIC)
    assert total_steps({"epochs": 5, "steps": None}, of) == sum(STEPS[:5]) == 83
    assert total_steps({"epochs": None, "steps": 7}, of) == 7
    when = {"every_epochs": 1, "early": None}
    assert measuring_steps(when, of, 83) == (0, 25, 39, 44, 58, 83)
    assert measuring_steps({"every_epochs": 1.5, "early": None}, of, 50) == (0, 32, 44, 50)
    assert measuring_steps({"early": "log"}, of, 83) == (0, 1, 2, 4, 8, 16, 83)


@pytest.mark.parametrize("factor", [5.0, 3.0, 0.4])
def test_cyclic_rate_and_cyclic_batch_have_one_ratio(factor):
    """η·w(e)/S against η/S_e with the factor's inverse, epoch by epoch; exact but for rounding."""
    size, of = 4000, Calendar(100_000, 4000, {**CYCLIC, "period": 7.0, "factor": 1 / factor})
    steady = Calendar(100_000, size)
    rate = {**CYCLIC, "period": 7.0, "factor": factor, "by": "epoch"}
    for epoch in range(15):
        batch = of.batch_size(epoch)
        found = {lr_factor(rate, s, steady, 10**6) / size
                 for s in range(steady.start(epoch), steady.start(epoch + 1))}
        assert len(found) == 1  # constant within an epoch
        assert found.pop() * batch == pytest.approx(1, abs=0.5 / batch + 1e-12)


def test_a_run_is_the_plain_loop_with_those_batches():
    data = blobs(train=40)
    cfg = config(MLP, batch_size=2, batch_schedule=CYCLIC, epochs=4)
    pack = pack_of([cfg], data)
    sizes = [2, 3, 10, 3]
    assert pack.steps == sum(40 // s for s in sizes) == 50
    state = pack.init()
    for _ in range(pack.steps):
        update(pack, state)
    module = fresh_model(cfg, data).train()
    rate = torch.optim.SGD(module.parameters(), lr=0.1)
    x, y = torch.tensor(data.x_train, dtype=torch.float64), torch.tensor(data.y_train)
    for epoch, size in enumerate(sizes):
        for i in epoch_indices([0], epoch, train_size=40, batch_size=size)[0]:
            rate.zero_grad()
            torch.nn.functional.cross_entropy(module(x[i]), y[i]).backward()
            rate.step()
    for name, p in module.named_parameters():
        torch.testing.assert_close(state.params[name][0], p.detach(), rtol=0, atol=1e-12)


def test_sections_of_older_sweeps_have_a_constant_batch():
    assert calendar(100, {"batch_size": 8}).constant == 12
