"""How quantities and numbers are written: in sentences, in formulas, on axes."""

import math
import re
from dataclasses import dataclass

from markupsafe import Markup, escape


@dataclass(frozen=True)
class Label:
    """``plain``: in a sentence and on a terminal. ``tex``: on an axis, unit included."""

    plain: str
    tex: str


_LABELS = {
    "hessian_lambda_max": Label("λ_max", r"$\lambda_{\max}$"),
    "hessian_lambda_min": Label("λ_min", r"$\lambda_{\min}$"),
    "hessian_trace": Label("Tr H", r"$\mathrm{Tr}\,H$"),
    "preconditioned_lambda_max": Label("λ_max of P⁻¹H", r"$\lambda_{\max}(P^{-1}H)$"),
    "k_lambda_max": Label("λ_max of K", r"$\lambda_{\max}(K)$"),
    "k_trace": Label("Tr K", r"$\mathrm{Tr}\,K$"),
    "fisher_trace": Label("Tr F", r"$\mathrm{Tr}\,F$"),
    "batch_sharpness": Label("batch sharpness", "batch sharpness"),
    "noise_scale_simple": Label("B_simple", r"$B_{\mathrm{simple}}$ (examples)"),
    "noise_scale": Label("B_noise", r"$B_{\mathrm{noise}}$ (examples)"),
    "critical_sample_ratio": Label("critical sample ratio", "critical sample ratio"),
    "train_loss": Label("train loss", "train loss"),
    "test_loss": Label("test loss", "test loss"),
    "train_accuracy": Label("train accuracy", "train accuracy"),
    "test_accuracy": Label("test accuracy", "test accuracy"),
}
LR = Label("η", r"learning rate $\eta$")
RATIO = Label("η/S", r"$\eta/S$")
EFFECTIVE_LR = Label("η/(1−μ)", r"effective learning rate $\eta/(1-\mu)$")
EFFECTIVE_RATIO = Label("η/(S(1−μ))", r"$\eta/(S(1-\mu))$")
EPOCH = Label("epoch", "epoch")


def label(metric: str) -> Label:
    """The label of a column; an unknown one is called by its own name."""
    return _LABELS.get(metric) or Label(metric, metric.replace("_", " "))


def number(x: float, digits: int = 3) -> str:
    """``digits`` significant ones: 0.0016, 1.2e-5, 40; a true minus sign."""
    if not math.isfinite(x):
        return "—" if math.isnan(x) else ("∞" if x > 0 else "−∞")
    text = f"{x + 0.0:.{digits}g}"  # no negative zero
    if "e" in text:
        mantissa, power = text.split("e")
        text = f"{mantissa}e{int(power)}" if abs(int(power)) > 4 else _plain(x, digits)
    return text.replace("-", "−")


def _plain(x: float, digits: int) -> str:
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(x))))
    text = f"{x:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def significant(x: float, digits: int = 2) -> str:
    """As ``number``, but zeros that are significant stay: 1.0, 0.30."""
    if not math.isfinite(x) or x == 0:
        return number(x)
    power = int(f"{x:.{digits - 1}e}".split("e")[1])  # of the rounded number: 0.0999 is 0.10
    decimals = max(0, digits - 1 - power)
    return fixed(x, decimals) if decimals < 6 else number(x, digits)


def fixed(x: float, decimals: int = 2) -> str:
    """A number with that many decimals, never "−0.00"."""
    if not math.isfinite(x):
        return number(x)
    return f"{round(x, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def interval(value: float, low: float, high: float) -> str:
    """``−0.71 [−0.75, −0.67]``: as many decimals as the width asks for, at least two; a width that
    is rounding alone asks for no more."""
    width = high - low
    decimals = 2
    if math.isfinite(width) and width > 1e-9 * max(1.0, abs(value)):
        decimals = min(5, max(2, -math.floor(math.log10(width))))
    return f"{fixed(value, decimals)} [{fixed(low, decimals)}, {fixed(high, decimals)}]"


def count(n: int, noun: str) -> str:
    """``1 run``, ``2 runs``, ``2,000 runs``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def capital(text: str) -> str:
    """A sentence with a capital letter; one that begins with a symbol stays as it is."""
    return text[:1].upper() + text[1:] if text[:1].isascii() and text[:2].isalpha() else text


def listed(words: list[str], limit: int = 6) -> str:
    """``a, b and c``; a longer list is cut and its rest counted."""
    if len(words) > limit:
        words = [*words[: limit - 1], f"{len(words) - limit + 1} more"]
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


_SYMBOLS = (
    (re.compile(r"λ_(max|min|[HK]|\d+)"), r"<i>λ</i><sub>\1</sub>"),
    (re.compile(r"\b(B)_(simple|noise)\b"), r"<i>\1</i><sub>\2</sub>"),
    (re.compile(r"\be_(\d)\b"), r"<i>e</i><sub>\1</sub>"),
    (re.compile(r"\^\{([^}]*)\}"), r"<sup>\1</sup>"),
    (re.compile(r"\^([ab])\b"), r"<sup><i>\1</i></sup>"),
    (re.compile(r"\ba (\+|and) b\b"), r"<i>a</i> \1 <i>b</i>"),
    (re.compile(r"(?<!\w)([ηSμ])(?!\w)"), r"<i>\1</i>"),
)


def symbols(text: str) -> Markup:
    """A sentence of ours as HTML: escaped, then λ_max, η, S and exponents set as mathematics."""
    html = str(escape(text))
    for pattern, markup in _SYMBOLS:
        html = pattern.sub(markup, html)
    return Markup(html)  # noqa: S704 - escaped two lines up
