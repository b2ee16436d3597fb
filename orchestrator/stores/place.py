"""The place of a sweep's folder: a path on this machine, or a URI."""

import os
import re
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from orchestrator.errors import Problem, UserError

Place: TypeAlias = Path | str  # an absolute Path, or a URI without a slash at its end
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SECRET = re.compile(r"key|secret|token|password|credential|sas|sig", re.IGNORECASE)


def scheme(given: Place | os.PathLike[str]) -> str:
    """``s3`` of ``s3://bucket/prefix``; empty for a path on this machine."""
    found = None if isinstance(given, os.PathLike) else _URI.match(given)
    return found[1].lower() if found and found[1].lower() != "file" else ""


def placed(given: Place | os.PathLike[str]) -> Place:
    """What a user wrote, as a Place. UserError for a URI that cannot be meant."""
    wrong = fault(given)
    if wrong:
        raise UserError(Problem(wrong[0], "storage", wrong[1]))
    if scheme(given):
        start, _, rest = str(given).partition("://")
        rest, mark, query = rest.partition("?")
        return f"{start.lower()}://{rest.rstrip('/')}{mark}{query}"
    text = os.fspath(given)
    path = Path(unquote(urlsplit(text).path)) if _URI.match(text) else Path(text)
    return path.expanduser().absolute()


def inside(place: Place, name: str) -> Place:
    """The place of ``name`` in the folder ``place``."""
    if isinstance(place, Path):
        return place / name
    base, mark, query = place.partition("?")
    return f"{base}/{name}{mark}{query}"


def parted(place: Place) -> tuple[Place, str]:
    """The storage and the name of a sweep's folder."""
    if isinstance(place, Path):
        real = place.resolve()
        return real.parent, real.name
    base, mark, query = place.partition("?")
    storage, _, name = base.rpartition("/")
    return f"{storage}{mark}{query}", name


def bucket_of(uri: str) -> tuple[str, str]:
    """Bucket and prefix of an ``s3://`` URI, both without slashes at their ends."""
    bucket, _, prefix = uri.partition("://")[2].partition("/")
    return bucket, "/".join(part for part in prefix.split("/") if part)


def fault(given: Place | os.PathLike[str]) -> tuple[str, str] | None:
    """What is wrong with a place as written, and how to mend it; secrets are not repeated."""
    name = scheme(given)
    if not name:
        return None
    try:
        parts = urlsplit(str(given))
        secret = parts.password is not None or any(
            _SECRET.search(key) for key, _ in parse_qsl(parts.query, keep_blank_values=True))
    except ValueError:
        return "the storage is no URI", "write for instance s3://bucket/prefix"
    if secret:
        return (f"the {name}:// URI holds credentials, which would end in every table",
                "leave them out: they are read from the environment, like AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY")
    if ".." in parts.path.split("/"):
        return f"{given} leads upwards", "write the whole URI without .."
    if name == "s3" and (not parts.netloc or "@" in parts.netloc or ":" in parts.netloc):
        return f"{given} names no bucket", "write s3://bucket/prefix"
    if name == "s3" and (parts.query or parts.fragment):
        return (f"{given} has options", "leave them out: the endpoint is read from "
                "AWS_ENDPOINT_URL, the region from AWS_REGION")
    return None
