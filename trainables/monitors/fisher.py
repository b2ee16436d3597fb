"""The trace of the Fisher information, by labels that the model draws, and the empirical one."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainables import streams
from trainables.monitors import Sizes
from trainables.monitors.declared.fisher import ge
from trainables.probe import Probe
from trainables.quantities.pullbacks import (
    draws,
    observed,
    pullback_norms,
    sampled,
    two_stage,
    weighted,
)


def measure(probe: Probe, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tr F = E_x E_{ŷ ~ p(·|x)} |∇ log p(ŷ|x)|² over the measurement set (Jastrzebski et al. 2021).

    Unbiased for the set: over ``examples`` of it, the same in every run and at every snapshot,
    and ``samples`` labels of each from the run's own stream, new at every snapshot; ``exact`` takes
    the mean over all labels instead. Cross-entropy: a class. Mean squared error: f + ε with
    ε ~ N(0, I), the scale of ½‖f − y‖². The empirical one takes the labels that the run trains
    on, on the same examples. Cost: ``declared/fisher.ge``.
    """
    pack, loss, exact = probe.pack, probe.pack.train["loss"], options["exact"]
    m = min(options["examples"], probe.size)
    order = torch.randperm(probe.size, generator=torch.Generator().manual_seed(0))[:m]
    index = pack.measure_set[order.to(pack.measure_set.device)]
    labels = pack.examples(index, probe.runs)[1]
    drawn = _drawn(probe, m, options["samples"])

    def residuals(outputs: Tensor, given: Tensor) -> Tensor:
        label, random = given[0].long(), given[1:].to(outputs.dtype)
        if exact:
            model = weighted(loss, outputs)
        else:
            shape = (-1, pack.classes) if loss == "mse" else (-1,)
            model = sampled(loss, outputs, random.reshape(shape))
        return torch.cat([observed(loss, outputs, label)[None], model])

    norms = pullback_norms(
        probe, index, torch.cat([labels[:, :, None].double(), drawn], dim=2), residuals)
    probe.spend(ge(options, Sizes(
        pack.train_size, pack.test_size, probe.size, pack.batch_size, pack.classes)))
    values = norms[:, :, 1:]
    trace, error = two_stage(
        values.sum(2, keepdim=True) if exact else values, probe.size, exact=exact)
    if m == 1:
        probe.explain("fisher_trace_se", error.isnan(), "one example has no standard error")
    return {"fisher_trace": trace, "fisher_trace_se": error,
            "empirical_fisher_trace": norms[:, :, 0].mean(1),
            "fisher_examples": torch.full_like(trace, m)}


def _drawn(probe: Probe, examples: int, samples: int) -> Tensor:
    """(R, m, …) what labels are drawn with, a function of (run seed, stream, step)."""
    drawn = {s: draws(probe.pack.train["loss"], streams.generator(s, "fisher_trace", probe.step),
                      (examples, samples), probe.pack.classes).flatten(1)
             for s in set(probe.seeds)}
    return torch.stack([drawn[s] for s in probe.seeds]).to(probe.pack.device)
