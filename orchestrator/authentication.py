"""Ray's token: where it is looked for, and that every way of ours into Ray uses it.

Whoever reaches a Ray cluster without a token runs code on it. So our own Ray on this machine
always has one, and a cluster is spoken to with the one that lies here.
"""

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

MODE, TOKEN, TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
PLAIN = Path(".ray") / "auth_token"  # in the home folder


def token_of(environment: Mapping[str, str]) -> str:
    """The token that Ray would use, in Ray's order: the variable, the file it names, the home's.

    Empty where there is none.
    """
    if environment.get(TOKEN, "").strip():
        return environment[TOKEN].strip()
    try:
        return token_file(environment).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def token_file(environment: Mapping[str, str]) -> Path:
    """The file that a token is read from where the environment holds none."""
    return Path(environment.get(TOKEN_FILE) or Path.home() / PLAIN)


def readable_by_others(environment: Mapping[str, str]) -> bool:
    """Whether other users of this machine may read the token's file, as Ray leaves it."""
    try:
        mode = token_file(environment).stat().st_mode
    except OSError:
        return False
    return bool(mode & (stat.S_IRGRP | stat.S_IROTH))


def for_own_ray() -> None:
    """Before a Ray of this process's own starts: a token is asked for, whatever the environment.

    Where there is no token this process makes one up, which ends with it and is never written.
    """
    os.environ[MODE] = "token"
    if not token_of(os.environ):
        os.environ[TOKEN] = secrets.token_hex(32)


def for_cluster() -> None:
    """Before a cluster is spoken to: the token that lies here is used, unless the user chose."""
    if MODE not in os.environ and token_of(os.environ):
        os.environ[MODE] = "token"
