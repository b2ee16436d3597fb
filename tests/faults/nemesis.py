"""What goes wrong, and at which call: of a disk's system calls, or of S3's requests."""

import errno
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

WRITES = frozenset({"mkdir", "open", "write", "fsync", "link", "rename", "unlink", "sync",
                    "put", "delete"})
READS = frozenset({"read", "listdir", "get", "list"})
FOR_EVER = math.inf


class Killed(BaseException):
    """The process is dead from here on."""


@dataclass(frozen=True)
class Kind:
    """``when``: before the call takes effect, after it, or with half of it done ("torn").

    ``ends``: what a command that meets it once may end with; "killed", or exit codes. ``words``:
    one of them stands in what the user reads where it lasts for ever.
    """

    name: str
    when: str
    error: Callable[[str], BaseException]
    calls: frozenset[str] = WRITES | READS
    words: tuple[str, ...] = ()
    patient: bool = False  # asked again by the store itself, so that once is never seen

    @property
    def kills(self) -> bool:
        return isinstance(self.error("x"), Killed)


def _system(name: str, number: int, word: str, calls: frozenset[str] = WRITES, when: str = "before"
            ) -> Kind:
    import os

    return Kind(name, when, lambda _: OSError(number, os.strerror(number)), calls, (word,))


def _answer(status: int, code: str) -> Callable[[str], BaseException]:
    return lambda call: ClientError(
        {"Error": {"Code": code, "Message": code},
         "ResponseMetadata": {"HTTPStatusCode": status}}, call)


def _lost(_: str) -> BaseException:
    return ReadTimeoutError(endpoint_url="http://bucket")


_GROWING = frozenset({"mkdir", "open", "write", "fsync", "link"})
DISK: Mapping[str, Kind] = {k.name: k for k in (
    Kind("crash before", "before", lambda _: Killed()),
    Kind("torn write", "torn", lambda _: Killed(), frozenset({"write"})),
    Kind("crash after", "after", lambda _: Killed(), WRITES),
    _system("timeout after success", errno.EIO, "nput/output error",
            frozenset({"link", "rename", "fsync", "unlink"}), "after"),
    _system("ENOSPC", errno.ENOSPC, "No space left", _GROWING),
    _system("EIO", errno.EIO, "nput/output error", WRITES | READS),
    _system("EACCES", errno.EACCES, "ermission denied", WRITES | READS),
    _system("EROFS", errno.EROFS, "ead-only file system"),
)}
S3: Mapping[str, Kind] = {k.name: k for k in (
    Kind("crash before", "before", lambda _: Killed()),
    Kind("crash after", "after", lambda _: Killed(), WRITES),
    Kind("timeout after success", "after", _lost, words=("no answer from",), patient=True),
    Kind("503", "before", _answer(503, "SlowDown"), words=("no answer from",), patient=True),
    Kind("409", "before", _answer(409, "ConditionalRequestConflict"), frozenset({"put"}),
         ("no answer from",), patient=True),
    Kind("connection refused", "before",
         lambda _: EndpointConnectionError(endpoint_url="http://bucket"),
         words=("no answer from",), patient=True),
    Kind("EACCES", "before", _answer(403, "AccessDenied"), words=("denies access",)),
)}
KINDS: Mapping[str, Mapping[str, Kind]] = {"local": DISK, "S3-like": S3}


@dataclass
class Nemesis:
    """Strikes the call number ``at`` (from 0) of those that its kind is about, ``times`` times."""

    kind: Kind | None = None
    at: int = 0
    times: float = 1
    seen: int = 0
    dead: bool = False
    struck: list[tuple[str, str]] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)

    def around(self, call: str, path: str, effect: Callable[[], Any],
               torn: Callable[[], Any] | None = None) -> Any:
        """The call's own effect and answer, or what has become of it."""
        if self.dead:
            raise Killed
        self.log.append((call, path))
        kind = self.kind
        if kind is None or call not in kind.calls:
            return effect()
        self.seen += 1
        if not self.at < self.seen <= self.at + self.times:
            return effect()
        self.struck.append((call, path))
        if kind.when == "torn" and torn is not None:
            torn()
        if kind.when == "after":
            effect()
        self.dead = kind.kills
        raise kind.error(call)


STAGES = (  # what a path belongs to, in the order of a sweep's life; a call on it is told apart too
    ("look before", lambda p: p.endswith(".trial")),
    ("begin pack", lambda p: p.endswith("pack.json")),
    ("commit", lambda p: "/state-" in p),
    ("publish", lambda p: "tables/" in p and p.endswith(".parquet") and "0000-" not in p),
    ("weights", lambda p: "weights/" in p),
    ("probe", lambda p: "probes/" in p),
    ("compaction", lambda p: "compact/" in p),
)


def moment(call: str, path: str) -> str:
    """The stage of a sweep's life that a call belongs to."""
    path = _undrafted(path)
    if call in READS:
        return "look up"
    if call in ("unlink", "delete") and "/state-" in path:
        return "drop states"
    return next((name for name, owns in STAGES if owns(path)), "open folder")


def _undrafted(path: str) -> str:
    """The file that a draft is of."""
    folder, _, name = path.rpartition("/")
    if name.startswith(".") and len(name.rpartition(".")[2]) == 32:
        name = name[1:].rpartition(".")[0]
    return f"{folder}/{name}"
