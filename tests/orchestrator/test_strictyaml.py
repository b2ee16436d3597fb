"""The YAML that is read: YAML 1.2 scalars, places of all nodes, and nothing leaks."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import UserError
from orchestrator.strictyaml import MOST_BYTES, MOST_DEPTH, MOST_NODES, Document, load, load_value

FUZZ = settings(max_examples=300, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize(("text", "value"), [
    ("1e-3", 1e-3), ("1E3", 1e3), ("1e+3", 1e3), ("5.0e-4", 5e-4), (".5", 0.5), ("5.", 5.0),
    ("-0.25", -0.25), ("+7", 7), ("0", 0), ("-0", 0), ("0.0", 0.0), ("12", 12), ("00.5", 0.5),
    ("1_000", "1_000"), ("12:30", "12:30"), ("2024-01-01", "2024-01-01"), ("1.2.3", "1.2.3"),
    ("1e", "1e"), ("e3", "e3"), (".", "."), ("-x", "-x"), ("١٢", "١٢"), ("1/2", "1/2"),
    ("true", True), ("True", True), ("FALSE", False), ("tRuE", "tRuE"), ("y", "y"), ("n", "n"),
    ("null", None), ("~", None), ("nuLL", "nuLL"), ("none", "none"),
    ("'yes'", "yes"), ('"no"', "no"), ("'010'", "010"), ('"1"', "1"), ("''", ""), ('"<<"', "<<"),
    ("'.nan'", ".nan"), ('"\\ud83d\\ude00"', "😀"), ('"\\/"', "/"), ("! 010", "010"),
    ("npz:a/b.npz", "npz:a/b.npz"), ("[]", []), ("{}", {}), ("[1, [2]]", [1, [2]]),
    ("{a: 1, b: {c: }}", {"a": 1, "b": {"c": None}}), ("{a, b}", {"a": None, "b": None}),
    ("|\n  a\n  b\n", "a\nb\n"), (">-\n  a\n  b\n", "a b"), ('{"a b": 1}', {"a b": 1}),
])
def test_values(text, value):
    found = load(f"v: {text}".encode(), "f").data["v"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", [
    "010", "-07", "00", "0x1F", "0o17", "0b11", "yes", "No", "ON", "off", ".inf", "-.INF", "+.inf",
    ".NaN", "1e999", "-1e999", "9" * 41, "1." + "0" * 5000, "!!int 1", "!!float abc",
    "!!bool maybe", '!!int ""', "!!timestamp abc", "!local x", "!!binary x", "&a 1", "*a",
    "{<<: {a: 1}}", "{1: 2}",
    "{1.5: 2}", "{null: 2}", "{true: 2}", "{[1]: 2}", "{{a: 1}: 2}", "{a: 1, a: 2}",
    "{'': 1, b: 2, '': 3}", '"\\0"',
    '"\\udc00"', '"\\ud800x"', '"\\U00110000"',
])
def test_what_is_refused(text):
    with pytest.raises(UserError) as caught:
        load(f"v: {text}".encode(), "f")
    (problem,) = caught.value.problems
    assert problem.where.startswith("f:1:") or "chr()" in problem.what
    assert problem.fix


def test_every_node_has_its_place():
    text = b"a: 1\nb:\n  - x\n  - {c: 2,\n     d: [3, 4]}\n'e.f': ok\n"
    assert load(text, "f") == Document(
        {"a": 1, "b": ["x", {"c": 2, "d": [3, 4]}], "e.f": "ok"},
        {(): (1, 1), ("a",): (1, 1), ("b",): (2, 1), ("b", 0): (3, 5), ("b", 1): (4, 5),
         ("b", 1, "c"): (4, 6), ("b", 1, "d"): (5, 6), ("b", 1, "d", 0): (5, 10),
         ("b", 1, "d", 1): (5, 13), ("e.f",): (6, 1)})


def test_all_that_is_wrong_is_told_at_once():
    text = b"a: 010\nb: [yes, *x]\nc: !!int 1\na: 2\n<<: 3\n7: 8\n"
    with pytest.raises(UserError) as caught:
        load(text, "f")
    assert [p.where for p in caught.value.problems] == [
        "f:1:4", "f:2:5", "f:2:10", "f:3:4", "f:4:1", "f:5:1", "f:6:1"]


@pytest.mark.parametrize("text", [b"{&x a}: 1", b"? {!!int b: 1}\n: 2", b"? [*x]\n: 2"])
def test_a_key_that_is_no_word_and_wrong_inside_is_told_too(text):
    with pytest.raises(UserError):
        load(text, "f")


@pytest.mark.parametrize(("content", "data"), [
    ("\ufeffa: 1\n".encode(), {"a": 1}),            # a byte order mark, as some editors write
    (b"a: 1\r\nb:\r\n  - 2\r\n", {"a": 1, "b": [2]}),  # line ends of Windows
    (b"---\na: 1\n...\n", {"a": 1}),
])
def test_what_editors_write_is_accepted(content, data):
    assert load(content, "f").data == data


@pytest.mark.parametrize(("content", "what", "where"), [
    (b"", "there is nothing in it", "f:1:1"),
    (b"# only this\n", "there is nothing in it", "f:1:1"),
    (b"a: \xff\n", "not UTF-8 (byte 3)", "f"),
    ("a: 1".encode("utf-16"), "not UTF-8 (byte 0)", "f"),
    ("a: 1".encode("utf-16-le"), "there is a NUL character", "f"),
    (b"a: 1\0", "there is a NUL character", "f"),
    (b"a: 1\nbc: \x07\n", "not YAML: special characters are not allowed", "f:2:5"),
    (b"#" * (MOST_BYTES + 1), "more than 256 kB of YAML", "f"),
    (b"[" * 3000, "nested too deeply, or too many values", f"f:1:{MOST_DEPTH + 2}"),
    (b"[" + b"1," * MOST_NODES + b"]", "nested too deeply, or too many values", "f:1:40000"),
    (b"{}" * 500, "not YAML: expected '<document start>', but found '{'", "f:1:3"),
])
def test_texts_that_are_no_spec(content, what, where):
    with pytest.raises(UserError) as caught:
        load(content, "f")
    (problem,) = caught.value.problems
    assert (problem.what, problem.where) == (what, where)


@pytest.mark.parametrize("content", [
    b"[" * 250_000, b"? " * 120_000, b"- " * 120_000, b"{a: " * 60_000, b"a: 1\n" * 50_000,
    b'"' + b"\\x41" * 60_000 + b'"', b"a: |\n" + b" x\n" * 80_000, b"[a," * 80_000,
    b"\n" * 250_000, b"a: [" + b"1e5," * 60_000, b"&a " * 80_000,
])
def test_no_text_takes_long(content):
    start = time.process_time()
    try:
        load(content, "f")
    except UserError as error:
        assert len(str(error)) < 10_000  # noqa: PT017
    assert time.process_time() - start < 2


@pytest.mark.parametrize(("text", "value"), [
    ("5", 5), ("", None), ("null", None), ("[0.1, 1e-3]", [0.1, 1e-3]), ("a b", "a b"),
    ("{log: [1, 2], n: 3}", {"log": [1, 2], "n": 3}), ("'5'", "5"),
])
def test_values_of_overrides(text, value):
    assert load_value(text, "-s k") == value


@pytest.mark.parametrize("text", ["[", "010", "yes", "a: b: c", "\udcff", "1\n---\n2", "# x"])
def test_wrong_values_of_overrides_are_located_at_them(text):
    with pytest.raises(UserError) as caught:
        load_value(text, "-s k")
    assert [p.where for p in caught.value.problems] == ["-s k"]


TOKENS = st.sampled_from([
    "a", "b: ", "- ", "? ", ": ", "{", "}", "[", "]", ",", "\n", "  ", "\t", "&x", "*x", "!!int ",
    "!!python/name:os ", "<<", "'", '"', "|", ">", "%YAML 1.2\n", "---\n", "...\n", "#", "010",
    "1e5", "yes", ".nan", "\\x", "\r", "\u2028", "\x85", "@", "`", "null", "0x1", "-", "~", "1:2",
    "\ufeff"])


def plain(data):
    """Whether data is of the types and values that a spec may hold."""
    if isinstance(data, dict):
        return all(isinstance(k, str) and plain(v) for k, v in data.items())
    if isinstance(data, list):
        return all(map(plain, data))
    finite = not isinstance(data, float) or math.isfinite(data)
    return finite and (data is None or isinstance(data, bool | int | float | str))


@FUZZ
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode()),
                 st.lists(TOKENS, max_size=40).map(lambda t: "".join(t).encode())))
def test_any_bytes_are_plain_data_or_a_user_error(content):
    try:
        document = load(content, "f")
    except UserError as error:
        assert error.problems  # noqa: PT017
    else:
        assert plain(document.data)
        assert document.marks[()] >= (1, 1)


@FUZZ
@given(st.recursive(
    st.none() | st.booleans() | st.integers(-10**12, 10**12)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5), inner, max_size=4),
    max_leaves=12))
def test_json_is_read_as_json(data):
    import json

    text = json.dumps(data)
    assert load(text.encode(), "f").data == json.loads(text)
