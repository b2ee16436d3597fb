"""Easy and hard examples: how often each is misclassified after one epoch (Arpit et al. 2017, 3.1).

Where all examples are alike, the share p_i of R seeds that misclassify example i is a draw of
Binomial(R, p̄)/R; where some are easy and some hard, it spreads more widely.
"""

import torch
from torch import Tensor

from trainables import step
from trainables.curves import Curve
from trainables.landscape import Subject
from trainables.landscape.surface import curve, engine_of
from trainables.pack import Member, Pack
from trainables.probe import Probe, blocks
from trainables.streams import derive, generator

NULL = {"q05": 0.05, "q50": 0.5, "q95": 0.95}


def probe(subject: Subject, options: dict) -> list[tuple[str, Curve]]:
    """The sorted shares, their over-dispersion, and both for Binomial draws.

    The run's config with other seeds (initialisation, order, noise of the gradient), one epoch
    each. Labels are those that were trained on, noise included. Seeds that ended early do not
    count. The examples are the same for all runs of one data seed.
    """
    wrong = misclassified(subject, options["seeds"], options["examples"])
    seeds, examples = wrong.shape
    rank = (torch.arange(examples, dtype=torch.float64) + 0.5) / examples
    if seeds < 2:
        return []
    share = wrong.double().mean(0)
    found = [("first_epoch_error", curve(rank, share.sort().values))]
    drawn = binomial_shares(float(share.mean()), seeds, examples, options["draws"], subject.seed)
    ordered = drawn.sort(dim=1).values
    found += [("first_epoch_null", curve(rank, ordered.quantile(q, dim=0), name))
              for name, q in NULL.items()]
    value, null = dispersion(share[None], seeds), dispersion(drawn, seeds)
    null = null[null.isfinite()]  # the draws in which nobody, or everybody, was wrong
    found.append(("first_epoch_dispersion", curve([seeds], value)))
    if len(null) > 1:
        levels = torch.tensor(list(NULL.values()), dtype=torch.float64)
        found += [
            ("first_epoch_dispersion_null", curve(levels, null.quantile(levels))),
            ("first_epoch_dispersion_z", curve([seeds], (value - null.mean()) / null.std()))]
    return found


def dispersion(share: Tensor, seeds: int) -> Tensor:
    """(…, n) shares of R seeds to (…,): Var(p) / (p̄ (1 − p̄) / R), NaN where p̄ is 0 or 1.

    Var with n − 1. Expected of equal examples: 1, but for the 1/(n R) that p̄ is estimated by. Of
    true error rates π_i: 1 + (R − 1) Var(π) / (p̄ (1 − p̄)), so it grows with R.
    """
    mean = share.mean(-1)
    return share.var(-1) / (mean * (1 - mean) / seeds)


def binomial_shares(mean: float, seeds: int, examples: int, draws: int, seed: int) -> Tensor:
    """(draws, examples) float64 of Binomial(R, p̄)/R."""
    p = torch.full((draws, examples), mean, dtype=torch.float64)
    return torch.binomial(torch.full_like(p, seeds), p,
                          generator=generator(seed, "first_epoch_null")) / seeds


def misclassified(subject: Subject, seeds: int, examples: int) -> Tensor:
    """(R', n) bool on the host: whom each seed gets wrong after its first epoch."""
    config = subject.configs[0]
    members = [Member(f"seed_{i}", {**config, "seed": derive(subject.seed, "first_epoch", i)})
               for i in range(seeds)]
    place = {"device": subject.device, "base_dir": subject.base_dir}
    one = Pack(members[:1], subject.data, width=1, engine="loop", **place)
    engine, limit = engine_of(one)
    return torch.cat([_epoch(Pack(members[i : i + limit], subject.data,
                                  width=len(members[i : i + limit]), engine=engine, **place),
                             examples) for i in range(0, seeds, limit)])


@torch.no_grad()
def _wrong(pack: Pack, state, examples: int) -> Tensor:
    order = torch.randperm(pack.train_size, generator=generator(
        pack.configs[0]["data"]["seed"], "first_epoch_examples"))
    index, found = order[:examples].to(pack.device), []
    for block in blocks(pack):
        at = Probe(pack, state, block)
        x, y, shared = pack.examples(index, block)
        out = pack.engine.outputs(pack.evaluator, at.params, at.buffers, x, shared=shared)
        found.append(out.argmax(-1) != y)
    return torch.cat(found)


def _epoch(pack: Pack, examples: int) -> Tensor:
    state = pack.init()
    for _ in range(pack.steps_per_epoch):
        step.update(pack, state)
    return _wrong(pack, state, examples)[state.alive].cpu()
