"""Numbers, lists and symbols as they are written."""

import math

import pytest

from analysis.labels import count, fixed, interval, label, listed, number, significant, symbols


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.0016, "0.0016"),
        (1.2e-5, "1.2e−5"),  # a true minus sign in the power too
        (0.00012, "0.00012"),
        (40, "40"),
        (1234.6, "1235"),  # no power where five figures will do
        (1e5, "1e5"),
        (99999.0, "1e5"),
        (-0.5, "−0.5"),
        (-0.0, "0"),
        (math.nan, "—"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
    ],
)
def test_number(x, text):
    assert number(x) == text


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (1.0, "1.0"),
        (0.3, "0.30"),
        (0.0999, "0.10"),  # rounds up into the next decade
        (9.99, "10"),
        (123.0, "123"),
        (-0.0123, "−0.012"),
        (1e-9, "1e−9"),
        (0.0, "0"),
        (math.nan, "—"),
    ],
)
def test_significant(x, text):
    assert significant(x) == text


@pytest.mark.parametrize(("x", "text"), [(-0.001, "0.00"), (-1.005, "−1.00"), (math.nan, "—")])
def test_fixed_has_no_negative_zero(x, text):
    assert fixed(x) == text


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((-0.71, -0.75, -0.67), "−0.71 [−0.75, −0.67]"),
        ((0.12345, 0.1231, 0.1238), "0.1235 [0.1231, 0.1238]"),  # narrow: more decimals
        ((1.0, -30.0, 32.0), "1.00 [−30.00, 32.00]"),
        ((1.0, math.nan, math.nan), "1.00 [—, —]"),
        ((2.0, 2.0, 2.0), "2.00 [2.00, 2.00]"),
        ((1.0, 1.0, 1.0 + 4e-16), "1.00 [1.00, 1.00]"),  # rounding is no width
    ],
)
def test_interval(numbers, text):
    assert interval(*numbers) == text


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (2000, "2,000 runs")]
)
def test_count(n, text):
    assert count(n, "run") == text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        (list("abcd"), "a, b and 2 more"),
    ],
)
def test_listed(words, text):
    assert listed(words, 3) == text


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("λ_max on η/S", "<i>λ</i><sub>max</sub> on <i>η</i>/<i>S</i>"),
        ("η^{−0.70}", "<i>η</i><sup>−0.70</sup>"),
        ("a + b = 0", "<i>a</i> + <i>b</i> = 0"),
        ("(η/S)^a", "(<i>η</i>/<i>S</i>)<sup><i>a</i></sup>"),
        ("SGD has a bound", "SGD has a bound"),  # letters inside words are no symbols
        ("<script>&", "&lt;script&gt;&amp;"),
    ],
)
def test_symbols_escapes_then_sets(text, html):
    assert str(symbols(text)) == html


def test_an_unknown_column_is_called_by_its_name():
    assert label("my_monitor").plain == "my_monitor"
    assert label("my_monitor").tex == "my monitor"  # an underscore would be a subscript
    assert label("hessian_lambda_max").plain == "λ_max"
