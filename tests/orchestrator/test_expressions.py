"""Expressions: Python's own arithmetic where it is arithmetic, and nothing else."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.expressions import MOST_CHARACTERS, Expression
from trainables.errors import InputError

NAMES = {"lr": 0.5, "batch_size": 8, "k": 3, "loss": "mse", "model.width": 64, "flag": True}


@pytest.mark.parametrize(("text", "value"), [
    ("lr / batch_size", 0.0625), ("lr * batch_size", 4.0), ("1 + 2 * 3 - 4", 3), ("(1 + 2) * 3", 9),
    ("-k ** 2", -9.0), ("2 ** -1", 0.5), ("2 ** k", 8.0), ("7 // 2", 3), ("7 % 4", 3), ("+k", 3),
    ("1e-4 <= lr <= 1e-2", False), ("0 < lr < 1 < k", True), ("lr == 0.5", True), ("k != 3", False),
    ("lr < 1 and k > 5 or flag", True), ("not (k > 5)", True), ("not flag", False), ("flag", True),
    ("min(lr, k)", 0.5), ("max(1, k, 2)", 3), ("sqrt(batch_size * 2)", 4.0), ("log(1)", 0.0),
    ("log2(batch_size)", 3.0), ("log10(1000)", pytest.approx(3)), ("exp(0)", 1.0), ("abs(-k)", 3),
    ("round(lr * 5)", 2), ("round(0.126, 2)", 0.13), ("loss == 'mse'", True),
    ("loss != 'mse' or k == 3", True), ("model.width / 2", 32.0), ("  k  ", 3), (0.1, 0.1), (7, 7),
    ("False and 1 / 0 > 1", False),  # the right side is not looked at
])
def test_values(text, value):
    assert Expression(text, "sweep.keep").value(NAMES) == value


def test_names_are_those_used():
    assert Expression("lr * model.width + min(k, 1)", "k").names == {"lr", "model.width", "k"}


@pytest.mark.parametrize("text", [
    "", "lr +", "lr = 3", "lr; k", "import os", "__import__('os')", "open('x')", "lr.real.imag",
    "(1).real", "[1]", "{}", "(1, 2)", "k[0]", "lambda: 1", "x := 3", "1 if lr else 2", "f'{lr}'",
    "10 ^ 3", "k << 3", "~k", "k @ k", "lr in k", "lr is k", "min(*k)", "min(k, key=abs)", "k(3)",
    "loss.upper()", "None", "...", "1j", "b'x'", "yield", "await k", "[x for x in k]", "\0",
    "\ud800",
    "k\nk", "(" * 300, "-" * 400 + "1", "1" + "+1" * 80, "x" * (MOST_CHARACTERS + 1), "1 is 2",
    "getattr(k, 'x')", "eval('1')", "__class__.x()", [1], {"a": 1}, None,
])
def test_what_is_no_arithmetic_is_refused(text):
    with pytest.raises(InputError) as caught:
        Expression(text, "sweep.keep")
    assert caught.value.key == "sweep.keep"
    assert caught.value.fix.startswith("allowed: ")


@pytest.mark.parametrize(("text", "reason"), [
    ("1 / 0", "division by zero"), ("0.0 ** -1", "math domain error"),
    ("(0 - 8) ** 0.5", "math domain error"), ("10.0 ** 400", "math range error"),
    ("1e308 * 10", "the result is not finite"), ("1e308 * 10 - 1e308 * 10", "not finite"),
    ("log(0)", ""), ("sqrt(-1)", ""), ("exp(1000)", "math range error"), ("max()", ""),
    ("10000000000 * 10000000000", "a whole number above 10^18"), ("min(k)", ""), ("sqrt(1, 2)", ""),
    ("loss * 1000000000", "'mse' is no number"), ("loss % k", "'mse' is no number"),
    ("'%999999999d' % k", "is no number"), ("flag + 1", "True is no number"),
    ("lr and k", "neither true nor false"), ("not lr", "neither true nor false"),
    ("loss < 3", "cannot be compared"), ("unknown + 1", "unknown has no value"),
])
def test_what_has_no_value_is_told(text, reason):
    with pytest.raises(InputError, match="cannot be computed") as caught:
        Expression(text, "sweep.derived.x").value(NAMES)
    assert reason in caught.value.what
    assert caught.value.key == "sweep.derived.x"


def test_chained_growth_is_bounded():
    """Each derived value is a power of the one before: without a bound, 6·30^n digits."""
    power, value, start = Expression("*".join(["x"] * 30), "k"), 10**6, time.process_time()
    with pytest.raises(InputError, match="above 10"):
        power.value({"x": power.value({"x": value})})
    assert time.process_time() - start < 1


NUMBERS = st.integers(-99, 99) | st.floats(-1e3, 1e3).map(lambda v: round(v, 3))
OPERATORS = ["+", "-", "*", "/", "//", "%", "<", "<=", "==", "!="]
TREES = st.recursive(
    NUMBERS.map(repr) | st.sampled_from(["lr", "k", "batch_size"]),
    lambda inner: st.tuples(inner, st.sampled_from(OPERATORS), inner).map(
        lambda t: f"({t[0]} {t[1]} {t[2]})") | inner.map(lambda t: f"(-{t})"), max_leaves=8)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(TREES)
def test_it_is_pythons_arithmetic(text):
    names = {k: v for k, v in NAMES.items() if isinstance(v, int | float)}
    try:
        found = Expression(text, "k").value(names)
    except InputError:
        return  # a zero divisor, or a condition in a sum
    assert found == eval(text, {"__builtins__": {}}, names)  # noqa: S307
    assert math.isfinite(found)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(
    ["lr", "k", "(", ")", "*", "**", "-", "9", "0", ".", "'", ",", "min", " and ", "not ", "<",
     "="]), max_size=30).map("".join))
def test_any_text_is_a_value_or_an_input_error(text):
    try:
        value = Expression(text, "k").value(NAMES)
    except InputError:
        return
    assert isinstance(value, bool | int | float | str)
