"""Stiffness: signs and cosines of the gradients of pairs of examples, by class and by distance."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables import streams
from trainables.curves import Curve
from trainables.probe import Probe
from trainables.quantities.balanced import balanced
from trainables.quantities.gram import example_grams, last_layer
from trainables.quantities.stiffness import (
    Decay,
    binned,
    class_means,
    cosines,
    decay,
    distances,
    within_between,
)

# Gradients shorter than this many units of rounding are left out: a residual is rounded to about
# one unit, so that of a fitted example has no direction any more.
ROUNDING = 100


@dataclass(frozen=True)
class _Set:
    """m probe examples, and which of their pairs count: rows × columns, never with oneself."""

    x: Tensor  # (m, …) if shared by the runs, else (R, m, …)
    labels: Tensor  # (R, m)
    rows: slice
    columns: slice

    def pairs(self, values: Tensor) -> Tensor:
        """(a, b) of (m, m) values, NaN for an example with itself."""
        oneself = torch.eye(len(values), dtype=torch.bool, device=values.device)
        return values.masked_fill(oneself, torch.nan)[self.rows, self.columns]


@dataclass(frozen=True)
class _Found:
    columns: dict[str, float]
    decay: Decay
    matrix: Tensor  # (C, C)
    curves: dict[str, tuple[Tensor, Tensor]]  # series -> mean distance and value of the bins


def measure(probe: Probe, options: Mapping[str, Any]) -> dict[str, Any]:
    """Stiffness of fixed probe examples, their classes as the run sees them.

    ``examples`` a side, as nearly balanced by clean label as possible, from the measurement or the
    test set. Exact for these examples; class means are unbiased for the set they come from.
    Examples whose gradient is no longer than 100 units of rounding are left out, so that means are
    over what is not fitted yet. ξ and its interval: ``stiffness.decay``; ξ is null where it would
    be an extrapolation, its interval may reach beyond the distances observed. Cost: m/n GE.
    """
    chosen = _choose(probe, options)
    head = last_layer(probe)
    inner = [n for n in probe.params if n not in head]
    # Summed apart, the variant without the last layer costs nothing more.
    grams, passes = example_grams(probe, chosen.x, chosen.labels, [inner, head])
    probe.spend(passes * chosen.labels.shape[1] / probe.size)
    found = [_of_run(probe, chosen, grams[r], options, r) for r in range(len(probe.seeds))]
    _explain(probe, found, torch.isfinite(grams).all(dim=3).all(dim=2).all(dim=1), bool(inner))
    names = list(found[0].columns)
    return {
        **{n: torch.tensor([f.columns[n] for f in found], dtype=torch.float64) for n in names},
        "stiffness_class_cos": [
            Curve(torch.arange(probe.pack.classes), torch.stack([f.matrix[c] for f in found]),
                  str(c)) for c in range(probe.pack.classes)],
        "stiffness_distance": [
            Curve(torch.stack([f.curves[s][0] for f in found]),
                  torch.stack([f.curves[s][1] for f in found]), s) for s in found[0].curves],
    }


def _choose(probe: Probe, options: Mapping[str, Any]) -> _Set:
    """The examples of one side, or those of both, train before test."""
    pack, sides = probe.pack, []
    seed = pack.configs[0]["data"]["seed"]
    if options["pairs"] != "test":
        source = streams.generator(seed, "stiffness_train")
        place = balanced(pack.clean_labels[pack.measure_set], options["examples"], source)
        sides.append(pack.examples(pack.measure_set[place], probe.runs))
    if options["pairs"] != "train":
        source = streams.generator(seed, "stiffness_test")
        place = balanced(pack.y_test, options["examples"], source)
        labels = pack.y_test[place].expand(len(probe.seeds), -1)
        sides.append((pack.x_test[place], labels, True))
    if len(sides) == 1:
        x, labels, _ = sides[0]
        return _Set(x, labels, slice(None), slice(None))
    (x, labels, shared), (other, labels_too, _) = sides
    other = other if shared else other.expand(len(labels), *other.shape)
    first = labels.shape[1]
    return _Set(torch.cat([x, other], dim=0 if shared else 1), torch.cat([labels, labels_too], 1),
                slice(None, first), slice(first, None))


def _of_run(probe: Probe, chosen: _Set, grams: Tensor, options: Mapping[str, Any],
            r: int) -> _Found:
    """All of run r, from its Gram matrices (2, m, m): inner layers, last layer."""
    floor = ROUNDING * torch.finfo(probe.pack.dtype).eps
    total = cosines(grams.sum(0), floor)
    usable = ~total.diagonal().isnan()
    cos = chosen.pairs(total)
    rows, columns = chosen.labels[r, chosen.rows], chosen.labels[r, chosen.columns]
    of_classes = rows, columns, probe.pack.classes
    means = _means(cos, *of_classes)
    if options["exclude_last_layer"]:
        inner = chosen.pairs(cosines(grams[0], floor))
        means |= {f"{n}_inner": v for n, v in _means(inner, *of_classes).items()}
    shared = chosen.x.dim() == probe.pack.x_train.dim()
    distance = chosen.pairs(distances(chosen.x if shared else chosen.x[r], options["centre"]))
    same = rows[:, None] == columns
    line = decay(distance, cos.masked_fill(~same, torch.nan),
                 *_resampled(probe, chosen, cos.shape, options["resamples"], r))
    within = line.nearest <= line.length <= line.farthest
    means |= {
        "stiffness_examples": float(usable.sum()), "stiffness_slope": line.slope,
        "critical_length": line.length if within else math.nan,
        "critical_length_low": line.low if math.isfinite(line.low) else math.nan,
        "critical_length_high": line.high if math.isfinite(line.high) else math.nan,
    }
    seen = distance[~(distance.isnan() | cos.isnan())]
    ends = (seen.min().item(), seen.max().item()) if len(seen) else (0.0, 2.0)
    edges = torch.linspace(*ends, options["bins"] + 1, dtype=torch.float64, device=cos.device)
    curves = {name: binned(distance, cos.masked_fill(~wanted, torch.nan), edges)
              for name, wanted in (("within", same), ("between", ~same))}
    return _Found(means, line, class_means(cos, *of_classes), curves)


def _means(cos: Tensor, rows: Tensor, columns: Tensor, classes: int) -> dict[str, float]:
    found, signs = {}, torch.where(cos.isnan(), cos, cos.sign())
    for kind, values in (("sign", signs), ("cos", cos)):
        within, between = within_between(class_means(values, rows, columns, classes))
        found[f"stiffness_{kind}_within"] = within.item()
        found[f"stiffness_{kind}_between"] = between.item()
    return found


def _resampled(probe: Probe, chosen: _Set, shape: torch.Size, count: int,
               r: int) -> tuple[Tensor, Tensor]:
    """(count, a) and (count, b): how often bootstrap samples hold each example of either side."""
    source = streams.generator(probe.seeds[r], "stiffness_bootstrap", probe.step)

    def side(size: int) -> Tensor:
        drawn = torch.randint(size, (count, size), generator=source)
        zeros = torch.zeros(count, size, dtype=torch.float64)
        return zeros.scatter_add(1, drawn, torch.ones_like(zeros)).to(chosen.labels.device)

    rows = side(shape[0])
    return rows, rows if chosen.rows == chosen.columns else side(shape[1])


def _explain(probe: Probe, found: list[_Found], finite: Tensor, inner: bool) -> None:
    """Says of every null column of every run why it is."""
    for r, of_run in enumerate(found):
        only = torch.arange(len(found)) == r
        line = of_run.decay
        for column, value in of_run.columns.items():
            if not math.isnan(value):
                continue
            if not finite[r]:
                reason = "gradients are not finite"
            elif column.endswith("_inner") and not inner:
                reason = "the last layer is the only one with parameters"
            elif column.startswith("critical_length") and not math.isnan(line.length):
                reason = _beyond(column, line)
            elif column.endswith(("_within", "_within_inner")):
                reason = "no two examples of one class have gradients above rounding"
            elif column.endswith(("_between", "_between_inner")):
                reason = "no two examples of different classes have gradients above rounding"
            else:
                reason = "no within-class pairs at different distances"
            probe.explain(column, only, reason)


def _beyond(column: str, line: Decay) -> str:
    if column != "critical_length":
        return "not reached: too many bootstrap samples do not fall with distance"
    if line.length == math.inf:
        return "not reached: within-class stiffness does not fall with distance"
    return (f"extrapolated to {line.length:.3g}, beyond the distances observed "
            f"({line.nearest:.3g} to {line.farthest:.3g})")
