"""YAML read strictly: plain data with line and column of every node, or all that is wrong with it.

YAML 1.2 numbers (``1e-3`` is one). No tags, anchors, aliases, merge keys, duplicate keys, octals,
sexagesimals or yes/no booleans; bounded size, depth and number of nodes. Built from the parser's
events alone: none of PyYAML's constructors is ever called.
"""

import json
import math
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
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF|nan|NaN|NAN)")
_OTHER_BASE = re.compile(r"[-+]?(0[0-9]+|0[xob][0-9a-fA-F]+)")
_CONSTANTS = {"": None, "~": None, "null": None, "Null": None, "NULL": None,
              "true": True, "True": True, "TRUE": True,
              "false": False, "False": False, "FALSE": False}
_OLD_BOOLEANS = {"yes", "no", "on", "off"}
_NOWHERE = -1  # stands for a key itself in a path: no item has this index
# What the parser says, and what its reader can do.
_HINTS = {
    r"'\t'": "indent with spaces, not with tabs",
    "mapping values are not allowed": "quote a text that holds `: `, and check the indentation",
    "expected ',' or": "close the bracket or brace, or put a comma between the items",
    "could not find expected ':'": "write `key: value`, with a space behind the colon",
    "unknown escape character": "write the text in 'single quotes', where \\ is a plain character",
    "incompatible YAML": "remove the %YAML line",
    "<document start>": "the text ends before this; check brackets and indentation",
    "chr()": "remove the escape: there is no such character",
    "cannot start any token": "quote a text that begins with @, ` or %",
    "special characters are not allowed": "remove the control character",
    "expected the node content": "there is no value; quote a text that begins with a sign",
    "expected <block end>": "check the indentation",
}


@dataclass(frozen=True)
class Document:
    """The data, and for each node (line, column), both from 1; of a map's value, of its key."""

    data: Any
    marks: dict[Path, tuple[int, int]] = field(default_factory=dict)


def load(content: bytes, source: str) -> Document:
    """The one document in ``content``; UserError, located as ``source:line:column``, otherwise."""
    return _load(content, source, lines=True)


def load_value(text: str, source: str) -> Any:
    """A value as written behind ``-s key=``; nothing is null. Errors are located as ``source``."""
    content = text.encode("utf-8", "surrogatepass")  # an argument that is no UTF-8: told as such
    return _load(content or b"null", source, lines=False).data


def _load(content: bytes, source: str, *, lines: bool) -> Document:
    text = _text(content, source)

    def where(line: int, column: int) -> str:
        return f"{source}:{line + 1}:{column + 1}" if lines else source

    try:
        return _Builder(text, where).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = _not_yaml(error.problem or error.context or "", where(mark.line, mark.column))
    except yaml.reader.ReaderError as error:
        before = text[: error.position].split("\n")
        problem = _not_yaml(error.reason, where(len(before) - 1, len(before[-1])))
    except (yaml.YAMLError, ValueError) as error:  # such as chr() of an escape beyond Unicode
        problem = _not_yaml(str(error).split("\n")[0], source)
    raise UserError(problem) from None


def _not_yaml(reason: str, where: str) -> Problem:
    fix = next((fix for part, fix in _HINTS.items() if part in reason), "")
    return Problem(f"not YAML: {reason}", where, fix)


def _text(content: bytes, source: str) -> str:
    if len(content) > MOST_BYTES:
        raise UserError(Problem(f"more than {MOST_BYTES // 1024} kB of YAML", source,
                                "a spec is a few lines; is this the right file?"))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(Problem(f"not UTF-8 (byte {error.start})", source,
                                "save it as UTF-8")) from None
    if "\0" in text:
        raise UserError(Problem("there is a NUL character", source, "save it as plain UTF-8 text"))
    return text


