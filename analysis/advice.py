"""A recommendation as lines of a terminal, and as plain values."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from analysis.crossed import Interval
from analysis.labels import number
from analysis.recommend import Advice, Recommendation, label_of


def lines(found: Sequence[Recommendation]) -> list[str]:
    """The two η with their intervals, whence, how far to trust them, and what would tell more."""
    text = []
    for one in found:
        where = f" ({one.setting_label})" if one.setting_label else ""
        text.append(f"{one.sweep}{where}: η for S = {one.batch_size}, by {label_of(one.metric)}")
        if one.optima:
            text += [*_advice("best", one.best), *_advice("equal ratio", one.equal_ratio)]
        if one.scaling is not None:
            law = one.scaling
            fitting = " or ".join(law.compatible()) or "neither linear scaling nor √S nor none"
            text.append(f"  law          η_best ∝ S^{_written(law.exponent)}: {fitting}")
        text += [f"  note         {words}" for words in one.cautions]
        if one.axes:
            text.append(f"  to be surer  {one.axes}")
    return text


def _advice(name: str, advice: Advice | None) -> list[str]:
    if advice is None:
        return [f"  {name:<12} not known"]
    said = [f"  {name:<12} η = {_written(advice.lr)}  from {advice.source}"]
    if advice.validity:
        said.append(f"  {'':<12} {'' if advice.sound else 'take care: '}{advice.validity}")
    return said


def _written(found: Interval) -> str:
    return f"{number(found.value)} [{number(found.low, 2)}, {number(found.high, 2)}]"


def plain(found: Sequence[Recommendation]) -> list[dict[str, Any]]:
    """One map a setting: what ``lines`` says, in numbers."""
    return [{
        "sweep": one.sweep,
        "setting": one.setting_label,
        "metric": one.metric,
        "batch_size": one.batch_size,
        "best": _plain(one.best),
        "equal_ratio": _plain(one.equal_ratio),
        "exponent": None if one.scaling is None else asdict(one.scaling.exponent),
        "laws": [] if one.scaling is None else list(one.scaling.compatible()),
        "optima": [{"batch_size": o.batch_size, **_ends(o.lr), "kind": str(o.kind),
                    "best_lr": o.best, "seeds": o.seeds} for o in one.optima],
        "lost_from": [] if one.limit is None else [
            {"batch_size": s, "lr": lr} for s, lr in one.limit.lost_from.items()],
        "cautions": list(one.cautions),
        "axes": one.axes,
    } for one in found]


def _ends(lr: Interval) -> dict[str, float | None]:
    """JSON knows no ∞: an end that the grid does not show is None."""
    high = lr.high if math.isfinite(lr.high) else None
    return {"value": lr.value, "low": lr.low or None, "high": high}


def _plain(advice: Advice | None) -> dict[str, Any] | None:
    if advice is None:
        return None
    return {**_ends(advice.lr), "source": advice.source, "validity": advice.validity,
            "sound": advice.sound}
