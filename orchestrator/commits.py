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


def decode(content: bytes, path: str = "") -> Commit:
    """The commit of a file; CorruptCommit where a bit of it is not as it was written, or where it
    is a copy of another than ``path`` names, if given."""
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
        commit = Commit(dict(header["facts"]), state, parts)
        ours = not path or path == _path(commit.facts, path)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CorruptCommit("its header is none of ours") from error
    if not ours:
        raise CorruptCommit("it is another's")
    return commit


def state_path(pack_id: str, segment: int) -> str:
    """Where a pack's state is."""
    return f"packs/{pack_id}/state-{segment}.bin"


def probe_path(probe_id: str) -> str:
    """Where a probe's commit is."""
    return f"probes/{probe_id}.commit"


def _path(facts: Mapping[str, Any], path: str) -> str:
    """Where a commit belongs; earlier versions did not say of which pack it is."""
    if "probe_id" in facts:
        return probe_path(facts["probe_id"])
    return state_path(facts.get("pack_id", path.split("/")[1]), facts["segment"])


def seal(pack: Mapping[str, Any]) -> bytes:
    """A pack's file, ``pack.json``: a line of JSON with the SHA-256 of the rest of it."""
    return _line({**pack, "sha256": hashlib.sha256(_line(pack)).hexdigest()})


def unseal(content: bytes | None, path: str) -> dict[str, Any]:
    """The pack of a file; CorruptCommit where a bit of it is not as it was written, or where it is
    a copy of another's. One without a checksum, of an earlier version, is believed."""
    try:
        pack = json.loads(content)
        digest = pack.pop("sha256", None)
        whole = digest in (None, hashlib.sha256(_line(pack)).hexdigest())
        right = path == f"packs/{pack['pack_id']}/pack.json" and {"width", "members"} <= set(pack)
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
        raise CorruptCommit("not a pack's") from None
    if not (whole and right):
        raise CorruptCommit("its checksum is wrong" if right else "it is another's")
    return pack


def _line(facts: Mapping[str, Any]) -> bytes:
    """Not indented: that takes json ten times as long, and a pack may have 256 members."""
    return json.dumps(facts, sort_keys=True).encode() + b"\n"
