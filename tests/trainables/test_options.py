"""Options: bounds, casts, and messages that name the way out."""

import pytest

from trainables.errors import InputError
from trainables.options import choice, fill, flag, number, optional, text, whole

TABLE = {
    "width": whole(64, 1, 100), "rate": number(0.5, lambda v: 0 <= v < 1, "0 to 1"),
    "kind": choice("a", ("a", "b")), "on": flag(False), "path": optional(text(None)),
}

ACCEPTED = [
    ({}, "width", 64),
    ({"width": 100}, "width", 100),        # the bound itself
    ({"rate": 0}, "rate", 0.0),            # an integer is a real number …
    ({"path": None}, "path", None),        # null: not given
    ({"path": "x"}, "path", "x"),
]

REFUSED = [
    ({"width": 0}, "data.width is 0", "a whole number from 1 to 100"),
    ({"width": 101}, "data.width is 101", "100"),
    ({"width": True}, "True", "whole"),                 # bool is an int in Python
    ({"width": 3.0}, "3.0", "whole"),                   # no silent rounding
    ({"width": "3"}, "'3'", "whole"),
    ({"width": None}, "None", "whole"),                 # null only where optional
    ({"rate": 1}, "data.rate is 1", "0 to 1"),
    ({"rate": float("nan")}, "nan", "0 to 1"),
    ({"rate": float("inf")}, "inf", "0 to 1"),
    ({"rate": False}, "False", "0 to 1"),
    ({"kind": "c"}, "'c'", "one of a, b"),
    ({"kind": ["a"]}, "['a']", "one of a, b"),          # unhashable values must not crash
    ({"on": 1}, "data.on is 1", "true or false"),
    ({"path": ""}, "''", "text"),
    ({"witdh": 3}, "no option `witdh`", "did you mean `width`?"),
    ({"zzz": 3}, "no option `zzz`", "options: width, rate, kind, on, path"),
]


@pytest.mark.parametrize(("given", "name", "value"), ACCEPTED)
def test_accepts(given, name, value):
    filled = fill(given, TABLE, section="data", subject="data x")
    assert filled[name] == value
    assert type(filled[name]) is type(value)
    assert list(filled) == list(TABLE)


@pytest.mark.parametrize(("given", "what", "fix"), REFUSED)
def test_refuses(given, what, fix):
    with pytest.raises(InputError) as caught:
        fill(given, TABLE, section="data", subject="data x")
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert caught.value.key == f"data.{next(iter(given))}"


def test_one_and_one_point_zero_are_the_same_config():
    one, real = (fill({"rate": v}, TABLE, section="m", subject="m")["rate"] for v in (0, 0.0))
    assert repr(one) == repr(real)
