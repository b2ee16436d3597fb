"""The form of a commit: one file with a pack's state and the rows of its segment.

A line that names the format, a line with the SHA-256 of all that follows, a line of JSON that
names the sections and their lengths, then the sections' bytes. Nothing in it is ever executed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAGIC = b"sgdscope-state 1"


class CorruptCommit(ValueError):
    """The bytes are not a whole commit."""


@dataclass(frozen=True)
class Commit:
    """``facts``: segment, step, last. ``state``: the pack's state. ``parts``: table -> Parquet."""

    facts: Mapping[str, Any]
    state: bytes
    parts: Mapping[str, bytes]


def encode(commit: Commit) -> bytes:
    """The commit's file."""
    sections = {"state": commit.state, **{f"table/{n}": p for n, p in commit.parts.items()}}
    header = {"facts": dict(commit.facts), "sections": {n: len(b) for n, b in sections.items()}}
    body = json.dumps(header, sort_keys=True).encode() + b"\n" + b"".join(sections.values())
    return b"\n".join((MAGIC, hashlib.sha256(body).hexdigest().encode(), body))


def decode(content: bytes) -> Commit:
    """The commit of a file; CorruptCommit where a bit of it is not as it was written."""
    magic, _, rest = content.partition(b"\n")
    digest, _, body = rest.partition(b"\n")
    if magic != MAGIC:
        raise CorruptCommit(f"begins with {magic[:24]!r}, not {MAGIC!r}")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise CorruptCommit("its checksum is wrong")
    line, _, data = body.partition(b"\n")
    try:
        header, sections, at = json.loads(line), {}, 0
        for name, length in header["sections"].items():
            sections[name] = data[at : at + length]
            at += length
        state = sections.pop("state")
        parts = {n.removeprefix("table/"): b for n, b in sections.items()}
        return Commit(dict(header["facts"]), state, parts)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CorruptCommit("its header is none of ours") from error
