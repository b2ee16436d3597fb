"""Memorisation: critical samples, loss sensitivity, noisy against clean examples (Arpit 2017)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables import streams
from trainables.costs import GE_FORWARD
from trainables.curves import Curve
from trainables.probe import EVALUATION_BYTES, Probe, graph_bytes
from trainables.quantities import lass
from trainables.quantities.balanced import balanced
from trainables.quantities.sensitivity import cost, gini, loss_sensitivity, not_plain

CONVERGED = "memorization_converged"  # remembered: step + 1 of convergence; 0 before it


def measure(probe: Probe, options: Mapping[str, Any]) -> dict[str, Any]:
    """All of the family; each part says its cost and errors."""
    judged = _judge(probe)
    found: dict[str, Any] = _accuracies(probe, judged)
    found |= _convergence(probe, judged, options["target"])
    if options["iterations"]:
        found |= _critical(probe, options)
    if options["sensitivity"]:
        found |= _sensitivity(probe, options)
    return found


def _each(probe: Probe) -> int:
    return max(1, EVALUATION_BYTES // (graph_bytes(probe.pack) * len(probe.seeds)))


@dataclass(frozen=True)
class _Judged:
    """Of every training example (R, N) bool, and (R,) whether all outputs of a run are finite."""

    noisy: Tensor          # a victim of label or input noise
    right: Tensor          # predicted as trained on
    right_of_true: Tensor  # predicted as in truth
    finite: Tensor


@torch.no_grad()
def _judge(probe: Probe) -> _Judged:
    """Predictions of the whole training set; N/n thirds of a GE.

    Noisy are all victims, also those whose redrawn label is the true one (a share 1/C of them, by
    chance): which they are is a function of the data's seed.
    """
    pack, predicted = probe.pack, []
    finite = torch.ones(len(probe.seeds), dtype=torch.bool, device=pack.device)
    for part in torch.arange(pack.train_size, device=pack.device).split(_each(probe)):
        x, _, shared = pack.examples(part, probe.runs)
        out = pack.engine.outputs(pack.evaluator, probe.params, probe.buffers, x, shared=shared)
        predicted.append(out.argmax(-1))
        finite &= out.isfinite().all(2).all(1)
    probe.spend(GE_FORWARD * pack.train_size / probe.size)
    known = torch.cat(predicted, dim=1)
    noisy = pack.label_victims[probe.runs]
    if pack.noisy_inputs is not None:
        noisy = noisy | pack.noisy_inputs[probe.runs]
    return _Judged(noisy, known == pack.labels[probe.runs], known == pack.clean_labels, finite)


def _accuracies(probe: Probe, judged: _Judged) -> dict[str, Tensor]:
    """Accuracy on either part of the training set; null where a part is empty."""
    wanted = {"clean_accuracy": (judged.right, ~judged.noisy),
              "corrupted_accuracy": (judged.right, judged.noisy),
              "corrupted_true_accuracy": (judged.right_of_true, judged.noisy)}
    found = {}
    for column, (right, part) in wanted.items():
        probe.explain(column, ~judged.finite, "outputs are not finite")
        probe.explain(column, judged.finite & ~part.any(1), "every training example is noisy"
                      if column == "clean_accuracy" else "no training example is noisy")
        share = (right & part).sum(1).double() / part.sum(1)
        found[column] = torch.where(judged.finite, share, torch.nan)
    return found


def _convergence(probe: Probe, judged: _Judged, target: float) -> dict[str, Tensor]:
    """The first snapshot at which the whole training set's accuracy was the target or better.

    It was first reached somewhere between the snapshot before and this one; that it may have
    been lost again does not count. Until then null, and censored.
    """
    accuracy = judged.right.double().mean(1)
    before = probe.recall(CONVERGED)
    before = torch.zeros_like(accuracy) if before is None else before.to(accuracy)
    now = (before == 0) & judged.finite & (accuracy >= target - 1e-12)
    reached = torch.where(now, probe.step + 1.0, before)
    probe.remember(CONVERGED, reached)
    calendar, missing = probe.pack.calendar, reached == 0
    probe.explain("converged_epoch", missing,
                  f"accuracy {target:g} not reached by epoch {calendar.epoch(probe.step):.4g}")
    epochs = [calendar.epoch(int(s) - 1) if s else torch.nan for s in reached.tolist()]
    return {"converged_epoch": torch.tensor(epochs, dtype=torch.float64),
            "convergence_censored": missing.double()}


def _critical(probe: Probe, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Critical sample ratio: share of ``examples`` for which LASS finds another prediction.

    Within ``radius`` of the clean training data's range, per channel of images or feature of
    tables; the fixed examples are nearly balanced by class, of the test set or, as the run sees
    them, of the measurement set. Biased low, as a search misses some; and of ``examples`` examples,
    so that the standard error is √(p(1 − p)/m). With the mse loss too it ascends the cross-entropy
    of the outputs, taken as logits. Cost: 2/3 m/n GE a sweep, of at most ``iterations``, until
    ``patience`` of them found nothing new.
    """
    pack, runs = probe.pack, len(probe.seeds)
    source = streams.generator(pack.configs[0]["data"]["seed"], "critical")
    if options["set"] == "test":
        x = pack.x_test[balanced(pack.y_test, options["examples"], source)]
        x = x.expand(runs, *x.shape)
    else:
        place = balanced(pack.clean_labels[pack.measure_set], options["examples"], source)
        x, _, shared = pack.examples(pack.measure_set[place], probe.runs)
        x = x.expand(runs, *x.shape) if shared else x
    low, high = lass.data_range(pack.x_train)

    def outputs(x: Tensor) -> Tensor:
        return pack.engine.outputs(pack.evaluator, probe.params, probe.buffers, x, shared=False)

    def noise(sweep: int) -> Tensor:
        return streams.normal(probe.seeds, f"lass_{sweep}", probe.step, tuple(x.shape[1:]), x)

    seen = lass.critical_samples(
        outputs, x, lass.Box(options["radius"] * (high - low), low, high), noise,
        sweeps=options["iterations"], chunk=_each(probe), patience=options["patience"])
    probe.spend((seen.sweeps + 1).double().cpu() * 2 * GE_FORWARD * x.shape[1] / probe.size)
    probe.explain("critical_sample_ratio", ~seen.finite, "outputs are not finite")
    ratio = torch.where(seen.finite, seen.found.double().mean(1), torch.nan)
    return {"critical_sample_ratio": ratio, "critical_sample_sweeps": seen.sweeps.double()}


