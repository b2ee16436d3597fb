"""What users read, and that all of it is found at once."""

import pytest

from orchestrator.errors import SHOWN, Problem, UserError, each, gather
from trainables.errors import InputError
from trainables.options import fill, whole


@pytest.mark.parametrize(("problem", "text"), [
    (Problem("bad"), "error: bad"),
    (Problem("bad", "f:1:2"), "error: bad\n  at f:1:2"),
    (Problem("bad", "f:1:2", "do this"), "error: bad\n  at f:1:2\n  do this"),
    # Quoted from anyone's file: no line breaks, no terminal escapes, no end.
    (Problem("a\nb\x1b[31m\u2028c\ud800"), "error: a b [31m c"),
])
def test_a_problem_is_a_few_plain_lines(problem, text):
    assert str(problem) == text


def test_a_problem_ends():
    text = str(Problem("x" * 10_000, "y" * 10_000, "z" * 10_000))
    assert len(text) < 1400
    assert text.count("\n") == 2


def test_equal_problems_are_told_once_and_in_order():
    error = UserError(Problem("a"), Problem("b"), Problem("a"))
    assert error.problems == (Problem("a"), Problem("b"))
    assert str(error) == "error: a\nerror: b"


def test_twelve_are_shown_then_a_count():
    error = UserError(*(Problem(str(i)) for i in range(SHOWN + 3)))
    assert len(error.problems) == 15
    assert str(error).splitlines()[-2:] == ["error: 11", "… and 3 more"]


TABLE = {"a": whole(1, 1, 9), "b": whole(2, 1, 9), "c": whole(3, 1, 9)}


def resolve(given):
    nested = given.get("nested", {"x": 1})
    fill(nested, {"x": whole(1, 1, 9), "y": whole(1, 1, 9)}, section="s.nested", subject="nested")
    if "x" not in nested:
        raise InputError("nested has no x", key="s.nested.x")
    if "path" in given and not isinstance(given["path"], str):
        raise InputError("path is no text", key="s.path")
    if "needed" in given and "path" not in given:
        raise InputError("path is missing", key="s.path")
    rest = {k: v for k, v in given.items() if k not in ("nested", "path", "needed")}
    return fill(rest, TABLE, section="s", subject="s")


@pytest.mark.parametrize(("given", "keys", "value"), [
    ({"a": 5}, [], {"a": 5, "b": 2, "c": 3}),
    ({"a": 0, "b": 5, "c": 10, "d": 1}, ["s.a", "s.c", "s.d"], {"a": 1, "b": 5, "c": 3}),
    ({"nested": {"x": 0, "y": 0}, "a": 0}, ["s.nested.x", "s.nested.y", "s.a"],
     {"a": 1, "b": 2, "c": 3}),
    ({"nested": {"y": 0}}, ["s.nested.y", "s.nested.x"], {"a": 1, "b": 2, "c": 3}),
    # That path is missing follows from leaving out the wrong one: no second problem, no value.
    ({"path": 3, "needed": True}, ["s.path"], None),
])
def test_gather_finds_every_problem_and_the_part_that_is_right(given, keys, value):
    found, told = gather(resolve, given, "s")
    assert [e.key for e in told] == keys
    assert found == value


def test_gather_ends_on_thousands_of_problems():
    _, told = gather(resolve, {f"k{i}": 0 for i in range(5000)}, "s")
    assert 12 < len(told) <= 200


def test_each_tells_of_every_item():
    def item(given, key):
        return fill(given, TABLE, section=key, subject="item")

    assert each(item, [{"a": 3}], "s")[0]["a"] == 3
    with pytest.raises(ExceptionGroup) as caught:
        each(item, [{"a": 0, "b": 0}, {"a": 1}, {"d": 0}], "s")
    assert [e.key for e in caught.value.exceptions] == ["s.0.a", "s.0.b", "s.2.d"]