class _Builder:
    """One pass over the events. What can be passed over is collected, to be told at once."""

    def __init__(self, text: str, where: Any):
        self._where, self._nodes = where, 0
        self._problems: list[Problem] = []
        self._marks: dict[Path, tuple[int, int]] = {}
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.SafeLoader))

    def document(self) -> Document:
        next(self._events)  # the stream's start
        start = next(self._events)
        if isinstance(start, yaml.StreamEndEvent):
            raise UserError(Problem("there is nothing in it", self._where(0, 0),
                                    "see `sgdscope presets digits-ratio` for an example"))
        data = self._node(next(self._events), ())
        next(self._events)  # the document's end
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._tell(after, "there is a second document", "keep one spec a file, without `---`")
        if self._problems:
            raise UserError(*self._problems)
        return Document(data, self._marks)

    def _tell(self, event: Any, what: str, fix: str = "") -> None:
        mark = event.start_mark
        self._problems.append(Problem(what, self._where(mark.line, mark.column), fix))

    def _node(self, event: Any, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > MOST_NODES or len(path) > MOST_DEPTH:
            self._tell(event, "nested too deeply, or too many values",
                       f"at most {MOST_DEPTH} levels and {MOST_NODES:,} values")
            raise UserError(*self._problems)
        self._marks[path] = (event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self._tell(event, "anchors (&) and aliases (*) are not allowed",
                       "write the value out; quote a text that begins with & or *")
        if isinstance(event, yaml.AliasEvent):
            return None
        if event.tag not in (None, "!"):
            self._tell(event, f"tags are not allowed: {event.tag}",
                       "remove the tag; quote a text that begins with !")
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
            if key is None:
                self._node(next(self._events), (*path, _NOWHERE))
                continue
            if key in found:
                line = self._marks[(*path, key)][0]
                self._tell(event, f"the key `{key}` stands here twice (first on line {line})",
                           "remove one of the two")
            found[key] = self._node(next(self._events), (*path, key))
            self._marks[(*path, key)] = (event.start_mark.line + 1, event.start_mark.column + 1)
        return found

    def _key(self, event: Any, path: Path) -> str | None:
        """The key, or None where it was told that it is none."""
        told = len(self._problems)
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.style is None:
            self._tell(event, "merge keys (<<) are not allowed", "write the values out")
            return None
        key = self._node(event, (*path, _NOWHERE))
        del self._marks[(*path, _NOWHERE)]
        if isinstance(key, str) or len(self._problems) > told:
            return key if isinstance(key, str) else None
        word = event.value if isinstance(event, yaml.ScalarEvent) else "key"
        self._tell(event, f"a key must be a word, not {json.dumps(key)}",
                   f'write "{word}" if you mean the word')
        return None

    def _scalar(self, event: Any) -> Any:
        text = event.value
        if event.style is not None or event.tag is not None:
            return self._characters(event)
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if text.lower() in _OLD_BOOLEANS:
            return self._tell(event, f"`{text}` is ambiguous",
                              f'write true or false, or "{text}" for the word')
        if _OTHER_BASE.fullmatch(text):
            return self._tell(event, f"`{text}` may be octal or hexadecimal",
                              "write the number in decimal, without leading zeros")
        if _NOT_FINITE.fullmatch(text):
            return self._tell(event, f"`{text}` is not a finite number", "write a finite number")
        return self._number(event) if _FLOAT.fullmatch(text) else self._characters(event)

    def _number(self, event: Any) -> int | float | None:
        text = event.value
        if len(text) > MOST_DIGITS:
            return self._tell(event, f"a number of {len(text)} characters",
                              f"write it with at most {MOST_DIGITS}")
        value = int(text) if _INTEGER.fullmatch(text) else float(text)
        if not math.isfinite(value):
            return self._tell(event, f"`{text}` is not a finite number", "write a finite number")
        return value

    def _characters(self, event: Any) -> str:
        """The text; ``"\\ud83d\\ude00"``, as JSON writes what needs two units, becomes one."""
        try:
            text = event.value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            self._tell(event, "this text holds a character that is none", "remove the escape")
        return text
