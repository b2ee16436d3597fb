"""The adversarial search against its definition, and against exact boxes of linear models."""

import torch

from trainables.quantities.lass import NOISE, STEP, Box, critical_samples, data_range


def source(seed):
    return torch.Generator().manual_seed(seed)


def noises(runs, m, d, seed=0):
    drawn = torch.randn(200, runs, m, d, generator=source(seed), dtype=torch.float64)
    return lambda sweep: drawn[sweep]


def linear(runs, d, classes, seed=0):
    w = torch.randn(runs, d, classes, generator=source(seed), dtype=torch.float64)
    return w, lambda x: x @ w


def box_of(x, radius, low=-9.0, high=9.0):
    one = torch.ones(x.shape[-1], dtype=x.dtype)
    return Box(radius * one, low * one, high * one)


def by_definition(model, x, box, noise, sweeps, patience=5):
    """One input after the other, as the algorithm reads, of one run."""
    found, quiet, moved = [False] * len(x), 0, x.clone()
    predicted = [model(a).argmax().item() for a in x]
    for sweep in range(sweeps):
        new = False
        for i, k in enumerate(predicted):
            a = moved[i].clone().requires_grad_()
            slope = torch.autograd.grad(-model(a).log_softmax(-1)[k], a)[0]
            a = moved[i] + box.radius * (STEP * slope.sign() + NOISE * noise(sweep)[0, i])
            a = a.clamp(x[i] - box.radius, x[i] + box.radius).clamp(box.low, box.high)
            moved[i] = a
            if model(a).argmax().item() != k and not found[i]:
                found[i] = new = True
        quiet = 0 if new else quiet + 1
        if quiet == patience or all(found):
            return found, sweep + 1
    return found, sweeps


def test_the_search_is_the_algorithm_written_out():
    """A network with two layers, so that the gradient depends on where it is taken."""
    x = torch.randn(30, 4, generator=source(1), dtype=torch.float64)
    w1, w2 = (torch.randn(a, b, generator=source(2), dtype=torch.float64)
              for a, b in ((4, 12), (12, 3)))

    def model(x):
        return torch.tanh(3 * x @ w1) @ w2

    box = box_of(x, 0.08, -1.5, 1.5)
    x = x.clamp(-1.5, 1.5)
    for sweeps in (1, 3, 100):
        expected, taken = by_definition(model, x, box, noises(1, 30, 4), sweeps)
        for chunk in (7, 100):
            found = critical_samples(model, x[None], box, noises(1, 30, 4), sweeps=sweeps,
                                     chunk=chunk)
            assert found.found[0].tolist() == expected
            assert found.sweeps.tolist() == [taken]
    assert 0 < sum(expected) < 30


def test_what_it_finds_is_there_and_nearly_all_of_it():
    """Linear: x is critical iff its margin to some class is below r‖w_k − w_j‖_1, exactly."""
    w, model = linear(2, 5, 3)
    x = torch.randn(2, 300, 5, generator=source(3), dtype=torch.float64)
    out = model(x)
    k = out.argmax(-1)
    reach = 0.1 * (w.transpose(1, 2)[:, :, None] - w.transpose(1, 2)[:, None]).abs().sum(-1)
    margin = out.gather(2, k[..., None]) - out
    bounds = torch.stack([reach[r][k[r]] for r in range(2)])
    critical = ((margin < bounds) & (margin > 0)).any(-1)
    found = critical_samples(model, x, box_of(x, 0.1), noises(2, 300, 5), sweeps=100,
                             chunk=1000).found
    assert not (found & ~critical).any()
    assert critical.sum() > 100
    assert (found & critical).sum() > 0.95 * critical.sum()


def test_each_runs_search_ends_by_itself():
    """Run 0 finds nothing and stops after five sweeps; its neighbour goes on, or is not finite."""
    x = torch.randn(3, 50, 2, generator=source(5), dtype=torch.float64)
    w = torch.randn(3, 2, 4, generator=source(6), dtype=torch.float64)
    w[0], w[2] = 0.0, torch.nan
    together = critical_samples(lambda x: x @ w, x, box_of(x, 0.2), noises(3, 50, 2), sweeps=60,
                                chunk=99)
    assert together.sweeps[0] == 5
    assert not together.found[0].any()  # all logits equal everywhere: the prediction is constant
    assert together.finite.tolist() == [True, True, False]
    alone = critical_samples(lambda x: x @ w[1:2], x[1:2], box_of(x, 0.2),
                             lambda s: noises(3, 50, 2)(s)[1:2], sweeps=60, chunk=99)
    assert torch.equal(alone.found[0], together.found[1])
    assert alone.sweeps[0] == together.sweeps[1] > 5


def test_it_stays_in_the_box_and_in_the_datas_range():
    seen = []
    w = torch.randn(3, 2, generator=source(0), dtype=torch.float64)

    def model(x):
        seen.append(x.detach().clone())
        return x @ w

    x = torch.tensor([[[0.0, 0.95, 3.0], [0.5, 0.2, -2.0]]], dtype=torch.float64)
    one = torch.ones(3, dtype=torch.float64)
    box = Box(torch.tensor([0.1, 0.1, 0.0]).double(), 0 * one, one)
    critical_samples(model, x, box, noises(1, 2, 3), sweeps=9, chunk=9)
    path = torch.stack(seen)
    assert len(path) > 4
    assert ((path - x).abs() <= box.radius + 1e-15).all()
    assert path[..., :2].min() >= 0
    assert path[..., :2].max() <= 1
    # a constant feature is not searched, and an x outside the range not pulled in
    assert torch.equal(path[..., 2], x[..., 2].expand(len(path), -1, -1))


def test_range_is_per_channel_or_feature():
    images = torch.randn(5, 2, 3, 3, generator=source(0))
    low, high = data_range(images)
    assert low.shape == high.shape == (2, 1, 1)
    assert low[1, 0, 0] == images[:, 1].min()
    assert torch.equal(data_range(images[:, 0, 0])[1], images[:, 0, 0].max(0).values)
    scaled = data_range(images * 7 + 3)
    torch.testing.assert_close(scaled[1] - scaled[0], 7 * (high - low))