def _sensitivity(probe: Probe, options: Mapping[str, Any]) -> dict[str, Any]:
    """Loss sensitivity of ``sensitivity_examples`` training inputs: ``loss_sensitivity``.

    Over the next ``steps`` steps of the run, so that at the first snapshot of all it is from the
    initial parameters; null where these are not steps of plain SGD. Its scale is that of a mean
    loss over n examples, per unit of the inputs as the model gets them; the Gini coefficient has
    none.
    """
    pack = probe.pack
    other = not_plain(pack, probe.runs)
    for reason, where in other:
        for column in ("sensitivity_mean", "sensitivity_gini"):
            probe.explain(column, where, reason)
    plain = ~torch.stack([where for _, where in other]).any(0)
    if not plain.any():
        nothing = torch.full_like(probe.flat[:, 0], torch.nan, dtype=torch.float64)
        found = {"sensitivity_mean": nothing, "sensitivity_gini": nothing}
        return found | ({"sensitivity_class": []} if options["sensitivity_class"] else {})
    source = streams.generator(pack.configs[0]["data"]["seed"], "sensitivity")
    place = balanced(pack.clean_labels[pack.measure_set], options["sensitivity_examples"], source)
    index = pack.measure_set[place]
    classes = pack.classes if options["sensitivity_class"] else 0
    whole, by_class = loss_sensitivity(
        probe, index, steps=options["steps"], every=options["every"], classes=classes)
    before = pack.calendar.examples(probe.step)

    def seen(t: int) -> float:
        return (pack.calendar.examples(probe.step + t) - before) / probe.size

    spent = cost(options["steps"], options["every"], seen, max(1, classes))
    probe.spend(spent * plain.cpu().double())
    unknown, still = ~whole.isfinite().all(1), (whole == 0).all(1)
    for column in ("sensitivity_mean", "sensitivity_gini"):
        probe.explain(column, plain & unknown, "the loss is not finite within the steps")
    probe.explain("sensitivity_gini", plain & still, "the loss depends on no input")
    bad = torch.where(unknown | ~plain, torch.nan, 0.0)
    found = {"sensitivity_mean": whole.mean(1) + bad, "sensitivity_gini": gini(whole) + bad}
    if by_class is None:
        return found
    of_class = torch.nn.functional.one_hot(pack.labels[probe.runs][:, index], classes).double()
    matrix = by_class @ of_class / of_class.sum(1, keepdim=True)  # NaN: no input of the class
    matrix = matrix + bad[:, None, None]
    return {**found, "sensitivity_class": [
        Curve(torch.arange(classes), matrix[:, c], str(c)) for c in range(classes)]}
