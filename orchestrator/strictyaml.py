"""YAML read strictly: plain data with line and column of every node, or one clear error.

YAML 1.2 numbers (``1e-3`` is one). No tags, anchors, aliases, merge keys, duplicate keys, octals,
sexagesimals or yes/no booleans; bounded size, depth and number of nodes. Built from the parser's
events alone: none of PyYAML's constructors is ever called.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from orchestrator.errors import Problem, UserError

MOST_BYTES, MOST_NODES, MOST_DEPTH, MOST_DIGITS = 256 * 1024, 20_000, 20, 40
Path = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = {".inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}
_CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}
_OLD_BOOLEANS = {"yes", "no", "on", "off"}


@dataclass(frozen=True)
class Document:
    """The data, and for each node (line, column), both from 1."""

    data: Any
    marks: dict[Path, tuple[int, int]] = field(default_factory=dict)


def load(content: bytes, source: str) -> Document:
    """The one document in ``content``; UserError, located as ``source:line:column``, otherwise."""
    text = _text(content, source)
    try:
        return _Builder(source, text).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise UserError(Problem(f"not YAML: {error.problem or error.context}", where)) from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(Problem(f"not YAML: {str(error).splitlines()[0]}", source)) from None


def load_value(text: str, source: str) -> Any:
    """A value as written behind ``-s key=``."""
    return load(text.encode(), source).data


def _text(content: bytes, source: str) -> str:
    if len(content) > MOST_BYTES:
        raise UserError(Problem(f"the file has {len(content):,} bytes, more than {MOST_BYTES:,}",
                                source, "a spec is a few lines; is this the right file?"))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(Problem(f"the file is not UTF-8 (byte {error.start})", source,
                                "save it as UTF-8")) from None
    if "\0" in text:
        raise UserError(Problem("the file holds a NUL character", source,
                                "save it as plain UTF-8 text"))
    return text


class _Builder:
    def __init__(self, source: str, text: str):
        self._source, self._nodes = source, 0
        self._marks: dict[Path, tuple[int, int]] = {}
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.SafeLoader))

    def document(self) -> Document:
        next(self._events)  # the stream's start
        start = next(self._events)
        if isinstance(start, yaml.StreamEndEvent):
            raise UserError(Problem("the file is empty", self._source,
                                    "see `sgdscope presets digits-ratio` for an example"))
        data = self._node(next(self._events), ())
        next(self._events)  # the document's end
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._error(after, "there is a second document", "keep one spec a file")
        return Document(data, self._marks)

    def _error(self, event: Any, what: str, fix: str = "") -> UserError:
        mark = event.start_mark
        return UserError(Problem(what, f"{self._source}:{mark.line + 1}:{mark.column + 1}", fix))

    def _node(self, event: Any, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > MOST_NODES or len(path) > MOST_DEPTH:
            raise self._error(event, "the file is nested too deeply or has too many values",
                              f"at most {MOST_DEPTH} levels and {MOST_NODES:,} values")
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self._error(event, "anchors (&) and aliases (*) are not allowed",
                              "write the value out; quote a text that begins with & or *")
        if event.tag is not None and event.tag != "!":
            raise self._error(event, f"tags are not allowed: {event.tag}", "remove the tag")
        self._marks[path] = (event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        return self._scalar(event)

    def _sequence(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, path)
            if key in found:
                line = self._marks[(*path, key)][0]
                raise self._error(event, f"the key `{key}` stands here twice (first on line {line})",
                                  "remove one of the two")
            found[key] = self._node(next(self._events), (*path, key))
            self._marks[(*path, key)] = (event.start_mark.line + 1, event.start_mark.column + 1)
        return found

    def _key(self, event: Any, path: Path) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise self._error(event, "a key must be a word", "write `key: value`")
        if event.value == "<<" and event.style is None:
            raise self._error(event, "merge keys (<<) are not allowed", "write the values out")
        key = self._node(event, (*path, event.value))
        if not isinstance(key, str):
            raise self._error(event, f"a key must be a word, not {event.value!r}",
                              f'write "{event.value}" if you mean the word')
        return key

    def _scalar(self, event: Any) -> Any:
        text = event.value
        if event.style is not None or event.tag == "!":
            return text
        lower = text.lower()
        if lower in _CONSTANTS:
            return _CONSTANTS[lower]
        if lower in _OLD_BOOLEANS:
            raise self._error(event, f"`{text}` is ambiguous", f'write true or false, or "{text}"')
        if re.fullmatch(r"[-+]?0[0-9]+", text) or re.fullmatch(r"[-+]?0[xob][0-9a-fA-F]+", text):
            raise self._error(event, f"`{text}` may be octal or hexadecimal",
                              "write the number in decimal, without leading zeros")
        if _FLOAT.fullmatch(text) and len(text) > MOST_DIGITS:
            raise self._error(event, f"a number of {len(text)} characters", "write it shorter")
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        return _SPECIAL.get(lower, text)
