"""The Fisher penalty against a plain loop of double backward; its draws; whom it leaves alone."""

import pytest
import torch

from tests.trainables.runs import blobs, config, fresh_model, pack_of
from trainables.engines import ENGINES
from trainables.optim.penalty import GE_PENALTY, draws, penalty_gradients
from trainables.sampling import epoch_indices
from trainables.step import update

MLP = {"name": "mlp", "width": 6, "depth": 2}
STEPS = 50


def plain(cfg, data, steps):
    """The run in a plain loop: labels drawn by hand, the penalty by autograd of an autograd."""
    module, every = fresh_model(cfg, data).train(), cfg["train"]["fisher_every"]
    x_all, y_all = torch.tensor(data.x_train, dtype=torch.float64), torch.tensor(data.y_train)
    params, size = list(module.parameters()), cfg["train"]["batch_size"]
    for step in range(steps):
        epoch, batch = divmod(step, len(x_all) // size)
        i = epoch_indices([cfg["seed"]], epoch, train_size=len(x_all), batch_size=size)[0, batch]
        loss = torch.nn.functional.cross_entropy(module(x_all[i]), y_all[i])
        if step % every == 0:
            p = module(x_all[i]).softmax(1)
            uniform = draws([cfg["seed"]], step, x_all[i][None])[0]
            mean = 0.0
            for b in range(size):
                cumulated, label = p[b, 0].item(), 0
                while cumulated <= uniform[b]:
                    label += 1
                    cumulated += p[b, label].item()
                mean = mean + p[b, label].log() / size
            scores = torch.autograd.grad(mean, params, create_graph=True)
            loss = loss + cfg["train"]["fisher_penalty"] * sum(g.square().sum() for g in scores)
        for q, g in zip(params, torch.autograd.grad(loss, params), strict=True):
            q.data -= cfg["train"]["lr"] * g
    return module


@pytest.mark.parametrize("engine", ["vmap", "loop"])
@pytest.mark.parametrize("every", [1, 3])
def test_a_packed_run_is_the_plain_run(every, engine):
    data = blobs()
    configs = [config(MLP | {"activation": "tanh"}, seed=s, lr=0.05, fisher_penalty=a,
                      fisher_every=every) for s, a in enumerate([0.5, 0.0, 0.05])]
    pack = pack_of(configs, data, width=4, engine=engine)
    state = pack.init()
    for _ in range(STEPS):
        update(pack, state)
    for r, cfg in enumerate(configs):
        for name, p in plain(cfg, data, STEPS).named_parameters():
            torch.testing.assert_close(state.params[name][r], p.detach(), rtol=0, atol=1e-11)
    times = -(-STEPS // every)
    expected = [GE_PENALTY * 8 / 40 * times * on for on in (1, 0, 1, 0)]
    assert state.extra_ge.tolist() == pytest.approx(expected, rel=1e-12)


def test_a_run_without_it_keeps_its_bits():
    data = blobs()
    alone = pack_of([config(MLP, seed=s) for s in range(2)], data)
    mixed = pack_of([config(MLP, seed=s, fisher_penalty=a) for s, a in enumerate([0.0, 0.3])], data)
    ours, theirs = alone.init(), mixed.init()
    for _ in range(7):
        update(alone, ours)
        update(mixed, theirs)
    assert all(torch.equal(p[0], theirs.params[n][0]) for n, p in ours.params.items())
    assert not all(torch.equal(p[1], theirs.params[n][1]) for n, p in ours.params.items())


def test_its_mean_is_the_trace_of_the_fisher_information_over_the_batch():
    """E_ŷ |(1/B)Σ∇log p(ŷ_i|x_i)|² = (1/B²) Σ_i Σ_c p_c |∇log p_c(x_i)|²: |z| < 4 of 4000 draws."""
    pack = pack_of([config(MLP)], blobs())
    x, many = pack.x_train[:4], 4000
    one = {n: p[0].clone().requires_grad_() for n, p in pack.initial.items()}
    log_p = torch.func.functional_call(pack.trainer, one, (x,)).log_softmax(1)
    trace = sum(log_p[i, c].exp() * sum(g.square().sum() for g in torch.autograd.grad(
        log_p[i, c], list(one.values()), retain_graph=True)) for i in range(4) for c in range(3))
    params = {n: p.expand(many, *p.shape[1:]) for n, p in pack.initial.items()}
    uniform = torch.rand(many, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found, _ = penalty_gradients(ENGINES["vmap"], pack.trainer, params, {},
                                 x.expand(many, *x.shape), uniform)
    z = (found.mean() - trace.detach() / 16) / (found.std() / many**0.5)
    assert abs(z.item()) < 4


def test_draws_are_the_runs_own():
    x = torch.zeros(3, 5, 2)
    found = draws([7, 1, 7], 4, x)
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found[1], draws([1], 4, x[:1])[0])
    assert not torch.equal(found[0], draws([7], 5, x[:1])[0])


def test_a_run_that_is_not_a_number_harms_nobody():
    pack, sole = (pack_of([config(MLP, seed=s, fisher_penalty=0.1) for s in seeds], blobs())
                  for seeds in ((3, 5), (3, 4)))
    ours, theirs = pack.init(), sole.init()
    for p in ours.params.values():
        p[1] = torch.nan
    for _ in range(5):
        update(pack, ours)
        update(sole, theirs)
    assert all(torch.equal(p[0], theirs.params[n][0]) for n, p in ours.params.items())
