"""Whether a cluster's dashboard answers at an address, and to whom. Looks before Ray is imported.

Everything that can be wrong on the way is told here, in seconds: no tunnel, no token, a wrong one.
"""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import urlsplit

from orchestrator.authentication import MODE, TOKEN, token_file, token_of
from orchestrator.errors import Problem, UserError

DEFAULT = "http://127.0.0.1:8265"
WAIT_S = 4.0
TUNNEL = "open a tunnel to it in another terminal: ray dashboard cluster.yaml"
_COPY = "copy it from the head: ray rsync-down cluster.yaml '~/.ray/auth_token' ~/.ray/auth_token"


@dataclass(frozen=True)
class Dashboard:
    """What answers: its version of Ray, and whether it answers without a token too."""

    address: str
    ray_version: str
    is_open: bool


def reach(address: str) -> Dashboard:
    """The dashboard at an http address; UserError where it does not answer, or not to us."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(Problem(f"`{address}` is no address of a dashboard", "--address",
                                f"write it like {DEFAULT}"))
    address = address.rstrip("/")
    code, body = _ask(address, {})
    is_open = code == 200
    if code == 401:
        token = token_of(os.environ)
        if not token or os.environ.get(MODE, "token").lower() != "token":
            raise UserError(_no_token(address, token))
        code, body = _ask(address, {"Authorization": f"Bearer {token}"})
        if code in (401, 403):
            raise UserError(Problem(
                f"the cluster at {address} does not know this token", _origin(), _COPY))
    try:
        version = json.loads(body)["ray_version"] if code == 200 else None
    except (ValueError, KeyError, TypeError):
        version = None
    if not isinstance(version, str):
        raise UserError(Problem(f"what answers at {address} is no dashboard of Ray (HTTP {code})",
                                "--address", TUNNEL))
    return Dashboard(address, version, is_open)


def _ask(address: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    request = urllib.request.Request(f"{address}/api/version", headers=dict(headers))  # noqa: S310
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay())
    try:
        with direct.open(request, timeout=WAIT_S) as answer:
            return answer.status, answer.read(100_000)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""
    except (OSError, ValueError, HTTPException) as error:  # refused, too late, not HTTP
        reason = getattr(error, "reason", None) or error
        raise UserError(Problem(f"no dashboard answers at {address}: {reason}",
                                "--address", TUNNEL)) from error


class _Stay(urllib.request.HTTPRedirectHandler):
    """A token is never sent on to where an answer points."""

    def redirect_request(self, *_: object) -> None:
        """None: a redirection is no answer."""


def _no_token(address: str, token: str) -> Problem:
    if token:
        return Problem(f"the cluster at {address} wants a token, but {MODE} is "
                       f"{os.environ[MODE]!r} here", MODE, f"export {MODE}=token, or unset it")
    return Problem(f"the cluster at {address} wants a token, and there is none here",
                   str(token_file(os.environ)), _COPY)


def _origin() -> str:
    """Where the token came from, never what it is."""
    return TOKEN if os.environ.get(TOKEN, "").strip() else str(token_file(os.environ))
